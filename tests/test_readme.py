"""What README shows, run."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import TensorDataset

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_example(tmp_path, monkeypatch, capsys):
    """All Python examples, in their order, in one namespace, with a loop of four short epochs."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    streams = [block for block in blocks if "PrunedIterableDataset" in block]
    trimmed = [block for block in blocks if "TrimmedLoss" in block]
    blocks = [block for block in blocks if block not in streams + trimmed]
    assert (len(blocks), len(streams), len(trimmed)) == (9, 1, 1)
    model = torch.nn.Linear(4, 3)
    names = {
        "torch": torch,
        "train_set": TensorDataset(torch.randn(600, 4), torch.arange(600) % 3),
        "model": model,
        "criterion": torch.nn.CrossEntropyLoss(),
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "penalty": lambda model: sum(p.square().sum() for p in model.parameters()),
        "accumulation_steps": 2,
    }
    exec(blocks[0].replace("200", "4").replace("num_workers=4", "num_workers=1"), names)
    assert re.match(
        r"4 epochs, [\d,]+ sample visits made and [\d,]+ avoided \(\d+\.\d% saved\) in",
        capsys.readouterr().out,
    )
    assert names["train"].summary().visits_avoided > 0
    for images, labels in names["loader"]:
        exec(blocks[1], names | {"images": images, "labels": labels})
    graph = {
        "static_weight": torch.ones(()),
        "static_loss": torch.ones(()),
        "graph": SimpleNamespace(replay=lambda: None),
    }
    for _ in names["loader"]:
        exec(blocks[2], names | graph)
    for block in blocks[3:]:
        exec(block, names)
    assert names["train"].summary().epochs == 8
    assert names["found"].num_samples == 500
    exec(trimmed[0].replace("16", "4"), dict(names))
    assert "tensor([" in capsys.readouterr().out  # the suspects
    stored = [{"__key__": f"{i}", "png": i} for i in range(40)]
    in_stream = {**names, "shards": stored, "decode_image": lambda each: each["png"]}
    exec(streams[0].replace("num_workers=4", "num_workers=1"), in_stream)
    for batch in in_stream["loader"]:
        in_stream["train"].update(batch.float().mean())
    exec("train.scores[train.numbers_of(['3', '5'])]", in_stream)
    assert len(in_stream["train"]) == 40


def test_every_name_of_the_library_is_public():
    import dynaprune

    used = set(re.findall(r"`(\w+)\(dataset, num_epochs", README))
    assert used == {"InfoBatch", "SeTa", "RandomPrune", "StaticPrune", "NoPrune"}
    assert used <= set(dynaprune.__all__)


def test_defaults_in_the_table_of_methods():
    import dynaprune

    for name, arguments in re.findall(r"`(\w+)\(dataset, num_epochs(.*?)\)`", README):
        made = getattr(dynaprune, name)([0], 1)  # some defaults depend on other arguments
        for argument, value in re.findall(r"(\w+)=([\d.]+)", arguments):
            if argument != "saving":
                assert getattr(made, argument) == float(value), (name, argument)


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)(.*?)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        found = page if path == "" else page.parent / path
        assert found.exists(), target
        if anchor:
            assert anchor in anchors_of(found.read_text()), target


def anchors_of(text: str) -> set[str]:
    """Return what headings are linked by: words in lower case, with hyphens, without marks."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {
        re.sub(r"[^\w -]|[⁰¹²³⁴⁵⁶⁷⁸⁹]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }
