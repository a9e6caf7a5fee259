"""What runs by itself: jobs, the daily schedule, the sensors."""
