"""Breaking things on purpose, and measuring what was lost."""
