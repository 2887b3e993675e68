import inspect
import json
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar

import numpy as np
import pytest

from gpunn.activations import Activation, LeakyReLU, ReLU
from gpunn.callbacks import EarlyStopping, ModelCheckpoint
from gpunn.configurable import (
    Configurable,
    check_flag,
    check_fraction,
    check_integer,
    check_number,
    imported,
    known,
    lookup,
    make,
    resolve,
)
from gpunn.errors import ArgumentError, ArgumentTypeError
from gpunn.layers import Dropout
from gpunn.optimizers import SGD
from gpunn.schedules import Cosine, ReduceOnPlateau


class Shape(Configurable):
    pass


@dataclass(frozen=True)
class Circle(Shape):
    radius: float
    filled: bool = False
    sides: int = 1

    name = "circle"

    def __post_init__(self):
        self.require_number("radius", above=0)
        self.require_flag("filled")
        self.require_integer("sides")


@dataclass(frozen=True)
class Ring(Circle):
    width: float = 0.5

    name = "ring"

    def __post_init__(self):
        super().__post_init__()
        self.require_fraction("width")


@dataclass(frozen=True)
class Group(Shape):
    parts: tuple[Shape, ...] = ()
    kind: ClassVar[str] = "not a parameter"
    derived: int = field(init=False, default=0)

    name = "group"


class NamelessRing(Ring):
    pass


NOT_A_CLASS = 3


def test_known_are_the_subclasses_with_a_name_of_their_own():
    assert known(Shape) == {"circle": Circle, "ring": Ring, "group": Group}


def test_lookup():
    assert lookup(Shape, "ring", "shape") is Ring
    with pytest.raises(ArgumentError) as caught:
        lookup(Shape, "cirle", "shape")
    message = str(caught.value)
    assert message.startswith("shape: there is no shape 'cirle'; did you mean 'circle'?")
    assert "valid: 'circle', 'group', 'ring'" in message


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Circle(2.0), Circle(2.0)),
        ({"name": "circle", "radius": 3}, Circle(3.0)),
        ({"name": "ring", "radius": 3, "width": 0.1}, Ring(3.0, width=0.1)),
        ("group", Group()),
        (Group, Group()),
    ],
)
def test_resolve(value, expected):
    assert resolve(Shape, value, "shape") == expected


def test_resolve_keeps_the_object_itself():
    circle = Circle(1.0)
    assert resolve(Shape, circle, "shape") is circle


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("circle", ArgumentError, "shape.radius: 'circle' needs this parameter"),
        (Circle, ArgumentError, "shape.radius: 'circle' needs this parameter"),
        ({"name": "circle", "radius": 0}, ArgumentError, "shape.radius: expected a number > 0"),
        ({"name": "circle", "radius": "1"}, ArgumentError, "shape.radius: expected a number"),
        (
            {"name": "circle", "radius": 1, "raduis": 2},
            ArgumentError,
            "shape.raduis: 'circle' has no such parameter; did you mean 'radius'?",
        ),
        ({"name": "group", "derived": 2}, ArgumentError, "shape.derived: 'group' has no such"),
        ({"name": "square"}, ArgumentError, "shape: there is no shape 'square'; valid: 'circle'"),
        ({"radius": 1}, ArgumentTypeError, "expected a name, a table with the key 'name', or a Sh"),
        ({"name": 3}, ArgumentTypeError, "expected a name"),
        (3, ArgumentTypeError, "got 3"),
        (None, ArgumentTypeError, "got None"),
        (ReLU(), ArgumentTypeError, "got ReLU()"),
        (ReLU, ArgumentTypeError, "got <class"),
    ],
)
def test_resolve_refuses(value, error, message):
    with pytest.raises(error) as caught:
        resolve(Shape, value, "shape")
    assert message in str(caught.value)


def test_the_article_fits_the_kind():
    with pytest.raises(ArgumentTypeError, match="or an Activation; got 3"):
        resolve(Activation, 3, "activation")


def test_no_activation_has_a_name():
    """Keras' default is None."""
    with pytest.raises(ArgumentTypeError, match="got None; for none, use 'identity'"):
        resolve(Activation, None, "activation")


def test_config_is_plain_and_rebuilds():
    group = Group((Circle(np.float64(2)), Ring(1, filled=np.True_, sides=np.int64(5))))
    described = group.config()
    assert described == {
        "name": "group",
        "parts": [
            {"name": "circle", "radius": 2.0, "filled": False, "sides": 1},
            {"name": "ring", "radius": 1.0, "filled": True, "sides": 5, "width": 0.5},
        ],
        "derived": 0,
    }
    assert json.loads(json.dumps(described)) == described


def test_config_without_a_dataclass():
    class Dot(Configurable):
        name = "dot"

    assert Dot().config() == {"name": "dot"}
    assert isinstance(make(Dot, {}, "dot"), Dot)
    with pytest.raises(ArgumentError, match=r"dot\.size: 'dot' has no such parameter"):
        make(Dot, {"size": 1}, "dot")


def test_a_signature_is_that_of_the_constructor():
    signature = inspect.signature(Circle)
    assert str(signature) == "(radius: float, filled: bool = False, sides: int = 1)"
    # What Sphinx, and other tools that look at `__new__` first, show.
    assert Circle.__signature__ == signature
    assert str(inspect.signature(Shape)) == "()"


def test_import_path_is_no_name():
    path = "gpunn.activations:ReLU"
    assert imported(path, "f") is ReLU
    for value in (path, {"name": path}):
        with pytest.raises(ArgumentError, match=r"there is no activation 'gpunn\.activations:"):
            resolve(Activation, value, "f")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("gpunn.nothing:ReLU", "f: cannot import 'gpunn.nothing:ReLU'"),
        ("gpunn.activations:Nothing", "f: cannot import 'gpunn.activations:Nothing'"),
        ("gpunn.activations:math", "f: 'gpunn.activations:math' is not a subclass"),
        ("gpunn.errors:KeyedError", "is not a subclass of Layer, Loss or"),
    ],
)
def test_impossible_import_path(path, message):
    with pytest.raises(ArgumentError, match=message):
        imported(path, "f")


NUMBERS = [1, 1.0, np.float32(1), np.int8(1), Fraction(1)]


@pytest.mark.parametrize(
    ("check", "value", "expected"),
    [
        *((check_number, value, 1.0) for value in NUMBERS),
        *((check_integer, value, 3) for value in (3, np.int64(3), np.uint8(3))),
        *((check_flag, value, bool(value)) for value in (True, np.False_)),
        *((check_fraction, value, value) for value in (0.0, 0.999)),
    ],
)
def test_checks_give_pythons_own_types(check, value, expected):
    found = check("rate", value)
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize(
    ("check", "values", "expected"),
    [
        (check_number, [True, np.True_, "1", None, 1j, [1], np.array([1.0])], "a number"),
        (check_integer, [True, np.True_, 3.0, "3", None], "an integer"),
        (check_flag, [0, 1, "true", None], "True or False"),
    ],
)
def test_checks_refuse_other_types(check, values, expected):
    for value in values:
        with pytest.raises(ArgumentTypeError, match=f"rate: expected {expected}; got "):
            check("rate", value)


@pytest.mark.parametrize(
    ("value", "limits", "expected"),
    [
        (0, {"above": 0}, "a number > 0"),
        (-0.1, {"at_least": 0}, "a number >= 0"),
        (2, {"below": 2}, "a number < 2"),
        (2.1, {"at_most": 2}, "a number <= 2"),
        (3, {"above": 0, "at_most": 1}, "a number > 0 and <= 1"),
        (math.nan, {}, "a finite number"),
        (math.inf, {}, "a finite number"),
        (10**400, {}, "a finite number"),
    ],
)
def test_check_number_refuses_other_values(value, limits, expected):
    with pytest.raises(ArgumentError) as caught:
        check_number("rate", value, **limits)
    assert str(caught.value).startswith(f"rate: expected {expected}; got ")


def test_another_default_keeps_the_limits():
    @dataclass(frozen=True)
    class Steeper(LeakyReLU):
        slope: float = 0.2

    assert type(Steeper(np.float64(0.5)).slope) is float
    with pytest.raises(ArgumentError, match="slope"):
        Steeper(2.0)


@pytest.mark.parametrize(
    ("made", "name", "value", "wrong", "message"),
    [
        (SGD(momentum=0.5), "momentum", np.float64(0.75), -1, "momentum: expected a number >= 0"),
        (SGD(), "max_norm", None, 0, "max_norm: expected a number > 0; got 0"),
        (SGD(), "weight_decay", np.float32(0.5), -1.0, "weight_decay: expected a number >= 0"),
        (SGD(), "weight_decay", Cosine(0.1), ReduceOnPlateau(0.1), "depends on the logs of epochs"),
        (SGD(), "nesterov", np.True_, "yes", "nesterov: expected True or False"),
        (Dropout(), "rate", np.float64(0.25), 1.0, "rate: expected a number"),
        (EarlyStopping(), "min_delta", np.float64(0.25), -1, "min_delta: expected a number >= 0"),
        (EarlyStopping(), "patience", np.int64(2), -1, "patience: expected an integer >= 1"),
        (EarlyStopping(), "patience", "cycle", "cycles", "patience: expected an integer"),
        (ModelCheckpoint("a"), "every_updates", np.int64(2), 0, "every_updates: expected an inte"),
        (ModelCheckpoint("a"), "every_updates", None, 0, "every_updates: expected an integer >= 1"),
        (EarlyStopping(), "ties", "last", "lost", "there is no ties 'lost'; did you mean 'last'"),
    ],
)
def test_a_parameter_is_checked_when_it_is_set_later(made, name, value, wrong, message):
    setattr(made, name, value)
    assert getattr(made, name) == value
    assert type(getattr(made, name)) in (float, int, bool, str, type(None), Cosine)
    with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
        setattr(made, name, wrong)
    assert getattr(made, name) == value


def test_a_parameter_of_an_unpickled_object_is_checked():
    """Although no constructor of its class has run in this process."""

    class Unpickled(SGD):
        pass

    made = Unpickled.__new__(Unpickled)
    vars(made).update(vars(SGD(momentum=0.5)))
    with pytest.raises(ArgumentError, match="momentum: expected a number >= 0"):
        made.momentum = -1


def test_checks_refuse_what_is_out_of_range():
    assert check_integer("seed", 0, at_least=0) == 0
    with pytest.raises(ArgumentError, match="units: expected an integer >= 1; got 0"):
        check_integer("units", 0)
    with pytest.raises(ArgumentError, match="units: expected an integer <= 9223372036854775807"):
        check_integer("units", 10**5000)
    assert check_integer("seed", 10**30, at_most=math.inf) == 10**30
    for value in (1, -0.1):
        with pytest.raises(ArgumentError, match="rate: expected a number >= 0 and < 1"):
            check_fraction("rate", value)
