"""The object a user holds: a dataset that decides which of its samples an epoch trains on."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..data.indexed import IndexedDataset, Wrapping, fetch
from ..planning.sampler import PruningSampler
from ..planning.selection import Selection
from ..scores import SampleLoss, Score
from ..training.epochs import Epochs
from ..training.sources import source_for
from ..utils.validation import check_integer
from ._checkpointing import Checkpointing
from ._following import Following
from ._reading import Reading
from ._updating import Updating

if TYPE_CHECKING:
    from ..loading.index_batches import IndexBatches


class PrunedDataset(Updating, Reading, Following, Checkpointing, Wrapping, Dataset[Any]):
    """A training set that serves, in each epoch, the samples that a pruning method selects.

    Methods (`InfoBatch`, `SeTa`, …) are subclasses that define one function, `select`. In each
    epoch, the sampler asks for a plan, the loader serves it, and `update` records the loss of each
    batch. When the next plan is needed, these losses are folded into the scores.

    An epoch without any `update` is served again, so looking at a batch changes nothing. An epoch
    that is left early after some updates is over. A loader that begins in the middle of an epoch
    gets the plan of the next epoch, by the losses known so far. That epoch begins with the first
    update of one of its batches.

    Arguments:
        dataset: a map-style dataset, with `__getitem__` and `__len__`; a rank's part of one, a
            `Sharded`; or a stream that has keys, a `PrunedIterableDataset`.
        num_epochs: the number of epochs E that the run will train.
        seed: fixes every random choice, together with the epoch's number; at least 0.

    Attributes:
        epochs: the life of the epochs, for loaders and integrations.

    Raises:
        TypeError: `dataset` is neither; `num_epochs` or `seed` is no integer.
        ValueError: `dataset` is empty; `num_epochs` is below 1 or `seed` below 0.
    """

    default_score: ClassVar[type[Score]] = SampleLoss
    """The score that the method was published with."""

    skips_highest: ClassVar[bool] = False
    """Whether the method means to skip the samples with the highest scores, not the lowest."""

    extra_inputs: tuple[str, ...] = ()
    """What `select` takes beside the scores, as further arguments of these names:

    - `errors`: float32, shape (N,): the standard errors of the scores; `None` if the score does not
      know them;
    - `visits`: int32, shape (N,): how often each sample was measured;
    - `last_steps`, `last_epochs`: int32, shape (N,): the step, or the epoch, of the run in which
      each was measured last, −1 for never;
    - `progress`: how the losses of single samples are spread in the last epochs, and how fast the
      mean loss falls, a `LossProgress`; `None` before the first epoch, or if losses are not
      positive. If samples are skipped by their scores, it is about the others only;
    - `mean_excess`: float32, shape (N,): how much higher the losses of each sample were than those
      of others, on average over the run, in standard deviations: see `suspects`;
    - `trends`: the share of samples whose losses do not fall while those of others do, an
      `Unlearned`; `None` before it is known.
    """

    def __init__(self, dataset: Any, num_epochs: int, *, seed: int = 0) -> None:
        source = source_for(dataset)
        self.dataset = dataset
        self.num_epochs = check_integer("num_epochs", num_epochs, minimum=1)
        self.seed = check_integer("seed", seed, minimum=0)
        identity = {"method": type(self).__name__, "seed": self.seed}
        self.epochs = Epochs(source, identity, self.num_epochs)
        self.default_score(self).proxy()

    # What a method defines

    @abstractmethod
    def select(self, scores: Tensor, epoch: int, generator: torch.Generator) -> Selection:
        """Choose the samples of an epoch: a pure function of its arguments.

        Arguments:
            scores: float32, shape (N,); the higher, the more worth training on. Not to be written.
            epoch: the epoch's number, from 0.
            generator: the source of all randomness.

        What `extra_inputs` names follows by name.
        """

    # The dataset, as it was

    def __len__(self) -> int:
        known = self.epochs.known_samples()
        if known == 0:
            raise TypeError(
                "a stream has no length before its first pass; let the DataLoader of dynaprune "
                "serve it, and not the one of torch"
            )
        return known

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: Any) -> Any:
        self._require_indices("a sample was asked for", "use the DataLoader of dynaprune")
        return self.dataset[index]

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """Fetch many samples at once, in the way that the dataset itself is fetched."""
        self._require_indices("samples were asked for", "use the DataLoader of dynaprune")
        return fetch(self.dataset, indices)

    def __repr__(self) -> str:
        samples = f"{self.epochs.now.num_samples:,} {self.epochs.source.noun}"
        return (
            f"{type(self).__name__}({samples} of {type(self.dataset).__name__}, "
            f"num_epochs={self.num_epochs}, seed={self.seed}, epoch {self.epoch}, "
            f"scored by {type(self.epochs.score).__name__})"
        )

    def __getattr__(self, name: str) -> Any:
        message = f"{type(self).__name__} has no attribute {name!r}"
        # not forwarded: what is read from the dataset would also be written, and that to nowhere
        if not name.startswith("_") and hasattr(self.__dict__.get("dataset"), name):
            message += f", but its dataset has: use .dataset.{name}"
        raise AttributeError(message)

    # What serves it

    @property
    def sampler(self) -> PruningSampler:
        """The sampler for the training loader: it serves each epoch's plan.

        Raises:
            RuntimeError: the dataset is a stream, which no sampler serves.
        """
        self._require_indices("train.sampler was asked for", "leave sampler out")
        return PruningSampler(self)

    def batches(
        self, batch_size: int, *, device: Any = None, drop_last: bool = False
    ) -> IndexBatches:
        """Return the batches of an epoch as index tensors, for data in memory or on the device.

        Run over it in each epoch, in place of a loader: `for indices in train.batches(1024)` yields
        int64 tensors of shape (B,) on `device`, and `update` knows which samples they are. The
        order of an epoch moves to the device at once, and a step moves nothing. `len()`, looks,
        `break`, checkpoints and several ranks are as with the `DataLoader`.

        Arguments:
            batch_size: samples a batch, on this rank.
            device: where the indices are to be, as the data is; by default on the host.
            drop_last: whether a last batch of fewer samples is left out.

        Raises:
            TypeError: `batch_size` is no integer, or `device` no device of torch.
            ValueError: `batch_size` is below 1.
            RuntimeError: the dataset is a stream, which has no indices.

        Example:
            >>> import torch
            >>> from dynaprune import BLS, InfoBatch
            >>> x, y = torch.rand(1000, 3), torch.rand(1000)
            >>> train = BLS(InfoBatch(range(1000), num_epochs=3)).proxy()
            >>> for epoch in range(3):
            ...     for indices in train.batches(64):
            ...         loss = train.update((x[indices].mean(1) - y[indices]).square().mean())
            >>> train.summary().epochs
            3
        """
        from ..loading.index_batches import IndexBatches  # it runs over a pruned dataset

        self._require_indices("train.batches() was called", "use the DataLoader of dynaprune")
        return IndexBatches(self, batch_size, device, drop_last)

    def with_indices(self) -> IndexedDataset:
        """Return the dataset with samples `(sample, index)`, for loaders that are not ours.

        Give it to any loader together with `sampler`, and hand the indices of each batch back
        with `update(loss, indices=indices)`. Of such a loader nobody knows which batch comes from
        which `iter()`: do not begin a second run over it in the middle of an epoch.

        Raises:
            RuntimeError: the dataset is a stream: only our loader knows the keys of a batch.
        """
        self._require_indices("with_indices() was called", "use the DataLoader of dynaprune")
        return IndexedDataset(self.dataset)

    @property
    def process_group(self) -> Any:
        """The process group of `torch.distributed` whose ranks share each epoch; `None` is all.

        Set it where some ranks train on the same samples, as those of a tensor-parallel group do.
        """
        return self.epochs.ranks.group

    @process_group.setter
    def process_group(self, group: Any) -> None:
        self.epochs.ranks.group = group
