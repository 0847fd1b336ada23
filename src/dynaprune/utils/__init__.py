"""Tools without knowledge of pruning: checks, optional packages, sampling, seeds, files."""
