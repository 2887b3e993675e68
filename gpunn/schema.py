"""Converts plain data from TOML or JSON to typed objects, and checks each value.

The annotations of a dataclass define the expected types and limits::

    @dataclass(frozen=True, kw_only=True)
    class Training:
        epochs: Annotated[int, partial(check_integer, at_least=1)]
        shuffle: bool = True

For example, `typed(Training, {"epochs": 0}, "training")` raises the error
"training.epochs: expected an integer >= 1; got 0".
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from gpunn.configurable import check_choice, check_names, construct, field_names, key_path
from gpunn.errors import ArgumentError, suggest

NAMES = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    dict: "a table",
    list: "a list",
}
"""Names of types in messages. None has no name, because TOML has no null."""


def typed(kind: Any, value: Any, path: str = "", *, ignore_unknown: bool = False) -> Any:
    """Convert plain data, such as the result of `json.loads`, to an object of a type.

    `kind` is `bool`, `int`, `float` (which accepts integers), `str`, `None`, `Any`,
    `Literal["a", "b"]`, `list[T]`, `tuple[T, ...]`, `dict[str, T]`, a dataclass with fields of
    these types, or `T | U`. `kind` may also be `Annotated[T, check]`: `check(path, value)` returns
    the value or raises an `ArgumentError`. In a union of dataclasses, the first field of each must
    be a `Literal`, which selects the dataclass. Errors begin with the path.
    """
    return _converter(kind, ignore_unknown)(path, value)


Converter: TypeAlias = Callable[[str, Any], Any]
"""A function that converts a value and its path to an object, or raises an ArgumentError."""


@functools.cache
def _converter(kind: Any, ignore_unknown: bool) -> Converter:
    union = get_origin(kind) in (Union, UnionType)
    fitting: dict[Any, list[Any]] = {}
    for alternative in get_args(kind) if union else (kind,):
        fitting.setdefault(_plain_type(alternative), []).append(alternative)
    converters = {
        plain: _converter_of_one(kinds[0], ignore_unknown)
        if len(kinds) == 1
        else _converter_by_first_field(kinds, ignore_unknown)
        for plain, kinds in fitting.items()
    }
    if Any in converters:
        return converters[Any]
    names = " or ".join(NAMES[plain] for plain in converters if plain is not NoneType)
    if float in converters:
        converters.setdefault(int, converters[float])

    def convert(path: str, value: Any) -> Any:
        if (chosen := converters.get(type(value))) is None:
            hint = ""
            if isinstance(value, str) and len(value) < 80 and [*converters] == [list]:
                item = value.strip("[]").split(",")[0]  # in TOML, a list without quotes
                hint = f'; write strings in quotes and brackets, such as ["{item}"]'
            raise ArgumentError(f"{path}: expected {names}; got {value!r:.200}{hint}")
        return chosen(path, value)

    return convert


def _plain_type(kind: Any) -> Any:
    if get_origin(kind) is Annotated:
        return _plain_type(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return type(get_args(kind)[0])
    plain = dict if is_dataclass(kind) else get_origin(kind) or kind
    return list if plain is tuple else plain


def _converter_of_one(kind: Any, ignore_unknown: bool) -> Converter:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        inner, check = _converter_of_one(arguments[0], ignore_unknown), arguments[1]
        return lambda path, value: check(path, inner(path, value))
    if origin is Literal:
        return lambda path, value: check_choice(path, value, arguments)
    if origin in (list, tuple):
        item = _converter(arguments[0], ignore_unknown)
        return lambda path, value: origin(
            item(f"{path}[{index}]", each) for index, each in enumerate(value)
        )
    if origin is dict:
        item = _converter(arguments[1], ignore_unknown)
        if get_origin(arguments[1]) is Literal:  # messages call the value "kind"
            choices = get_args(arguments[1])
            item = functools.partial(check_choice, choices=choices, noun="kind")
        return lambda path, value: {
            _text(path, key): item(key_path(path, key), each) for key, each in value.items()
        }
    if is_dataclass(kind):
        return functools.partial(_object, kind, ignore_unknown)
    if kind is float:
        return _float
    return _text if kind is str else lambda path, value: value


def _object(cls: Any, ignore_unknown: bool, path: str, value: dict[str, Any]) -> Any:
    if ignore_unknown:
        value = {key: value[key] for key in field_names(cls) if key in value}
    check_names(cls, value, path, unknown="unknown key", missing="this key is needed")
    hints = _hints(cls)
    fields = {
        key: _converter(hints[key], ignore_unknown)(key_path(path, key), item)
        for key, item in value.items()
    }
    return construct(cls, fields, path)


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _converter_by_first_field(classes: list[Any], ignore_unknown: bool) -> Converter:
    key = field_names(classes[0])[0]
    choices = {get_args(_hints(cls)[key])[0]: cls for cls in classes}

    def convert(path: str, value: dict[str, Any]) -> Any:
        full_key = key_path(path, key)
        if key not in value:
            raise ArgumentError(f"{full_key}: this key is needed; {suggest('', choices)}")
        chosen = check_choice(full_key, typed(str, value[key], full_key), choices)
        return _object(choices[chosen], ignore_unknown, path, value)

    return convert


def _float(path: str, value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise ArgumentError(
            f"{path}: expected a number from -1.8e308 to 1.8e308; got one outside this range"
        ) from None


def _text(path: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can contain a lone surrogate
        raise ArgumentError(
            f"{path}: expected a string that UTF-8 can encode; got {value!r:.80} ({error.reason})"
        ) from None
    return value
