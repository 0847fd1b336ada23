"""The callback of Lightning that trains pruned epochs."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ...loading.loader import DataLoader
from ...pruned_dataset import PrunedDataset
from ...utils.optional_imports import require
from .. import warn_of_other_epochs
from .._metrics import metrics_of
from .._ranks import has_scores_per_rank
from .._versions import require as require_name
from ._checkpoint import carry_over, load_states, store_once
from ._epochs import EpochLengths
from ._lengths import (
    announce,
    check_options,
    count_batches,
    full_length_of,
    is_planning,
    unchecked_options,
)
from ._loaders import dataset_of, pruned_datasets
from ._schedules import estimated_steps, follow_visits
from ._updates import UpdateCheck

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
    from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder
else:
    Callback = require("lightning.pytorch", "lightning").Callback
    callbacks = require("lightning.pytorch.callbacks", "lightning")
    BatchSizeFinder, LearningRateFinder = callbacks.BatchSizeFinder, callbacks.LearningRateFinder

logger = logging.getLogger("dynaprune")

TESTED = "2.6"
"""The versions of Lightning that the tests run with."""

PRIVATE = ("setup_data", "_combined_loader", "_data_fetcher", "max_batches")
"""What the callback reads or sets of the Trainer's `fit_loop`."""


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
    dataset once: it holds the scores. If `setup()` of a module or data module creates it again for
    another `fit` that continues the run, the new one gets the state of the one before.

    What the Trainer counts in batches uses the length of each epoch. If `val_check_interval` is a
    number of batches, an epoch that has become shorter validates at its end. `max_steps` counts the
    steps that are actually made.

    In `configure_optimizers`, `trainer.estimated_stepping_batches` is that of full training. If a
    hook of the module has read it, schedules with `"interval": "step"` follow the visits, as with
    `PrunedScheduler`, and so reach their end when the run does, except where the module overrides
    `lr_scheduler_step`.

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
        self._given = [] if loader is None else [dataset_of(loader)]
        self._datasets: list[PrunedDataset] = list(self._given)
        self._handled: list[PrunedDataset] = list(self._given)  # by all callbacks of the Trainer
        self._number = 0  # position among the Trainer's callbacks of this kind
        self._key = f"{type(self).__qualname__}-{id(self)}"  # until it has a number
        self._is_fitting = False
        self._is_foreign = False  # whether the run continues a checkpoint without pruning
        self._before: list[PrunedDataset] = []  # of an earlier `fit`
        self._fetcher: Any = None  # of the loaders in which the datasets were found
        self._pending: dict[str, Any] | None = None  # a state that was loaded before the datasets
        self._lengths = EpochLengths()
        self._updates = UpdateCheck()

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
            ImportError: this version of Lightning has another `fit_loop`.
            ValueError: the Trainer overfits batches; or there are several callbacks, and one of
                them was given no loader.
        """
        alike = [each for each in trainer.callbacks if isinstance(each, PruningCallback)]
        self._number = alike.index(self)
        self._key = type(self).__qualname__ + (f"-{self._number}" if self._number else "")
        self._is_fitting = stage == "fit"
        if not self._is_fitting:
            return
        for name in PRIVATE:
            require_name(trainer.fit_loop, name, "lightning", TESTED)
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
        self._before, self._datasets = self._datasets, list(self._given)
        self._pending, self._fetcher, self._is_foreign = None, None, False
        if self._number == 0:
            vars(trainer.fit_loop).pop("setup_data", None)
        set_up = trainer.fit_loop.setup_data
        vars(trainer.fit_loop)["setup_data"] = partial(self._set_up_data, trainer, set_up)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let schedules follow the run, before the Trainer restores them.

        Also find the pruned datasets before a tuner of Lightning saves their state for its trials.

        Arguments:
            trainer: the Trainer.
            pl_module: the module that is trained.
        """
        steps = estimated_steps(trainer)
        if steps is not None and self._number == 0 and not self._is_foreign:
            follow_visits(trainer, pruned_datasets(trainer)[0], steps)
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
            if has_scores_per_rank(train) and trainer.checkpoint_callback:
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

    # Loaders and epochs

    def _set_up_data(self, trainer: Trainer, set_up: Callable[[], None]) -> None:
        """Replace `setup_data`, which the Trainer calls before the run and before each epoch."""
        loop = trainer.fit_loop
        before = loop._data_fetcher
        with unchecked_options(trainer):
            set_up()
        if loop._combined_loader is None:  # there is nothing to train
            return
        if loop._data_fetcher is not before:
            self._lengths.renew_iterators()
        if loop._data_fetcher is not self._fetcher:
            self._find_datasets(trainer)
            check_options(trainer)
            self._fetcher = loop._data_fetcher
        if self._pending is not None:
            self._restore(self._pending)
        if is_planning(trainer):
            announce(trainer, count_batches(trainer, full_length_of))
            return
        self._lengths.begin_epoch(trainer, self._datasets)
        self._updates.begin_epoch(self._datasets)

    def _find_datasets(self, trainer: Trainer) -> None:
        """Find the pruned datasets in the Trainer's loaders, which it has just created.

        Raises:
            ValueError: one of them has no callback.
            RuntimeError: they differ from those before, or from the one given to the callback.
        """
        served = pruned_datasets(trainer)
        found = list({id(train): train for train in served}.values())
        if self._given:
            found = [train for train in found if train is self._given[0]]
        elif not self._datasets:
            self._datasets = found
            if trainer.current_epoch > 0:
                carry_over(self._before, found)
        if [id(train) for train in found] != [id(train) for train in self._datasets]:
            raise RuntimeError(
                "the Trainer's training loader serves another pruned dataset than "
                + ("PruningCallback was given" if self._given else "in the epochs before")
                + ", and scores belong to the one that was trained. Make the pruned dataset once, "
                "in __init__ or setup() or before fit(), and only the loader in train_dataloader()"
            )
        if self._given and not all(train in self._handled for train in served):
            raise ValueError(
                f"the Trainer trains {len(served)} loaders of pruned datasets, but not all of them "
                "have a PruningCallback: use a single PruningCallback() for all"
            )

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
        self._updates.begin_batch(trainer)
        self._lengths.begin_batch(trainer)

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
        self._updates.end_batch(trainer, pl_module, outputs)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the epoch, before the Trainer saves it and asks for the length of the next.

        Arguments:
            trainer: the Trainer.
            pl_module: the module that is trained.
        """
        self._updates.end_epoch(pl_module)
        self._lengths.skip_empty_epochs(trainer)
        for number, train in enumerate(self._datasets, self._number):
            train.end_epoch()
            metrics = {**metrics_of(train), "pruning/mean_loss": train.mean_loss}  # before weights
            suffix = f"/{number}" if number else ""
            pl_module.log_dict(
                {f"{name}{suffix}": value for name, value in metrics.items()},
                batch_size=1,  # Lightning requires it if it cannot infer the batch size
                rank_zero_only=True,
            )

    # Checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the pruned datasets, for the Trainer's checkpoint."""
        if not self._datasets:
            return {}
        states = [train.state_dict() for train in self._datasets]
        return {"datasets": states, "batches": self._lengths.batches}

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
        load_states(self._datasets, state["datasets"])
        self._lengths.resume(state["batches"])
        self._pending = None

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store each state only once: the Trainer also asks the loaders for their states.

        Arguments:
            trainer: the Trainer.
            pl_module: the module that is trained.
            checkpoint: the Trainer's checkpoint.
        """
        if self.state_key in checkpoint["callbacks"]:
            states = checkpoint["callbacks"][self.state_key]["datasets"]
            store_once(trainer, checkpoint, self._datasets, states)

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
            self._is_foreign = True
            logger.warning(
                "the checkpoint holds no state of a pruned dataset under %r: scores and the count "
                "of epochs start from scratch",
                self.state_key,
            )
