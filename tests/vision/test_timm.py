"""timm: its loaders serve pruned epochs, and each loss scores the batch that it is of."""

from __future__ import annotations

import pytest
import torch
from helpers import mean_loss
from ranks import on_ranks
from timm.data import AugMixDataset, FastCollateMixup
from timm_runs import (
    PLAIN,
    Noise,
    Processes,
    Shades,
    bls_of,
    pruned,
    shades_of,
    train_on,
    train_on_a_rank,
)
from torch.utils.data import Subset

from dynaprune import NoPrune, PrunedIterableDataset
from dynaprune.integrations.timm import create_loader

CPU = {"device": torch.device("cpu")}


def loader_of(train, batch_size=8, **options):
    return create_loader(train, 4, batch_size, **{"num_workers": 0, **PLAIN, **CPU, **options})


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "options", [{}, {"use_prefetcher": False}, {"use_multi_epochs_loader": True}]
)
def test_each_loss_scores_its_own_batch(options, workers):
    """timm's prefetcher is one batch ahead of the loop."""
    train = pruned(Shades())
    loader = loader_of(train, num_workers=workers, **options)
    epochs = [train_on(train, loader) for _ in range(4)]
    torch.testing.assert_close(train.scores, bls_of(epochs, 60))
    assert train.epoch == 4
    assert sum(map(len, epochs[0])) == 56  # timm drops the last batch, which is smaller
    assert len(epochs[1]) < 7


def test_the_length_is_that_of_the_epoch():
    train = pruned(Shades())
    loader = loader_of(train)
    for _ in range(4):
        expected = len(loader)
        assert len(train_on(train, loader)) == expected
    assert loader.batches_per_full_epoch == 7


@pytest.mark.parametrize("workers", [0, 2])
def test_a_look_in_the_middle_of_an_epoch(workers):
    train, seen = pruned(Shades()), []
    loader = loader_of(train, num_workers=workers)
    for images, labels in loader:
        train.update(mean_loss(labels))
        seen.append(shades_of(images))
        if len(seen) == 3:
            shown, numbers = next(iter(loader))
            assert shades_of(shown) == numbers.tolist()
    assert len({number for batch in seen for number in batch}) == 56
    torch.testing.assert_close(train.scores, bls_of([seen], 60))


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_that_is_left_early(workers):
    train = pruned(Shades())
    loader = loader_of(train, num_workers=workers)
    epochs = [train_on(train, loader, stop_after=3), train_on(train, loader)]
    torch.testing.assert_close(train.scores, bls_of(epochs, 60))
    assert train.epoch == 2


def test_an_epoch_that_is_left_early_leaves_its_workers_to_the_next():
    train, epochs = pruned(Processes()), []
    loader = loader_of(train, num_workers=2)
    for stop_after in (2, 99):
        epochs.append(set())
        for number, (_, processes) in enumerate(loader):
            train.update(processes.float().mean())
            epochs[-1] |= set(processes.tolist())
            if number + 1 == stop_after:
                break
    assert len(epochs[0]) == 2
    assert epochs[1] == epochs[0]


def test_a_run_that_is_resumed():
    whole, first, second = (pruned(Shades()) for _ in range(3))
    loader = loader_of(whole)
    expected = [batch for _ in range(4) for batch in train_on(whole, loader)]
    loader = loader_of(first)
    served, state = train_on(first, loader), {}
    for number, (_, labels) in enumerate(loader):
        first.update(mean_loss(labels))
        served.append(labels.tolist())
        if number == 1:
            state = first.state_dict()  # timm has fetched the third batch by now
            break
    second.load_state_dict(state)
    loader = loader_of(second)
    for _ in range(3):
        served += train_on(second, loader)
    assert served == expected


def test_what_mixing_returns_is_the_batch_of_the_same_samples():
    """FastCollateMixup mixes each image with another of its batch."""
    train = pruned(Shades())
    mixing = FastCollateMixup(mixup_alpha=1.0, num_classes=60, label_smoothing=0.0)
    loader = loader_of(train, collate_fn=mixing)
    epochs = [[]]
    for images, targets in loader:
        (numbers,) = targets.sum(0).nonzero(as_tuple=True)
        assert len(numbers) == 8
        red = images[:, 0, 0, 0] * 255
        torch.testing.assert_close(red, targets @ torch.arange(60.0), atol=0.51, rtol=0)
        train.update(mean_loss(numbers))
        epochs[0].append(numbers.tolist())
    torch.testing.assert_close(train.scores, bls_of(epochs, 60))


@pytest.mark.parametrize("workers", [0, 1])
def test_mixing_ends_when_it_is_switched_off(workers):
    train = pruned(Shades(), method=NoPrune)
    mixing = FastCollateMixup(mixup_alpha=1.0, num_classes=60, label_smoothing=0.0)
    loader = loader_of(train, collate_fn=mixing, num_workers=workers)
    assert loader.mixup_enabled

    def mixed():
        return [int((targets > 0).sum()) for _, targets in loader if train.update(targets.mean())]

    assert mixed() == [16] * 7
    loader.mixup_enabled = False
    assert mixed() == [8] * 7


def test_augmentation_splits():
    """A batch of three splits has 24 images of 8 samples, and one loss."""
    train = pruned(AugMixDataset(Shades(), num_splits=3))
    options = {**PLAIN, "no_aug": False, "hflip": 0.0, "auto_augment": "augmix-m0-w1-d1"}
    loader = loader_of(train, num_aug_splits=3, scale=(1, 1), ratio=(1, 1), **options)
    epochs = [[]]
    for images, labels in loader:
        assert images.shape == (24, 3, 4, 4)
        assert shades_of(images[:8]) == labels[:8].tolist()
        assert labels.tolist() == 3 * labels[:8].tolist()
        train.update(mean_loss(labels[:8]))
        epochs[0].append(labels[:8].tolist())
    torch.testing.assert_close(train.scores, bls_of(epochs, 60))


def test_workers_draw_numbers_of_their_own():
    """timm seeds NumPy in each worker, which torch does not."""
    train = pruned(Noise(64), method=NoPrune)
    drawn = []
    for _, labels in loader_of(train, num_workers=2):
        train.update(mean_loss(labels))
        drawn += labels.tolist()
    assert len(set(drawn)) == 64


def test_another_dataset_gets_the_loader_of_timm():
    loader = loader_of(Shades(), is_training=False)
    assert [label for _, labels in loader for label in labels.tolist()] == list(range(60))


def test_two_ranks_divide_each_epoch():
    (first, scores), (second, same) = on_ranks(2, train_on_a_rank)
    assert scores.equal(same)
    for one, other in zip(first, second, strict=True):
        ours = {number for batch in one for number in batch}
        theirs = {number for batch in other for number in batch}
        assert len(ours & theirs) <= 1  # one is repeated where their number is odd
        assert len(one) == len(other)
    assert sum(map(len, first[0])) == 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"is_training": False}, r"is_training=False: give is_training=True"),
        ({"num_aug_repeats": 3}, r"num_aug_repeats=3, but .*: leave num_aug_repeats out"),
        ({"input_size_choices": [4, 8]}, r"input_size_choices=\[4, 8\], but .*: leave"),
    ],
)
def test_what_does_not_work(options, message):
    with pytest.raises(ValueError, match=message):
        loader_of(pruned(Shades()), **options)


def test_arguments_that_timm_does_not_know():
    with pytest.raises(TypeError, match="num_worker"):
        loader_of(pruned(Shades()), num_worker=3)


def test_a_pruned_dataset_that_was_wrapped():
    wrapped = Subset(pruned(Shades()), range(9))
    with pytest.raises(TypeError, match=r"wrapped in a Subset.*as in InfoBatch\(Subset\("):
        loader_of(wrapped)


def test_a_stream():
    stream = pruned(PrunedIterableDataset([{"key": 1}], key="key"))
    with pytest.raises(TypeError, match=r"InfoBatch of a stream, .* map-style dataset"):
        loader_of(stream)
