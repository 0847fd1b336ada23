"""A page that shows what a training skipped."""

from .page import write_report

__all__ = ["write_report"]
