-- From format 5 to 6: columns with names that say what they are, and where a snapshot came from.
ALTER TABLE main.follower_growth RENAME COLUMN avg_7d TO avg_daily_net_7d;
ALTER TABLE main.follower_growth RENAME COLUMN avg_28d TO avg_daily_net_28d;
ALTER TABLE internal.snapshots ADD COLUMN IF NOT EXISTS source VARCHAR DEFAULT 'api';
ALTER TABLE internal.warehouse_format ADD COLUMN published_at TIMESTAMPTZ;
