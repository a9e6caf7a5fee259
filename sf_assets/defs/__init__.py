"""What Dagster sees: assets, checks, partitions, jobs, schedules, sensors, resources."""
