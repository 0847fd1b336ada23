"""CIFAR-10N: labels that people gave to the training images of CIFAR-10, with their errors."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

FILE = "CIFAR-10_human.pt"
TRUE = "true"
PEOPLE = {"worse": "worse_label", "random1": "random_label1", "aggre": "aggre_label"}
"""Names of labels, and what the file calls them: 40%, 17% and 9% of them are wrong."""


def read_cifar10n(root: Path) -> dict[str, Tensor]:
    """Read the file of CIFAR-10N (Wei et al., arXiv:2110.12088).

    It is a pickle, which may run code: read none that you do not trust.

    Arguments:
        root: the folder that holds `CIFAR-10_human.pt`, or a folder `cifar10n` that does.

    Returns:
        For `true` and each of `PEOPLE` the labels in the order of the original CIFAR-10: int64,
        shape (50000,).

    Raises:
        FileNotFoundError: there is no such file.
    """
    for path in (root / "cifar10n" / FILE, root / FILE, root.parent / "cifar10n" / FILE):
        if path.is_file():
            found = torch.load(path, weights_only=False)
            names = {TRUE: "clean_label", **PEOPLE}
            return {name: torch.as_tensor(found[key]).long() for name, key in names.items()}
    raise FileNotFoundError(
        f"no labels of CIFAR-10N in {root}: looked for {FILE}, and for cifar10n/{FILE}; "
        "it is published at http://noisylabels.com"
    )


def labels_by_people(name: str, labels: Tensor, root: Path) -> Tensor:
    """Return the labels that people gave to the training images of CIFAR-10.

    Image k of class c is the k-th one that has the true label c in the file. So the images may be
    in the original order or sorted by class.

    Arguments:
        name: one of `PEOPLE`.
        labels: the true labels of all training images, int64, shape (N,).
        root: see `read_cifar10n`.

    Returns:
        int64, shape (N,), in the order of `labels`.

    Raises:
        FileNotFoundError: there is no file of CIFAR-10N.
        ValueError: the classes do not have as many images as in the file.
    """
    read = read_cifar10n(root)
    ours, theirs = (torch.argsort(each, stable=True) for each in (labels, read[TRUE]))
    if not torch.equal(labels[ours], read[TRUE][theirs]):
        raise ValueError(
            f"CIFAR-10N has labels of {len(theirs)} images with "
            f"{read[TRUE].bincount().tolist()} in each class, but {len(labels)} images with "
            f"{labels.bincount().tolist()} were given: give the whole training set of CIFAR-10"
        )
    found = torch.empty_like(labels)
    found[ours] = read[name][theirs]
    return found
