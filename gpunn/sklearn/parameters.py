"""Check constructor parameters, with error messages like scikit-learn's."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import field, fields
from numbers import Integral, Number, Real
from typing import Any, NamedTuple, TypeVar

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator

from gpunn.activations import Activation
from gpunn.backends import Backend
from gpunn.configurable import Configurable, known
from gpunn.docstrings import completed, entries_of
from gpunn.errors import ArgumentError

E = TypeVar("E", bound=type)


class InvalidParameterError(ArgumentError, TypeError):
    """Raised if a constructor parameter has a wrong type or an invalid value."""


class Constraint(NamedTuple):
    text: str
    holds: Callable[[Any], bool]


def real(low: float, high: float = math.inf, ends: str = "[)") -> Constraint:

    def holds(value: Any) -> bool:
        if not isinstance(value, Real):
            return False
        number = float(value)
        above = number >= low if ends[0] == "[" else number > low
        return above and (number <= high if ends[1] == "]" else number < high)

    return Constraint(f"a float in the range {ends[0]}{float(low)}, {float(high)}{ends[1]}", holds)


def integer(low: int) -> Constraint:
    def holds(value: Any) -> bool:
        return isinstance(value, Integral) and int(value) >= low

    return Constraint(f"an int in the range [{low}, inf)", holds)


def among(*options: str) -> Constraint:
    listed = ", ".join(repr(option) for option in sorted(options))
    return Constraint(
        f"a str among {{{listed}}}", lambda value: isinstance(value, str) and value in options
    )


def configurable(base: type[Configurable]) -> Constraint:

    def holds(value: Any) -> bool:
        if isinstance(value, Mapping):
            return value.get("name") in known(base)
        if isinstance(value, str):
            return value in known(base)
        return isinstance(value, base)

    return Constraint(
        f"an instance of {base.__module__ + '.' + base.__qualname__!r} (or the 'name' of a "
        "subclass, or a mapping of this 'name' and parameters)",
        holds,
    )


def array_like(value: Any) -> bool:
    return isinstance(value, Collection) and not isinstance(value, (str, bytes, Mapping))


def random_state(value: Any) -> bool:
    if isinstance(value, Integral):
        return 0 <= int(value) <= 2**32 - 1
    return value is None or isinstance(value, np.random.RandomState)


ARRAY_LIKE = Constraint("an array-like", array_like)
NONE = Constraint("None", lambda value: value is None)
FLAG = Constraint(
    "an instance of 'bool' or an instance of 'numpy.bool'",
    lambda value: isinstance(value, (bool, np.bool)),
)
VERBOSE = Constraint(
    f"{integer(0).text}, {FLAG.text}", lambda value: FLAG.holds(value) or integer(0).holds(value)
)
RANDOM_STATE = Constraint(
    "an int in the range [0, 4294967295], an instance of 'numpy.random.mtrand.RandomState' or None",
    random_state,
)
INFINITY = Constraint(
    "a float among {inf}", lambda value: isinstance(value, Real) and float(value) == math.inf
)

ACTIVATIONS = {"logistic", *known(Activation)}

SIZES = (ARRAY_LIKE, integer(1))
ACTIVATION = (among(*ACTIVATIONS), configurable(Activation))
BACKEND = (
    NONE,
    Constraint("a name such as 'numpy'", lambda value: isinstance(value, str)),
    Constraint("a gpunn backend", lambda value: isinstance(value, Backend)),
)
CALLBACKS = Constraint(
    "a list of callbacks", lambda v: isinstance(v, Collection) and not isinstance(v, str)
)


def parameter(default: Any, *allowed: Constraint) -> Any:
    return field(default=default, metadata={"allowed": allowed})


def defaults_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return a function's default arguments by name, with "auto" instead of None."""
    every = inspect.signature(function).parameters.values()
    return {each.name: "auto" if each.default is None else each.default for each in every}


class Hidden:
    def __get__(self, instance: object, owner: type) -> Any:
        raise AttributeError


OF_CLASSIFIERS = ("classes_", "temperature_", "threshold_")
"""Attributes that regressors lack."""


def described_as(*others: type, without: Collection[str] = ()) -> Callable[[E], E]:
    """Add missing parameters and attributes to a docstring, from other estimators' docstrings."""

    def complete(cls: E) -> E:
        parameters: Any = cls
        names = [each.name for each in parameters._parameters]
        cls.__doc__ = completed(cls, others, "Parameters", names)
        attributes = entries_of(completed(cls, others, "Attributes"), "Attributes")
        names = [name for name in attributes if name not in without]
        cls.__doc__ = completed(cls, others, "Attributes", names)
        return cls

    return complete


def estimator(cls: E) -> E:
    """Store the fields of a dataclass as parameters, and hide that the class is a dataclass.

    Otherwise, libraries such as dask would treat estimators with equal parameters as one object.
    """
    changed: Any = cls
    changed._parameters = fields(cls)
    changed._get_param_names = classmethod(parameter_names)
    changed.__dataclass_fields__ = Hidden()
    return cls


def parameter_names(cls: Any) -> list[str]:
    # scikit-learn inspects the constructor's signature in each call, which is slow. Here, this is
    # done only for subclasses, whose constructors may have other parameters.
    if "_parameters" in vars(cls):
        return sorted(each.name for each in cls._parameters)
    names: list[str] = BaseEstimator._get_param_names.__func__(cls)
    return names


def check_parameters(estimator: Any) -> None:
    if get_config()["skip_parameter_validation"]:
        return
    for each in estimator._parameters:
        name, value = each.name, getattr(estimator, each.name)
        if value is each.default:
            continue
        allowed = each.metadata["allowed"]
        if not any(constraint.holds(value) for constraint in allowed):
            *first, last = (constraint.text for constraint in allowed)
            expected = f"{', '.join(first)} or {last}" if first else last
            raise InvalidParameterError(
                f"The {name!r} parameter of {type(estimator).__name__} must be {expected}. "
                f"Got {value!r} instead."
            )


def hidden_sizes(hidden_layer_sizes: Any) -> list[int]:
    one = isinstance(hidden_layer_sizes, Number)
    sizes = [hidden_layer_sizes] if one else list(hidden_layer_sizes)
    if not all(map(is_integer, sizes)):
        raise InvalidParameterError(f"hidden_layer_sizes must be integers, got {sizes}.")
    if any(size <= 0 for size in sizes):
        raise InvalidParameterError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return [int(size) for size in sizes]


def is_integer(size: Any) -> bool:
    return isinstance(size, Real) and not isinstance(size, bool) and float(size).is_integer()
