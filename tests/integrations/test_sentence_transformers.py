"""sentence-transformers on pruned epochs: batch samplers, several datasets, losses."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
from sentence_transformers.base.sampler import GroupByLabelBatchSampler, NoDuplicatesBatchSampler
from sentence_transformers.sentence_transformer.losses import (
    BatchAllTripletLoss,
    CachedMultipleNegativesRankingLoss,
    CoSENTLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from text_models import SIZES, texts, word_tokenizer
from torch.utils.data import Subset
from transformers import BertConfig, BertModel
from transformers_runs import means_of

from dynaprune import BLS, InfoBatch, NoPrune, RandomPrune
from dynaprune.integrations.sentence_transformers import PrunedSentenceTransformerTrainer
from dynaprune.integrations.sentence_transformers._batches import _every
from dynaprune.integrations.sentence_transformers._groups import Groups
from dynaprune.integrations.transformers import PrunedTrainerMixin
from dynaprune.integrations.transformers._loss import with_gradient_of

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # their own warnings are not ours to mend
]

ROWS, BATCH, EPOCHS = 44, 4, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a small BERT without dropout."""
    folder = tmp_path_factory.mktemp("bert")
    word_tokenizer().save_pretrained(folder)
    torch.manual_seed(0)
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    BertModel(BertConfig(**SIZES, **off)).save_pretrained(folder)
    return folder


def model_in(folder):
    encoder = Transformer(str(folder), max_seq_length=16)
    pooling = Pooling(encoder.get_embedding_dimension())
    return SentenceTransformer(modules=[encoder, pooling], device="cpu")


def pairs():
    """Each anchor comes four times: in a batch of two of them, one is a wrong negative."""
    return Dataset.from_dict({"anchor": texts(ROWS // 4) * 4, "positive": texts(ROWS, seed=1)})


def graded():
    scores = np.linspace(0, 1, 20).tolist()
    return Dataset.from_dict({"one": texts(20, 2), "other": texts(20, 3), "score": scores})


def labelled():
    return Dataset.from_dict({"text": texts(ROWS), "label": [i % 3 for i in range(ROWS)]})


def half(dataset):
    return BLS(RandomPrune(dataset, num_epochs=EPOCHS, saving=0.5)).proxy()


def make(
    folder,
    data,
    loss=MultipleNegativesRankingLoss,
    kind=PrunedSentenceTransformerTrainer,
    pruning=half,
    out="out",
    **options,
):
    model = model_in(folder)
    losses = {name: each(model) for name, each in loss.items()} if isinstance(loss, dict) else None
    return kind(
        model,
        Arguments(
            **{
                "output_dir": str(folder / out),
                "num_train_epochs": EPOCHS,
                "per_device_train_batch_size": BATCH,
                "learning_rate": 1e-3,
                "logging_steps": 1,
                "save_strategy": "no",
                "report_to": "none",
                "use_cpu": True,
                "dataloader_pin_memory": False,
                "disable_tqdm": True,
                **options,
            }
        ),
        train_dataset=data,
        loss=losses or loss(model),
        **({} if pruning is None else {"pruning": pruning}),
    )


def batches_of(trainer):
    """Train; return the samples of each batch, by epoch."""
    epochs, own = [[] for _ in range(EPOCHS)], trainer.pruned.update

    def update(loss, indices, mean_loss):
        epochs[trainer.pruned.epoch].append(indices.tolist())
        return own(loss, indices, mean_loss=mean_loss)

    trainer.pruned.update = update
    trainer.train()
    return epochs


@pytest.mark.parametrize("sampler", ["no_duplicates", "no_duplicates_hashed"])
def test_no_batch_has_duplicates(sampler, folder):
    data = pairs()
    epochs = batches_of(make(folder, data, batch_sampler=sampler))
    for batches in epochs:
        for batch in batches:
            anchors = [data[index]["anchor"] for index in batch]
            assert len(set(anchors)) == len(anchors)
        served = Counter(index for batch in batches for index in batch)
        assert set(served.values()) == {1}
        # as with its own sampler, some may be left over that fit into no further batch
        assert ROWS // 2 - BATCH <= len(served) <= ROWS // 2
    kept = [{index for batch in batches for index in batch} for batches in epochs]
    assert kept[0] != kept[1]
    # without the sampler, batches have duplicates
    plain = batches_of(make(folder, data))
    anchors = [[data[i]["anchor"] for i in batch] for batches in plain for batch in batches]
    assert any(len(set(each)) < len(each) for each in anchors)


def test_values_are_hashed_once(folder, monkeypatch):
    hashed, own = [], NoDuplicatesBatchSampler._build_hashes

    def build(sampler):
        hashed.extend([len(sampler.dataset)] * (sampler._row_hashes is None))
        own(sampler)

    monkeypatch.setattr(NoDuplicatesBatchSampler, "_build_hashes", build)
    make(folder, pairs(), batch_sampler="no_duplicates_hashed").train()
    assert hashed == [ROWS]


def test_another_version_without_its_hashes_names_the_tested_one(folder, monkeypatch):
    monkeypatch.delattr(NoDuplicatesBatchSampler, "_build_hashes")
    trainer = make(folder, pairs(), batch_sampler="no_duplicates_hashed")
    with pytest.raises(ImportError, match=r"tested with sentence-transformers 6\.2: pip install"):
        trainer.train()


def test_batches_are_grouped_by_label(folder):
    data = labelled()
    epochs = batches_of(make(folder, data, BatchAllTripletLoss, batch_sampler="group_by_label"))
    for batches in epochs:
        assert batches
        for batch in batches:
            counts = Counter(data[index]["label"] for index in batch)
            assert len(counts) >= 2
            assert min(counts.values()) >= 2


def test_groups_of_labels_are_those_of_its_own_sampler(folder):
    data, samples = labelled(), np.arange(0, ROWS, 2)
    trainer = make(folder, data, BatchAllTripletLoss, batch_sampler="group_by_label")
    own = GroupByLabelBatchSampler(
        data.select(samples), BATCH, False, ["label"], torch.Generator(), trainer.args.seed
    )
    own.set_epoch(1)
    assert list(Groups(trainer, [data], is_joined=False).of(samples, epoch=1)) == list(own)


def test_labels_are_read_once(folder, monkeypatch):
    trainer = make(folder, labelled(), BatchAllTripletLoss, batch_sampler="group_by_label")
    read, own = [], Dataset.__getitem__

    def get(dataset, key):
        read.extend([key] * isinstance(key, str))
        return own(dataset, key)

    monkeypatch.setattr(Dataset, "__getitem__", get)
    trainer.train()
    assert read == ["label", "label"]  # the first time by the trainer's own sampler


class InPairs(torch.utils.data.BatchSampler):
    """A user's batch sampler: neighbours in the dataset it is given."""

    def __init__(self, dataset, batch_size, drop_last, **_):
        super().__init__(range(len(dataset)), batch_size, drop_last)


def test_a_batch_sampler_of_the_user(folder):
    epochs = batches_of(make(folder, pairs(), batch_sampler=InPairs))
    for batches in epochs:
        served = [index for batch in batches for index in batch]
        assert served == sorted(served)
        assert len(served) == ROWS // 2


LOSSES = {"pairs": MultipleNegativesRankingLoss, "graded": CoSENTLoss}


@pytest.mark.parametrize("order", ["proportional", "round_robin"])
def test_several_datasets(order, folder):
    data = DatasetDict(pairs=pairs(), graded=graded())
    trainer = make(folder, data, LOSSES, multi_dataset_batch_sampler=order)
    assert len(trainer.pruned) == 64
    for batches in batches_of(trainer):
        sources = [{index >= ROWS for index in batch} for batch in batches]
        assert all(len(each) == 1 for each in sources)  # each batch comes from one dataset
        counts = Counter(next(iter(each)) for each in sources)
        if order == "round_robin":
            assert counts[False] == counts[True]
            assert [each == {False} for each in sources[:4]] == [True, False, True, False]
        else:
            assert sum(map(len, batches)) == 32  # all that are kept
            assert counts[False] > counts[True]
    assert trainer.state.max_steps == trainer.state.global_step


def test_a_dataset_that_is_skipped_entirely(folder):
    """A round robin over it would end before its first batch."""

    class Pairs(RandomPrune):
        def select(self, scores, epoch, generator):
            selection = super().select(scores, epoch, generator)
            return selection if epoch != 1 else type(selection)(torch.arange(ROWS))

    def pruning(dataset):
        return BLS(Pairs(dataset, num_epochs=EPOCHS, saving=0.5)).proxy()

    data = DatasetDict(pairs=pairs(), graded=graded())
    options = {"multi_dataset_batch_sampler": "round_robin", "pruning": pruning}
    epochs = batches_of(make(folder, data, LOSSES, **options))
    assert sorted(index for batch in epochs[1] for index in batch) == list(range(ROWS))


@pytest.mark.parametrize("accumulation", [1, 3])
def test_steps_and_forward_passes(accumulation, folder):
    options = {"gradient_accumulation_steps": accumulation, "batch_sampler": "no_duplicates"}
    trainer = make(folder, pairs(), **options)
    forwards = []
    trainer.model.register_forward_hook(lambda *_: forwards.append(1))
    batches = batches_of(trainer)
    # an anchor and a positive of each batch
    assert len(forwards) == 2 * sum(map(len, batches))
    steps = sum(-(-len(each) // accumulation) for each in batches)
    assert trainer.state.global_step == trainer.state.max_steps == steps


def test_the_score_is_the_loss_of_the_batch(folder):
    """A contrastive loss is a mean over the anchors, each against all candidates of its batch."""

    def pruning(dataset):
        return BLS(InfoBatch(dataset, num_epochs=EPOCHS, delta=1.0)).proxy()

    data = pairs()
    trainer = make(folder, data, pruning=pruning, learning_rate=0.0)
    scored = means_of(trainer)
    batches = [batch for batches in batches_of(trainer) for batch in batches]
    assert trainer.pruned.summary().share_saved > 0.1
    model = model_in(folder)
    for batch, score in zip(batches, scored, strict=True):
        rows = data[batch]
        anchors, positives = (
            model.encode(rows[name], convert_to_tensor=True, normalize_embeddings=True)
            for name in ("anchor", "positive")
        )
        logits = 20 * anchors @ positives.T
        expected = torch.nn.functional.cross_entropy(logits, torch.arange(len(batch)))
        assert score == pytest.approx(expected.item(), rel=1e-3)
    logged = [each["loss"] for each in trainer.state.log_history if "loss" in each]
    assert logged == pytest.approx(scored, rel=1e-4)


def test_a_cached_loss_is_weighted(folder):
    """Its gradient comes from a hook on the loss."""
    gradients = []
    for weight in (1.0, 3.0):
        model = model_in(folder)
        loss_fn = CachedMultipleNegativesRankingLoss(model, mini_batch_size=2)
        features = [model.preprocess(texts(8, seed)) for seed in range(2)]
        loss = loss_fn(features, None)
        with_gradient_of(loss, loss * weight).backward()
        gradients.append([each.grad for each in model.parameters() if each.grad is not None])
    assert gradients[0]
    for one, three in zip(*gradients, strict=True):
        torch.testing.assert_close(3 * one, three)


def test_without_pruning_it_is_the_same_run(folder):
    def pruning(dataset):
        return BLS(NoPrune(dataset, num_epochs=EPOCHS)).proxy()

    options = {"batch_sampler": InPairs, "loss": MultipleNegativesRankingLoss}
    ours = make(folder, pairs(), pruning=pruning, **options)
    theirs = make(folder, pairs(), kind=SentenceTransformerTrainer, pruning=None, **options)
    losses = []
    for trainer in (ours, theirs):
        trainer.train()
        losses.append([each["loss"] for each in trainer.state.log_history if "loss" in each])
    assert losses[0] == losses[1]


def test_a_run_resumes_with_the_samples_still_due(folder):
    options = {"batch_sampler": "no_duplicates", "save_strategy": "steps", "save_steps": 2}
    whole = batches_of(make(folder, pairs(), out="whole", **options))
    resumed = make(folder, pairs(), out="whole", **options)
    served, own = [], resumed.training_step
    resumed.training_step = lambda model, inputs, *others: (
        served.append(resumed._micro_batches._fetched[0].indices.tolist()),
        own(model, inputs, *others),
    )[1]
    resumed.train(resume_from_checkpoint=str(folder / "whole" / "checkpoint-2"))
    before = [index for batch in whole[0][:2] for index in batch]
    rest = [index for batch in served[: len(whole[0]) - 2] for index in batch]
    assert not set(before) & set(rest)
    kept = {index for batch in whole[0] for index in batch}
    assert len(set(before + rest) - kept) <= BATCH
    assert resumed.pruned.summary().epochs == EPOCHS


@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_ranks_divide_batches_evenly(ranks):
    batches = [[number] for number in range(5)]
    shares = [list(_every(iter(batches), rank, ranks)) for rank in range(ranks)]
    assert len({len(each) for each in shares}) == 1
    served = Counter(batch[0] for each in shares for batch in each)
    assert set(served) == set(range(5))
    assert sum(served.values()) == -(-5 // ranks) * ranks


class Mixed(PrunedTrainerMixin, SentenceTransformerTrainer):
    pass


def test_the_mixin_for_other_trainers_is_refused(folder):
    trainer = make(folder, pairs(), kind=Mixed, batch_sampler="no_duplicates")
    with pytest.raises(TypeError, match=r"NoDuplicatesB.*use PrunedSentenceTransformerTrainer"):
        trainer.train()


def test_other_samples_than_rows_are_refused(folder):
    def pruning(dataset):
        return half(Subset(dataset, range(20)))

    trainer = make(folder, pairs(), pruning=pruning)
    with pytest.raises(TypeError, match=r"of a Subset, but .* or dataset\.select\(indices\)"):
        trainer.train()


def test_rows_may_be_selected_in_pruning(folder):
    def pruning(dataset):
        return half(dataset.select(range(20)))

    epochs = batches_of(make(folder, pairs(), pruning=pruning))
    assert [sum(map(len, batches)) for batches in epochs] == [10, 10, 10]
