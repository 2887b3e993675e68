"""The file of a configuration, TOML or JSON, as plain data: read within bounds, not checked yet."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from gpunn.errors import ConfigFileError
from gpunn.storage.reading import parsed_json, read_whole

__all__ = ["read_config"]

LARGEST = 2**18
"""Bytes of a configuration. What TOML can make of a few bytes takes some hundred times as many."""

DEEPEST = 32
"""Parts of a name in TOML. The parser's memory grows with the square of their number."""

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
"""Text, quoted or not, as names are made of; blanks, which may stand between a name's parts; a dot;
what no name has in it. Quotes that nothing closes go on to the end, so that the time this takes
grows no faster than the text.
"""


def read_config(path: str | Path) -> dict[str, Any]:
    """Return the content of a TOML or JSON file as plain data, unchecked.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    dict
        Tables as dicts.

    Raises
    ------
    ConfigFileError
        If the file is not valid TOML, or JSON if its name ends in ".json", or is too large.
    OSError
        If the file can't be read.

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
            raise ConfigFileError(f"{path}: not a configuration: a name of over {DEEPEST} parts")
        raw = parsed_json(text) if kind == "JSON" else tomllib.loads(text)
    except ConfigFileError:
        raise
    except ValueError as error:  # of both parsers, and of bytes that are not UTF-8
        raise ConfigFileError(f"{path}: not a valid {kind} file: {error}") from error
    except RecursionError as error:
        raise ConfigFileError(f"{path}: not a configuration: nested too deeply") from error
    if not isinstance(raw, dict):
        raise ConfigFileError(f"{path}: expected a table of settings; got {raw!r}")
    return raw


def most_parts(text: str) -> int:
    """Return the most parts that a name in TOML has, as in `a."b".'c'`, which has three."""
    most = parts = 0
    joined = False
    for match in TOML_TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "part":
            parts = parts + 1 if joined else 1
            most = max(most, parts)
        if kind != "blank":
            joined = kind == "dot"
    return most
