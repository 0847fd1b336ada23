"""A test that needs data sets says what is missing, where it was looked for and what to set."""

from __future__ import annotations

import pytest
from shared import find_shared_data


def test_a_folder_that_is_given_comes_before_the_default(tmp_path):
    given, default = tmp_path / "given", tmp_path / "default"
    default.mkdir()
    assert find_shared_data(None, default) == default
    given.mkdir()
    assert find_shared_data(str(given), default) == given


def test_without_a_folder_the_reason_says_what_to_set(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(pytest.skip.Exception) as skipped:
        find_shared_data(None, missing)
    for words in ("data sets", "docs/bench.md", str(missing), "set DYNAPRUNE_SHARED_DATA"):
        assert words in str(skipped.value)


def test_a_wrong_folder_that_is_given_is_no_reason_to_skip(tmp_path):
    with pytest.raises(pytest.fail.Exception, match="DYNAPRUNE_SHARED_DATA must name a folder"):
        find_shared_data(str(tmp_path / "missing"), tmp_path)
