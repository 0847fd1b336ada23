"""What tasks of a kind have in common."""
