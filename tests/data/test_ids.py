"""Names of samples, by the paths of their files or by a column."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from dynaprune.data.ids import file_names, sample_ids


class Known(list):
    """Two samples that know their files."""

    def __init__(self, **attributes):
        super().__init__([None, None])
        vars(self).update(attributes)


PATHS = ["data/cat/1.png", "data/dog/1.png"]


@pytest.mark.parametrize(
    "attributes",
    [
        {"samples": [(PATHS[0], 0), (PATHS[1], 1)]},
        {"imgs": [(PATHS[0], 0), (PATHS[1], 1)]},
        {"image_files": PATHS},
        {"image_paths": tuple(Path(path) for path in PATHS)},
        {"files": PATHS},
        {"_image_files": [Path(path) for path in PATHS]},
        {"samples": [3, 4], "files": PATHS},  # the first that holds paths
    ],
)
def test_paths_of_files(attributes):
    dataset = Known(**attributes)
    assert sample_ids(dataset) == PATHS
    assert sample_ids(Known(root="data", **attributes)) == ["cat/1.png", "dog/1.png"]
    assert sample_ids(Known(root=Path("data/cat"), **attributes)) == PATHS  # not all are below it
    assert sample_ids(Subset(dataset, [1])) == PATHS[1:]
    both = ConcatDataset([Subset(dataset, [1, 0]), Known(files=["a.jpg", "b.jpg"])])
    assert sample_ids(Subset(both, [3, 0])) == ["b.jpg", PATHS[1]]


class Raising(list):
    @property
    def samples(self):
        raise OSError("no file")


@pytest.mark.parametrize(
    "dataset",
    [
        range(2),
        TensorDataset(),
        Known(samples=[("a movie that is fun.", 1), ("dull. Really", 0)]),  # texts, not paths
        Known(samples=["v1.0", "v1.1"]),
        Known(files=PATHS[:1]),
        Known(files=lambda: PATHS),
        Known(files=[b"a.png", b"b.png"]),
        Raising([1, 2]),
        ConcatDataset([Known(files=PATHS), Known()]),
    ],
)
def test_datasets_without_paths(dataset):
    assert file_names(dataset) is None
    if not isinstance(dataset, TensorDataset):
        with pytest.raises(ValueError, match=r"ids='auto' takes the paths .* as a list, one per"):
            sample_ids(dataset)


def test_a_column():
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_dict({"name": ["a", "b", "c"], "number": [7, 8, 9]})
    assert sample_ids(dataset, "name") == ["a", "b", "c"]
    assert sample_ids(Subset(dataset, [2, 0]), "number") == [9, 7]
    assert sample_ids(ConcatDataset([dataset, Subset(dataset, [1])]), "name") == [*"abcb"]
    with pytest.raises(
        ValueError, match=r"ids='path' must be 'auto' or a column .* \(it has name, number\)"
    ):
        sample_ids(dataset, "path")
    with pytest.raises(ValueError, match=r"ids='auto' .* a column \(it has name, number\)"):
        sample_ids(Subset(dataset, [0]))
    with pytest.raises(ValueError, match=r"ids='name' .* this range has no such column: give"):
        sample_ids(range(3), "name")
