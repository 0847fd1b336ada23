"""The methods of the Trainer that pruned epochs change."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ...loading.loader import DataLoader
from ...loading.lr_scheduler import PrunedScheduler
from ...pruned_dataset import PrunedDataset
from ...utils.optional_imports import require
from .. import warn_of_other_epochs
from .._bases import check_comes_first
from .._metrics import metrics_of
from .._ranks import visits_of_all_ranks
from .._versions import require as require_name
from ._checkpoint import load_pruning, save_pruning
from ._loader import FullEpoch, check_shuffles, holder_of_samples, pruned_loader
from ._loss import MeanLoss, with_gradient_of
from ._micro_batches import MicroBatch, MicroBatches
from ._pruning import check_pruning, create_pruned
from ._steps import RunSteps

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback
else:
    TrainerCallback = require("transformers", "transformers").TrainerCallback
    Trainer = require("transformers", "transformers").Trainer

TESTED = "5.23"

INTERNALS = (
    "_inner_training_loop",
    "_init_training_state",
    "_maybe_log_save_evaluate",
    "_run_epoch",
    "set_initial_training_values",
)
"""The methods of the Trainer that are overridden or called, and that versions may rename."""

_HOW_TO_MIX = (
    "change compute_loss and training_step in a subclass of Trainer, and put the mixin before it: "
    "class MyPrunedTrainer(PrunedTrainerMixin, MyTrainer)"
)


class PrunedTrainerMixin:
    """Makes a Trainer class train pruned epochs; put it before that class in the list of bases.

    - The training loader serves the samples that `pruning` selects, shuffled. With several
      processes each one serves its share.
    - The mean loss of each micro-batch is scored: its loss over its own labels, even if the Trainer
      divides losses by the labels of all accumulated micro-batches (`num_items_in_batch`).
      `compute_loss` and the model are called as often as by the Trainer alone.
    - The logged loss is the one before weights, as the Trainer alone would log it.
    - The learning-rate schedule is that of full training and reaches its end when the run does.
    - The run ends when all epochs were trained. `max_steps` counts steps of full training: the run
      ends when that many were made or saved.
    - `state.max_steps`, which progress bars show, is the step at which the run is expected to end.
      It is estimated again in each epoch, and exact in the last one. `logging_steps`, `eval_steps`
      and `save_steps` follow it if given as a share of the run; given as a number they count the
      steps that are actually made.
    - Checkpoints contain `pruning.pt`. A resumed run continues with the samples still due.
    - Logs contain `pruning/share_saved` and `pruning/mean_score`.

    Arguments:
        arguments: the Trainer's arguments.
        pruning: a function that creates the pruned dataset from the training set. It is called
            again for each further run of the same Trainer (another `train()`, a trial of
            `hyperparameter_search`), so call `record`, `log_to` and the like inside it.
        keywords: the Trainer's keyword arguments.

    Attributes:
        pruned: the pruned dataset.

    Raises:
        TypeError: the mixin comes after the trainer in the list of bases (when the class is
            defined); or `pruning` is no function, or returns no pruned dataset or one of a stream.
        ValueError: there is no training set, or the Trainer's arguments set another order of it;
            `pruning` returns a dataset that was trained on before.
        RuntimeError: in training, if a step does not call `compute_loss` exactly once.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        check_comes_first(PrunedTrainerMixin, Trainer, cls)

    def __init__(
        self, *arguments: Any, pruning: Callable[[Any], PrunedDataset], **keywords: Any
    ) -> None:
        for name in INTERNALS:  # a method that nothing calls would change nothing, silently
            require_name(Trainer, name, "transformers", TESTED)
        check_pruning(pruning)
        super().__init__(*arguments, **keywords)
        trainer: Any = self
        if trainer.train_dataset is None:
            raise ValueError("a PrunedTrainer expects train_dataset, but None was given")
        strategy = getattr(trainer.args, "train_sampling_strategy", "random")
        if strategy != "random":
            raise ValueError(
                f"train_sampling_strategy={strategy!r} was given, but a pruned dataset serves its "
                "epochs shuffled: leave it out"
            )
        self._pruning = pruning
        self.pruned = create_pruned(pruning, self._training_samples())
        self._micro_batches = MicroBatches()
        self._current: MicroBatch | None = None  # of the current training step
        self._mean_loss = MeanLoss(self)
        self._steps: RunSteps | None = None  # set when a run begins
        self._visits_before = 0  # before this run of the Trainer
        # first in the list, so that the callbacks after it see the corrected state
        trainer.callback_handler.callbacks.insert(0, _PruningCallback(self))

    # Loading and scoring

    def _training_samples(self) -> Any:
        """Return the training set as `pruning` gets it: one map-style dataset."""
        return self.train_dataset  # type: ignore[attr-defined]

    def get_train_dataloader(self) -> DataLoader:
        """Return the loader of pruned epochs, with the settings of the Trainer's own loader."""
        trainer: Any = self
        holder, given = holder_of_samples(self.pruned), trainer.train_dataset
        trainer.train_dataset = holder.dataset  # `pruning` may have made a subset of it
        try:
            stock = super().get_train_dataloader()  # type: ignore[misc]
        finally:
            trainer.train_dataset = given
        holder.dataset = stock.dataset  # without the columns that the model does not use
        check_shuffles(stock)
        return self._fetched(pruned_loader(self.pruned, stock))

    def _fetched(self, loader: DataLoader) -> DataLoader:
        """Let the Trainer's accelerator fetch a loader's batches, and record their samples."""
        trainer: Any = self
        # imported here: if both packages are missing, the error must name the extra for both
        from ..accelerate import fetch_through

        fetch_through(trainer.accelerator, loader)
        loader.replace_fetcher(self._micro_batches.recorded)
        return loader

    def training_step(self, model: Any, inputs: Any, *arguments: Any, **keywords: Any) -> Tensor:
        """Train on a micro-batch, and score its samples.

        Arguments:
            model: the model.
            inputs: the micro-batch, as the loader has yielded it.
            arguments: further arguments from the Trainer.
            keywords: further keyword arguments from the Trainer.

        Returns:
            Its loss before weights, normalised like the Trainer's.

        Raises:
            RuntimeError: `inputs` is no batch of the loader, or `compute_loss` was not called, or
                more than once.
        """
        self._current = micro_batch = self._micro_batches.take(inputs)
        try:
            loss: Tensor = super().training_step(  # type: ignore[misc]
                model, inputs, *arguments, **keywords
            )
        finally:
            self._current = None
        if not micro_batch.is_scored:
            raise RuntimeError(
                "a training step has not called compute_loss of PrunedTrainerMixin, so nothing was "
                f"scored: {_HOW_TO_MIX}, and let its training_step call self.compute_loss"
            )
        return loss

    def compute_loss(self, model: Any, inputs: Any, *arguments: Any, **keywords: Any) -> Any:
        """Return what the Trainer's `compute_loss` does; in training, score the samples.

        The loss keeps its value; in the backward pass it is multiplied by the micro-batch's weight.

        Arguments:
            model: the model.
            inputs: the micro-batch.
            arguments: further arguments from the Trainer, such as `return_outputs`.
            keywords: further keyword arguments from the Trainer.

        Raises:
            RuntimeError: in training, if it is called twice for a micro-batch.
        """
        micro_batch = self._current
        if micro_batch is None:  # in evaluation
            return super().compute_loss(  # type: ignore[misc]
                model, inputs, *arguments, **keywords
            )
        if micro_batch.is_scored:
            raise RuntimeError(
                "compute_loss of PrunedTrainerMixin was called twice in a training step: "
                f"{_HOW_TO_MIX}, so that the combined loss is scored"
            )
        micro_batch.is_scored = True
        num_items = keywords.get("num_items_in_batch", (*arguments, None, None)[1])
        labels = self._mean_loss.count_labels(inputs, num_items)  # compute_loss may change inputs
        result = super().compute_loss(model, inputs, *arguments, **keywords)  # type: ignore[misc]
        loss, *outputs = result if isinstance(result, tuple) else (result,)
        if loss.dim() > 0:
            loss = loss.mean()  # one loss per device of this process
        mean_loss = self._mean_loss.of(loss, labels, num_items)
        weighted = self.pruned.update(loss, micro_batch.indices, mean_loss=mean_loss)
        loss = with_gradient_of(loss, weighted)
        return (loss, *outputs) if isinstance(result, tuple) else loss

    # Epochs, steps and the schedule

    def _inner_training_loop(self, *arguments: Any, **keywords: Any) -> Any:
        if self.pruned.progress > 0:  # another train(), or a retry with a smaller batch size
            self.pruned = create_pruned(self._pruning, self._training_samples())
        self._micro_batches.clear()
        self._mean_loss = MeanLoss(self)  # the model may be another one
        return super()._inner_training_loop(*arguments, **keywords)  # type: ignore[misc]

    def set_initial_training_values(self, args: Any, dataloader: Any) -> Any:
        """Return the Trainer's numbers of epochs and steps for full training.

        Arguments:
            args: the Trainer's arguments.
            dataloader: the training loader.
        """
        values = super().set_initial_training_values(  # type: ignore[misc]
            args, FullEpoch(dataloader)
        )
        num_epochs, max_steps = int(values[0]), values[-1]
        self._steps = RunSteps(self, dataloader, args.gradient_accumulation_steps, max_steps)
        warn_of_other_epochs(self.pruned, num_epochs)
        return values

    def create_scheduler(self, *arguments: Any, **keywords: Any) -> Any:
        """Create the Trainer's schedule, and let it follow pruned epochs.

        Arguments:
            arguments: those of the Trainer's method.
            keywords: those of the Trainer's method.
        """
        trainer: Any = self
        scheduler = super().create_scheduler(*arguments, **keywords)  # type: ignore[misc]
        if isinstance(scheduler, PrunedScheduler):
            if scheduler.follows(self.pruned):
                return scheduler
            scheduler = scheduler.scheduler  # it was given, and followed the previous run
        follows_metric = hasattr(scheduler, "is_better") or hasattr(scheduler, "patience")
        if not follows_metric:
            per_full_epoch = self._steps.per_full_epoch if self._steps else 1
            scheduler = PrunedScheduler(scheduler, self.pruned, per_full_epoch)
        trainer.lr_scheduler = scheduler
        return scheduler

    def _init_training_state(self, *arguments: Any) -> tuple[int, int]:
        trainer: Any = self
        epochs, skipped = super()._init_training_state(*arguments)  # type: ignore[misc]
        folder = arguments[3]  # resume_from_checkpoint
        if folder is not None:
            load_pruning(self.pruned, trainer.args, Path(folder))
            epochs, skipped = self.pruned.epoch, 0  # the loader serves only samples still due
        self._visits_before = visits_of_all_ranks(self.pruned)
        self._run_steps().estimate_end()
        return epochs, skipped

    def _run_epoch(self, **keywords: Any) -> None:
        batches = len(keywords["train_dataloader"])
        keywords["steps_in_epoch"] = batches
        keywords["num_update_steps_per_epoch"] = self._run_steps().begin_epoch(batches)
        if batches > 0:
            super()._run_epoch(**keywords)  # type: ignore[misc]
        else:
            self._skip_epoch(**keywords)

    def _skip_epoch(
        self,
        *,
        train_dataloader: Any,
        model: Any,
        trial: Any,
        epoch: int,
        ignore_keys_for_eval: Any,
        start_time: float,
        **others: Any,
    ) -> None:
        """Go on to the next epoch if `drop_last` leaves no batch: the Trainer would stop."""
        trainer: Any = self
        deque(train_dataloader, maxlen=0)  # iterating lets the pruned dataset begin the next epoch
        trainer.state.epoch = epoch + 1.0
        events = trainer.callback_handler
        trainer.control = events.on_epoch_end(trainer.args, trainer.state, trainer.control)
        trainer._maybe_log_save_evaluate(
            trainer._tr_loss, None, model, trial, epoch, ignore_keys_for_eval, start_time
        )

    def _end_epoch(self) -> None:
        """End the epoch, even if `drop_last` or a callback has left samples out."""
        self._micro_batches.clear()
        self.pruned.end_epoch()
        self._run_steps().estimate_end()

    def _run_steps(self) -> RunSteps:
        assert self._steps is not None, "a run has begun"
        return self._steps

    # Checkpoints and logs

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model, and in a checkpoint the pruning state next to it.

        All processes call this with the checkpoint's folder.

        Arguments:
            output_dir: the folder; by default that of the Trainer's arguments.
            _internal_call: whether the Trainer calls it, for a checkpoint.
        """
        trainer: Any = self
        super().save_model(output_dir, _internal_call=_internal_call)  # type: ignore[misc]
        if output_dir is None or not _internal_call or self._steps is None:
            return
        if self._steps.leaves_no_batch():
            self.pruned.end_epoch()
        save_pruning(self.pruned, trainer.args, Path(output_dir))

    def log(self, logs: dict[str, float], *arguments: Any, **keywords: Any) -> None:
        """Log the share of sample visits saved and the mean score with each training loss.

        Arguments:
            logs: the values to log; it is changed, because the Trainer returns the last one.
            arguments: further arguments of the Trainer's method.
            keywords: further keyword arguments of the Trainer's method.
        """
        if "train_samples_per_second" in logs:  # the Trainer counts all epochs as full ones
            visits = visits_of_all_ranks(self.pruned) - self._visits_before
            logs["train_samples_per_second"] = round(visits / logs["train_runtime"], 3)
        if "loss" in logs or "train_loss" in logs:
            metrics = metrics_of(self.pruned)
            if self.pruned.epoch == 0:
                del metrics["pruning/mean_score"]  # there are no scores yet
            logs = {**logs, **metrics}
        super().log(logs, *arguments, **keywords)  # type: ignore[misc]


class PrunedTrainer(PrunedTrainerMixin, Trainer):  # type: ignore[misc]
    """`transformers.Trainer` on pruned epochs; see `PrunedTrainerMixin`.

    Arguments:
        arguments: the Trainer's arguments.
        pruning: a function that creates the pruned dataset from the training set, such as
            `lambda dataset: BLS(InfoBatch(dataset, num_epochs=3)).proxy()`.
        keywords: the Trainer's keyword arguments.
    """


class _PruningCallback(TrainerCallback):  # type: ignore[misc]
    """Handles the Trainer's events."""

    def __init__(self, trainer: PrunedTrainerMixin) -> None:
        self.trainer = trainer

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        """Decide whether this is the last step: the Trainer will stop at `state.max_steps`."""
        self.trainer._run_steps().decide_end()

    def on_step_end(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        """Correct the run's position."""
        state.epoch = self.trainer._run_steps().position(state.epoch)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        """End the epoch."""
        self.trainer._end_epoch()
