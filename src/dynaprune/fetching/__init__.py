"""How batches are fetched, and how it is known which samples they hold: one way a file."""

from ..serve import Told
from .fetcher import Fetcher
from .indexed import IndexedFetcher
from .slices import SlicesFetcher
from .stream import StreamFetcher

__all__ = ["Fetcher", "IndexedFetcher", "SlicesFetcher", "StreamFetcher", "Told"]
