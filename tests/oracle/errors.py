"""How the oracle words its complaints."""

from collections.abc import Iterable
from difflib import get_close_matches


def check_name(field: str, name: str, known: Iterable[str]) -> None:
    """Raise ValueError, with the nearest known name, when `name` is not one of `known`."""
    names = sorted(known)
    if name in names:
        return
    near = get_close_matches(name, names, n=1)
    remedy = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(names)}"
    raise ValueError(f"{field}: unknown {name!r}; {remedy}")
