"""Hugging Face Accelerate.

    from dynaprune.integrations.accelerate import prepare

    accelerator = Accelerator()
    model, optimizer, loader = prepare(accelerator, model, optimizer, loader)

Needs `pip install 'dynaprune[accelerate]'`; without it, the import raises an `ImportError`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..loading.loader import DataLoader
from ..planning.share import Share
from ..pruned_dataset import PrunedDataset
from ..training.checkpoint import load_checkpoint, save_checkpoint
from ..utils.optional_imports import require
from ._ranks import has_scores_per_rank, state_file_name

if TYPE_CHECKING:
    from accelerate import Accelerator

data_loader = require("accelerate.data_loader", "accelerate")


def prepare(accelerator: Accelerator, *objects: Any) -> Any:
    """Prepare models, optimizers, schedulers and loaders, as `accelerator.prepare` does.

    A `dynaprune.DataLoader` divides its epochs among the processes itself. Accelerate moves its
    batches to the device, and tells `accumulate` and `gather_for_metrics` when an epoch ends.
    Accelerate fetches one batch ahead; `update` still scores the batch that the loop trains.
    The options that say how Accelerate divides a loader have no effect: `even_batches`,
    `use_seedable_sampler`, `use_stateful_dataloader`.

    The state of the pruned dataset is registered for `save_state` and `load_state`. After
    `load_state`, continue in epoch `train.epoch`, which serves the remaining samples. Do not use
    `skip_first_batches`: `update` does not know its batches. If each rank has its own samples
    (`Sharded`), each rank saves its state to its own file: `pruning_0.pt` and so on.

    Wrap a scheduler in `PrunedScheduler` and do not pass it here: Accelerate would step it once per
    process.

    Call `backward` on the loss that `update` returns. Log the loss that you pass to it, which has
    no weights.

    Arguments:
        accelerator: the accelerator.
        objects: the arguments of `accelerator.prepare`.

    Returns:
        The prepared objects, in the same order; a single one by itself.

    Raises:
        ValueError: the accelerator splits batches, or lets the main process fetch them.
        RuntimeError: Accelerate has another number of processes than `torch.distributed`.
    """
    for each in objects:
        if not isinstance(each, DataLoader) or not isinstance(each.dataset, PrunedDataset):
            continue
        if not getattr(each, "_is_accelerate_prepared", False):
            fetch_through(accelerator, each)
        _register(accelerator, each.dataset)
    return accelerator.prepare(*objects)


def _register(accelerator: Accelerator, train: PrunedDataset) -> None:
    """Register the pruned dataset for `save_state` and `load_state`, once."""
    hooks = accelerator._save_model_state_pre_hook.values()
    saved = [hook.__self__.train for hook in hooks if isinstance(_owner(hook), _RankState)]
    if any(each is train for each in [*accelerator._custom_objects, *saved]):
        return
    if has_scores_per_rank(train):  # Accelerate saves what is registered in one process only
        state = _RankState(train, accelerator.process_index)
        accelerator.register_save_state_pre_hook(state.save)
        accelerator.register_load_state_pre_hook(state.load)
    else:
        accelerator.register_for_checkpointing(train)


def _owner(hook: Any) -> Any:
    return getattr(hook, "__self__", None)


class _RankState:
    """Saves and loads a rank's own state, next to what the main process saves.

    Arguments:
        train: the pruned dataset.
        rank: the rank of this process.
    """

    def __init__(self, train: PrunedDataset, rank: int) -> None:
        self.train = train
        self.file = state_file_name(train, rank)

    def save(self, models: Any, weights: Any, folder: str) -> None:
        """Save the state to a checkpoint folder."""
        save_checkpoint(Path(folder) / self.file, train=self.train)

    def load(self, models: Any, folder: str) -> None:
        """Load the state from a checkpoint folder."""
        self.train.load_state_dict(load_checkpoint(Path(folder) / self.file)["train"])


def fetch_through(accelerator: Accelerator, loader: DataLoader) -> None:
    """Let Accelerate move a loader's batches and follow its epochs, but not divide them.

    Arguments:
        accelerator: the accelerator.
        loader: the loader of a pruned dataset; it is changed.

    Raises:
        ValueError: the accelerator splits batches, or lets the main process fetch them.
        RuntimeError: Accelerate has another number of processes than `torch.distributed`.
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
    ranks = train.epochs.ranks.world_size
    # with a process group of its own, some processes share their samples, as in tensor parallelism
    if train.process_group is None and ranks != accelerator.num_processes:
        raise RuntimeError(
            f"Accelerate counts {accelerator.num_processes} process(es), but torch.distributed "
            f"runs with {ranks}: each would train its own model on its own share of the samples. "
            "Without GPUs, make it Accelerator(cpu=True), or TrainingArguments(use_cpu=True)"
        )
    loader.replace_fetcher(
        lambda fetcher: _RepeatCounter(
            train,
            data_loader.prepare_data_loader(
                fetcher,
                device=accelerator.device,
                num_processes=1,
                process_index=0,
                put_on_device=accelerator.device_placement,
                dispatch_batches=False,
                non_blocking=accelerator.non_blocking,
            ),
        )
    )
    loader._is_accelerate_prepared = True  # accelerator.prepare skips it then
    batches: Any = loader.batch_sampler
    if batches is not None:
        batches.even_batches = True  # read and set by join_uneven_inputs


class _RepeatCounter:
    """Sets how many samples of the last batches `gather_for_metrics` keeps: not the repeated ones.

    Accelerate would compute it from the length of the dataset, which pruned epochs do not have.

    Arguments:
        train: the pruned dataset.
        loader: Accelerate's loader, which yields batches and their indices.
    """

    def __init__(self, train: PrunedDataset, loader: Any) -> None:
        self.train, self.loader = train, loader

    def __iter__(self) -> Iterator[Any]:
        repeated: _RepeatedSamples | None = None
        for fetched in self.loader:
            if repeated is None:  # the epoch has a plan once its first batch was fetched
                repeated = _RepeatedSamples.of(self.train.epochs.served_shares.last)
            self.loader.remainder = repeated.remainder(len(fetched.indices))
            yield fetched


@dataclass
class _RepeatedSamples:
    """The samples that are repeated at the end of an epoch, so that all ranks serve equally many.

    Attributes:
        left: how many samples this rank has yet to serve.
        repeated: how many samples are repeated, over all ranks.
        ranks: the number of ranks.
    """

    left: int
    repeated: int
    ranks: int

    @classmethod
    def of(cls, share: Share | None) -> _RepeatedSamples:
        """Return those of the epoch that a share belongs to."""
        if share is None:
            return cls(0, 0, 1)
        repeated = share.world_size * len(share) - share.plan.due.numel()
        return cls(len(share), repeated, share.world_size)

    def remainder(self, size: int) -> int:
        """Return how many samples to keep of the gathered batches of all ranks, in rank order.

        0 keeps all: if no sample is repeated, or if the repeated ones are not the last in this
        order.

        Arguments:
            size: the number of samples in this rank's batch.
        """
        self.left -= size
        # each of the last ranks repeats one sample, at the end of its batch
        is_at_end = self.repeated == 1 or (self.repeated > 1 and size == 1)
        return self.ranks * size - self.repeated if is_at_end and self.left == 0 else 0
