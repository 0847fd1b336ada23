"""The example of each framework, changed as docs/frameworks.md counts it, trains pruned epochs."""

from __future__ import annotations

import textwrap
from types import SimpleNamespace

import pytest
import torch
from changed_lines import edited, is_documented, readme_example
from text_models import SIZES, texts, word_tokenizer

pytest.importorskip("trl", reason="TRL needs Python 3.11")

import datasets
from sentence_transformers.base.sampler import BatchSamplers
from torch.utils.data import TensorDataset
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM
from trl import SFTConfig

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # their own warnings are not ours to mend
]

METHOD = "from dynaprune import InfoBatch, KalmanBLS\n"
PRUNING = "pruning=lambda dataset: KalmanBLS(InfoBatch(dataset, num_epochs=3)).proxy(),\n"


def test_trl(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    LlamaForCausalLM(LlamaConfig(**SIZES, pad_token_id=0)).save_pretrained("model")
    word_tokenizer().save_pretrained("model")
    rows = datasets.Dataset.from_dict({"text": texts(40)})
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: rows)
    before = readme_example("trl")
    after = edited(
        before,
        {
            "from trl import SFTTrainer\n": METHOD
            + "from dynaprune.integrations.trl import PrunedSFTTrainer\n",
            "trainer = SFTTrainer(\n": "trainer = PrunedSFTTrainer(\n",
            "    train_dataset=dataset,\n": f"    train_dataset=dataset,\n    {PRUNING}",
        },
    )
    is_documented("TRL", "trl", before, after)
    names = {"cpu": SFTConfig("out", use_cpu=True, bf16=False)}
    exec(edited(after, {'model="Qwen/Qwen2.5-0.5B"': 'model="model", args=cpu'}), names)
    assert names["trainer"].pruned.summary().epochs == 3


def test_sentence_transformers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    BertModel(BertConfig(**SIZES)).save_pretrained("encoder")
    word_tokenizer().save_pretrained("encoder")
    usage = BatchSamplers.__doc__.split("Usage:\n        ::\n")[1]
    before = textwrap.dedent(usage).strip("\n")
    after = edited(
        before,
        {
            "import SentenceTransformer, SentenceTransformerTrainer": "import SentenceTransformer",
            "from datasets import Dataset\n": f"from datasets import Dataset\n{METHOD}"
            "from dynaprune.integrations.sentence_transformers import "
            "PrunedSentenceTransformerTrainer\n",
            "trainer = Sentence": "trainer = PrunedSentence",
            "    loss=loss,\n": f"    loss=loss,\n    {PRUNING}",
        },
    )
    is_documented("sentence-transformers", "sentence-transformers", before, after)
    names = {}
    exec(edited(after, {"microsoft/mpnet-base": "encoder"}), names)
    assert names["trainer"].pruned.summary().epochs == 3


def test_lightning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = TensorDataset(torch.rand(60, 1, 28, 28), torch.zeros(60))
    vision = SimpleNamespace(
        datasets=SimpleNamespace(MNIST=lambda *_, **__: images),
        transforms=SimpleNamespace(ToTensor=lambda: None),
    )
    before = readme_example("lightning")
    after = edited(
        before,
        {
            "import lightning as L\n": "import lightning as L\n"
            "from dynaprune import DataLoader, InfoBatch, KalmanBLS\n"
            "from dynaprune.integrations.lightning import PruningCallback\n",
            "return loss\n": "return self.trainer.train_dataloader.dataset.update(loss)\n",
            "[55000, 5000])\n": "[55000, 5000])\n"
            "train = KalmanBLS(InfoBatch(train, num_epochs=1000)).proxy()\n",
            "trainer = L.Trainer()\n": "trainer = L.Trainer(callbacks=[PruningCallback()])\n",
            "autoencoder, data.DataLoader(train)": "autoencoder, DataLoader(train)",
        },
    )
    is_documented("Lightning", "lightning", before, after)
    small = {
        "import torch, torch.nn as nn, torch.utils.data as data, torchvision as tv, ": (
            "import torch, torch.nn as nn, torch.utils.data as data, "
        ),
        "[55000, 5000]": "[40, 20]",
        "num_epochs=1000": "num_epochs=3",
        "L.Trainer(": "L.Trainer(max_epochs=3, accelerator='cpu', ",
    }
    names = {"tv": vision}
    exec(edited(after, small), names)
    assert names["train"].summary().epochs == 3
