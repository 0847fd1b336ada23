"""sentence-transformers: phrases and their translations, embedded close to each other.

    python examples/train_embeddings.py [--epochs 6] [--folder trained]

Needs `pip install '.[sentence-transformers]'` in the clone.
"""

import argparse
from itertools import product
from operator import eq

import torch
from datasets import Dataset, concatenate_datasets
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from dynaprune import BLS, InfoBatch
from dynaprune.integrations.sentence_transformers import PrunedSentenceTransformerTrainer

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=6)
parser.add_argument("--folder", default="trained")
arguments = parser.parse_args()

torch.manual_seed(0)
torch.set_num_threads(1)  # more threads do not speed up a model this small
english = "big small old new, red blue green black, house boat road tree wall, here there now"
german = "gross klein alt neu, rot blau gruen schwarz, Haus Boot Strasse Baum Wand, hier dort jetzt"
phrases, translations = (
    [" ".join(words) for words in product(*(part.split() for part in language.split(",")))]
    for language in (english, german)
)
pairs = Dataset.from_dict({"anchor": phrases, "positive": translations})
pairs = pairs.train_test_split(test_size=0.2, seed=0)
train_set = concatenate_datasets([pairs["train"]] * 3)  # in real data, too, phrases come again

words = sorted({word for text in phrases + translations for word in text.split()})
vocabulary = {word: number for number, word in enumerate(["<pad>", "<unk>", *words])}
tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>"
).save_pretrained(f"{arguments.folder}/new")
BertModel(
    BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
    )
).save_pretrained(f"{arguments.folder}/new")
encoder = Transformer(f"{arguments.folder}/new")
model = SentenceTransformer(modules=[encoder, Pooling(encoder.get_embedding_dimension())])

trainer = PrunedSentenceTransformerTrainer(
    model,
    SentenceTransformerTrainingArguments(
        output_dir=arguments.folder,
        num_train_epochs=arguments.epochs,
        per_device_train_batch_size=16,
        learning_rate=3e-3,
        batch_sampler="no_duplicates",  # a phrase that comes twice would be its own negative
        logging_steps=20,
        save_strategy="no",
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        report_to="none",
    ),
    train_dataset=train_set,
    loss=MultipleNegativesRankingLoss(model),
    pruning=lambda dataset: BLS(InfoBatch(dataset, num_epochs=arguments.epochs)).proxy(),
)
trainer.train()
if trainer.is_world_process_zero():
    found = model.similarity(model.encode(pairs["test"]["anchor"][:]), model.encode(translations))
    answers = [translations[row] for row in found.argmax(1)]
    right = sum(map(eq, answers, pairs["test"]["positive"]))
    accuracy = right / len(answers)
    print(f"test accuracy {accuracy:.1%}; {trainer.pruned.summary()}")
trainer.accelerator.end_training()  # without it, gloo may abort at exit with several ranks
