"""Accelerate on several ranks: an epoch is divided once, and what is repeated is known."""

from __future__ import annotations

import pytest
import torch
from accelerate import Accelerator
from accelerate_runs import _fresh_state, gathered, run  # noqa: F401 (a fixture)
from helpers import Numbers, bls, mean_loss
from ranks import environment_of_torchrun, free_port, on_ranks

from dynaprune import BLS, DataLoader, InfoBatch, NoPrune, RandomPrune, Sharded
from dynaprune.integrations.accelerate import _RepeatedSamples, prepare
from dynaprune.planning import PruningSampler
from dynaprune.planning.share import ShareRequest

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # its own warnings are not ours to mend
]


def on_two_ranks(rank, port, folder):
    environment_of_torchrun(rank, 2, port)
    accelerator = Accelerator(cpu=True)
    train = bls(InfoBatch, 61)
    loader = prepare(accelerator, DataLoader(train, batch_size=4))
    epochs = []
    for _ in range(3):
        plan = train.begin_epoch().plan.order.tolist()
        epochs.append((plan, [batch for _, batch in run(train, loader, train.epoch + 1)]))
    measured = bls(InfoBatch, 61)
    metrics = gathered(
        accelerator, measured, prepare(accelerator, DataLoader(measured, batch_size=4)), 4
    )
    parts = parts_on_two_ranks(folder)
    return (
        epochs,
        train.scores,
        accelerator.num_processes,
        metrics,
        parts,
        divided_once(accelerator),
    )


def divided_once(accelerator):
    """What Accelerate's own prepare serves of epochs that it divides: by epoch, with its plan."""
    train = bls(RandomPrune, 64)
    sampler = PruningSampler(train, world_size=1)
    loader = torch.utils.data.DataLoader(train.with_indices(), batch_size=4, sampler=sampler)
    loader = accelerator.prepare(loader)
    found = []
    for _ in range(2):
        plan = sorted(train.begin_epoch(ShareRequest(1, 0)).plan.order.tolist())
        served = []
        for batch, indices in loader:
            train.update(mean_loss(batch), indices=indices)
            served += batch.tolist()
        train.end_epoch()
        found.append((plan, served))
    return found


def parts_on_two_ranks(folder):
    """A rank's part of the samples, saved in the middle of an epoch and loaded; and its file."""

    def prepared():
        accelerator = Accelerator(cpu=True)
        train = BLS(RandomPrune(Sharded(Numbers(61)), num_epochs=10)).proxy()
        return accelerator, train, prepare(accelerator, DataLoader(train, batch_size=4))

    _, whole, loader = prepared()
    expected = run(whole, loader)
    accelerator, train, loader = prepared()
    served = []
    for batch in loader:
        train.update(mean_loss(batch))
        served.append((0, batch.tolist()))
        if len(served) == 2:
            accelerator.save_state(f"{folder}/parts")
            break
    accelerator, train, loader = prepared()
    prepare(accelerator, loader)  # once more does no harm
    accelerator.load_state(f"{folder}/parts")
    served += run(train, loader)
    return served == expected, train.scores.equal(whole.scores), len(accelerator._custom_objects)


def test_two_ranks_divide_an_epoch_once(tmp_path):
    ranks = on_ranks(2, on_two_ranks, free_port(), str(tmp_path))
    assert ranks[0][1].equal(ranks[1][1])
    assert ranks[0][2] == 2
    for (plan, first), (_, second) in zip(ranks[0][0], ranks[1][0], strict=True):
        together = [i for batch in first + second for i in batch]
        assert set(together) == set(plan)
        assert len(together) == len(plan) + len(plan) % 2
    for (plan, first), (_, second) in zip(ranks[0][5], ranks[1][5], strict=True):
        assert sorted(first + second) == plan
    for *_, metrics, parts, _ in ranks:
        assert all(samples == plan for plan, samples in metrics)  # what is repeated is left out
        assert parts == (True, True, 0)
    assert any(len(plan) % 2 for plan, _ in ranks[0][3])
    assert sorted(path.name for path in (tmp_path / "parts").glob("pruning*")) == [
        "pruning_0.pt",
        "pruning_1.pt",
    ]


@pytest.mark.parametrize(
    ("kept", "ranks", "batch_size", "expected"),
    [
        (12, 4, 2, 0),  # three for each rank, and nothing is repeated
        (11, 4, 2, 3),  # one of each, the last rank's once more
        (9, 4, 2, 1),  # one of each, and three of them are repeated
        (15, 4, 2, 7),  # two of each, the last rank's second one is repeated
        (13, 4, 2, 0),  # two of each, of which three ranks repeat one: not at the end
        (13, 4, 3, 1),  # a batch of three, and one
    ],
)
def test_what_is_kept_of_the_last_batches(kept, ranks, batch_size, expected):
    each = -(-kept // ranks)
    last = _RepeatedSamples(left=each, repeated=ranks * each - kept, ranks=ranks)
    sizes = [min(batch_size, each - at) for at in range(0, each, batch_size)]
    assert [last.remainder(size) for size in sizes] == [0] * (len(sizes) - 1) + [expected]


def test_ranks_of_which_some_train_on_the_same_samples(monkeypatch):
    """Accelerate counts all four, as in tensor parallelism; the process group says which ones."""
    from dynaprune.training.distributed import Ranks

    monkeypatch.setattr(Accelerator, "num_processes", 4)
    train = bls(NoPrune, 10)
    with pytest.raises(RuntimeError, match=r"counts 4 process.* runs with 1"):
        prepare(Accelerator(cpu=True), DataLoader(train))
    monkeypatch.setattr(Ranks, "world_size", 2)
    train.process_group = object()
    prepare(Accelerator(cpu=True), DataLoader(train))


def test_ranks_that_accelerate_does_not_count(monkeypatch):
    from dynaprune.training.distributed import Ranks

    monkeypatch.setattr(Ranks, "world_size", 2)
    with pytest.raises(RuntimeError, match=r"counts 1 process.* runs with 2: each would"):
        prepare(Accelerator(cpu=True), DataLoader(bls(NoPrune, 10)))
