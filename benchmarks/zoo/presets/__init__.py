"""Tasks of papers at their size, for those with a GPU: `bench run --preset`, a file each."""
