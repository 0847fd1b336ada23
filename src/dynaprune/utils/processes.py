"""The number of processes that train together, from `torch.distributed`."""

from __future__ import annotations

from torch import distributed


def require_single_process(what: str) -> None:
    """Raise `RuntimeError` if several ranks train together.

    Each rank would prune and serve the whole epoch by itself; an error is better than training on
    every sample `world_size` times.
    """
    if is_distributed() and distributed.get_world_size() > 1:
        raise RuntimeError(
            f"{what} works in a single process, but torch.distributed runs with a world size of "
            f"{distributed.get_world_size()}: use a method of dynaprune, all of which work on "
            "several ranks"
        )


def is_distributed() -> bool:
    """Return whether `torch.distributed` is initialized."""
    return distributed.is_available() and distributed.is_initialized()
