"""The errors a user can cause in `sim`, each a single line that names the field and the remedy."""

import difflib
from collections.abc import Iterable


class SimError(ValueError):
    """Input that cannot be simulated."""


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """``what 'name' is unknown`` with near misses and the whole list."""
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=2, cutoff=0.5)
    hint = f"; did you mean {' or '.join(close)}?" if close else ";"
    return f"{what}: {name!r} is unknown{hint} known: {', '.join(names)}"
