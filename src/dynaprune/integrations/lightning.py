"""Lightning.

    from dynaprune.integrations.lightning import PruningCallback

    trainer = Trainer(max_epochs=50, callbacks=[PruningCallback()])
    trainer.fit(module, loader)

Needs `pip install 'dynaprune[lightning]'`; without it, the import raises an `ImportError`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from ..loading.loader import DataLoader
from ..planning.sampler import PruningSampler
from ..pruned_dataset import PrunedDataset
from ..utils.optional_imports import require
from . import warn_of_other_epochs
from .lightning_lengths import (
    announce,
    check_options,
    count_batches,
    count_updated_batch,
    full_length_of,
    has_state,
    is_planning,
    leave_ended_epoch,
    length_of,
    restarted_at,
    serves_pruned,
    unchecked_options,
)

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
else:
    Callback = require("lightning.pytorch", "lightning").Callback
    callbacks = require("lightning.pytorch.callbacks", "lightning")
    BatchSizeFinder, LearningRateFinder = callbacks.BatchSizeFinder, callbacks.LearningRateFinder

logger = logging.getLogger("dynaprune")

PATIENCE = 8
"""Batches that are trained without an `update` before the callback raises an error."""


class PruningCallback(Callback):  # type: ignore[misc]
    """Lets a Lightning Trainer train pruned epochs and carry their state in its checkpoints.

    `training_step` calls `update` as any loop does:

        loss = cross_entropy(self(images), labels)
        self.log("train_loss", loss)  # before update, which multiplies it by the batch's weight
        return self.trainer.train_dataloader.dataset.update(loss)

    The callback ends epochs when Lightning does, so that each has its own length, and saves and
    restores the pruned dataset, even in the middle of an epoch. With several devices each one
    serves its share; `use_distributed_sampler` is not needed, but does no harm. Validating, testing
    and predicting leave the pruned dataset unchanged, whatever checkpoint they load.

    It finds the pruned datasets among the Trainer's training loaders, wherever these are created.
    `train_dataloader()` may create a new loader each time it is called, but create the pruned
    dataset once: it holds the scores.

    What the Trainer counts in batches uses the length of each epoch. If `val_check_interval` is a
    number of batches, an epoch that has become shorter validates at its end. In
    `configure_optimizers`, `trainer.estimated_stepping_batches` is that of full training, for a
    schedule in a `PrunedScheduler`. `max_steps` counts the steps that are actually made.

    It logs `pruning/share_saved`, `pruning/mean_score` and `pruning/mean_loss` (before weights) at
    the end of each epoch; for a second pruned dataset `pruning/share_saved/1` and so on.

    Workaround: the Trainer asks for an epoch's length once per run, in
    `trainer.fit_loop.setup_data`, so the callback replaces that method while `fit` runs.

    Arguments:
        loader: the training loader, a `dynaprune.DataLoader` of a pruned dataset, if each one has
            its own callback; by default one callback handles all training loaders.

    Raises:
        TypeError: `loader` is something else, or serves a stream of unknown length, for which the
            Trainer would fetch batches ahead. In training, none of its loaders is one.
        ValueError: in `fit`, an option of the Trainer replaces the sampler, or lets it fetch
            batches ahead; `val_check_interval` is larger than any epoch; or a pruned dataset has no
            callback.
        RuntimeError: in training, when no step has called `update`, or when `train_dataloader()`
            creates the pruned dataset again.
    """

    def __init__(self, loader: DataLoader | None = None) -> None:
        if loader is not None:
            if not serves_pruned(loader):
                raise TypeError(
                    "PruningCallback expects the training loader, a dynaprune.DataLoader of a "
                    f"pruned dataset, but a {type(loader).__name__} was given"
                )
            _check_length(cast("PrunedDataset", loader.dataset))
        self._given: list[PrunedDataset] = [] if loader is None else [cast("Any", loader.dataset)]
        self._datasets: list[PrunedDataset] = list(self._given)
        self._handled: list[PrunedDataset] = list(self._given)  # by all callbacks of the Trainer
        self._number = 0  # position among the Trainer's callbacks of this kind
        self._key = f"{type(self).__qualname__}-{id(self)}"  # until it has a number
        self._is_fitting = False
        self._pending: dict[str, Any] | None = None  # a state that was loaded before the datasets
        self._is_behind = False  # whether a state was loaded after the loaders' iterators were made
        self._batches: float = 0  # number of batches of the epoch
        self._coming: float | None = None  # of the next one, while the Trainer ends a resumed one
        self._begun: list[tuple[float, int]] = []  # progress and visits when the epoch began
        self._trained = 0  # batches of the epoch that were trained
        self._steps = 0  # optimizer steps before the batch

    # The run

    @property
    def state_key(self) -> str:
        """The key of the state in a checkpoint: the position among callbacks of this kind."""
        return self._key

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let the Trainer ask for the length of each epoch.

        Arguments:
            trainer: the Trainer.
            pl_module: the module that is trained.
            stage: what the Trainer is about to do.

        Raises:
            ValueError: the Trainer overfits batches; or there are several callbacks, and one of
                them was given no loader.
        """
        alike = [each for each in trainer.callbacks if isinstance(each, PruningCallback)]
        self._number = alike.index(self)
        self._key = type(self).__qualname__ + (f"-{self._number}" if self._number else "")
        self._is_fitting = stage == "fit"
        if not self._is_fitting:
            return
        if len(alike) > 1 and not all(each._given for each in alike):
            raise ValueError(
                f"the Trainer has {len(alike)} PruningCallbacks: give each the loader that it "
                "handles, or use a single PruningCallback() for all"
            )
        self._handled = [train for each in alike for train in each._given]
        if trainer.overfit_batches:
            raise ValueError(
                f"Trainer(overfit_batches={trainer.overfit_batches}) was given, which replaces the "
                "sampler of the pruned dataset: leave it out, or overfit to the dataset that is "
                "not pruned, without PruningCallback"
            )
        # before Lightning's tuners, which save the state and restore it after their trials
        others = [each for each in trainer.callbacks if not isinstance(each, PruningCallback)]
        trainer.callbacks = [*alike, *others]
        self._datasets, self._pending, self._fetcher = list(self._given), None, None
        if self._number == 0:
            vars(trainer.fit_loop).pop("setup_data", None)
        set_up = trainer.fit_loop.setup_data
        vars(trainer.fit_loop)["setup_data"] = partial(self._set_up_data, trainer, set_up)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the pruned datasets before a tuner of Lightning saves their state for its trials.

        Arguments:
            trainer: the Trainer.
            pl_module: the module that is trained.
        """
        tuners = (BatchSizeFinder, LearningRateFinder)
        if not self._datasets and any(isinstance(each, tuners) for each in trainer.callbacks):
            trainer.fit_loop.setup_data()
            trainer.fit_loop._combined_loader = None  # the trials use loaders of their own

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn if the methods and the Trainer disagree about the run.

        Arguments:
            trainer: the Trainer.
            pl_module: the module that is trained.
        """
        if trainer.fast_dev_run:
            return
        for train in self._datasets:
            if trainer.max_epochs is not None and trainer.max_epochs > 0:
                warn_of_other_epochs(train, trainer.max_epochs)
            if (
                train.epochs.ranks.are_apart
                and trainer.world_size > 1
                and trainer.checkpoint_callback
            ):
                logger.warning(
                    "Lightning's checkpoints hold the state of the first device only, but each "
                    "device has its own scores of a Sharded dataset: no checkpoint can be resumed"
                )
            if trainer.current_epoch == trainer.global_step == 0 and train.progress > 0:
                logger.warning(
                    "the Trainer starts at its first epoch, but the %s has already trained %.1f "
                    "epochs and continues from there: create a new one for a new run",
                    type(train).__name__,
                    train.progress,
                )

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the Trainer as it was.

        Arguments:
            trainer: the Trainer.
            pl_module: the module that was trained.
            stage: what the Trainer has done.
        """
        vars(trainer.fit_loop).pop("setup_data", None)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave the Trainer as it was.

        Arguments:
            trainer: the Trainer.
            pl_module: the module that was trained.
            exception: what has ended the run.
        """
        vars(trainer.fit_loop).pop("setup_data", None)

    # Loaders and their lengths

    def _set_up_data(self, trainer: Trainer, set_up: Callable[[], None]) -> None:
        """Replace `setup_data`, which the Trainer calls before the run and before each epoch."""
        loop = trainer.fit_loop
        before = loop._data_fetcher
        with unchecked_options(trainer):
            set_up()
        if loop._combined_loader is None:  # there is nothing to train
            return
        if loop._data_fetcher is not before:
            self._is_behind = False
        if loop._data_fetcher is not self._fetcher:
            self._find(trainer)
            check_options(trainer)
            self._fetcher = loop._data_fetcher
        if self._pending is not None:
            self._restore(self._pending)
        if is_planning(trainer):
            announce(trainer, count_batches(trainer, full_length_of))
            return
        self._begin_epoch(trainer)

    def _begin_epoch(self, trainer: Trainer) -> None:
        """Tell the Trainer the length of the epoch that begins or continues."""
        loop = trainer.fit_loop
        leave_ended_epoch(trainer)
        if not any(train.epochs.position.is_resumed() for train in self._datasets):
            count_updated_batch(trainer)
        done, is_over = restarted_at(trainer)
        for train in self._datasets:
            if is_over or not train.epochs.position.is_resumed():
                self._is_behind |= train.epochs.position.is_resumed()
                train.end_epoch()
        if self._is_behind:
            iter(loop._data_fetcher)
            self._is_behind = False
        self._check_fetching(loop._data_fetcher)
        before = 0 if is_over else done

        def length(loader: Any) -> float:
            return length_of(loader) + (before if serves_pruned(loader) else 0)

        batches = count_batches(trainer, length)
        if before and len(loop._combined_loader.flattened) > 1:
            batches = self._batches or batches  # other loaders may have begun a new epoch meanwhile
        if not math.isinf(batches):
            loop._data_fetcher.length = batches
        if batches == 0 and trainer.max_epochs != -1:
            batches = math.inf  # 0 would end the run, but only this epoch has no batch
        self._coming = batches if is_over else None
        self._batches = done if is_over else batches
        announce(trainer, self._batches)
        self._begun = [(train.progress, train.summary().visits_made) for train in self._datasets]
        self._trained = 0

    def _find(self, trainer: Trainer) -> None:
        """Find the pruned datasets in the Trainer's loaders, which it has just created.

        Raises:
            TypeError: there is none.
            ValueError: the Trainer has replaced a sampler of theirs, or one of them has no
                callback.
            RuntimeError: they differ from those before, or from the one given to the callback.
        """
        loaders = trainer.fit_loop._combined_loader.flattened
        pruned = [each for each in loaders if serves_pruned(each)]
        if not pruned:
            names = ", ".join(type(each).__name__ for each in loaders)
            raise TypeError(
                "PruningCallback expects a training loader that is a dynaprune.DataLoader of a "
                f"pruned dataset, but the Trainer trains {names}"
            )
        for each in pruned:
            _check_sampler(trainer, each)
            _check_length(each.dataset)
        found = list({id(each.dataset): each.dataset for each in pruned}.values())
        if self._given:
            found = [each for each in found if each is self._given[0]]
        elif not self._datasets:
            self._datasets = found
        if [id(each) for each in found] != [id(each) for each in self._datasets]:
            raise RuntimeError(
                "the Trainer's training loader serves another pruned dataset than "
                + ("PruningCallback was given" if self._given else "in the epochs before")
                + ", and scores belong to the one that was trained. Make the pruned dataset once, "
                "in __init__ or setup() or before fit(), and only the loader in train_dataloader()"
            )
        if self._given and not all(each.dataset in self._handled for each in pruned):
            raise ValueError(
                f"the Trainer trains {len(pruned)} loaders of pruned datasets, but not all of them "
                "have a PruningCallback: use a single PruningCallback() for all"
            )

    def _check_fetching(self, fetcher: Any) -> None:
        """Raise `ValueError` if the Trainer fetches a batch ahead of the current one."""
        if fetcher.length is None and getattr(fetcher, "prefetch_batches", 0) > 0:
            raise ValueError(
                "one of the training loaders has no length, so the Trainer fetches a batch ahead, "
                "and update() would score the wrong batch: give all loaders a length, or combine "
                'them by CombinedLoader(loaders, "min_size")'
            )

    # Steps

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Switch to the length of the next epoch, if the Trainer has just ended a resumed one.

        Arguments:
            trainer: the Trainer.
            pl_module: the module that is trained.
            batch: the batch.
            batch_idx: its number.
        """
        self._steps = trainer.global_step
        if self._coming is not None:
            self._batches, self._coming = self._coming, None
            announce(trainer, self._batches)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Check that batches are scored, except those for which `training_step` returns `None`.

        Arguments:
            trainer: the Trainer.
            pl_module: the module that is trained.
            outputs: what `training_step` returned.
            batch: the batch.
            batch_idx: its number.
        """
        for train in self._datasets:
            with suppress(RuntimeError):  # it was updated
                train.skip_batch()
        if pl_module.automatic_optimization:
            self._trained += bool(outputs)
        else:
            self._trained += trainer.global_step > self._steps
        if self._trained == PATIENCE:
            self._check_updates(pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the epoch, before the Trainer saves it and asks for the length of the next.

        Arguments:
            trainer: the Trainer.
            pl_module: the module that is trained.
        """
        if self._trained > 0:
            self._check_updates(pl_module)
        self._pass_over_empty(trainer.fit_loop._combined_loader.flattened)
        for number, train in enumerate(self._datasets, self._number):
            train.end_epoch()
            which = f"/{number}" if number else ""
            pl_module.log_dict(
                {
                    f"pruning/share_saved{which}": train.summary().share_saved,
                    f"pruning/mean_score{which}": float(train.scores.mean()),
                    f"pruning/mean_loss{which}": train.mean_loss,  # before weights
                },
                batch_size=1,  # Lightning requires it if it cannot infer the batch size
                rank_zero_only=True,
            )

    def _pass_over_empty(self, loaders: list[Any]) -> None:
        """Move datasets whose loader has no batch in this epoch on to the next one."""
        began_at = {id(t): at for t, (at, _) in zip(self._datasets, self._begun, strict=True)}
        for loader in filter(serves_pruned, loaders):
            if len(loader) == 0 and loader.dataset.progress == began_at.get(id(loader.dataset)):
                next(iter(loader), None)

    def _check_updates(self, pl_module: LightningModule) -> None:
        """Raise `RuntimeError` if the batches of the epoch so far have seen no `update`."""
        visits = [train.summary().visits_made for train in self._datasets]
        if visits == [before for _, before in self._begun]:
            raise RuntimeError(
                f"training_step of {type(pl_module).__name__} has not called update() in the "
                f"{self._trained} batches that were trained, so nothing is scored: return "
                "train.update(loss) instead of loss, where train is the pruned dataset"
            )

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the pruned datasets, for the Trainer's checkpoint."""
        if not self._datasets:
            return {}
        states = [train.state_dict() for train in self._datasets]
        return {"datasets": states, "batches": self._batches}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume the pruned datasets, now or once the Trainer has created its training loaders.

        Arguments:
            state_dict: what `state_dict` returned.
        """
        if not self._is_fitting:
            return
        if self._datasets:
            self._restore(state_dict)
        else:
            self._pending = state_dict

    def _restore(self, state: dict[str, Any]) -> None:
        if len(state["datasets"]) != len(self._datasets):
            raise RuntimeError(
                f"the checkpoint holds the states of {len(state['datasets'])} pruned dataset(s), "
                f"but the training loaders serve {len(self._datasets)}: resume with the loaders of "
                "the run that saved it"
            )
        for train, each in zip(self._datasets, state["datasets"], strict=True):
            train.load_state_dict(each)
        self._batches, self._pending, self._is_behind = state["batches"], None, True

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store each state only once: the Trainer also asks the loaders for their states.

        Arguments:
            trainer: the Trainer.
            pl_module: the module that is trained.
            checkpoint: the Trainer's checkpoint.
        """
        of_loaders = checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader")
        if not of_loaders or self.state_key not in checkpoint["callbacks"]:
            return
        own = checkpoint["callbacks"][self.state_key]["datasets"]
        states = dict(zip(map(id, self._datasets), own, strict=True))
        loaders = trainer.fit_loop._combined_loader.flattened
        for number, loader in enumerate(filter(has_state, loaders)):
            if serves_pruned(loader) and id(loader.dataset) in states:
                of_loaders[number] = states[id(loader.dataset)]

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Warn if a checkpoint holds no state of the pruned datasets.

        Arguments:
            trainer: the Trainer.
            pl_module: the module that is trained.
            checkpoint: the Trainer's checkpoint.
        """
        if self._is_fitting and self.state_key not in checkpoint["callbacks"]:
            logger.warning(
                "the checkpoint holds no state of a pruned dataset under %r: scores and the count "
                "of epochs start from scratch",
                self.state_key,
            )


def _check_length(train: PrunedDataset) -> None:
    if train.is_stream and train.epochs.source.expected_samples == 0:
        raise TypeError(
            "PruningCallback needs the number of samples of the stream, so that the Trainer "
            "knows how many batches to fetch: PrunedIterableDataset(..., num_samples=N)"
        )


def _check_sampler(trainer: Trainer, loader: DataLoader) -> None:
    """Raise `ValueError` if the Trainer has replaced the sampler of the pruned dataset."""
    within: Any = loader.batch_sampler or loader.sampler
    while within is not None and not isinstance(within, PruningSampler):
        within = getattr(within, "sampler", None)
    connector = trainer._accelerator_connector
    if within is None and trainer.world_size > 1 and connector.use_distributed_sampler:
        raise ValueError(
            "Trainer(use_distributed_sampler=True), which is its default, has replaced the "
            f"sampler of the pruned dataset by a {type(loader.sampler).__name__}. The pruned "
            "dataset already divides its epochs among the devices: give "
            "Trainer(use_distributed_sampler=False), or the loader no batch_sampler of its own"
        )
