"""The report: an HTML page that shows what a training run skipped."""

from .page import write_report

__all__ = ["write_report"]
