"""`--set key.key=value`: changes one value of a configuration before it is checked."""

import re
import tomllib
from pathlib import Path
from typing import Any

from gpunn.config.refinement import is_part, refined_part, replaced, reset_mode
from gpunn.configurable import default_parameters
from gpunn.errors import ConfigError

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
"""Maps parameters of tabular models to the paths of the `[training]` defaults that they set."""


def override(raw: dict[str, Any], setting: str, default_optimizer: object) -> None:
    path, equals, text = setting.partition("=")
    keys = [key.strip() for key in re.sub(r"\[(\d+)\]", r".\1", path).split(".")]
    if not equals or not all(keys):
        raise ConfigError(f"--set {setting}: expected key=value, such as training.epochs=3")
    if len(keys) == 1 and keys[0] in DECIDED:
        meant = f"training.{DECIDED[keys[0]]}"
        raise ConfigError(f"--set {setting}: there is no key {keys[0]!r}; did you mean {meant!r}?")
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
        index = _index(table, key, keys[:depth], setting)
        old = table[index] if isinstance(table, list) else table.get(index)
        if depth == len(keys) - 1:
            partly = named and keys[0] == "training" and is_part("".join(keys[1:2]), value)
            if partly and type(old) in (int, float):
                old = {"rate": old}
            change = refined_part if partly and old is not None else replaced
            table[index] = change(old, value, path.strip())
            if key == "monitor":
                reset_mode(table, old)
            return
        # A run's JSON has null for a missing value. A schedule that wraps the schedule of a tabular
        # model's recipe gets no default.
        if old is None and keys[depth + 1] != "name" and not (of_recipe and key == "schedule"):
            outermost = keys[: depth + 1] == ["training", "optimizer"] and not named
            old = default_optimizer if outermost else _default(table, key)
        is_rate = of_recipe and type(old) in (int, float)  # the rate of the recipe's schedule
        table[index] = {"rate": old} if is_rate else _as_table(old, key)
        table = table[index]


def _check_network(raw: dict[str, Any], keys: list[str], setting: str, value: Any) -> bool:
    model, training = raw.get("model"), raw.get("training")
    name = model.get("name") if isinstance(model, dict) else None
    if not isinstance(name, str) or not isinstance(training, dict):
        return isinstance(name, str)
    if keys == ["model", "name"] and value != name and {"loss", "optimizer"} <= training.keys():
        raise ConfigError(
            f"--set {setting}: [training] contains the settings of the model {name!r}; remove "
            "these settings, or train on the table again with --target and --model"
        )
    if keys[:2] == ["model", "parameters"]:
        for parameter in keys[2:3] or (value if isinstance(value, dict) else ()):
            path = DECIDED.get(parameter, "")
            if _contains(training, path):
                raise ConfigError(
                    f"--set {setting}: training.{path.partition('.')[0]} overrides this key; set "
                    f"training.{path} instead of model.parameters.{parameter}"
                )
    return True


def _contains(training: dict[str, Any], path: str) -> bool:
    head, *parts = path.split(".")
    value: Any = training.get(head)
    if not is_part(head, value):
        return head in training
    for part in parts:
        value = value.get(part) if isinstance(value, dict) else None
    return value is not None


def _index(table: Any, key: str, outer: list[str], setting: str) -> Any:
    if isinstance(table, dict):
        return key
    where = re.sub(r"\.(\d+)", r"[\1]", ".".join(outer))
    if not isinstance(table, list):
        raise ConfigError(f"--set {setting}: {where} is {table!r}, which has no key {key!r}")
    if not key.isdecimal():
        raise ConfigError(f"--set {setting}: {where} is a list; expected an index, not {key!r}")
    if int(key) >= len(table):
        raise ConfigError(
            f"--set {setting}: {where} has no entry {key}: entries are counted from 0, and the "
            f"list has length {len(table)}"
        )
    return int(key)


def _as_table(value: Any, key: str) -> Any:
    if value is None or (key == "columns" and value == "auto"):
        return {}
    if isinstance(value, str) and key not in ("columns", "class_weight"):
        return {"name": value}
    if key in ("learning_rate", "schedule") and type(value) in (int, float):
        return {"name": "constant", "rate": value}
    return value


def _default(table: dict[str, Any], key: str) -> Any:
    if not isinstance(table.get("name"), str):
        return None
    from gpunn import layers, optimizers  # noqa: F401  # makes their classes known by name

    default = default_parameters(table["name"]).get(key)
    return default if isinstance(default, (str, int, float, dict)) else None


def _toml_value(text: str) -> Any:
    try:
        document = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    return document["value"] if len(document) == 1 else text
