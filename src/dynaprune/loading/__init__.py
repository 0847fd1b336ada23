"""How batches are loaded, and how it is known which samples each holds."""
