"""What knows nothing of pruning: checks, optional packages, sampling, seeds, files."""
