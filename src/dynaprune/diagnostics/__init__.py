"""What the scores of a run are worth, and why."""
