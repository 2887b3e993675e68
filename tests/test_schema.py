"""What plain data is made into, and what is said of data that does not fit."""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal

import pytest

from gpunn.configurable import check_integer
from gpunn.errors import ArgumentError
from gpunn.schema import typed

Count = Annotated[int, partial(check_integer, at_least=1)]


@dataclass
class Circle:
    kind: Literal["circle"]
    radius: float


@dataclass
class Square:
    kind: Literal["square"]
    side: Count = 1


@dataclass
class Drawing:
    shapes: list[Circle | Square]
    size: Count | None = None
    title: str = ""
    own: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (bool, True, True),
        (float, 2, 2.0),
        (int | float, 2, 2),
        (Count | None, None, None),
        (Any, [1, {}], [1, {}]),
        (Literal["a", "b"], "b", "b"),
        (dict[str, float | None], {"a": 1, "b": None}, {"a": 1.0, "b": None}),
        (Circle | Square, {"kind": "square"}, Square("square")),
        (
            Drawing,
            {"shapes": [{"kind": "circle", "radius": 1}], "own": {"a": []}},
            Drawing([Circle("circle", 1.0)], own={"a": []}),
        ),
    ],
)
def test_what_fits(kind, value, expected):
    found = typed(kind, value, "x")
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (int, True, "x: expected an integer; got True"),
        (int, 2.0, "x: expected an integer; got 2.0"),
        (int | str, None, "x: expected an integer or a string; got None"),
        (float, 10**400, "x: expected a number from -1.8e308 to 1.8e308; got one outside this"),
        (str, "\ud800", "x: expected a string that UTF-8 can encode; got '\\ud800'"),
        (dict[str, int], {"a": "b"}, "x.a: expected an integer; got 'b'"),
        (list[list[int]], [[1], [2, "b"]], "x[1][1]: expected an integer; got 'b'"),
        (Count, 0, "x: expected an integer >= 1; got 0"),
        (Literal["red", "blue"], "bleu", "x: there is no x 'bleu'; did you mean 'blue'?"),
        (Drawing, {}, "x.shapes: this key is needed"),
        (Drawing, {"shapes": [], "titel": ""}, "x.titel: unknown key; did you mean 'title'?"),
        (Drawing, {"shapes": [{}]}, "x.shapes[0].kind: this key is needed; valid: 'circle'"),
        (
            Drawing,
            {"shapes": [{"kind": "squared"}]},
            "x.shapes[0].kind: there is no kind 'squared'; did you mean 'square'?",
        ),
    ],
)
def test_what_does_not(kind, value, message):
    with pytest.raises(ArgumentError) as caught:
        typed(kind, value, "x")
    assert str(caught.value).startswith(message)


def test_the_keys_of_a_later_release_may_be_ignored():
    value = {"shapes": [{"kind": "square", "color": "red"}], "size": 3, "unit": "mm"}
    found = typed(Drawing, value, ignore_unknown=True)
    assert found == Drawing([Square("square")], 3)


def test_numbers_that_are_not_finite_are_numbers():
    assert math.isnan(typed(float, math.nan))
