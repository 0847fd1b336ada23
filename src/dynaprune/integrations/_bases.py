"""The order of a class and a mixin in a list of bases."""

from __future__ import annotations


def check_comes_first(mixin: type, trainer: type, new: type) -> None:
    """Check that a mixin comes before a framework's trainer, whose methods it overrides.

    Arguments:
        mixin: the mixin.
        trainer: the class that all trainers of the framework have as a base.
        new: a class with this mixin.

    Raises:
        TypeError: a trainer comes before the mixin.
    """
    before = new.__mro__[: new.__mro__.index(mixin)]
    late = [each for each in before if issubclass(each, trainer) and not issubclass(each, mixin)]
    if late:
        first = late[0].__name__
        raise TypeError(
            f"{new.__name__} has {mixin.__name__} after {first} in its list of bases, so its "
            f"methods are not used: write class {new.__name__}({mixin.__name__}, {first})"
        )
