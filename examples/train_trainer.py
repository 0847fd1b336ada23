"""Hugging Face Transformers: a small BERT, trained from scratch, reads digits row by row.

    python examples/train_trainer.py [--epochs 20] [--folder trained] [--resume]

Needs `pip install '.[transformers,demo]'` in the clone.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from transformers import BertConfig, BertForSequenceClassification, TrainingArguments

from dynaprune import BLS, InfoBatch
from dynaprune.integrations.transformers import PrunedTrainer

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--folder", default="trained")
parser.add_argument("--resume", action="store_true", help="from the last checkpoint")
arguments = parser.parse_args()

torch.manual_seed(0)
torch.set_num_threads(1)  # more threads do not speed up a model this small
images, labels = load_digits(return_X_y=True)
samples = [  # a row of eight pixels is a word: its embedding is the pixels, eight times over
    {"inputs_embeds": torch.tensor(image / 16).float().view(8, 8).tile(8), "labels": int(label)}
    for image, label in zip(images, labels, strict=True)
]

trainer = PrunedTrainer(
    BertForSequenceClassification(
        BertConfig(
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
            num_labels=10,
        )
    ),
    TrainingArguments(
        output_dir=arguments.folder,
        num_train_epochs=arguments.epochs,
        per_device_train_batch_size=16,
        gradient_accumulation_steps=2,
        learning_rate=1e-3,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        save_steps=100,
        logging_steps=100,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to="none",
    ),
    train_dataset=samples[:1400],
    eval_dataset=samples[1400:],
    compute_metrics=lambda result: {
        "accuracy": float((result.predictions.argmax(1) == result.label_ids).mean())
    },
    pruning=lambda dataset: BLS(InfoBatch(dataset, num_epochs=arguments.epochs)).proxy(),
)
trainer.train(resume_from_checkpoint=arguments.resume)
accuracy = trainer.evaluate()["eval_accuracy"]
if trainer.is_world_process_zero():
    print(f"test accuracy {accuracy:.1%}; {trainer.pruned.summary()}")
trainer.accelerator.end_training()  # without it, gloo may abort at exit with several ranks
