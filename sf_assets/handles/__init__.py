"""`handles.yaml`: which handles are tracked, and their settings."""
