"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import secrets
from pathlib import Path
from typing import Any

__all__ = ["write_atomically", "write_json"]


def write_atomically(path: str | Path, content: bytes) -> None:
    """Write a file beside its destination, then move it over; a crash leaves the old one as it was.

    Raises
    ------
    OSError
        If the folder is missing, full or can't be written to, or `path` is a folder; nothing has
        been changed then.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "expected a file's name, not a folder", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(path.parent))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, atomically; null for numbers that are not finite."""
    text = json.dumps(finite_or_none(value), indent=2, allow_nan=False)
    write_atomically(path, f"{text}\n".encode())


def finite_or_none(value: Any) -> Any:
    """Return a value of JSON types with None for NaN and infinities, which JSON does not have."""
    if isinstance(value, dict):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
