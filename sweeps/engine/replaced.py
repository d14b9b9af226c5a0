"""For a while, something else in another library's place: where that library has no setting for it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def replaced(owner: object, values: Mapping[str, object]) -> Iterator[None]:
    """Set the owner's attributes, which must exist, and put back at the end what they were.

    Args:
        owner: A module or a class.
        values: By name.

    Raises:
        AttributeError: It has none of that name: the library has changed.
    """
    before = {name: getattr(owner, name) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)
