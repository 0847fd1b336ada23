"""HTML pages of one file: their templates, and the data in them."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from ...utils.files import check_folder_of
from ...utils.optional_imports import require


def checked_path(path: str | os.PathLike[str], what: str) -> Path:
    """Return the path of a file, for which there is a folder.

    Arguments:
        path: the path.
        what: the file with an example, for messages: "the page, such as report.html".

    Raises:
        FileNotFoundError: there is no folder for it.
        IsADirectoryError: it is a folder itself.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the path of {what}")
    check_folder_of(path)
    return path


def resource(package: str, name: str) -> str:
    """Return the text of a file in a package."""
    return files(package).joinpath(name).read_text("utf-8")


def as_script(value: Any) -> str:
    """Return a value as JSON for a script element, which an escaped "<" cannot end."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def render_html(template: str, **values: Any) -> bytes:
    """Return a page from the text of its template; all values are escaped.

    Raises:
        ImportError: the package that renders the page is not installed.
    """
    jinja = require("jinja2", "report")
    environment = jinja.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    text: str = environment.from_string(template).render(**values)
    # a lone surrogate cannot be encoded
    return text.rstrip().encode("utf-8", "replace") + b"\n"
