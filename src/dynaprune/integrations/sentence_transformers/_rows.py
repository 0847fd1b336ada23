"""Rows of a dataset whose columns are read once per run."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Rows:
    """Some rows of a dataset, for a batch sampler that reads no more than a column of them.

    A `datasets.Dataset` reads a column row by row, each time that it is asked for it. Here a column
    of the whole dataset is read the first time, and each selection of rows takes its values.

    Arguments:
        dataset: a `datasets.Dataset`.
        rows: shape (K,), the rows that are selected.
        read: the columns that were read, by name; this object adds those that it reads.
    """

    def __init__(self, dataset: Any, rows: NDArray[np.int64], read: dict[str, list[Any]]) -> None:
        self.column_names: list[str] = dataset.column_names
        self._dataset, self._rows, self._read = dataset, rows, read

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._read:
            self._read[name] = list(self._dataset[name][:])  # at once, not row by row
        column = self._read[name]
        return [column[row] for row in self._rows.tolist()]
