"""Files of a data set: in a folder, or in a zip file of it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Files:
    """Files, wherever they lie.

    Attributes:
        place: the folder or the zip file.
        names: their paths, with slashes, from the folder on that has the data set's own, sorted.
        read: returns the content of one, by its name.
    """

    place: Path
    names: list[str]
    read: Callable[[str], bytes]


def find_files(root: Path | None, name: str, folder: str, zip_name: str) -> Files:
    """Return the files of a data set in a folder that users keep data sets in.

    Arguments:
        root: that folder, the data set's own one, or a zip file of it.
        name: of the data set, for messages.
        folder: a folder that the data set has at its top.
        zip_name: the name of a zip file of it.

    Raises:
        ValueError: there is no `root`.
        FileNotFoundError: the data set is not there.
    """
    if root is None:
        raise ValueError(f"{name} needs a folder of data sets, --data-root DIR, but none was given")
    for candidate in (root, root / zip_name):
        if candidate.is_file() and zipfile.is_zipfile(candidate):
            archive = zipfile.ZipFile(candidate)  # open as long as `read` is there
            inner = [each for each in archive.namelist() if f"/{folder}/" in f"/{each}"]
            if inner:
                above = f"/{inner[0]}".partition(f"/{folder}/")[0].removeprefix("/")
                return _from_archive(candidate, archive, f"{above}/" if above else "")
    for candidate in (root, root / Path(zip_name).stem):
        if (candidate / folder).is_dir():
            paths = (path for path in (candidate / folder).parent.rglob("*") if path.is_file())
            names = sorted(path.relative_to(candidate).as_posix() for path in paths)
            return Files(candidate, names, _reader(candidate))
    raise FileNotFoundError(
        f"no {name} in {root}: looked for the folder {folder}, for {zip_name}, and for a zip file "
        "that has such a folder"
    )


def find_file(root: Path | None, name: str, *candidates: str) -> Path:
    """Return the path of a data set that is a single file, or the folder of a few.

    Raises:
        ValueError: there is no `root`.
        FileNotFoundError: none of the candidates is in it.
    """
    if root is None:
        raise ValueError(f"{name} needs a folder of data sets, --data-root DIR, but none was given")
    for path in (root, *(root / each for each in candidates)):
        if path.name in {Path(each).name for each in candidates} and path.exists():
            return path
    raise FileNotFoundError(f"no {name} in {root}: looked for {' and '.join(candidates)}")


def _from_archive(place: Path, archive: zipfile.ZipFile, above: str) -> Files:
    """Return the files of an archive below a folder, whose name ends with a slash."""
    names = [each.removeprefix(above) for each in archive.namelist() if each.startswith(above)]
    return Files(place, sorted(names), lambda name: archive.read(above + name))


def _reader(folder: Path) -> Callable[[str], bytes]:
    return lambda name: (folder / name).read_bytes()
