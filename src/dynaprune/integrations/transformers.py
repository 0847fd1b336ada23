"""Hugging Face Transformers.

    from dynaprune import BLS, InfoBatch
    from dynaprune.integrations.transformers import PrunedTrainer

    trainer = PrunedTrainer(
        model, args, train_dataset=train_set,
        pruning=lambda dataset: BLS(InfoBatch(dataset, num_epochs=3)).proxy(),
    )
    trainer.train()

For a Trainer subclass of your own: `class MyPrunedTrainer(PrunedTrainerMixin, MyTrainer): pass`.

Needs `pip install 'dynaprune[transformers]'`; without it, the import raises an `ImportError`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..checkpoint import load_checkpoint, save_checkpoint
from ..extras import require
from ..loader import DataLoader
from ..pruned import PrunedDataset
from ..schedule import PrunedScheduler
from ..sharded import Sharded
from . import warn_of_other_epochs

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback
else:
    TrainerCallback = require("transformers", "transformers").TrainerCallback
    Trainer = require("transformers", "transformers").Trainer

INDICES = "dynaprune_indices"
"""The key under which a batch carries its samples from the loader to the training step."""

CHECKPOINT = "pruning.pt"
"""The pruning state's file in a checkpoint folder of the Trainer."""


class PrunedTrainerMixin:
    """Makes a Trainer class train pruned epochs; put it before the class.

    - The training loader serves what `pruning` selects, shuffled. With several processes each one
      serves its share.
    - The mean loss of each micro-batch is scored: its loss over its own labels, also where the
      Trainer normalises by the labels of all accumulated micro-batches (`num_items_in_batch`).
    - The learning-rate schedule is that of full training and arrives at its end when the run does,
      and the run is over when that many steps of full training have been made, or saved.
    - Checkpoints hold `pruning.pt`. A resumed run goes on with the samples that were due.
    - Logs hold `pruning/share_saved` and `pruning/mean_score`.

    Arguments:
        arguments: of the Trainer.
        pruning: makes the pruned dataset of the training set.
        keywords: of the Trainer.

    Attributes:
        pruned: the pruned dataset.

    Raises:
        TypeError: `pruning` returns no pruned dataset, or one of a stream.
        ValueError: there is no training set, or the Trainer is to order it by another strategy.
    """

    def __init__(
        self, *arguments: Any, pruning: Callable[[Any], PrunedDataset], **keywords: Any
    ) -> None:
        super().__init__(*arguments, **keywords)
        trainer: Any = self
        if trainer.train_dataset is None:
            raise ValueError("a PrunedTrainer wants train_dataset, but None was given")
        strategy = getattr(trainer.args, "train_sampling_strategy", "random")
        if strategy != "random":
            raise ValueError(
                f"train_sampling_strategy={strategy!r} was given, but a pruned dataset serves its "
                "epochs shuffled: leave it out"
            )
        self._pruning = pruning
        self.pruned = self._prune()
        self._indices: Tensor | None = None  # of the micro-batch in the training step
        self._is_normalised: bool | None = None  # whether losses are, by num_items_in_batch
        trainer.add_callback(_PruningCallback(self))

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
                "not have: give it a map-style dataset, or train a stream by Accelerate, Lightning "
                "or a loop of your own"
            )
        return pruned

    # Serving

    def get_train_dataloader(self) -> DataLoader:
        """Return the loader of pruned epochs, with all that the Trainer's own is set to."""
        trainer: Any = self
        stock = super().get_train_dataloader()  # type: ignore[misc]
        # an argument that torch has not always had
        in_order: Any = {} if getattr(stock, "in_order", True) else {"in_order": False}
        # without the columns that the model has no use for
        if isinstance(self.pruned.dataset, Sharded):
            self.pruned.dataset.dataset = stock.dataset
        else:
            self.pruned.dataset = stock.dataset
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
        # not above: without both packages, the error is to name the extra that brings both
        from .accelerate import fetch_through

        fetch_through(trainer.accelerator, loader)
        loader.replace_fetcher(_Carrying)
        return loader

    # Scoring

    def training_step(self, model: Any, inputs: dict[str, Any], *arguments: Any) -> Tensor:
        """Train on a micro-batch, and score its samples.

        Arguments:
            model: the model.
            inputs: the micro-batch, with its indices.
            arguments: what the Trainer passes besides.
        """
        self._indices = inputs.pop(INDICES)
        try:
            loss: Tensor = super().training_step(model, inputs, *arguments)  # type: ignore[misc]
        finally:
            self._indices = None
        return loss

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the Trainer's loss; in training, rescaled by the micro-batch's weight.

        Arguments:
            model: the model.
            inputs: the micro-batch.
            return_outputs: whether to return the model's outputs, too.
            num_items_in_batch: the number of labels in all accumulated micro-batches.
        """
        if self._indices is None:  # in evaluation
            return super().compute_loss(  # type: ignore[misc]
                model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
            )
        if num_items_in_batch is not None and self._is_normalised is None:
            self._is_normalised = self._probe(model, inputs, num_items_in_batch)
        own = self._count_labels(inputs)
        loss, outputs = super().compute_loss(  # type: ignore[misc]
            model, dict(inputs), return_outputs=True, num_items_in_batch=num_items_in_batch
        )
        if loss.dim() > 0:
            loss = loss.mean()  # of several devices in one process
        mean_loss = loss.detach() / self._normalisation(own, num_items_in_batch)
        loss = self.pruned.update(loss, self._indices, mean_loss=mean_loss)
        return (loss, outputs) if return_outputs else loss

    def _normalisation(self, own: Any, num_items: Any) -> Any:
        """Return what the Trainer's loss is of the mean loss over a micro-batch's own labels.

        Arguments:
            own: the number of its labels.
            num_items: that of all accumulated micro-batches, if the Trainer knows it.
        """
        trainer: Any = self
        if num_items is None:
            return 1.0
        share = (own / num_items).reshape(()) if self._is_normalised else 1.0
        counts = trainer.model_accepts_loss_kwargs or trainer.compute_loss_func is not None
        if trainer.args.average_tokens_across_devices and counts:
            return share * trainer.accelerator.num_processes
        return share

    def _count_labels(self, inputs: dict[str, Any]) -> Any:
        """Return the number of labels of a micro-batch, counted as the Trainer counts them."""
        if "shift_labels" in inputs:
            labels = inputs["shift_labels"]
        elif "labels" not in inputs:
            return None
        elif getattr(self, "_loss_shifts_labels", False):
            labels = inputs["labels"][..., 1:]
        else:
            labels = inputs["labels"]
        return labels.ne(-100).sum()

    def _probe(self, model: Any, inputs: dict[str, Any], num_items: Any) -> bool:
        """Return whether the loss is normalised by `num_items_in_batch`.

        The Trainer gives that number to every model that takes further arguments, and many do not
        use it. So the first micro-batch is tried with that number and with its double: once in a
        run, in evaluation mode and without gradients, so that nothing else changes.
        """
        trainer: Any = self
        model.eval()
        with torch.no_grad(), trainer.compute_loss_context_manager():
            once, twice = (
                super(PrunedTrainerMixin, self).compute_loss(  # type: ignore[misc]
                    model, dict(inputs), num_items_in_batch=number
                )
                for number in (num_items, num_items * 2)
            )
        model.train()
        return bool((once - 2 * twice).abs().max() < 0.01 * once.abs().max())

    # Epochs and their length

    def _inner_training_loop(self, *arguments: Any, **keywords: Any) -> Any:
        if self.pruned.progress > 0:  # train() once more, or with a smaller batch size: from anew
            self.pruned = self._prune()
        return super()._inner_training_loop(*arguments, **keywords)  # type: ignore[misc]

    def set_initial_training_values(self, args: Any, dataloader: Any) -> Any:
        """Return the Trainer's numbers of epochs and steps: those of full training.

        Arguments:
            args: the Trainer's arguments.
            dataloader: the training loader.
        """
        full = _FullEpoch(dataloader)
        values = super().set_initial_training_values(args, full)  # type: ignore[misc]
        self._steps_per_full_epoch = max(1, -(-len(full) // args.gradient_accumulation_steps))
        warn_of_other_epochs(self.pruned, int(values[0]))
        return values

    def create_scheduler(self, *arguments: Any, **keywords: Any) -> Any:
        """Make the Trainer's schedule, and let it follow pruned epochs.

        Arguments:
            arguments: of the Trainer's method.
            keywords: likewise.
        """
        trainer: Any = self
        scheduler = super().create_scheduler(*arguments, **keywords)  # type: ignore[misc]
        follows_metric = hasattr(scheduler, "is_better") or hasattr(scheduler, "patience")
        if not isinstance(scheduler, PrunedScheduler) and not follows_metric:
            steps = self._steps_per_full_epoch
            trainer.lr_scheduler = PrunedScheduler(scheduler, self.pruned, steps)
        return trainer.lr_scheduler

    def _init_training_state(self, max_steps: int, *arguments: Any) -> tuple[int, int]:
        trainer: Any = self
        trained = super()._init_training_state(max_steps, *arguments)  # type: ignore[misc]
        self._epochs = Fraction(max_steps, self._steps_per_full_epoch)
        folder = arguments[2]  # resume_from_checkpoint
        if folder is None:
            return trained  # type: ignore[no-any-return]
        saved = load_checkpoint(Path(folder) / CHECKPOINT)
        self.pruned.load_state_dict(saved["pruning"])
        if saved["steps_per_full_epoch"] != self._steps_per_full_epoch:
            # another batch size: the steps made were others than those to come, so count anew; a
            # step more for each epoch, whose last one may be a smaller one
            rest = float(self._epochs) - self.pruned.progress
            steps = math.ceil(rest * self._steps_per_full_epoch) + math.ceil(rest)
            trainer.state.max_steps = trainer.state.global_step + steps
        return self.pruned.epoch, 0  # nothing to skip: the loader serves what is due

    def reached_its_end(self) -> bool:
        """Whether the epochs that full training has were trained, or saved."""
        scheduler = self.lr_scheduler  # type: ignore[attr-defined]
        if isinstance(scheduler, PrunedScheduler):  # to the step of full training
            return Fraction(scheduler.steps, scheduler.steps_per_full_epoch) >= self._epochs
        return self.pruned.progress >= self._epochs

    def _run_epoch(self, **keywords: Any) -> None:
        trainer: Any = self
        length = len(keywords["train_dataloader"])
        each = trainer.args.gradient_accumulation_steps
        keywords["steps_in_epoch"] = length
        keywords["num_update_steps_per_epoch"] = max(1, -(-length // each))
        super()._run_epoch(**keywords)  # type: ignore[misc]

    # Logs

    def log(self, logs: dict[str, float], *arguments: Any, **keywords: Any) -> None:
        """Log the share of sample visits saved and the mean score with each training loss.

        Arguments:
            logs: what is logged.
            arguments: of the Trainer's method.
            keywords: likewise.
        """
        if "loss" in logs or "train_loss" in logs:
            logs = {**logs, "pruning/share_saved": self.pruned.summary().share_saved}
            if self.pruned.epoch > 0:  # there are scores
                logs["pruning/mean_score"] = float(self.pruned.epochs.score.values().mean())
        super().log(logs, *arguments, **keywords)  # type: ignore[misc]


class PrunedTrainer(PrunedTrainerMixin, Trainer):  # type: ignore[misc]
    """`transformers.Trainer` on pruned epochs; see `PrunedTrainerMixin`.

    Arguments:
        arguments: of the Trainer.
        pruning: makes the pruned dataset of the training set, as
            `lambda dataset: BLS(InfoBatch(dataset, num_epochs=3)).proxy()` does.
        keywords: of the Trainer.
    """


class _PruningCallback(TrainerCallback):  # type: ignore[misc]
    """What is done at the Trainer's events."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        """Say where the run is, and stop when full training would have come to its end."""
        state.epoch = self.trainer.pruned.progress
        if self.trainer.reached_its_end() and not control.should_training_stop:
            control.should_training_stop = True
            # as the Trainer does at the end
            control.should_evaluate |= args.eval_strategy == "steps"
            control.should_save |= args.save_strategy == "steps"

    def on_epoch_end(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        """End the epoch, also where `drop_last` has left samples out."""
        self.trainer.pruned.end_epoch()

    def on_save(self, args: Any, state: Any, control: Any, **objects: Any) -> None:
        """Save the pruning state, beside the Trainer's: all processes come by here."""
        pruned: PrunedDataset = self.trainer.pruned
        batch_size = args.train_batch_size
        if args.dataloader_drop_last and pruned.epochs.samples_due() < batch_size:
            pruned.end_epoch()  # what is due makes no batch
        saved = pruned.state_dict()
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if args.should_save and folder.is_dir():
            steps = self.trainer._steps_per_full_epoch
            save_checkpoint(folder / CHECKPOINT, pruning=saved, steps_per_full_epoch=steps)


class _FullEpoch:
    """Stands for the training loader where the Trainer asks for the length of full epochs."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader
        self.dataset = loader.dataset

    def __len__(self) -> int:
        return self.loader.batches_per_full_epoch

    def __iter__(self) -> Any:
        return iter(self.loader)


class _Carrying:
    """Lets each batch carry its samples: the Trainer fetches several batches ahead.

    Arguments:
        fetcher: yields indices and batches.
    """

    def __init__(self, fetcher: Any) -> None:
        self.fetcher = fetcher

    def __iter__(self) -> Any:
        for fetched in self.fetcher:
            indices = torch.from_numpy(fetched.indices)
            yield fetched._replace(batch={**fetched.batch, INDICES: indices})
