"""Reads a TOML or JSON configuration file as unchecked plain data, within size limits."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from gpunn.errors import ConfigFileError
from gpunn.storage.reading import parsed_json, read_whole

LARGEST = 2**18
"""Maximum bytes of a configuration. Parsed TOML can take about 100 times as much memory."""

DEEPEST = 32
"""Maximum number of parts of a TOML key. The parser's memory grows with its square."""

TOML_TOKEN = re.compile(
    r"""
    (?P<part> \"{3} (?: \\. | [^\\] )*? (?: \"{3} | \Z )
            | '{3} .*? (?: '{3} | \Z )
            | " (?: \\. | [^"\\\n] )* "?
            | ' [^'\n]* '?
            | [\w-]+ )
    | (?P<blank> [ \t]+ )
    | (?P<dot> \. )
    | (?P<other> \#[^\n]* | . )
    """,
    re.DOTALL | re.VERBOSE,
)


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the content of a TOML or JSON file as plain data, without checking its keys.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    dict
        The content, with tables as dicts.

    Raises
    ------
    ConfigFileError
        If the file is too large, or is not valid TOML (JSON if its name ends in ".json").
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from gpunn.config import read_config
    >>> written = Path("seed.toml").write_text("seed = 3")
    >>> read_config("seed.toml")
    {'seed': 3}
    """
    content = read_whole(path, ConfigFileError, LARGEST, "a configuration")
    path = Path(path)
    kind = "JSON" if path.suffix == ".json" else "TOML"
    try:
        text = content.decode()
        if kind == "TOML" and most_parts(text) > DEEPEST:
            raise ConfigFileError(
                f"{path}: not a configuration: a key has more than {DEEPEST} parts"
            )
        raw = parsed_json(text) if kind == "JSON" else tomllib.loads(text)
    except ConfigFileError:
        raise
    except ValueError as error:  # from both parsers, and for bytes that are not UTF-8
        raise ConfigFileError(f"{path}: not a valid {kind} file: {error}") from error
    except RecursionError as error:
        raise ConfigFileError(f"{path}: not a configuration: nested too deeply") from error
    if not isinstance(raw, dict):
        raise ConfigFileError(f"{path}: expected a table of settings; got {raw!r}")
    return raw


def most_parts(text: str) -> int:
    """Return the number of parts of the longest key in a TOML text; `a."b".'c'` has three."""
    maximum = parts = 0
    joined = False
    for match in TOML_TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "part":
            parts = parts + 1 if joined else 1
            maximum = max(maximum, parts)
        if kind != "blank":
            joined = kind == "dot"
    return maximum
