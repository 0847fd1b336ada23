"""Running a function on several ranks, by gloo, on this machine."""

from __future__ import annotations

import os
import pickle
import socket
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed, multiprocessing


def on_ranks(world_size: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Return what `function(rank, *arguments)` returns on each rank, in their order.

    An exception on any rank is raised here, with its traceback in the message.
    """
    with tempfile.TemporaryDirectory() as folder:
        # a process that has imported all forks each rank: importing torch takes seconds
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["torch", "torch.distributed", "numpy", "dynaprune"])
        processes = [
            context.Process(target=_run, args=(folder, rank, world_size, function, arguments))
            for rank in range(world_size)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
            if process.is_alive():
                for other in processes:
                    other.kill()
                raise TimeoutError(f"{function.__name__} did not end on {world_size} ranks")
        results = [
            pickle.loads((Path(folder) / f"result-{rank}").read_bytes())
            if (Path(folder) / f"result-{rank}").exists()
            else (None, f"rank {rank} ended with {processes[rank].exitcode}")
            for rank in range(world_size)
        ]
    errors = [error for _, error in results if error is not None]
    if errors:
        raise RuntimeError("\n".join(errors))  # of all ranks: some only say that another has gone
    return [result for result, _ in results]


def _run(
    folder: str, rank: int, world_size: int, function: Callable[..., Any], arguments: Any
) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=60),
    )
    try:
        outcome = function(rank, *arguments), None
    except BaseException:
        outcome = None, traceback.format_exc()
    (Path(folder) / f"result-{rank}").write_bytes(pickle.dumps(outcome))
    if torch.__version__ < (2, 7):
        os._exit(0)  # its gloo sometimes hangs in the next line
    distributed.destroy_process_group()


def environment_of_torchrun(rank: int, world_size: int, port: int) -> None:
    """Set what torchrun sets, for frameworks that look for it."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
    }


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


class Traffic:
    """Counts the collectives, and the bytes that this rank sends in them."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self._all_gather = distributed.all_gather
        distributed.all_gather = self._counted  # type: ignore[assignment]

    def _counted(self, gathered: Any, own: Any, group: Any = None) -> Any:
        self.sent.append(own.numel() * own.element_size())
        return self._all_gather(gathered, own, group=group)
