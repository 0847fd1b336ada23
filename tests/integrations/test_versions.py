"""Names of a framework that are missing in another version."""

from __future__ import annotations

import re
from importlib.metadata import version
from types import SimpleNamespace

import pytest

from dynaprune.integrations._versions import require


def test_a_name_that_exists():
    assert require(SimpleNamespace(_loop=3), "_loop", "torch", "2.13") == 3


@pytest.mark.parametrize("owner", [SimpleNamespace(), SimpleNamespace])
def test_a_missing_name(owner):
    message = (
        f"torch {version('torch')} has no SimpleNamespace._loop, which this integration needs. "
        "It was tested with torch 2.13: pip install 'torch==2.13.*'"
    )
    with pytest.raises(ImportError, match=re.escape(message)):
        require(owner, "_loop", "torch", "2.13")
