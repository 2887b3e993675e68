"""Parts of what is configured, changed without the rest: of a recipe, or where a schedule is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpunn.configurable import default_parameters, key_path, known
from gpunn.errors import ConfigError

__all__ = ["forget_mode", "is_part", "refined", "refined_part", "replaced"]

OBJECTS = ("loss", "optimizer", "metrics", "validation_metrics", "callbacks")
"""Keys of `[training]` that hold objects, of which a network with a name brings its own."""

MODES = frozenset(("mode", "monitor_mode"))
"""Keys that say whether a larger monitored metric is better."""


def is_part(key: str, value: object) -> bool:
    """Return whether a value of `[training]` is parts of objects, which are not named in it."""
    return key in OBJECTS and isinstance(value, Mapping) and "name" not in value


def refined(recipe: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `[training]` of a recipe (plain data), changed by what a user says of it.

    A value, or an object by its name, replaces that of the recipe. A table without a name replaces
    only the parameters in it. If there is no such part, a ConfigError says so.
    """
    changed = {
        key: refined_part(recipe.get(key), value, f"training.{key}")
        if is_part(key, value)
        else value
        for key, value in given.items()
    }
    return {**recipe, **changed}


def refined_part(old: Any, new: Any, path: str) -> Any:
    """Return a part of a recipe, or of what is said of it, changed by what a user says of it."""
    if isinstance(new, Mapping) and isinstance(old, str):
        old = {"name": old}
    if isinstance(old, list) and isinstance(new, Mapping):
        items = list(old)
        for key, value in new.items():
            if not (key.isdecimal() and int(key) < len(items)):
                count = len(items)
                raise ConfigError(f"{path}.{key}: there are {count} entries, numbered from 0")
            items[int(key)] = refined_part(items[int(key)], value, f"{path}[{key}]")
        return items
    if isinstance(old, dict) and isinstance(new, Mapping) and "name" not in new:
        parts = {
            key: refined_part(old.get(key), it, key_path(path, key)) for key, it in new.items()
        }
        changed = {**old, **parts}
        if "monitor" in parts:
            forget_mode(changed, old.get("monitor"))
            changed |= {key: it for key, it in parts.items() if key in MODES}
        return changed
    if is_schedule(new) and (is_schedule(old) or type(old) in (int, float)):
        return with_rate_of(new, old, path)
    return replaced(old, new, path)


def forget_mode(table: dict[str, Any], earlier: object) -> None:
    """Have a table with another monitor than an earlier one ask that for its direction."""
    if earlier is not None and table["monitor"] != earlier:
        table.update(dict.fromkeys(MODES.intersection(table), "auto"))


def replaced(old: Any, new: Any, path: str) -> Any:
    """Return a new value in the place of an old one; of a schedule a number changes the rate.

    `path` is that of the key. If the schedule has no rate, a ConfigError says so.
    """
    if type(new) not in (int, float):
        return new
    if is_schedule(old):
        return with_rate(old, new, path)
    of_recipe = isinstance(old, Mapping) and path.startswith(
        ("training.optimizer.", "training.loss.")
    )
    return {**old, "rate": new} if of_recipe else new


def is_schedule(value: object) -> bool:
    """Return whether a value is a schedule of gpunn's, by its name or as a table."""
    from gpunn.schedules import Schedule

    name = value.get("name") if isinstance(value, Mapping) else value
    return isinstance(name, str) and name in known(Schedule)


def with_rate(schedule: Any, rate: float, path: str) -> dict[str, Any]:
    """Return a schedule with another rate; that of a warm-up is that of the schedule in it."""
    table = {"name": schedule} if isinstance(schedule, str) else dict(schedule)
    own = default_parameters(table["name"])
    if "rate" in own:
        return {**table, "rate": rate}
    if "schedule" in own:
        return {**table, "schedule": replaced(table.get("schedule"), rate, f"{path}.schedule")}
    raise ConfigError(
        f"{path}: {table['name']!r} has no rate that could be {rate}; to have a constant one, set "
        f"{path}={{name = 'constant', rate = {rate}}}"
    )


def with_rate_of(schedule: Any, old: Any, path: str) -> dict[str, Any]:
    """Return a schedule that has the rate of an old one, or is around it, unless it says else."""
    table = {"name": schedule} if isinstance(schedule, str) else dict(schedule)
    own = default_parameters(table["name"])
    if "schedule" in own:
        inner = table.get("schedule", {})
        if isinstance(inner, Mapping) and not is_schedule(old):
            old = {"name": "constant", "rate": old}
        return {**table, "schedule": refined_part(old, inner, f"{path}.schedule")}
    while isinstance(old, Mapping) and "rate" not in old:
        old = old.get("schedule")
    rate = old["rate"] if isinstance(old, Mapping) else old
    return {"rate": rate, **table} if "rate" in own and type(rate) in (int, float) else table
