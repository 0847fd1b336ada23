"""What a person has said on the page of suspects, read back."""

from __future__ import annotations

import numpy as np
import pytest
from torch.utils.data import Subset

from dynaprune.tracking import read_verdicts

HEAD = "index,id,label,verdict,new_label\n"


def written(folder, text, encoding="utf-8"):
    path = folder / "verdicts.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.fixture
def found(tmp_path):
    rows = "4,e.png,dog,wrong,cat\n0,a.png,cat,right,\n2,c.png,cat,wrong,\n1,b.png,dog,skip,\n"
    return read_verdicts(written(tmp_path, HEAD + rows))


def test_the_arrays(found):
    assert found.indices.dtype == np.int64
    assert found.indices.tolist() == [4, 0, 2]  # what was skipped is left out
    assert found.right.tolist() == [0]
    assert found.wrong.tolist() == [4, 2]
    assert found.labels.tolist() == ["dog", "cat", "cat"]
    assert found.new_labels.tolist() == ["cat", "", ""]
    assert len(found) == 3


def test_a_subset_without_the_wrong_ones(found):
    samples = ["a", "b", "c", "d", "e", "f"]
    assert list(Subset(samples, found.kept(6))) == ["a", "b", "d", "f"]
    assert list(Subset(samples, found.kept(6, relabeled=True))) == ["a", "b", "d", "e", "f"]
    with pytest.raises(ValueError, match="a dataset with at least 5, but this one has 4: give the"):
        found.kept(4)
    with pytest.raises(TypeError, match="count"):
        found.kept(6.0)


def test_new_labels(found):
    numbers = found.relabel([0, 1, 0, 1, 1, 0], classes=["cat", "dog"])
    assert numbers.tolist() == [0, 1, 0, 1, 0, 0]
    assert numbers.dtype == np.int64
    names = found.relabel(["cat", "dog", "cat", "dog", "dog", "cat"])
    assert names.tolist() == ["cat", "dog", "cat", "dog", "cat", "cat"]


def test_numbers_without_names(tmp_path):
    found = read_verdicts(written(tmp_path, HEAD + "1,,3,wrong,5\n"))
    labels = np.array([5, 3, 3], dtype=np.int32)
    assert found.relabel(labels).tolist() == [5, 5, 3]
    assert found.relabel(labels).dtype == np.int32


def test_a_longer_name_is_not_cut(tmp_path):
    found = read_verdicts(written(tmp_path, "index,verdict,new_label\n0,wrong,automobile\n"))
    assert found.relabel(["cat", "automobile"]).tolist() == ["automobile", "automobile"]


@pytest.mark.parametrize(
    ("labels", "classes", "message"),
    [
        ([0, 1, 1, 1, 1, 0], ["cat", "dog"], "1 of 3 are others: sample 2 was 'cat' on the page"),
        ([0, 1, 0, 1, 1, 0], None, "3 of 3 are others: sample 4 was 'dog' on the page, and is '1'"),
        (["dog"] * 6, None, "2 of 3 are others"),
        ([0, 1], ["cat", "dog"], "at least 5, but this one has 2"),
    ],
)
def test_labels_of_another_dataset(found, labels, classes, message):
    with pytest.raises(ValueError, match=message):
        found.relabel(labels, classes)


@pytest.mark.parametrize(
    ("row", "classes", "message"),
    [
        (
            "0,,cat,wrong,cow\n",
            ["cat", "dog"],
            "sample 0 has the new label 'cow', but no class has",
        ),
        ("0,,cat,wrong,dog\n", ["cat", "dog", "dog"], "'dog', but several classes have this name"),
    ],
)
def test_a_new_label_that_is_no_class(tmp_path, row, classes, message):
    found = read_verdicts(written(tmp_path, HEAD + row))
    with pytest.raises(ValueError, match=message):
        found.relabel([0, 1], classes)


def test_by_id(tmp_path):
    path = written(tmp_path, "id,verdict\nb.png,wrong\na.png,right\n")
    found = read_verdicts(path, ids=["c.png", "b.png", "a.png"])
    assert found.indices.tolist() == [1, 2]
    assert found.wrong.tolist() == [1]
    with pytest.raises(ValueError, match=r"line 3 of .*: no sample has the id 'a.png'"):
        read_verdicts(path, ids=["b.png"])
    with pytest.raises(ValueError, match=r"ids must be unique, but 'b.png' was given twice"):
        read_verdicts(path, ids=["b.png", "b.png"])
    with pytest.raises(ValueError, match="must have the columns 'index' and 'verdict'"):
        read_verdicts(path)


def test_as_a_spreadsheet_writes_it(tmp_path):
    text = '\ufeffindex,label,verdict\r\n3,"a, b\nc", Wrong \r\n'
    found = read_verdicts(written(tmp_path, text))
    assert found.wrong.tolist() == [3]
    assert found.labels.tolist() == ["a, b\nc"]


def test_no_verdict_yet(tmp_path):
    found = read_verdicts(written(tmp_path, HEAD))
    assert found.kept(3) == [0, 1, 2]
    assert found.relabel([2, 1, 0]).tolist() == [2, 1, 0]
    assert found.relabel([]).tolist() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "but its columns are none"),
        ("index;verdict\n", "separated by commas, but its columns are 'index;verdict'"),
        ("index,verdict\n1,maybe\n", "line 2 of .*: the verdict must be right, wrong or skip, but"),
        ("index,verdict\n-1,wrong\n", "line 2 of .*: the index must be an integer of at least 0"),
        (
            "index,verdict\n1.0,wrong\n",
            "the index must be an integer of at least 0, but it is '1.0",
        ),
        ("index,verdict\n1,wrong\n2,right\n1,right\n", "lines 2 and 4 of .* on the same sample, 1"),
        ("index,verdict\n1\n", "line 2 of .* must have 2 cells"),
        ("index,verdict\n1,wrong,3\n", "line 2 of .* must have 2 cells"),
        ("index,verdict\n" + "1" * 200_000 + ",wrong\n", "is no table of verdicts in CSV: field"),
        ("index,verdict\n99999999999999999999,wrong\n", "the index must be an integer"),
    ],
)
def test_a_file_that_is_no_table_of_verdicts(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_verdicts(written(tmp_path, text))


def test_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*: the button 'Save verdicts'"):
        read_verdicts(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="is no table of verdicts in CSV"):
        read_verdicts(written(tmp_path, "index,verdict,größe\n", "latin-1"))
