"""Hugging Face Accelerate.

    from dynaprune.integrations.accelerate import prepare

    accelerator = Accelerator()
    model, optimizer, loader = prepare(accelerator, model, optimizer, loader)

Needs `pip install 'dynaprune[accelerate]'`; without it, the import raises an `ImportError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..extras import require
from ..loader import DataLoader
from ..pruned import PrunedDataset

if TYPE_CHECKING:
    from accelerate import Accelerator

data_loader = require("accelerate.data_loader", "accelerate")


def prepare(accelerator: Accelerator, *objects: Any) -> Any:
    """Prepare models, optimizers, schedulers and loaders, as `accelerator.prepare` does.

    A `dynaprune.DataLoader` goes on to divide its epochs among the processes itself: only its
    batches are put on the device, and `accumulate` is told when an epoch ends. Accelerate fetches a
    batch ahead; `update` is about the batch of the loop all the same. The state of the pruned
    dataset is registered for `save_state` and `load_state`: after loading, go on in epoch
    `train.epoch` with the samples that are due; do not use `skip_first_batches`.

    Wrap a scheduler in `PrunedScheduler` and leave it out here: Accelerate would step it once for
    each process.

    Arguments:
        accelerator: the accelerator.
        objects: what `accelerator.prepare` takes.

    Returns:
        The prepared objects, in their order; a single one by itself.

    Raises:
        ValueError: the accelerator splits batches, or lets the main process fetch them.
        RuntimeError: Accelerate counts other processes than `torch.distributed`.
    """
    for each in objects:
        if not isinstance(each, DataLoader) or not isinstance(each.dataset, PrunedDataset):
            continue
        if not getattr(each, "_is_accelerate_prepared", False):
            fetch_through(accelerator, each)
            accelerator.register_for_checkpointing(each.dataset)
    return accelerator.prepare(*objects)


def fetch_through(accelerator: Accelerator, loader: DataLoader) -> None:
    """Let Accelerate move a loader's batches and follow its epochs, but not divide them.

    Arguments:
        accelerator: the accelerator.
        loader: of a pruned dataset; it is changed.

    Raises:
        ValueError: the accelerator splits batches, or lets the main process fetch them.
        RuntimeError: Accelerate counts other processes than `torch.distributed`.
    """
    train = loader.dataset
    if not isinstance(train, PrunedDataset):
        raise TypeError(f"the loader must serve a pruned dataset, but it serves {train!r}")
    for option in ("split_batches", "dispatch_batches"):
        if getattr(accelerator, option, False):
            raise ValueError(
                f"the accelerator was made with {option}=True, but a pruned dataset divides its "
                f"epochs among processes itself: leave {option} out, and give the DataLoader the "
                "batch size of one process"
            )
    ranks = train.epochs.ranks.in_step
    if ranks != accelerator.num_processes:
        raise RuntimeError(
            f"Accelerate takes this for {accelerator.num_processes} process(es), but "
            f"torch.distributed runs with {ranks}: each would train a model of its own on its "
            "share of the samples. Without GPUs, make it Accelerator(cpu=True), or "
            "TrainingArguments(use_cpu=True)"
        )
    loader.replace_fetcher(
        lambda fetcher: data_loader.prepare_data_loader(
            fetcher,
            device=accelerator.device,
            num_processes=1,
            process_index=0,
            put_on_device=accelerator.device_placement,
            dispatch_batches=False,
            non_blocking=accelerator.non_blocking,
        )
    )
    loader._is_accelerate_prepared = True  # accelerator.prepare leaves it as it is then
