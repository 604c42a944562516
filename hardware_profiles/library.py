"""Finding a profile by name or path, reading it, and saying in one line what is wrong with it."""

import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

ROOT = Path(__file__).parent
SUFFIXES = (".yaml", ".yml", ".json")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C takes a tenth of the time


class ProfileError(ValueError):
    """A profile is unknown, malformed or does not fit its use. The message is one line."""


def near_miss(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known word nearest to `word`, or nothing when none is near."""
    close = difflib.get_close_matches(word.casefold(), list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def profile_names(folder: str) -> list[str]:
    """The names of the shipped profiles in `folder`, sorted: one file is one profile."""
    return sorted(path.stem for path in (ROOT / folder).iterdir() if path.suffix in SUFFIXES)


def is_path(name: str) -> bool:
    """Whether `name` is meant as a file of the user's own rather than as a shipped profile."""
    return Path(name).suffix.lower() in SUFFIXES or len(Path(name).parts) > 1


def locate(kind: str, folder: str, name: str) -> Path:
    """The file of profile `name`: a path if it looks like one, else a shipped profile in any letter case."""
    if is_path(name):
        if not Path(name).is_file():
            raise ProfileError(f"{kind} {name!r}: no such file; give a file or one of: {_known(folder)}")
        return Path(name)
    for path in (ROOT / folder).iterdir():
        if path.suffix in SUFFIXES and path.stem.casefold() == name.casefold():
            return path
    hint = near_miss(name, profile_names(folder))
    raise ProfileError(f"unknown {kind} {name!r}{hint} (known: {_known(folder)}; or give a file)")


def read_fields(path: Path) -> dict[str, Any]:
    """The fields of a YAML or JSON file."""
    try:
        text = path.read_text(encoding="utf-8")
        fields = json.loads(text) if path.suffix.lower() == ".json" else yaml.load(text, _LOADER)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, yaml.YAMLError) as error:
        raise ProfileError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(fields, dict):
        raise ProfileError(f"{path}: expected fields with values, found {type(fields).__name__}")
    return fields


Validated = TypeVar("Validated", bound=BaseModel)


def validate(path: Path, profile: type[Validated], fields: dict[str, Any]) -> Validated:
    """`fields` of the file `path` as a `profile`; all that is wrong with them in one line."""
    try:
        return profile.model_validate(fields)
    except ValidationError as error:
        problems = [_problem(problem) for problem in error.errors()]
        raise ProfileError(f"{path}: {'; '.join(problems)}") from None


def _problem(problem: Any) -> str:
    where = ".".join(map(str, problem["loc"]))
    what = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


def _known(folder: str) -> str:
    return ", ".join(profile_names(folder))
