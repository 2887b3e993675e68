"""`--set key.key=value`: one value of a configuration changed before it is checked."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from gpunn.config.refinement import forget_mode, is_part, refined_part, replaced
from gpunn.configurable import default_parameters
from gpunn.errors import ConfigError

__all__ = ["override"]

DECIDED = {
    "learning_rate": "optimizer.learning_rate",
    "weight_decay": "optimizer.weight_decay",
    "max_norm": "optimizer.max_norm",
    "label_smoothing": "loss.label_smoothing",
    "epochs": "epochs",
    "batch_size": "batch_size",
    "shuffle_members": "shuffle_members",
    "patience": "callbacks.0.patience",
    "metric": "callbacks.0.monitor",
}
"""Parameters of networks with a name that decide what `[training]` does not say, and where."""


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
    named = _check_network(raw, keys, setting, value)
    training = raw.get("training", {})
    optimizer = training.get("optimizer", {}) if isinstance(training, dict) else None
    of_recipe = named and keys[:2] == ["training", "optimizer"] and is_part("optimizer", optimizer)
    table: Any = raw
    for depth, key in enumerate(keys):
        place = _place(table, key, keys[:depth], setting)
        found = table[place] if isinstance(table, list) else table.get(place)
        if depth == len(keys) - 1:
            partly = named and keys[0] == "training" and is_part("".join(keys[1:2]), value)
            if partly and type(found) in (int, float):
                found = {"rate": found}
            change = refined_part if partly and found is not None else replaced
            table[place] = change(found, value, path.strip())
            if key == "monitor":
                forget_mode(table, found)
            return
        # A run's JSON has null for what is left out. A schedule around that of a recipe has none.
        if found is None and keys[depth + 1] != "name" and not (of_recipe and key == "schedule"):
            outermost = keys[: depth + 1] == ["training", "optimizer"] and not named
            found = default_optimizer if outermost else _default(table, key)
        is_rate = of_recipe and type(found) in (int, float)  # whose schedule is that of the recipe
        table[place] = {"rate": found} if is_rate else _opened(found, key)
        table = table[place]


def _check_network(raw: dict[str, Any], keys: list[str], setting: str, value: Any) -> bool:
    """Return whether the network has a name; raise an error where a setting would be in vain."""
    model, training = raw.get("model"), raw.get("training")
    name = model.get("name") if isinstance(model, dict) else None
    if not isinstance(name, str) or not isinstance(training, dict):
        return isinstance(name, str)
    if keys == ["model", "name"] and value != name and {"loss", "optimizer"} <= training.keys():
        raise ConfigError(
            f"--set {setting}: [training] says how {name!r} is trained; remove what is for that "
            "network alone, or train the table anew with --target and --model"
        )
    if keys[:2] == ["model", "parameters"]:
        for parameter in keys[2:3] or (value if isinstance(value, dict) else ()):
            place = DECIDED.get(parameter, "")
            if _says(training, place):
                raise ConfigError(
                    f"--set {setting}: [training] says training.{place.partition('.')[0]}, which "
                    f"comes first; set training.{place} instead of model.parameters.{parameter}"
                )
    return True


def _says(training: dict[str, Any], place: str) -> bool:
    """Return whether `[training]` decides what is at a place, as a whole or that part of it."""
    head, *parts = place.split(".")
    found: Any = training.get(head)
    if not is_part(head, found):
        return head in training
    for part in parts:
        found = found.get(part) if isinstance(found, dict) else None
    return found is not None


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
    if value is None or (key == "columns" and value == "auto"):
        return {}
    if isinstance(value, str) and key not in ("columns", "class_weight"):
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
