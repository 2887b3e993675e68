"""Test which global variables and closures count as read by a custom class."""

import math
from types import ModuleType

import numpy as np

import gpunn
from gpunn.expressions.variables import value_of, variables_of

FACTOR, CALLS, COUNT, UNREAD, MANY = 2.0, [], 0, 1.0, [1.0] * 1000
MODULE = ModuleType("settings")
MODULE.rate = 3.0


def helper():
    return FACTOR * MODULE.rate


class Reading(gpunn.activations.Activation):
    name = "test_reading"

    def value(self, xp, z):
        global COUNT
        COUNT += 1
        CALLS.append(1)
        inner = sum(x * LATER for x in [1.0])  # in 3.11, a function within the function
        return MANY[0] * helper() * self.half(z) * math.pi + np.pi * inner

    @property
    def half(self):
        return lambda z: z / DIVISOR


DIVISOR, LATER = 2.0, 0.0


def test_variables_that_methods_and_their_functions_read():
    found = {name: value_of(owner, name) for owner, name in variables_of(Reading)}
    numbers = {
        name: value for name, value in found.items() if isinstance(value, float | int | list)
    }
    assert numbers == {"FACTOR": 2.0, "rate": 3.0, "DIVISOR": 2.0, "LATER": 0.0}
    assert found["helper"] is helper
    assert variables_of(gpunn.activations.ReLU) == []


def test_code_with_more_than_255_names():
    lines = ["def value(self, xp, z):", " global COUNT", *(f" xp.f{k}" for k in range(300))]
    variables = {"COUNT": 0, "__name__": "user"}
    exec("\n".join([*lines, " COUNT += 1"]), variables)
    members = {"name": "test_names", "value": variables["value"]}
    assert variables_of(type("Names", (gpunn.activations.Activation,), members)) == []


def test_an_empty_cell_has_no_value():
    class Closed(gpunn.activations.Activation):
        name = "test_closed"

        def value(self, xp, z):
            return z * later

    assert [value_of(*pair) for pair in variables_of(Closed)] == [None]
    later = 2.0
    assert [value_of(*pair) for pair in variables_of(Closed)] == [later]
