"""Formats numbers and settings for a report."""

import math
from collections.abc import Callable
from typing import Any

from gpunn.differences import ABSENT

SPACE = "\N{NO-BREAK SPACE}"


def number_text(value: Any, name: str = "") -> str:
    r"""Return a number as text: accuracies in percent, integers in full, others with four digits.

    >>> number_text(0.98612, "val_accuracy"), number_text(12345), number_text(0.000123456)
    ('98.61\xa0%', '12,345', '0.0001235')
    >>> number_text(None), number_text(float("nan")), number_text(True), number_text([1, 2])
    ('–', '–', 'true', '[1, 2]')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)) and name.endswith("accuracy"):
        return f"{100 * value:.2f}{SPACE}%"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return f"{int(value):,}" if abs(value) < 1e15 else f"{value:.4g}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def setting_text(value: Any, number: Callable[[float], str] = str) -> str:
    """Return a value of a configuration in one line; `number` formats floats.

    >>> setting_text(0.0012345), setting_text(None), setting_text(True), setting_text(ABSENT)
    ('0.0012345', 'none', 'true', '–')
    >>> setting_text({"name": "cosine", "rate": 0.1}), setting_text([{"name": "dense"}, "relu"])
    ('cosine (rate 0.1)', '[dense, relu]')
    """
    if value is ABSENT:
        return "–"
    if isinstance(value, list):
        return f"[{', '.join(setting_text(each, number) for each in value)}]"
    if isinstance(value, dict):
        parts = {key: setting_text(each, number) for key, each in value.items() if key != "name"}
        rest = ", ".join(f"{key} {text}" for key, text in parts.items())
        named = str(value.get("name", ""))
        return f"{named} ({rest})" if rest and named else named or rest
    if value is None:
        return "none"
    if isinstance(value, float):
        return number(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def duration(seconds: float) -> str:
    """Return a time span as text.

    >>> duration(0.456), duration(75.2), duration(7384)
    ('0.46 s', '1 min 15 s', '2 h 3 min')
    """
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
