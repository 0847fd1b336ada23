"""How batches are fetched, and how it is known which samples they hold: one way a file."""

from .fetcher import Fetcher, Told
from .indexed import IndexedFetcher
from .slices import SlicesFetcher
from .stream import StreamFetcher

__all__ = ["Fetcher", "IndexedFetcher", "SlicesFetcher", "StreamFetcher", "Told"]
