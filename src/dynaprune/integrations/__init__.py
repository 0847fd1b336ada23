"""Frameworks that own the training loop: one file each, imported only on use."""
