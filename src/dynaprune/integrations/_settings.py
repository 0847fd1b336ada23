"""The settings of a framework's own training loader, for the one that replaces it."""

from __future__ import annotations

from typing import Any


def settings_of(stock: Any) -> dict[str, Any]:
    """Return the arguments of a loader of torch that do not say which samples are in a batch.

    Arguments:
        stock: the loader.
    """
    settings = {
        "collate_fn": stock.collate_fn,
        "num_workers": stock.num_workers,
        "pin_memory": stock.pin_memory,
        "prefetch_factor": stock.prefetch_factor,
        "persistent_workers": stock.persistent_workers,
        "multiprocessing_context": stock.multiprocessing_context,
        "worker_init_fn": stock.worker_init_fn,
        "generator": stock.generator,
    }
    # older versions of torch do not have this argument
    return settings if getattr(stock, "in_order", True) else {**settings, "in_order": False}
