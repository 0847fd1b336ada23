"""Hugging Face Transformers.

    from dynaprune import BLS, InfoBatch
    from dynaprune.integrations.transformers import PrunedTrainer

    trainer = PrunedTrainer(
        model, args, train_dataset=train_set,
        pruning=lambda dataset: BLS(InfoBatch(dataset, num_epochs=3)).proxy(),
    )
    trainer.train()

To extend your own Trainer subclass: `class MyPrunedTrainer(PrunedTrainerMixin, MyTrainer): pass`.

Needs `pip install 'dynaprune[transformers]'`; without it, the import raises an `ImportError`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data.sharded import Sharded
from ..loading.loader import DataLoader
from ..loading.lr_scheduler import PrunedScheduler
from ..pruned_dataset import PrunedDataset
from ..training.checkpoint import load_checkpoint, save_checkpoint
from ..utils.optional_imports import require
from . import warn_of_other_epochs
from .divisor import are_close, is_divided_by
from .outlook import Outlook

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback
else:
    TrainerCallback = require("transformers", "transformers").TrainerCallback
    Trainer = require("transformers", "transformers").Trainer

CHECKPOINT = "pruning.pt"
"""The file of the pruning state in a checkpoint folder of the Trainer.

If each rank has its own samples (`Sharded`), the file of rank r is `pruning_r.pt`, named like
torch's random states there.
"""


_HOW_TO_MIX = (
    "change compute_loss and training_step in a subclass of Trainer, and put the mixin before it: "
    "class MyPrunedTrainer(PrunedTrainerMixin, MyTrainer)"
)


class PrunedTrainerMixin:
    """Makes a Trainer class train pruned epochs; put it before that class in the list of bases.

    - The training loader serves the samples that `pruning` selects, shuffled. With several
      processes each one serves its share.
    - The mean loss of each micro-batch is scored: its loss over its own labels, even if the Trainer
      normalises by the labels of all accumulated micro-batches (`num_items_in_batch`).
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
        arguments: of the Trainer.
        pruning: makes the pruned dataset from the training set. It is called again for each further
            run of the same Trainer (another `train()`, a trial of `hyperparameter_search`), so
            call `record`, `log_to` and the like inside it.
        keywords: of the Trainer.

    Attributes:
        pruned: the pruned dataset.

    Raises:
        TypeError: `pruning` returns no pruned dataset, or one of a stream.
        ValueError: there is no training set, or the Trainer's arguments set another order of it;
            `pruning` returns a dataset that was trained on before.
        RuntimeError: in training, if a step does not call `compute_loss` exactly once.
    """

    def __init__(
        self, *arguments: Any, pruning: Callable[[Any], PrunedDataset], **keywords: Any
    ) -> None:
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
        self.pruned = self._prune()
        self._fetched: deque[_MicroBatch] = deque()  # not yet trained on
        self._current: _MicroBatch | None = None  # the one in the current training step
        self._is_normalised: bool | None = None  # whether losses are, by num_items_in_batch
        self._outlook: Outlook  # set when a run begins
        self._steps_per_full_epoch = 1
        self._visits_before = 0  # before this run of the Trainer
        # first in the list: the callbacks after it find the state as it should be
        trainer.callback_handler.callbacks.insert(0, _PruningCallback(self))

    def _prune(self) -> PrunedDataset:
        trainer: Any = self
        pruned = self._pruning(trainer.train_dataset)
        if not isinstance(pruned, PrunedDataset):
            raise TypeError(
                "pruning must return a pruned dataset, such as BLS(InfoBatch(dataset, "
                f"num_epochs=3)).proxy(), but it returned a {type(pruned).__name__}"
            )
        if pruned.is_stream:
            raise TypeError(
                "PrunedTrainer counts its steps by the length of its epochs, which a stream does "
                "not have: give it a map-style dataset, or train a stream with Accelerate, "
                "Lightning or a loop of your own"
            )
        if pruned.progress > 0:
            raise ValueError(
                "pruning must create a new pruned dataset each time it is called, but it returned "
                f"one that has been trained for {pruned.progress:.4g} epochs"
            )
        return pruned

    # Serving

    def get_train_dataloader(self) -> DataLoader:
        """Return the loader of pruned epochs, with the settings of the Trainer's own loader."""
        trainer: Any = self
        sharded = isinstance(self.pruned.dataset, Sharded)
        holder: Any = self.pruned.dataset if sharded else self.pruned
        given = trainer.train_dataset
        trainer.train_dataset = holder.dataset  # `pruning` may have made a subset of it
        try:
            stock = super().get_train_dataloader()  # type: ignore[misc]
        finally:
            trainer.train_dataset = given
        holder.dataset = stock.dataset  # without the columns that the model does not use
        # older versions of torch do not have this argument
        in_order: Any = {} if getattr(stock, "in_order", True) else {"in_order": False}
        loader = DataLoader(
            self.pruned,
            batch_size=stock.batch_sampler.batch_size,
            drop_last=stock.batch_sampler.drop_last,
            collate_fn=stock.collate_fn,
            num_workers=stock.num_workers,
            pin_memory=stock.pin_memory,
            prefetch_factor=stock.prefetch_factor,
            persistent_workers=stock.persistent_workers,
            multiprocessing_context=stock.multiprocessing_context,
            worker_init_fn=stock.worker_init_fn,
            generator=stock.generator,
            **in_order,
        )
        # imported here: if both packages are missing, the error must name the extra for both
        from .accelerate import fetch_through

        fetch_through(trainer.accelerator, loader)
        loader.replace_fetcher(lambda fetcher: _Noting(fetcher, self._fetched))
        return loader

    # Scoring

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
        self._current = micro_batch = self._take(inputs)
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

    def _take(self, inputs: Any) -> _MicroBatch:
        """Return the record of a fetched batch."""
        while self._fetched:
            # earlier batches were only looked at, or belong to a run that was stopped
            if (micro_batch := self._fetched.popleft()).inputs is inputs:
                return micro_batch
        raise RuntimeError(
            "training_step was given a batch that the training loader has not yielded, so its "
            "samples are unknown: change batches in the collator, in _prepare_inputs or in "
            "compute_loss, but not in get_batch_samples"
        )

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
        labels = self._labels_of(inputs, num_items)
        result = super().compute_loss(model, inputs, *arguments, **keywords)  # type: ignore[misc]
        loss, *outputs = result if isinstance(result, tuple) else (result,)
        if loss.dim() > 0:
            loss = loss.mean()  # one loss per device of this process
        weighted = self.pruned.update(
            loss, micro_batch.indices, mean_loss=self._mean_loss(loss, labels, num_items)
        )
        if weighted is not loss:
            loss = _Weighted.apply(loss.detach(), weighted)  # type: ignore[no-untyped-call]
        return (loss, *outputs) if isinstance(result, tuple) else loss

    def _labels_of(self, inputs: Any, num_items: Any) -> _Labels | None:
        """Return the number of labels of a micro-batch, if it is needed.

        It is needed if the loss may be normalised by the labels of other micro-batches, too. Inputs
        that the Trainer cannot count, such as a list of dictionaries, are not counted here either.
        """
        trainer: Any = self
        alone = trainer.current_gradient_accumulation_steps == 1 and trainer.args.world_size == 1
        if num_items is None or alone or not isinstance(inputs, Mapping):
            return None
        labels = inputs.get("shift_labels", inputs.get("labels"))
        shifts = getattr(trainer, "_loss_shifts_labels", False) and "shift_labels" not in inputs
        try:
            counted = labels[..., 1:] if shifts else labels
            return _Labels(counted.ne(-100).sum(), counted.numel())
        except (TypeError, AttributeError):
            return None

    def _mean_loss(self, loss: Tensor, labels: _Labels | None, num_items: Any) -> Tensor:
        """Return the mean loss of a micro-batch over its own labels.

        Arguments:
            loss: the Trainer's loss.
            labels: the micro-batch's own labels, if needed.
            num_items: the number of labels of all accumulated micro-batches, if known.
        """
        trainer: Any = self
        mean = loss.detach()
        counts = trainer.model_accepts_loss_kwargs or trainer.compute_loss_func is not None
        if num_items is not None and counts and trainer.args.average_tokens_across_devices:
            mean = mean / trainer.accelerator.num_processes  # the Trainer has multiplied by it
        if labels is None:
            return mean
        total = torch.as_tensor(num_items, device=mean.device).flatten()[0]
        if self._is_normalised is None and not are_close(float(labels.number), float(total)):
            self._is_normalised = is_divided_by(loss, float(total), labels.elements)
        return mean * total / labels.number.to(mean.device) if self._is_normalised else mean

    # Epochs and their length

    def _inner_training_loop(self, *arguments: Any, **keywords: Any) -> Any:
        if self.pruned.progress > 0:  # another train(), or a retry with a smaller batch size
            self.pruned = self._prune()
        self._fetched.clear()
        self._is_normalised = None  # the model may be another one
        return super()._inner_training_loop(*arguments, **keywords)  # type: ignore[misc]

    def set_initial_training_values(self, args: Any, dataloader: Any) -> Any:
        """Return the Trainer's numbers of epochs and steps for full training.

        Arguments:
            args: the Trainer's arguments.
            dataloader: the training loader.
        """
        full = _FullEpoch(dataloader)
        values = super().set_initial_training_values(args, full)  # type: ignore[misc]
        each = args.gradient_accumulation_steps
        self._steps_per_full_epoch = max(1, -(-len(full) // each))
        epochs = Fraction(values[-1], self._steps_per_full_epoch)
        self._outlook = Outlook(self.pruned, dataloader, each, epochs)
        warn_of_other_epochs(self.pruned, int(values[0]))
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
            scheduler = PrunedScheduler(scheduler, self.pruned, self._steps_per_full_epoch)
        trainer.lr_scheduler = scheduler
        return scheduler

    def _init_training_state(self, *arguments: Any) -> tuple[int, int]:
        epochs, skipped = super()._init_training_state(*arguments)  # type: ignore[misc]
        folder = arguments[3]  # resume_from_checkpoint
        if folder is not None:
            self._load_pruning(Path(folder))
            epochs, skipped = self.pruned.epoch, 0  # the loader serves only samples still due
        self._visits_before = self._visits()
        self._foresee_end()
        return epochs, skipped

    def _run_epoch(self, **keywords: Any) -> None:
        trainer: Any = self
        batches = len(keywords["train_dataloader"])
        self._outlook.begin_epoch(trainer.state.global_step, batches)
        keywords["steps_in_epoch"] = batches
        keywords["num_update_steps_per_epoch"] = self._outlook.steps_for(batches)
        if batches > 0:
            super()._run_epoch(**keywords)  # type: ignore[misc]
        else:
            self._pass_over_epoch(**keywords)

    def _pass_over_epoch(
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

    def _foresee_end(self) -> None:
        """Before an epoch, set the step at which the run is expected to end."""
        trainer: Any = self
        state, args = trainer.state, trainer.args
        self._tell_end(state.global_step + self._outlook.expected_steps())
        for kind in ("logging_steps", "eval_steps", "save_steps"):
            given = getattr(args, kind)
            if given is not None and given < 1:  # a share of the run
                setattr(state, kind, math.ceil(state.max_steps * given))

    def _foresee_step(self) -> None:
        """Before a step ends, make sure that the run ends after it exactly if it should."""
        state = self.state  # type: ignore[attr-defined]
        after = state.global_step + 1
        is_end = self._outlook.ends_after(after, self._reached_after_step())
        self._tell_end(after if is_end else max(state.max_steps, after + 1))

    def _reached_after_step(self) -> Fraction:
        """Return how many epochs of full training the run has reached after the current step."""
        scheduler = self.lr_scheduler  # type: ignore[attr-defined]
        if isinstance(scheduler, PrunedScheduler):  # rounded to a step of full training
            return Fraction(scheduler.steps_after_next(), scheduler.steps_per_full_epoch)
        number, done, total = self.pruned.epochs.position.behind_and_total()
        return number + Fraction(done, total)

    def _tell_end(self, max_steps: int) -> None:
        """Set the last step in the Trainer's state and in existing progress bars."""
        trainer: Any = self
        trainer.state.max_steps = max_steps
        for each in trainer.callback_handler.callbacks:
            # of ProgressCallback and of NotebookProgressCallback
            for name in ("training_bar", "training_tracker"):
                bar: Any = getattr(each, name, None)
                if hasattr(bar, "total"):
                    bar.total = max_steps

    def _end_epoch(self) -> None:
        """End the epoch, even if `drop_last` or a callback has left samples out."""
        self._fetched.clear()
        self.pruned.end_epoch()
        self._foresee_end()

    # Checkpoints

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model, and in a checkpoint the pruning state next to it.

        All processes call this with the checkpoint's folder.

        Arguments:
            output_dir: the folder; by default that of the Trainer's arguments.
            _internal_call: whether the Trainer calls it, for a checkpoint.
        """
        super().save_model(output_dir, _internal_call=_internal_call)  # type: ignore[misc]
        if output_dir is not None and _internal_call and hasattr(self, "_outlook"):
            self._save_pruning(Path(output_dir))

    def _save_pruning(self, folder: Path) -> None:
        args = self.args  # type: ignore[attr-defined]
        if self._outlook.makes_no_batch_of_the_rest():
            self.pruned.end_epoch()
        saved = self.pruned.state_dict()  # all processes take part
        if args.should_save or self._is_own():
            folder.mkdir(parents=True, exist_ok=True)
            save_checkpoint(folder / self._checkpoint_name(), pruning=saved)

    def _load_pruning(self, folder: Path) -> None:
        path = folder / self._checkpoint_name()
        try:
            saved = load_checkpoint(path)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"there is no checkpoint {path}, which holds the scores and the remaining samples "
                f"of the epoch: resume from a folder that has a {path.name}, saved by a "
                "PrunedTrainer. To continue with the weights alone, load them, model = "
                f"....from_pretrained({str(folder)!r}), and call train() without "
                "resume_from_checkpoint"
            ) from error
        self.pruned.load_state_dict(saved["pruning"])

    def _checkpoint_name(self) -> str:
        path = Path(CHECKPOINT)
        rank = self.args.process_index  # type: ignore[attr-defined]
        return f"{path.stem}_{rank}{path.suffix}" if self._is_own() else path.name

    def _is_own(self) -> bool:
        """Whether each rank has its own state."""
        ranks = self.pruned.epochs.ranks
        return ranks.are_apart and ranks.in_step > 1

    def _visits(self) -> int:
        """Return the number of sample visits of all ranks."""
        ranks = self.pruned.epochs.ranks
        return self.pruned.summary().visits_made * ranks.in_step // ranks.size

    # Logs

    def log(self, logs: dict[str, float], *arguments: Any, **keywords: Any) -> None:
        """Log the share of sample visits saved and the mean score with each training loss.

        Arguments:
            logs: the values to log; it is changed, because the Trainer returns the last one.
            arguments: further arguments of the Trainer's method.
            keywords: further keyword arguments of the Trainer's method.
        """
        if "train_samples_per_second" in logs:  # the Trainer counts all epochs as full ones
            visits = self._visits() - self._visits_before
            logs["train_samples_per_second"] = round(visits / logs["train_runtime"], 3)
        if "loss" in logs or "train_loss" in logs:
            logs = {**logs, "pruning/share_saved": self.pruned.summary().share_saved}
            if self.pruned.epoch > 0:  # there are scores
                logs["pruning/mean_score"] = float(self.pruned.epochs.score.values().mean())
        super().log(logs, *arguments, **keywords)  # type: ignore[misc]


class PrunedTrainer(PrunedTrainerMixin, Trainer):  # type: ignore[misc]
    """`transformers.Trainer` on pruned epochs; see `PrunedTrainerMixin`.

    Arguments:
        arguments: of the Trainer.
        pruning: makes the pruned dataset from the training set, such as
            `lambda dataset: BLS(InfoBatch(dataset, num_epochs=3)).proxy()`.
        keywords: of the Trainer.
    """


class _PruningCallback(TrainerCallback):  # type: ignore[misc]
    """Handles the Trainer's events."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        """Decide whether this is the last step: the Trainer will stop at `state.max_steps`."""
        self.trainer._foresee_step()

    def on_step_end(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        """Correct the run's position."""
        state.epoch = self.trainer._outlook.position(state.epoch)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        """End the epoch."""
        self.trainer._end_epoch()


class _FullEpoch:
    """Replaces the training loader where the Trainer asks for the length of full epochs."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader
        self.dataset = loader.dataset

    def __len__(self) -> int:
        return self.loader.batches_per_full_epoch

    def __iter__(self) -> Any:
        return iter(self.loader)


@dataclass
class _MicroBatch:
    """A batch that the Trainer has fetched ahead, one of several per optimizer step.

    Attributes:
        inputs: the batch as the loader yields it.
        indices: shape (B,): its samples.
        is_scored: whether its loss was reported.
    """

    inputs: Any
    indices: Tensor
    is_scored: bool = False


@dataclass(frozen=True)
class _Labels:
    """The labels of a micro-batch.

    Attributes:
        number: shape (): the number of labels, without ignored ones.
        elements: the number of labels, with ignored ones.
    """

    number: Tensor
    elements: int


class _Noting:
    """Records the samples of each batch, and yields the batch unchanged.

    Arguments:
        fetcher: yields indices and batches.
        fetched: the queue to which they are appended.
    """

    def __init__(self, fetcher: Any, fetched: deque[_MicroBatch]) -> None:
        self.fetcher, self.fetched = fetcher, fetched

    def __iter__(self) -> Iterator[Any]:
        for each in self.fetcher:
            indices = torch.from_numpy(each.indices)
            self.fetched.append(_MicroBatch(each.batch, indices))
            yield each


class _Weighted(torch.autograd.Function):
    """A loss with the value before weights and the derivative after them."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, weighted: Tensor) -> Tensor:
        """Return the loss; the gradient goes to `weighted`."""
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        """Pass the derivative on to the weighted loss."""
        return None, gradient
