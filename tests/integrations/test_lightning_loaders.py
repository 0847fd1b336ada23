"""Lightning: where the training loaders come from, several of them, and who may change them."""

from __future__ import annotations

import logging

import lightning.pytorch as pl
import pytest
import torch
from helpers import Numbers, bls
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import CombinedLoader
from lightning_runs import EPOCHS, Module, SavesEverywhere, fit, held_out, trainer
from ranks import environment_of_torchrun, free_port, on_ranks
from torch.utils.data import BatchSampler

from dynaprune import DataLoader, InfoBatch, RandomPrune, Sharded
from dynaprune.integrations.lightning import PruningCallback

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # its own warnings are not ours to mend
]


class Data(pl.LightningDataModule):
    """As Lightning's examples have it: `setup` is called for each stage."""

    def __init__(self, method=InfoBatch):
        super().__init__()
        self.method, self.made = method, 0

    def setup(self, stage):
        if stage == "fit":
            self.train_set = bls(self.method, 60, num_epochs=EPOCHS)

    def train_dataloader(self):
        self.made += 1
        return DataLoader(self.train_set, batch_size=7)

    def val_dataloader(self):
        return held_out()

    test_dataloader = val_dataloader
    predict_dataloader = val_dataloader


class InModule(Module):
    """Makes its pruned dataset in `setup`, which Lightning calls after that of callbacks."""

    def setup(self, stage):
        if stage == "fit":
            self.train_set = bls(InfoBatch, 60, num_epochs=EPOCHS)

    def train_dataloader(self):
        return DataLoader(self.train_set, batch_size=7)

    def val_dataloader(self):
        return held_out()


@pytest.mark.parametrize("reloads", [0, 1, 3])
@pytest.mark.parametrize("source", ["data module", "module"])
def test_loaders_that_lightning_makes(source, reloads, tmp_path):
    """The same run as with a loader that is known before."""
    expected, alone, _ = fit(tmp_path, InfoBatch)

    def run(resume=None, saves=None):
        callbacks = [PruningCallback(), *([saves] if saves else [])]
        used = trainer(tmp_path, *callbacks, reload_dataloaders_every_n_epochs=reloads)
        data = Data() if source == "data module" else None
        module = Module() if data else InModule()
        used.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        train = data.train_set if data else module.train_set
        assert train.scores.equal(expected.scores)
        assert train.epoch == EPOCHS
        assert module.weight.equal(alone.weight)
        return module

    saves = SavesEverywhere(tmp_path)
    assert run(saves=saves).served == alone.served
    for path, _, steps, _ in saves.saved[::7]:
        assert run(path).batches() == alone.batches()[steps:]


def test_a_pruned_dataset_made_anew_each_epoch(tmp_path):
    class Anew(Data):
        def train_dataloader(self):
            self.setup("fit")
            return super().train_dataloader()

    used = trainer(tmp_path, PruningCallback(), reload_dataloaders_every_n_epochs=2)
    with pytest.raises(
        RuntimeError, match=r"another pruned dataset than in the epochs before.*onc"
    ):
        used.fit(Module(), datamodule=Anew())
    assert used.current_epoch == 2


def test_another_loader_than_the_callbacks(tmp_path):
    ours, other = (DataLoader(bls(InfoBatch, 60), batch_size=7) for _ in range(2))
    with pytest.raises(
        RuntimeError, match=r"another pruned dataset than PruningCallback was given"
    ):
        trainer(tmp_path, PruningCallback(ours)).fit(Module(), other)


def test_no_pruned_loader(tmp_path):
    loader = torch.utils.data.DataLoader(Numbers(60), batch_size=7)
    with pytest.raises(TypeError, match=r"dynaprune.DataLoader .* the Trainer trains DataLoader"):
        trainer(tmp_path, PruningCallback()).fit(Module(updates=False), loader)


class Two(Module):
    """Trains on two loaders: the second one's batches are of numbers from 100 on."""

    def __init__(self, updates=("a", "b")):
        super().__init__()
        self.updated = updates
        self.pairs = []

    def training_step(self, batch, batch_idx):
        samples = {key: None if b is None else b.tolist() for key, b in batch.items()}
        self.pairs.append((self.current_epoch, samples))
        loaders, total = self.trainer.train_dataloader, 0
        if isinstance(loaders, CombinedLoader):
            loaders = loaders.iterables
        for key, samples in batch.items():
            loss = (self.weight * 0 + samples.float().mean()) if samples is not None else None
            if loss is not None and key in self.updated:
                loss = loaders[key].dataset.update(loss)
            total = total if loss is None else total + loss
        return total


def two(first=60, second=40):
    a = bls(RandomPrune, first, num_epochs=EPOCHS, saving=0.5)
    b = bls(RandomPrune, second, num_epochs=EPOCHS, saving=0.25, seed=1)
    return {"a": DataLoader(a, batch_size=5), "b": DataLoader(b, batch_size=5)}


def each_alone(loaders):
    return [PruningCallback(loader) for loader in loaders.values()]


def scores_of(batches):
    """BLS by hand: a sample's score starts at the first batch's loss, and takes in its batches'."""
    mean = {tuple(batch): sum(batch) / len(batch) for batch in batches}
    scores = torch.full((60,), mean[tuple(batches[0])])
    for batch in batches:
        scores[batch] = 0.7 * scores[batch] + 0.3 * mean[tuple(batch)]
    return scores


@pytest.mark.parametrize("mode", ["dict", "min_size", "max_size", "max_size_cycle"])
@pytest.mark.parametrize("callbacks", [each_alone, lambda loaders: [PruningCallback()]])
def test_two_pruned_loaders(mode, callbacks, tmp_path):
    """Each update is about the batch of its own loader, both states are in the checkpoint."""
    longest, shortest = 6, 6  # of 30 samples each

    def run(resume=None, *others):
        loaders = two()
        used = trainer(tmp_path, *callbacks(loaders), *others)
        module = Two()
        combined = loaders if mode == "dict" else CombinedLoader(loaders, mode)
        used.fit(module, combined, ckpt_path=resume, weights_only=True)
        return [loader.dataset for loader in loaders.values()], module

    saves = SavesEverywhere(tmp_path)
    trained, alone = run(None, saves)
    assert len(alone.pairs) == EPOCHS * longest == EPOCHS * shortest
    for key, train in zip("ab", trained, strict=True):
        assert train.epoch == EPOCHS
        expected = scores_of([pair[key] for _, pair in alone.pairs])[: len(train)]
        assert torch.allclose(train.scores, expected)
    for path in (saves.saved[3][0], saves.saved[len(saves.saved) // 2][0]):
        resumed, module = run(path)
        assert module.pairs == alone.pairs[-len(module.pairs) :]
        assert 0 < len(module.pairs) < len(alone.pairs)
        for before, after in zip(trained, resumed, strict=True):
            assert after.scores.equal(before.scores)


@pytest.mark.parametrize("mode", ["min_size", "max_size", "max_size_cycle"])
def test_two_loaders_of_unequal_length(mode, tmp_path):
    """30 and 12 samples an epoch, so 6 and 3 batches."""
    loaders = two(60, 16)
    module = Two()
    used = trainer(tmp_path, PruningCallback())
    used.fit(module, CombinedLoader(loaders, mode))
    assert len(module.pairs) == EPOCHS * (3 if mode == "min_size" else 6)
    for key, loader in loaders.items():
        batches = [pair[key] for _, pair in module.pairs if pair[key] is not None]
        expected = scores_of(batches)[: len(loader.dataset)]
        assert torch.allclose(loader.dataset.scores, expected)


class Endless(torch.utils.data.IterableDataset):
    """Says no length."""

    def __iter__(self):
        return iter(range(60))


def test_a_loader_beside_it_that_says_no_length(tmp_path):
    """Lightning then fetches a batch ahead, and `update` would be about that one."""
    loaders = {**two(), "b": torch.utils.data.DataLoader(Endless(), batch_size=5)}
    with pytest.raises(ValueError, match=r"has no length, so the Trainer fetches a batch ahead"):
        trainer(tmp_path, PruningCallback()).fit(Two(), loaders)
    module = Two(updates=("a",))
    trainer(tmp_path, PruningCallback()).fit(module, CombinedLoader(loaders, "min_size"))
    expected = scores_of([pair["a"] for _, pair in module.pairs])
    assert torch.allclose(loaders["a"].dataset.scores, expected)


def test_callbacks_have_keys_of_their_own(tmp_path):
    """By their position, whatever else was made in the process before."""
    loaders = two()
    callbacks = each_alone(loaders)
    used = trainer(tmp_path, *callbacks)
    used.fit(Two(), loaders)
    assert [each.state_key for each in callbacks] == ["PruningCallback", "PruningCallback-1"]
    used.fit_loop.max_epochs = EPOCHS + 1
    used.fit(Two(), loaders)
    assert [each.state_key for each in callbacks] == ["PruningCallback", "PruningCallback-1"]


@pytest.mark.parametrize("callbacks", [each_alone, lambda loaders: [PruningCallback()]])
def test_a_checkpoint_holds_each_state_once(callbacks, tmp_path):
    """Lightning asks loaders for their state as well, which is that of their dataset."""
    loaders = two(40_000, 30_000)
    used = trainer(tmp_path, *callbacks(loaders), max_epochs=1, limit_train_batches=3)
    used.fit(Two(), loaders)
    used.save_checkpoint(tmp_path / "once.ckpt", weights_only=False)
    states = [loader.dataset.state_dict() for loader in loaders.values()]
    torch.save(states, tmp_path / "states.pt")
    once, states = ((tmp_path / name).stat().st_size for name in ("once.ckpt", "states.pt"))
    assert states < once < 1.2 * states


def test_several_callbacks_for_all(tmp_path):
    loaders = two()
    with pytest.raises(ValueError, match=r"2 PruningCallbacks: give each the loader"):
        trainer(tmp_path, PruningCallback(), PruningCallback(loaders["a"])).fit(Two(), loaders)
    with pytest.raises(ValueError, match=r"trains 2 loaders .* not all of them have a PruningCall"):
        trainer(tmp_path, PruningCallback(loaders["a"])).fit(Two(), loaders)


def test_the_numbers_of_each(tmp_path):
    loaders = two()
    for callbacks in (each_alone(loaders), [PruningCallback()]):
        used = trainer(tmp_path, *callbacks, max_epochs=2)
        used.fit(Two(), loaders)
        for which, loader in zip(("", "/1"), loaders.values(), strict=True):
            logged = used.callback_metrics[f"pruning/mean_score{which}"]
            assert float(logged) == pytest.approx(float(loader.dataset.scores.mean()))


class Keeps(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.told = []

    def emit(self, record):
        self.told.append(record.getMessage())


class PerSample(Module):
    """Hands over a loss a sample."""

    def loss(self, batch):
        return (self.weight - batch / 60).square()


def with_batch_sampler(rank, port, folder):
    environment_of_torchrun(rank, 2, port)
    train = bls(InfoBatch, 60, num_epochs=2)
    loader = DataLoader(train, batch_sampler=BatchSampler(train.sampler, 7, drop_last=False))
    module, options = Module(), {"strategy": "ddp", "devices": 2, "max_epochs": 2}
    with pytest.raises(
        ValueError, match=r"Trainer\(use_distributed_sampler=True\), which is its d"
    ):
        trainer(folder, PruningCallback(), **options).fit(module, loader)
    parts = InfoBatch(Sharded(Numbers(60)), num_epochs=2)
    handler, shards = Keeps(), DataLoader(parts, batch_size=7)
    logging.getLogger("dynaprune").addHandler(handler)
    used = trainer(folder, PruningCallback(), ModelCheckpoint(folder), **options)
    used.fit(PerSample(parts), shards)
    assert parts.epoch == 2
    assert any("hold the state of the first device only" in each for each in handler.told)
    # as after an error in a program of one's own: the same processes go on
    used = trainer(folder, PruningCallback(), use_distributed_sampler=False, **options)
    used.fit(module, loader)
    return module.batches()


def test_a_batch_sampler_on_two_devices(tmp_path):
    ranks = on_ranks(2, with_batch_sampler, free_port(), str(tmp_path))
    first = [i for batches in ranks for batch in batches[:5] for i in batch]
    assert sorted(first) == list(range(60))


def test_checkpoint_of_a_run_without_the_callback(tmp_path, caplog):
    train = bls(InfoBatch, 60, num_epochs=EPOCHS)
    loader, saves = DataLoader(train, batch_size=7), ModelCheckpoint(tmp_path)
    plain = torch.utils.data.DataLoader(Numbers(60), batch_size=7)
    trainer(tmp_path, saves, max_epochs=2).fit(Module(updates=False), plain)
    module = Module()
    used = trainer(tmp_path, PruningCallback())
    used.fit(module, loader, ckpt_path=saves.best_model_path, weights_only=True)
    assert "the checkpoint holds no state of a pruned dataset" in caplog.text
    assert sorted({epoch for epoch, *_ in module.served}) == list(range(2, EPOCHS))
    assert train.epoch == EPOCHS - 2
