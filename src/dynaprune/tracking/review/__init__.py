"""The review of suspects: the samples whose labels are most probably wrong.

A run knows what each sample's losses were over all its visits (`Ledger`). A person looks at the
most suspicious samples on a page and decides on each label. The page saves these verdicts as a
file, and `read_verdicts` turns them into indices and labels.
"""

from .ledger import Ledger
from .page import write_review
from .verdict_file import read_verdicts
from .verdicts import Verdicts

__all__ = ["Ledger", "Verdicts", "read_verdicts", "write_review"]
