"""TRL: a small language model, trained from scratch, learns which of three digits is the largest.

    python examples/train_trl.py [--epochs 6] [--folder trained] [--resume]

Needs `pip install '.[trl]'` in the clone, and Python 3.11 or newer.
"""

import argparse
from itertools import product

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig

from dynaprune import BLS, InfoBatch
from dynaprune.integrations.trl import PrunedSFTTrainer

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=6)
parser.add_argument("--folder", default="trained")
parser.add_argument("--resume", action="store_true", help="from the last checkpoint")
arguments = parser.parse_args()

torch.manual_seed(0)
torch.set_num_threads(1)  # more threads do not speed up a model this small
tokens = ["<pad>", "<eos>", "<unk>", *"0123456789"]
vocabulary = {token: number for number, token in enumerate(tokens)}
tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
questions = list(product("0123456789", repeat=3))
rows = Dataset.from_dict(
    {
        "prompt": [" ".join(digits) for digits in questions],
        "completion": [f" {max(digits)}" for digits in questions],
    }
).train_test_split(test_size=200, seed=0)

trainer = PrunedSFTTrainer(
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokens),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            pad_token_id=0,
        )
    ),
    args=SFTConfig(
        output_dir=arguments.folder,
        num_train_epochs=arguments.epochs,
        per_device_train_batch_size=32,
        learning_rate=3e-3,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        save_steps=100,
        logging_steps=100,
        bf16=False,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to="none",
    ),
    train_dataset=rows["train"],
    eval_dataset=rows["test"],
    processing_class=PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ),
    pruning=lambda dataset: BLS(InfoBatch(dataset, num_epochs=arguments.epochs)).proxy(),
)
trainer.train(resume_from_checkpoint=arguments.resume)
accuracy = trainer.evaluate()["eval_mean_token_accuracy"]  # of the digit and the end of the answer
if trainer.is_world_process_zero():
    print(f"test accuracy {accuracy:.1%}; {trainer.pruned.summary()}")
trainer.accelerator.end_training()  # without it, gloo may abort at exit with several ranks
