"""Ultralytics: what cannot be trained raises an error that says what to do."""

from __future__ import annotations

import pytest
from ultralytics_runs import base_trainer, pruned_trainer, train

from dynaprune import NoPrune, PrunedIterableDataset, RandomPrune
from dynaprune.integrations.ultralytics import PrunedTrainerMixin


def test_prune_must_be_defined(tmp_path):
    class Trainer(PrunedTrainerMixin, base_trainer()):
        pass

    with pytest.raises(TypeError, match=r"Trainer has no method prune\(self, dataset\)"):
        train(tmp_path, Trainer)


def test_the_mixin_comes_first():
    with pytest.raises(TypeError, match=r"write class Trainer\(PrunedTrainerMixin, Detection"):

        class Trainer(base_trainer(), PrunedTrainerMixin):
            pass


@pytest.mark.parametrize(
    ("method", "error", "message"),
    [
        (lambda data, epochs: data, TypeError, "it returned a YOLODataset"),
        (
            lambda data, epochs: NoPrune(PrunedIterableDataset([(0, 1)], key=0), epochs),
            TypeError,
            "a pruned PrunedIterableDataset, but Ultralytics needs the length of an epoch",
        ),
    ],
)
def test_prune_must_return_a_pruned_dataset(tmp_path, method, error, message):
    with pytest.raises(error, match=message):
        train(tmp_path, pruned_trainer(method))


def test_prune_must_return_a_new_dataset(tmp_path):
    kept = []

    def method(dataset, epochs):
        kept[:] = kept or [RandomPrune(dataset, epochs, saving=0.25)]
        return kept[0]

    trainer = pruned_trainer(method)
    train(tmp_path, trainer, epochs=1)
    with pytest.raises(ValueError, match="trained for 1 epochs"):
        train(tmp_path, trainer, epochs=1)


def test_another_number_of_epochs_is_warned_of(tmp_path, caplog):
    train(tmp_path, pruned_trainer(lambda data, epochs: NoPrune(data, epochs + 1)), epochs=1)
    assert "num_epochs=2, but the run trains 1 epochs" in caplog.text


def test_rect_is_refused(tmp_path):
    def uneven(dataset, epochs):
        return NoPrune(dataset, epochs)

    class Rectangular(base_trainer()):
        def get_dataloader(self, *arguments, mode="train", **keywords):
            loader = super().get_dataloader(*arguments, mode=mode, **keywords)
            if mode == "train":  # as for images of several shapes
                loader.__dict__["sampler"] = range(len(loader.dataset))
            return loader

    class Trainer(PrunedTrainerMixin, Rectangular):
        def prune(self, dataset):
            return uneven(dataset, self.epochs)

    with pytest.raises(ValueError, match="rect=True was given.*leave rect out"):
        train(tmp_path, Trainer)


def test_a_missing_name_says_which_version_works(tmp_path, monkeypatch):
    from ultralytics.engine.trainer import BaseTrainer

    monkeypatch.delattr(BaseTrainer, "_build_train_pipeline")
    with pytest.raises(
        ImportError, match=r"has no BaseTrainer\._build_train_pipeline.*'ultralytics==8\.4\.\*'"
    ):
        train(tmp_path, pruned_trainer(NoPrune))
