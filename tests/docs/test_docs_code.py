"""All Python code in README and docs/, run."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ranks import on_ranks
from repository import ROOT
from torch.utils.data import TensorDataset

from dynaprune import BLS, DataLoader, InfoBatch, KalmanBLS, load_checkpoint

ELSEWHERE = {"bench.md", "hugging-face.md", "timm.md", "ultralytics.md"}
"""Pages whose code other tests run."""


def blocks_of(name: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), flags=re.DOTALL)


def taken_for_given() -> dict:
    """Return what pages take for given: a training set, a model, an optimizer and a criterion."""
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    train_set = TensorDataset(torch.randn(600, 4), torch.arange(600) % 3)
    train = KalmanBLS(InfoBatch(train_set, num_epochs=200)).proxy()
    return {
        "torch": torch,
        "KalmanBLS": KalmanBLS,
        "InfoBatch": InfoBatch,
        "DataLoader": DataLoader,
        "train_set": train_set,
        "train": train,
        "loader": DataLoader(train, batch_size=128, sampler=train.sampler),
        "model": model,
        "criterion": torch.nn.CrossEntropyLoss(),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "penalty": lambda model: sum(p.square().sum() for p in model.parameters()),
        "accumulation_steps": 2,
    }


@pytest.fixture
def names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return taken_for_given()


def test_no_code_is_forgotten():
    texts = {page.name: page.read_text() for page in (ROOT / "docs").glob("*.md")}
    pages = {name for name, text in texts.items() if "```python" in text}
    assert (
        pages
        == {"audit.md", "fits.md", "index.md", "loops.md", "report.md", "tutorial.md"}
        | {"rare-kinds.md", "wrong-labels.md", "many-gpus.md", "resume.md", "streams.md"}
        | ELSEWHERE
    )
    assert [name for name, text in texts.items() if "```py\n" in text] == []


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_three_lines(page, names, capsys):
    code = blocks_of(page)[0].replace("200", "4").replace("num_workers=4", "num_workers=1")
    exec(code, names)
    assert re.match(
        r"4 epochs, [\d,]+ sample visits made and [\d,]+ avoided \(\d+\.\d% saved\) in",
        capsys.readouterr().out,
    )
    assert names["train"].summary().visits_avoided > 0


def test_audit(names):
    (audited,) = blocks_of("docs/audit.md")
    for images, labels in names["loader"]:
        names["train"].update(names["criterion"](names["model"](images), labels))
    exec(audited, names)
    assert names["found"].num_samples == 500


def test_fits():
    (block,) = blocks_of("docs/fits.md")
    given = {}
    exec(block, given)
    assert given["train"].summary().visits_avoided == 2 * 16_384
    assert all(each.isfinite().all() for each in given["model"].parameters())


def test_loops(names):
    blocks = blocks_of("docs/loops.md")
    within, graph, *_ = blocks
    rest = [block for block in blocks[2:] if "integrations" not in block]
    assert len(blocks) == 2 + len(rest) + 3
    for images, labels in names["loader"]:
        exec(within, names | {"images": images, "labels": labels})
    captured = {
        "static_weight": torch.ones(()),
        "static_loss": torch.ones(()),
        "graph": SimpleNamespace(replay=lambda: None),
    }
    for _ in names["loader"]:
        exec(graph, names | captured)
    for block in rest:
        exec(block, names)
    assert names["train"].summary().epochs == 4
    lbfgs = torch.optim.LBFGS(names["model"].parameters(), max_iter=3)
    for images, labels in names["loader"]:
        names["step"](lbfgs, images, labels)
    logged = []
    names["train_epoch"](lambda name, value: logged.append((name, float(value))))
    *steps, (name, mean) = logged
    assert name == "mean loss of the epoch"
    assert min(loss for _, loss in steps) < mean < max(loss for _, loss in steps)
    assert names["train"].summary().epochs == 6
    names["train_in_memory"](*names["train_set"].tensors)
    assert names["train"].summary().epochs == 7


def follow_the_guide(rank: int, code: str, folder: Path) -> dict:
    os.chdir(folder)
    names = taken_for_given()
    exec(code, names)
    return {"scores": names["train"].scores, "epochs": names["train"].summary().epochs}


def test_many_gpus(tmp_path):
    (block,) = blocks_of("docs/many-gpus.md")
    code, calls = re.subn(
        r"^distributed\.(init|destroy)_process_group\(.*\)", "", block, flags=re.M
    )
    assert calls == 2  # on_ranks makes both
    first, second = on_ranks(2, follow_the_guide, code.replace("30", "3"), tmp_path)
    assert torch.equal(first["scores"], second["scores"])
    assert first["scores"].std() > 0
    assert first["epochs"] == second["epochs"] == 3
    state = load_checkpoint(tmp_path / "checkpoint.pt")["train"]
    resumed = KalmanBLS(InfoBatch(taken_for_given()["train_set"], num_epochs=3)).proxy()
    resumed.load_state_dict(state)
    assert torch.equal(resumed.scores, first["scores"])


def test_rare_kinds(names):
    (block,) = blocks_of("docs/rare-kinds.md")
    exec(block, names)
    saved = names["train"].summary()
    assert saved.epochs == 20
    assert saved.visits_avoided == 0.4 * 20 * 600


def with_dropout(names: dict) -> dict:
    """Return names of a run whose model has dropout, anew."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(4, 3))
    train = KalmanBLS(InfoBatch(names["train_set"], num_epochs=200)).proxy()
    return names | {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
        "train": train,
        "loader": DataLoader(train, batch_size=128, sampler=train.sampler),
    }


def test_resume(names):
    (block,) = blocks_of("docs/resume.md")
    saving, loading = block.split("\n\n# in the next process")
    run = with_dropout(names)

    def train_on(run: dict, after_step: int | None = None) -> list[torch.Tensor]:
        served = []
        for number, (images, labels) in enumerate(run["loader"]):
            served.append(images)
            loss = run["train"].update(run["criterion"](run["model"](images), labels))
            run["optimizer"].zero_grad()
            loss.backward()
            run["optimizer"].step()
            if number == after_step:
                exec(saving, run)
        return served

    rest = train_on(run, after_step=2)[3:]
    resumed = with_dropout(names)
    resumed["parts"] = {name: resumed[name] for name in run["parts"]}
    exec(f"from dynaprune import load_checkpoint\n#{loading}", resumed)
    assert len(resumed["loader"]) == len(rest)
    torch.testing.assert_close(train_on(resumed), rest, rtol=0, atol=0)
    for mine, theirs in zip(resumed["model"].parameters(), run["model"].parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_stream(names):
    block, shards = blocks_of("docs/streams.md")
    stored = [{"__key__": f"{i}", "png": i} for i in range(40)]
    given = {**names, "shards": stored, "decode_image": lambda each: each["png"]}
    exec(block.replace("num_workers=4", "num_workers=1"), given)
    for batch in given["loader"]:
        given["train"].update(batch.float().mean())
    exec("train.scores[train.numbers_of(['3', '5'])]", given)
    assert len(given["train"]) == 40
    exec(shards, given)  # with a list, which also reads by number
    assert [each["png"] for each in given["stream"]] == list(range(40))


@pytest.mark.long
def test_frameworks(names, tmp_path):
    transformers = pytest.importorskip("transformers")
    accelerate = pytest.importorskip("accelerate")
    lightning = pytest.importorskip("lightning")
    blocks = [each for each in blocks_of("docs/loops.md") if "integrations" in each]
    assert len(blocks) == 3
    given = {
        **names,
        "training_arguments": transformers.TrainingArguments(
            output_dir=str(tmp_path), num_train_epochs=3, report_to=[], use_cpu=True
        ),
        "accelerator": accelerate.Accelerator(cpu=True),
        "Trainer": lambda **more: lightning.Trainer(
            accelerator="cpu", logger=False, enable_checkpointing=False, **more
        ),
    }
    for block in blocks:
        exec(block, given)
    assert given["trainer"].max_epochs == 50


def test_report(names, monkeypatch):
    names["train"] = BLS(InfoBatch(names["train_set"], num_epochs=20, saving=0.3)).proxy()
    names["loader"] = DataLoader(names["train"], batch_size=64, sampler=names["train"].sampler)
    for block in blocks_of("docs/report.md"):
        exec(block, names)
    assert names["frame"].index[0] == "digit-0.png"
    assert Path("report.html").stat().st_size > 900_000
    assert Path("runs/samples.parquet").exists()


def test_wrong_labels(names, capsys):
    training, page, subset, relabel, trimmed = blocks_of("docs/wrong-labels.md")
    exec(training.replace("30", "4"), names)
    assert len(Path("samples.csv").read_text().splitlines()) == 601
    exec(page, names)
    assert Path("suspects.html").stat().st_size > 30_000
    Path("verdicts.csv").write_text("index,label,verdict,new_label\n4,1,wrong,2\n5,2,wrong,\n")
    exec(subset, names)
    assert len(names["cleaned"]) == 598
    exec(relabel, names)
    assert names["labels"][:5].tolist() == [0, 1, 2, 0, 2]
    assert len(names["labels"]) == 599
    capsys.readouterr()
    exec(trimmed.replace("16", "4"), names | {"criterion": torch.nn.CrossEntropyLoss()})
    assert "tensor([" in capsys.readouterr().out  # the suspects


def test_tutorial(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks_of("docs/tutorial.md"):
        exec(block, names)
    out = capsys.readouterr().out
    said = re.search(r"# (6 epochs.*?) in …", (ROOT / "docs" / "tutorial.md").read_text()).group(1)
    assert out.startswith(said)
    assert names["train"].epoch == 12
    assert names["one_cycle"].last_epoch == 12 * 43  # of 1,347 digits in batches of 32: its end
    found = names["found"]
    assert 0.1 < found.correlation.value < 0.4
    assert 0.3 < found.skipped_loss_ratio.value < 0.8
    assert 0.7 < found.learned_share < 0.85
    right = float(re.search(r"([\d.]+)% of the test digits are read", out).group(1))
    assert right > 90
    assert Path("runs/report.html").exists()
