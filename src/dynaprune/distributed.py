"""Several processes."""

from __future__ import annotations

from torch import distributed


def require_single_process(what: str) -> None:
    """Raise `RuntimeError` where several ranks train together.

    Each rank would plan, and serve, the whole epoch by itself: a loud error is better than
    training on every sample `world_size` times.
    """
    if distributed.is_available() and distributed.is_initialized():
        world_size = distributed.get_world_size()
        if world_size > 1:
            raise RuntimeError(
                f"{what} works in one process, but torch.distributed runs with a world size of "
                f"{world_size}: training on several ranks is not supported by this version"
            )
