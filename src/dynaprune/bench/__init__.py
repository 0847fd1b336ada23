"""Training runs that show what pruning saves and what it costs."""
