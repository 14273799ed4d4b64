"""Opening what others trained."""
