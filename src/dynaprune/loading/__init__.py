"""The loader, and the ways in which it finds out which samples each batch holds.

Nothing in torch is patched. Batches that are slices of what the sampler serves carry nothing: their
place says which samples they hold (`slice_fetcher.py`). Other samplers' indices travel with the
samples (`indexed_fetcher.py`), and so do the keys of a stream (`stream_fetcher.py`).
"""
