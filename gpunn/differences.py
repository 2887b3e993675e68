"""Compare values of JSON types, such as the configurations of networks."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

INITIALIZERS = frozenset(["initializer", "bias_initializer"])

ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "absent"})()


def differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, old, new) for each difference.

    If two objects have different values of the key "name", only these two values are yielded. The
    other keys of the two objects are then not compared.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        if old.get("name") != new.get("name"):
            yield f"{path}.name", old.get("name"), new.get("name")
            return
        for key in {**old, **new}:
            yield from differences(old.get(key), new.get(key), f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list):
        for index, pair in enumerate(zip_longest(old, new)):
            yield from differences(*pair, f"{path}[{index}]")
    elif old != new:
        yield path, old, new


def network_differences(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    # Initializers have no effect on a network whose parameters come from a file. The defaults of
    # initializers may have changed since the file was written.
    for where, before, after in differences(old, new, path):
        if not INITIALIZERS.intersection(where.split(".")):
            yield where, before, after


def varying(values: Sequence[Any], path: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Yield (path, list of values) for each path at which the given values differ.

    If objects have different names, only the names and the parameters that all objects have are
    compared. Lists of different lengths are yielded whole. `ABSENT` replaces missing values.

    >>> list(varying([{"a": 1, "b": [2, 3]}, {"a": 1, "b": [2, 4]}, {"a": 1}]))
    [('b', [[2, 3], [2, 4], absent])]
    >>> list(varying([{"name": "adam", "rate": 1, "beta1": 0.9}, {"name": "sgd", "rate": 2}]))
    [('name', ['adam', 'sgd']), ('rate', [1, 2])]
    """
    if all(value == values[0] for value in values):
        return
    inner: list[tuple[str, list[Any]]]
    if all(isinstance(value, dict) for value in values):
        keys = dict.fromkeys(key for value in values for key in value)
        by_key = {key: [value.get(key, ABSENT) for value in values] for key in keys}
        names = by_key.get("name", [None])
        if any(name != names[0] for name in names):
            by_key = {key: each for key, each in by_key.items() if ABSENT not in each}
        inner = [(str(key), each) for key, each in by_key.items()]
    elif all(isinstance(value, list) and len(value) == len(values[0]) for value in values):
        inner = [(str(i), list(each)) for i, each in enumerate(zip(*values, strict=True))]
    else:
        yield path, list(values)
        return
    for key, each in inner:
        yield from varying(each, f"{path}.{key}" if path else key)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, value) for each single value in nested dicts and lists.

    A constant schedule counts as a single value, the constant.

    >>> dict(leaves({"a": {"b": 1}, "c": [{"d": 2}], "e": {"name": "constant", "rate": 3}}))
    {'a.b': 1, 'c.0.d': 2, 'e': 3}
    """
    if isinstance(value, dict) and value.get("name") == "constant" and "rate" in value:
        value = value["rate"]
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from leaves(item, f"{path}.{key}" if path else str(key))
    else:
        yield path, value
