"""The keys that identify the samples of a stream, and the sample numbers they are mapped to."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..utils.sampling import CHUNK

Key: TypeAlias = "str | bytes | int"


def fingerprint(key: Any) -> int:
    """Return a 64-bit fingerprint of a key, as a signed integer: the same in every process.

    A 64-bit integer is its own fingerprint. Other keys are hashed. The probability that any two of
    10⁸ keys collide is 1 in 3,700; they would share one score.

    Raises:
        TypeError: `key` is no string, bytes or integer.
    """
    if isinstance(key, str):
        key = key.encode()
    elif isinstance(key, (int, np.integer)) and not isinstance(key, bool):
        number = int(key)
        if -(2**63) <= number < 2**63:
            return number
        key = str(number).encode()
    if not isinstance(key, bytes):
        raise TypeError(
            "a sample's key must be a string, bytes or an integer, unique to the sample and the "
            f"same in every pass, but key=... returned {key!r} ({type(key).__name__})"
        )
    return int.from_bytes(blake2b(key, digest_size=8).digest(), "little", signed=True)


def _none() -> NDArray[np.int64]:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class KeyTable:
    """The known keys of a stream. The number of a sample is the position of its key in the table.

    So numbers depend only on which keys are known, not on the order or the rank in which they came.

    Attributes:
        fingerprints: int64, shape (N,), strictly ascending.
    """

    fingerprints: NDArray[np.int64] = field(default_factory=_none)

    def __len__(self) -> int:
        return self.fingerprints.size

    def numbers_of(self, fingerprints: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the numbers of some keys, −1 for unknown keys: int64, shape (M,)."""
        numbers = np.full(fingerprints.size, -1, dtype=np.int64)
        if len(self) == 0:
            return numbers
        for start in range(0, fingerprints.size, CHUNK):
            part = fingerprints[start : start + CHUNK]
            order = np.argsort(part)  # one pass through the table is faster than random searches
            wanted = part[order]
            places = np.minimum(np.searchsorted(self.fingerprints, wanted), len(self) - 1)
            found = np.where(self.fingerprints[places] == wanted, places, -1)
            numbers[start : start + CHUNK][order] = found
        return numbers

    def with_keys(self, fingerprints: NDArray[np.int64]) -> KeyTable:
        """Return the table with these keys added: int64, shape (M,); known keys are allowed."""
        every = np.concatenate([self.fingerprints, fingerprints])
        every.sort()  # np.unique takes ten times as long
        return KeyTable(every[np.append(True, every[1:] != every[:-1])])

    def __deepcopy__(self, memo: dict[int, Any]) -> KeyTable:
        return self  # it is immutable
