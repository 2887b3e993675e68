"""`--set key.key=value`: one value of a configuration changed before it is checked."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from gpunn.configurable import default_parameters
from gpunn.errors import ConfigError

__all__ = ["override"]


def override(raw: dict[str, Any], setting: str, default_optimizer: object) -> None:
    """Change one value of a configuration in place; see `gpunn.config.set_value`."""
    path, equals, text = setting.partition("=")
    keys = [key.strip() for key in re.sub(r"\[(\d+)\]", r".\1", path).split(".")]
    if not equals or not all(keys):
        raise ConfigError(f"--set {setting}: expected key=value, such as training.epochs=3")
    try:
        value = _toml_value(text)
    except RecursionError as error:
        raise ConfigError(f"--set {path.strip()}: the value is nested too deeply") from error
    in_data = keys[0] == "data" and keys[-1].endswith("path")
    if (in_data or keys == ["model", "start_from"]) and isinstance(value, str):
        value = str(Path(value).expanduser().absolute())
    table: Any = raw
    for depth, key in enumerate(keys):
        place = _place(table, key, keys[:depth], setting)
        if depth == len(keys) - 1:
            table[place] = value
            return
        found = table[place] if isinstance(table, list) else table.get(place)
        if (
            found is None and keys[depth + 1] != "name"
        ):  # a run's JSON has null for what is left out
            outermost = keys[: depth + 1] == ["training", "optimizer"]
            found = default_optimizer if outermost else _default(table, key)
        table[place] = _opened(found, key)
        table = table[place]


def _place(table: Any, key: str, outer: list[str], setting: str) -> Any:
    """Return by what a table, or a list, is indexed where a setting says `key`."""
    if isinstance(table, dict):
        return key
    where = re.sub(r"\.(\d+)", r"[\1]", ".".join(outer))
    if not isinstance(table, list):
        raise ConfigError(f"--set {setting}: {where} is {table!r}, which has no parts")
    if not key.isdecimal():
        raise ConfigError(f"--set {setting}: {where} is a list; expected a number, not {key!r}")
    if int(key) >= len(table):
        raise ConfigError(
            f"--set {setting}: {where} has {len(table)} entries, numbered from 0; there is no "
            f"number {key}"
        )
    return int(key)


def _opened(value: Any, key: str) -> Any:
    """Return the table that a name or the number of a schedule stands for; else the value."""
    if value is None:
        return {}
    if isinstance(value, str):
        return {"name": value}
    if key in ("learning_rate", "schedule") and type(value) in (int, float):
        return {"name": "constant", "rate": value}
    return value


def _default(table: dict[str, Any], key: str) -> Any:
    """Return the default of a parameter of the object that a table describes, if there is one."""
    if not isinstance(table.get("name"), str):
        return None
    from gpunn import layers, optimizers  # noqa: F401  # whose classes are then known by name

    default = default_parameters(table["name"]).get(key)
    return default if isinstance(default, (str, int, float, dict)) else None


def _toml_value(text: str) -> Any:
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    return document["value"] if len(document) == 1 else text
