"""For the documentation's reference: `Example:` in a docstring begins code, as `Examples:` does."""

from __future__ import annotations

import re
from typing import Any

import griffe


class DocstringExamples(griffe.Extension):
    """Renames the section before it is read: under another name, code would be taken for prose."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename it in an object's docstring."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(
                r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE
            )
