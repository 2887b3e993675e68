"""Plain data, as TOML and JSON hold it, made into typed objects: each value is checked once.

A dataclass's annotations are the schema, limits included:

    @dataclass(frozen=True, kw_only=True)
    class Training:
        epochs: Annotated[int, partial(check_integer, at_least=1)]
        shuffle: bool = True

With these `typed(Training, {"epochs": 0}, "training")` raises the error
"training.epochs: expected a whole number >= 1; got 0".
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from gpunn.configurable import check_choice, check_names, construct, field_names, key_path
from gpunn.errors import ArgumentError, suggest

__all__ = ["typed"]

NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    dict: "a table",
    list: "a list",
}
"""What messages call the types of plain data. Null has no name, since TOML can't write it."""


def typed(kind: Any, value: Any, path: str = "", *, ignore_unknown: bool = False) -> Any:
    """Return plain data as an object of a type.

    Parameters
    ----------
    kind : type
        `bool`, `int`, `float` (which takes whole numbers too), `str`, `None`, `Any`,
        `Literal["a", "b"]`, `list[T]`, `dict[str, T]`, a dataclass with fields of such types,
        `T | U`, or `Annotated[T, check]`, where `check(path, value)` returns the value or raises
        an `ArgumentError`. Of several dataclasses, that is meant whose first field, a `Literal`,
        has the value given.
    value : object
        Of the types that `json.loads` and `tomllib.loads` return.
    path : str
        Where the value stands, for the error message, such as "training.epochs".
    ignore_unknown : bool
        Whether to ignore keys that a dataclass does not have: a later release may have written
        them.

    Raises
    ------
    ArgumentError
        If the value does not fit the type. The message begins with the path.
    """
    convert = functools.partial(typed, ignore_unknown=ignore_unknown)
    chosen = _alternative(kind, value, path)
    origin, arguments = get_origin(chosen), get_args(chosen)
    if origin is Annotated:
        return arguments[1](path, convert(arguments[0], value, path))
    if origin is Literal:
        return check_choice(path, value, arguments)
    if origin is list:
        return [convert(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(value)]
    if origin is dict:
        return {
            _text(key, path): convert(arguments[1], item, key_path(path, key))
            for key, item in value.items()
        }
    if is_dataclass(chosen):
        return _object(chosen, value, path, ignore_unknown)
    if chosen is float:
        return _float(value, path)
    return _text(value, path) if chosen is str else value


def _object(cls: Any, value: dict[str, Any], path: str, ignore_unknown: bool) -> Any:
    if ignore_unknown:
        value = {key: value[key] for key in field_names(cls) if key in value}
    check_names(cls, value, path, unknown="unknown key", missing="this key is needed")
    hints = _hints(cls)
    fields = {
        key: typed(hints[key], item, key_path(path, key), ignore_unknown=ignore_unknown)
        for key, item in value.items()
    }
    return construct(cls, fields, path)


def _alternative(kind: Any, value: Any, path: str) -> Any:
    """Return which of the types that a union allows, or the only one, is that of the value."""
    alternatives = _alternatives(kind)
    fitting = [each for plain, each in alternatives if plain is type(value) or plain is Any]
    if not fitting and type(value) is int:
        fitting = [each for plain, each in alternatives if plain is float]
    if not fitting:
        names = dict.fromkeys(NAMES[plain] for plain, _ in alternatives if plain is not NoneType)
        raise ArgumentError(f"{path}: expected {' or '.join(names)}; got {value!r:.200}")
    return fitting[0] if len(fitting) == 1 else _by_first_field(fitting, value, path)


@functools.cache
def _alternatives(kind: Any) -> list[tuple[Any, Any]]:
    """Return each type that a union allows, or the only one, after its type in plain data."""
    union = get_origin(kind) in (Union, UnionType)
    return [(_plain_type(each), each) for each in (get_args(kind) if union else (kind,))]


def _plain_type(kind: Any) -> Any:
    if get_origin(kind) is Annotated:
        return _plain_type(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return type(get_args(kind)[0])
    return dict if is_dataclass(kind) else get_origin(kind) or kind


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _by_first_field(classes: Sequence[Any], value: dict[str, Any], path: str) -> Any:
    key = field_names(classes[0])[0]
    place = key_path(path, key)
    choices = {get_args(_hints(cls)[key])[0]: cls for cls in classes}
    if key not in value:
        raise ArgumentError(f"{place}: this key is needed; {suggest('', choices)}")
    return choices[check_choice(place, typed(str, value[key], place), choices)]


def _float(value: float, path: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ArgumentError(f"{path}: expected a number below 1.8e308; got a larger one") from None


def _text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can write half of a pair of surrogates
        raise ArgumentError(
            f"{path}: expected text that UTF-8 can hold; got {value!r:.80} ({error.reason})"
        ) from None
    return value
