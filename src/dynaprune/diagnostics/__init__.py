"""What a run tells about itself: whether its scores, and its method, do what they are for."""

from .audit import audit
from .audit_result import Audit

__all__ = ["Audit", "audit"]
