"""What a policy's docstring tells users."""

import inspect
from collections.abc import Callable


def described(function: Callable) -> tuple[str, tuple[str, ...]]:
    """The first paragraph, which is a line, and the others."""
    first, *others = (" ".join(part.split()) for part in (inspect.getdoc(function) or "").split("\n\n"))
    return first, tuple(others)
