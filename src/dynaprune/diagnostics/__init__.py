"""Diagnostics of a run: whether its scores and its method do their job."""

from .audit import audit
from .audit_result import Audit

__all__ = ["Audit", "audit"]
