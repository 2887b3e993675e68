"""Changes parts of a tabular model's default settings (its recipe), or of a schedule."""

from collections.abc import Mapping
from typing import Any

from gpunn.configurable import default_parameters, key_path, known
from gpunn.errors import ConfigError

OBJECTS = ("loss", "optimizer", "metrics", "validation_metrics", "callbacks")

MODES = frozenset(("mode", "monitor_mode"))


def is_part(key: str, value: object) -> bool:
    """Return whether a value of `[training]` is a table of parameters without a "name"."""
    return key in OBJECTS and isinstance(value, Mapping) and "name" not in value


def refined(recipe: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    # A plain value, or an object with a name, replaces the whole value in the recipe. A table
    # without a name replaces only the parameters that it contains.
    changed = {
        key: refined_part(recipe.get(key), value, f"training.{key}")
        if is_part(key, value)
        else value
        for key, value in given.items()
    }
    return {**recipe, **changed}


def refined_part(old: Any, new: Any, path: str) -> Any:
    if isinstance(new, Mapping) and isinstance(old, str):
        old = {"name": old}
    if isinstance(old, list) and isinstance(new, Mapping):
        items = list(old)
        for key, value in new.items():
            if not (key.isdecimal() and int(key) < len(items)):
                count = len(items)
                raise ConfigError(
                    f"{path}: there is no entry {key}: entries are counted from 0, and the list "
                    f"has length {count}"
                )
            items[int(key)] = refined_part(items[int(key)], value, f"{path}[{key}]")
        return items
    if isinstance(old, dict) and isinstance(new, Mapping) and "name" not in new:
        parts = {
            key: refined_part(old.get(key), it, key_path(path, key)) for key, it in new.items()
        }
        changed = {**old, **parts}
        if "monitor" in parts:
            reset_mode(changed, old.get("monitor"))
            changed |= {key: it for key, it in parts.items() if key in MODES}
        return changed
    if is_schedule(new) and (is_schedule(old) or type(old) in (int, float)):
        return with_rate_of(new, old, path)
    return replaced(old, new, path)


def reset_mode(table: dict[str, Any], earlier: object) -> None:
    if earlier is not None and table["monitor"] != earlier:
        table.update(dict.fromkeys(MODES.intersection(table), "auto"))


def replaced(old: Any, new: Any, path: str) -> Any:
    """Return the value of a setting after `new` replaces `old`.

    If `new` is a number and `old` is a schedule or a schedule's table, the value is the old
    schedule with `new` as its rate. Otherwise, the value is `new`.
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
    from gpunn.schedules import Schedule

    name = value.get("name") if isinstance(value, Mapping) else value
    return isinstance(name, str) and name in known(Schedule)


def with_rate(schedule: Any, rate: float, path: str) -> dict[str, Any]:
    table = {"name": schedule} if isinstance(schedule, str) else dict(schedule)
    defaults = default_parameters(table["name"])
    if "rate" in defaults:
        return {**table, "rate": rate}
    if "schedule" in defaults:
        return {**table, "schedule": replaced(table.get("schedule"), rate, f"{path}.schedule")}
    raise ConfigError(
        f"{path}: the number {rate} replaces a schedule's rate, but the schedule {table['name']!r} "
        "has no parameter 'rate'; for a constant rate, "
        f"set {path}={{name = 'constant', rate = {rate}}}"
    )


def with_rate_of(schedule: Any, old: Any, path: str) -> dict[str, Any]:
    table = {"name": schedule} if isinstance(schedule, str) else dict(schedule)
    defaults = default_parameters(table["name"])
    if "schedule" in defaults:
        inner = table.get("schedule", {})
        if isinstance(inner, Mapping) and not is_schedule(old):
            old = {"name": "constant", "rate": old}
        return {**table, "schedule": refined_part(old, inner, f"{path}.schedule")}
    while isinstance(old, Mapping) and "rate" not in old:
        old = old.get("schedule")
    rate = old["rate"] if isinstance(old, Mapping) else old
    return {"rate": rate, **table} if "rate" in defaults and type(rate) in (int, float) else table
