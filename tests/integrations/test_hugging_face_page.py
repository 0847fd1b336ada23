"""The code of docs/hugging-face.md, with small models in place of the reader's."""

from __future__ import annotations

import re

import pytest
import torch
from repository import ROOT

pytest.importorskip("trl", reason="TRL needs Python 3.11")

from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from text_models import SIZES, texts, word_tokenizer
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM
from trl import SFTConfig

from dynaprune import InfoBatch, KalmanBLS

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("default"),  # their own warnings are not ours to mend
]

OPTIONS = {"num_train_epochs": 3, "report_to": "none", "use_cpu": True, "disable_tqdm": True}


def of_trl(folder):
    model = LlamaForCausalLM(LlamaConfig(**SIZES, pad_token_id=0))
    model.save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return {
        "model": str(folder),
        "sft_config": SFTConfig(output_dir=str(folder), bf16=False, **OPTIONS),
        "train_set": Dataset.from_dict({"text": texts(44)}),
    }


def of_sentence_transformers(folder):
    BertModel(BertConfig(**SIZES)).save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    encoder = Transformer(str(folder), max_seq_length=16)
    pooling = Pooling(encoder.get_embedding_dimension())
    model = SentenceTransformer(modules=[encoder, pooling], device="cpu")
    return {
        "model": model,
        "training_arguments": SentenceTransformerTrainingArguments(str(folder), **OPTIONS),
        "train_set": Dataset.from_dict({"anchor": texts(44), "positive": texts(44, seed=1)}),
        "loss": MultipleNegativesRankingLoss(model),
    }


@pytest.mark.parametrize(("number", "given"), [(0, of_trl), (1, of_sentence_transformers)])
def test_its_code_trains(number, given, tmp_path):
    page = (ROOT / "docs" / "hugging-face.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 2
    torch.manual_seed(0)
    names = {"InfoBatch": InfoBatch, "KalmanBLS": KalmanBLS, **given(tmp_path)}
    exec(blocks[number], names)
    names["trainer"].train()
    assert names["trainer"].pruned.summary().epochs == 3
