"""`handles.yaml`: who is tracked, and how."""
