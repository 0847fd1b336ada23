"""The run: which epoch it is, on which ranks, when it is folded, how it is saved."""
