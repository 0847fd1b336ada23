"""The states of the pruned datasets in a checkpoint of the Trainer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ...pruned_dataset import PrunedDataset
from ...utils.optional_imports import require
from ._loaders import serves_pruned

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

logger = logging.getLogger("dynaprune")

_Stateful = require("lightning.fabric.utilities.types", "lightning")._Stateful


def load_states(datasets: list[PrunedDataset], states: list[dict[str, Any]]) -> None:
    """Restore the states of pruned datasets.

    Raises:
        RuntimeError: these are the states of more or fewer datasets, or of others.
    """
    if len(states) != len(datasets):
        raise RuntimeError(
            f"the checkpoint holds the states of {len(states)} pruned dataset(s), "
            f"but the training loaders serve {len(datasets)}: resume with the loaders of "
            "the run that saved it"
        )
    for train, state in zip(datasets, states, strict=True):
        train.load_state_dict(state)


def carry_over(before: list[PrunedDataset], datasets: list[PrunedDataset]) -> None:
    """Let new pruned datasets continue a run of others, as a second `fit` continues its epochs.

    Arguments:
        before: the pruned datasets of the first `fit`.
        datasets: those of the second, which `setup()` may have created again.
    """
    for old, new in zip(before, datasets, strict=False):
        if new is old or new.progress > 0:
            continue
        try:
            new.load_state_dict(old.state_dict())
        except RuntimeError as error:
            logger.warning(
                "fit() continues a run, but with another pruned dataset, so its scores and its "
                "count of epochs start from scratch: %s",
                error,
            )


def store_once(
    trainer: Trainer,
    checkpoint: dict[str, Any],
    datasets: list[PrunedDataset],
    states: list[dict[str, Any]],
) -> None:
    """Let the states of the loaders in a checkpoint refer to those of the callback.

    The Trainer asks both the loaders and the callback for states, which for a loader of dynaprune
    is that of its pruned dataset; `torch.save` stores an object that is referred to twice once.

    Arguments:
        trainer: the Trainer.
        checkpoint: its checkpoint, which is changed.
        datasets: the pruned datasets of the callback.
        states: their states in the checkpoint.
    """
    of_loaders = checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader")
    if not of_loaders:
        return
    state_of = {id(train): state for train, state in zip(datasets, states, strict=True)}
    loaders = trainer.fit_loop._combined_loader.flattened
    saved = [each for each in loaders if isinstance(each, _Stateful)]
    for number, loader in enumerate(saved):
        if serves_pruned(loader) and id(loader.dataset) in state_of:
            of_loaders[number] = state_of[id(loader.dataset)]
