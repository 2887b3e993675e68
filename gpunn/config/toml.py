"""Writes plain data as TOML, for example the value that `--set` sets."""

from __future__ import annotations

import json
from typing import Any

from gpunn.errors import ArgumentError


def toml_text(value: Any) -> str:
    r"""Return a value as one line of TOML.

    Parameters
    ----------
    value : bool, int, float, str, list or dict
        Plain data; lists and dicts may be nested.

    Returns
    -------
    str
        The TOML text, without line breaks.

    Raises
    ------
    ArgumentError
        If TOML cannot express the value, for example null.

    Examples
    --------
    >>> from gpunn.config import toml_text
    >>> toml_text({"name": "sgd", "momentum": 0.9}), toml_text([True, 1, 'a "b"'])
    ('{ "name" = "sgd", "momentum" = 0.9 }', '[true, 1, "a \\"b\\""]')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        # TOML uses the same escapes as JSON, and also escapes the character 0x7f.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(toml_text, value))}]"
    if isinstance(value, dict):
        items = [f"{toml_text(key)} = {toml_text(item)}" for key, item in value.items()]
        return f"{{ {', '.join(items)} }}" if items else "{}"
    raise ArgumentError(
        f"expected a string, a number, true, false, a list or a table; got {value!r:.80}"
    )
