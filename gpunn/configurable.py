"""Classes whose objects are built from a name or a configuration.

A subclass needs no registration: its `name` is valid as soon as the class is defined.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import math
import numbers
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar, cast
from weakref import WeakKeyDictionary

import numpy as np

from gpunn.attributes import unknown_attribute
from gpunn.docstrings import completed
from gpunn.errors import ArgumentError, ArgumentTypeError, suggest
from gpunn.hints import NAMES as NAMES_ELSEWHERE
from gpunn.hints import advice


class ConstructorSignature:
    """The signature that `inspect` shows for a class: the parameters of the class's `__init__`."""

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        if instance is not None or owner.__init__ is object.__init__:  # type: ignore[misc]
            return inspect.Signature()
        _, *parameters = inspect.signature(owner.__init__).parameters.values()  # type: ignore[misc]
        return inspect.Signature(parameters)


class Configurable:
    """Base of all classes that a configuration can name.

    Attributes
    ----------
    name : str
        The name in configurations and model files. A class without a name is abstract.
    extra_attributes : frozenset of str
        Names of attributes that can be set although they are not fields. On gpunn's dataclasses,
        setting an attribute with any other name raises an error, to catch typing mistakes.
    """

    name: ClassVar[str] = ""
    extra_attributes: ClassVar[frozenset[str]] = frozenset()
    __signature__ = ConstructorSignature()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        BUILT_IN.clear()
        bases = [each for each in cls.__bases__ if "Parameters\n" in (each.__doc__ or "")]
        if bases and is_built_in(cls):
            cls.__doc__ = completed(cls, bases, "Parameters")

    def __setattr__(self, name: str, value: Any) -> None:
        cls = type(self)
        if not (name[0] == "_" or hasattr(cls, name) or name in self.extra_attributes):
            is_gpunn = cls.__module__.startswith("gpunn.")
            fields = vars(cls).get("__dataclass_fields__") if is_gpunn else None
            if fields is not None and name not in fields:
                raise unknown_attribute(self, name, fields)
        if name in vars(self):  # else the constructor sets the field, and checks it at its end
            check = _checks(cls).get(name)
            value = check(name, value) if check else value
        object.__setattr__(self, name, value)

    def __new__(cls, *args: Any, **parameters: Any) -> Self:
        if parameters and parameters.keys() - set(field_names(cls)):
            accepted = inspect.signature(cls.__init__).parameters
            if not any(each.kind is each.VAR_KEYWORD for each in accepted.values()):
                valid = [name for name in accepted if name != "self"]
                for parameter in parameters:
                    if parameter not in valid:
                        raise ArgumentTypeError(
                            f"{parameter}: {cls.__name__} has no such parameter; "
                            f"{advice('parameter', parameter, valid)}"
                        )
        return super().__new__(cls)

    def recorded_attributes(self) -> list[str]:
        """Return the attributes, besides fields, that a recorded step depends on.

        Returns
        -------
        list of str
            Names. If the value of such an attribute changes, a step must be recorded again.
        """
        if is_built_in(type(self)):
            return []
        classes = [cls for cls in type(self).__mro__ if issubclass(cls, Configurable)]
        custom = [cls for cls in classes if not is_built_in(cls)]
        pairs = [pair for cls in custom for pair in vars(cls).items()]
        names = [name for name, it in pairs if name[:2] != "__" and _is_data(it)]
        return [*names, "__dict__"]

    def __post_init__(self) -> None:
        for name, check in _checks(type(self)).items():
            self._keep(name, check(name, getattr(self, name)))

    def config(self) -> dict[str, Any]:
        """Return the object's name and parameters.

        Returns
        -------
        dict
            The name and parameters, as `{"name": ..., parameter: value, ...}`, in JSON types.
        """
        described = {name: _plain(getattr(self, name)) for name in field_names(type(self))}
        return {"name": self.name, **described}

    # For `__post_init__`. These methods convert a parameter to a Python number, even in a frozen
    # dataclass: a NumPy float64 would turn float32 arrays into float64, and JSON has no such types.

    def require_number(self, parameter: str, **limits: float) -> None:
        """Check a parameter with `check_number`, and store it as a float.

        Parameters
        ----------
        parameter : str
            The parameter's name.
        **limits : float
            The limits at_least, above, at_most or below, for `check_number`.
        """
        self._keep(parameter, check_number(parameter, getattr(self, parameter), **limits))

    def require_fraction(self, parameter: str) -> None:
        """Check a parameter with `check_fraction`, and store it as a float.

        Parameters
        ----------
        parameter : str
            The parameter's name.
        """
        self._keep(parameter, check_fraction(parameter, getattr(self, parameter)))

    def require_integer(self, parameter: str, *, at_least: int = 1) -> None:
        """Check a parameter with `check_integer`, and store it as an int.

        Parameters
        ----------
        parameter : str
            The parameter's name.
        at_least : int
            The smallest allowed value.
        """
        value = check_integer(parameter, getattr(self, parameter), at_least=at_least)
        self._keep(parameter, value)

    def require_flag(self, parameter: str) -> None:
        """Check a parameter with `check_flag`, and store it as a bool.

        Parameters
        ----------
        parameter : str
            The parameter's name.
        """
        self._keep(parameter, check_flag(parameter, getattr(self, parameter)))

    def _keep(self, parameter: str, value: Any) -> None:
        object.__setattr__(self, parameter, value)


def number(default: float | None, **limits: float) -> Any:
    def check(name: str, value: Any) -> float | None:
        return None if default is value is None else check_number(name, value, **limits)

    return dataclasses.field(default=default, metadata={"check": check})


def integer(default: int | None, *, at_least: int = 1) -> Any:
    def check(name: str, value: Any) -> int | None:
        return None if default is value is None else check_integer(name, value, at_least=at_least)

    return dataclasses.field(default=default, metadata={"check": check})


def flag(default: bool) -> Any:
    return dataclasses.field(default=default, metadata={"check": check_flag})


def choice(default: str, choices: Collection[str]) -> Any:
    check = functools.partial(check_choice, choices=choices)
    return dataclasses.field(default=default, metadata={"check": check})


LARGEST_COUNT = 2**63 - 1
"""The largest int64. Larger counts make array libraries fail with messages about C types."""

Kind = TypeVar("Kind", bound=Configurable)
Made = TypeVar("Made")


def _fields(configurable: Any) -> tuple[dataclasses.Field[Any], ...]:
    is_dataclass = dataclasses.is_dataclass(configurable)
    return dataclasses.fields(configurable) if is_dataclass else ()


CHECKS: WeakKeyDictionary[type, dict[str, Callable[[str, Any], Any]]] = WeakKeyDictionary()


def _checks(cls: type) -> dict[str, Callable[[str, Any], Any]]:
    """Map fields to checks. A subclass's field without a check inherits the base class's check."""
    if cls in CHECKS:
        return CHECKS[cls]
    checks = {}
    for name in getattr(cls, "__dataclass_fields__", {}):
        declared = (vars(each).get("__dataclass_fields__", {}).get(name) for each in cls.__mro__)
        found = (field.metadata.get("check") for field in declared if field)
        if check := next(filter(None, found), None):
            checks[name] = check
    CHECKS[cls] = checks
    return checks


def _plain(value: Any) -> Any:
    if isinstance(value, Configurable):
        return value.config()
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _subclasses(base: type[Kind]) -> list[type[Kind]]:
    return [cls for each in base.__subclasses__() for cls in (each, *_subclasses(each))]


def known(base: type[Kind]) -> dict[str, type[Kind]]:
    return {cls.name: cls for cls in _subclasses(base) if cls.name and "name" in vars(cls)}


def is_built_in(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "gpunn"


def is_constant(cls: type) -> bool:
    return is_built_in(cls) and _has_only_numbers(cls)


@functools.cache
def _has_only_numbers(cls: type) -> bool:
    parameters = getattr(cls, "__dataclass_params__", None)
    frozen = parameters is not None and parameters.frozen
    numbers = (float, int, bool, str, "float", "int", "bool", "str")
    return frozen and all(each.type in numbers for each in dataclasses.fields(cls))


def _is_data(value: object) -> bool:
    is_slot = isinstance(value, types.MemberDescriptorType)
    return is_slot or not (hasattr(type(value), "__get__") or isinstance(value, type))


def default_parameters(name: str) -> dict[str, Any]:
    cls = known(Configurable).get(name)
    defaults = {field.name: _default(field) for field in _fields(cls)}
    return {name: _plain(it) for name, it in defaults.items() if it is not dataclasses.MISSING}


def _default(field: dataclasses.Field[Any]) -> Any:
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


def imported(path: str, argument: str) -> type[Configurable]:
    """Import a class from a path "package.module:Class". The import runs the module's code."""
    module, _, name = path.partition(":")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ArgumentError(f"{argument}: cannot import {path!r}: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, Configurable)):
        raise ArgumentError(
            f"{argument}: {path!r} is not a subclass of Layer, Loss or another class that "
            "configurations can name"
        )
    return cls


BUILT_IN: dict[tuple[type, str], Any] = {}
"""Classes that `lookup` has found; cleared when a class is defined, which may have their name."""


def lookup(base: type[Kind], name: str, argument: str) -> type[Kind]:
    if built_in := BUILT_IN.get((base, name)):
        return cast("type[Kind]", built_in)
    matches = [cls for cls in _subclasses(base) if cls.name == name and "name" in vars(cls)]
    if not (name and matches):
        raise ArgumentError(
            f"{argument}: there is no {base.__name__.lower()} {name!r}; "
            f"{advice(base.__name__, name, known(base))}"
        )
    match = matches[-1]
    if not is_built_in(match):
        for cls in filter(is_built_in, matches):
            raise ArgumentError(
                f"{argument}: {name!r} is the name of gpunn's {cls.__name__} and of the custom "
                f"class {match.__module__}:{match.__qualname__}; rename the custom class"
            )
    else:
        BUILT_IN[base, name] = match
    return match


def missing_class(module: str, base: type[Kind], name: str) -> AttributeError:
    text = f"module {module!r} has no attribute {name!r}"
    if not name.startswith("_"):
        classes = [cls for cls in known(base).values() if cls.__module__.startswith(module)]
        text += f"; {advice(base.__name__, name, [cls.__name__ for cls in classes])}"
    return AttributeError(text, name=name)


def make(cls: type[Kind], parameters: Mapping[str, Any], argument: str) -> Kind:
    check_names(
        cls,
        parameters,
        argument,
        unknown=f"{cls.name!r} has no such parameter",
        missing=f"{cls.name!r} needs this parameter",
    )
    return construct(cls, parameters, argument)


def check_names(
    cls: type, values: Mapping[str, Any], path: str, *, unknown: str, missing: str
) -> None:
    # The message begins with `path`, then the text `unknown` or `missing`.
    fields = {field.name: field for field in _fields(cls) if field.init}
    for name in values:
        if name not in fields:
            hint = advice("parameter", name, fields)
            raise ArgumentError(f"{key_path(path, name)}: {unknown}; {hint}")
    for name, field in fields.items():
        if name not in values and _default(field) is dataclasses.MISSING:
            raise ArgumentError(f"{key_path(path, name)}: {missing}")


def construct(cls: type[Made], values: Mapping[str, Any], path: str) -> Made:
    try:
        return cls(**values)
    except (ArgumentError, ArgumentTypeError) as error:
        raise ArgumentError(key_path(path, str(error))) from error


def key_path(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def field_names(cls: type) -> list[str]:
    names = NAMES.get(cls)
    if names is None:
        names = NAMES[cls] = [field.name for field in _fields(cls)]
    return names


NAMES: WeakKeyDictionary[type, list[str]] = WeakKeyDictionary()


def resolve(base: type[Kind], value: Any, argument: str) -> Kind:
    """Return the object of type `base` that `value` describes; errors begin with `argument`.

    `value` is an instance of `base`, a subclass of `base`, a name, or a mapping with the key "name"
    and parameters, such as `{"name": "leaky_relu", "slope": 0.1}`.
    """
    if isinstance(value, base):
        return value
    if isinstance(value, type) and issubclass(value, base):
        return make(value, {}, argument)
    if isinstance(value, str):
        return make(lookup(base, value, argument), {}, argument)
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        parameters = {key: item for key, item in value.items() if key != "name"}
        return make(lookup(base, value["name"], argument), parameters, argument)
    kind = base.__name__
    article = "an" if kind[0] in "AEIOU" else "a"
    none = NAMES_ELSEWHERE.get(kind, {}).get("none") if value is None else None
    instead = f"; for none, use {none!r}" if none else ""
    raise ArgumentTypeError(
        f"{argument}: expected a name, a table with the key 'name', or {article} {kind}; "
        f"got {value!r}{instead}"
    )


def resolve_all(base: type[Kind], values: Any, argument: str) -> list[Kind]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ArgumentTypeError(
            f"{argument}: expected a list; write [] for none, and [...] around a single item; "
            f"got {values!r}"
        )
    return [resolve(base, value, f"{argument}[{index}]") for index, value in enumerate(values)]


def check_number(
    argument: str,
    value: Any,
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
    below: float = math.inf,
    at_most: float = math.inf,
) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ArgumentTypeError(f"{argument}: expected a number; got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and above < number < below and at_least <= number <= at_most):
        limits = [
            f"{sign} {limit:g}"
            for sign, limit in ((">", above), (">=", at_least), ("<", below), ("<=", at_most))
            if math.isfinite(limit)
        ]
        expected = f"a number {' and '.join(limits)}" if limits else "a finite number"
        raise ArgumentError(f"{argument}: expected {expected}; got {value!r}")
    return number


def check_fraction(argument: str, value: Any) -> float:
    return check_number(argument, value, at_least=0, below=1)


def check_integer(
    argument: str, value: Any, *, at_least: int = 1, at_most: float = LARGEST_COUNT
) -> int:
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise ArgumentTypeError(f"{argument}: expected an integer; got {value!r}")
    number = int(value)
    if number < at_least:
        raise ArgumentError(f"{argument}: expected an integer >= {at_least}; got {number}")
    if number > at_most:  # perhaps too many digits for Python to print
        raise ArgumentError(f"{argument}: expected an integer <= {at_most}; got a larger one")
    return number


def check_integers(argument: str, values: Any, *, at_least: int = 1) -> tuple[int, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
        raise ArgumentTypeError(f"{argument}: expected a list of integers; got {values!r}")
    return tuple(
        check_integer(f"{argument}[{index}]", value, at_least=at_least)
        for index, value in enumerate(values)
    )


def check_strings(argument: str, values: Any) -> tuple[str, ...]:
    is_list = isinstance(values, Iterable) and not isinstance(values, str)
    listed = tuple(values) if is_list else ()
    if not is_list or not all(isinstance(value, str) for value in listed):
        raise ArgumentTypeError(f"{argument}: expected a list of strings; got {values!r:.80}")
    return listed


def check_quantiles(argument: str, values: Any) -> tuple[float, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
        raise ArgumentTypeError(f"{argument}: expected a list of numbers; got {values!r}")
    quantiles = tuple(
        check_number(f"{argument}[{index}]", value, above=0, below=1)
        for index, value in enumerate(values)
    )
    if not quantiles or list(quantiles) != sorted(set(quantiles)):
        raise ArgumentError(f"{argument}: expected ascending numbers; got {values!r:.80}")
    return quantiles


def check_choice(
    argument: str, value: Any, choices: Collection[str], noun: str | None = None
) -> Any:
    if not isinstance(value, str) or value not in choices:
        name = noun or argument.rpartition(".")[2]
        raise ArgumentError(
            f"{argument}: there is no {name} {value!r}; {suggest(str(value), choices)}"
        )
    return value


def check_flag(argument: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool)):
        raise ArgumentTypeError(f"{argument}: expected True or False; got {value!r}")
    return bool(value)
