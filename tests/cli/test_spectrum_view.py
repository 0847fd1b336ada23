"""A spectrum as a table for the terminal."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dynaprune.cli.spectrum_view import spectrum_table
from dynaprune.diagnostics.spectrum import Spectrum


@pytest.mark.parametrize(("error", "expected"), [(0.1, "113%"), (0.2, "not known: no signal was")])
def test_a_share_of_a_signal_that_was_not_found(error, expected):
    numbers = {field.name: 0.3 for field in dataclasses.fields(Spectrum)}
    line = np.linspace(0, 0.5, 3)
    arrays = dict.fromkeys(("frequencies", "signal", "noise", "response"), line)
    found = Spectrum(**numbers | arrays | {"signal_error": error, "slow_share": 1.13})
    cells = spectrum_table(found, "a run").columns[1].cells
    assert any(str(cell).startswith(expected) for cell in cells)
