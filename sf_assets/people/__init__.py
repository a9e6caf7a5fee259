"""What people bring: lists that they have already, imported as evidence with a source."""
