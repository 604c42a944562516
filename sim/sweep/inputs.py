"""The files that a scenario names, by what is in them: a result belongs to contents, not to paths."""

from collections.abc import Iterator
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

MAY_BE_FILES = ("trace", "pool", "gpu", "model", "calibration", "serving_engine")


def input_fields(fields: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Of a dumped scenario, the parts and their fields that name a file or a folder which is there."""
    for part in (fields, fields["workload"], *(fields["fleet"] or ())):
        for name in MAY_BE_FILES:
            if part.get(name) is not None and Path(part[name]).exists():
                yield part, name


def content_digest(path: str) -> str:
    """SHA-256, in hexadecimal, of a file, or of all files in a folder with their names."""
    if Path(path).is_file():
        with open(path, "rb") as file:
            return file_digest(file, "sha256").hexdigest()
    whole = sha256()
    for inside in sorted(one for one in Path(path).rglob("*") if one.is_file()):
        whole.update(f"{inside.relative_to(path)}\0{content_digest(str(inside))}\n".encode())
    return whole.hexdigest()
