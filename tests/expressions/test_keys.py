"""Objects have equal keys only if their methods have equal traces, now and after any change."""

import builtins
import copy
import functools
import math
import os
import sys
import types
from collections import Counter, namedtuple
from dataclasses import dataclass, field, make_dataclass
from typing import Any

import numpy as np
import pytest

import gpunn
from gpunn import activations, layers, losses, optimizers
from gpunn.expressions.keys import keys_of

FACTOR, BETAS, SETTINGS = 2.0, [0.5, 0.9], types.SimpleNamespace(factor=2.0)
TABLE = {"factor": 2.0}
GENERATOR = np.random.default_rng(0)
TEXT = "{0.l2_penalty}"
WRAPPED = np.frompyfunc(lambda z: z * FACTOR, 1, 1)
MODULE = types.ModuleType("settings_of_a_user")
MODULE.factor, MODULE.inner = 2.0, types.ModuleType("inner")
MODULE.inner.factor = 2.0
LAZY = types.ModuleType("lazy")


def fails(name):
    raise ImportError(name)


LAZY.__getattr__ = fails


def doubled(z):
    return z * FACTOR


def activation(value, **members):
    """Return an object of a new class, whose method is `value(self, xp, z)`."""
    cls = type("Custom", (activations.Activation,), {"name": "custom", "value": value, **members})
    return cls()


def key(value):
    """Return the key, or None if there is none."""
    return keys_of([value])


def defined(factor=2.0):
    """Return an object of a class that is defined anew, as by a cell of a notebook."""

    @dataclass(frozen=True)
    class Scaled(activations.Activation):
        scale: float = factor
        name = "scaled"

        def value(self, xp, z):
            return z * self.scale

    return Scaled()


def closed():
    factor = 2.0

    def change(value):
        nonlocal factor
        factor = value

    return activation(lambda self, xp, z: z * factor), lambda: change(3.0)


def counting():
    count = 0

    def value(self, xp, z):
        nonlocal count
        count += 1
        return z

    return value


@dataclass(frozen=True)
class Plain(activations.Activation):
    scale: Any = 2.0
    others: Any = field(default_factory=lambda: [1, {"a": (2.0, None)}])
    function: Any = doubled

    name = "plain"
    limit = 6.0

    def value(self, xp, z):
        if not isinstance(self.scale, float):
            raise TypeError("scale")
        z = doubled(xp.minimum(z, self.limit)) * math.sqrt(self.scale) * np.sqrt(np.float32(2))
        return self.function(z) * self.twice + sum(each * BETAS[0] for each in [1, 2]) + np.pi

    @property
    def twice(self):
        return 2 * MODULE.factor * TABLE["factor"]


@dataclass(eq=False)
class Shortcut(layers.Block):
    """With layers within lists, and a parameter."""

    body: list

    name = "shortcut_with_key"

    def own_parameters(self, input_shape):
        return [gpunn.parameters.ParameterSpec("s", input_shape, gpunn.initializers.Ones())]

    def forward(self, xp, x):
        return xp.tanh(self.body(x)) * self.values["s"] + x


class Inherits(losses.BinaryCrossEntropy):
    name = "inherits"

    def values(self, xp, predictions, targets):
        return super().values(xp, predictions, targets) * FACTOR

    def check_targets(self, y, outputs):
        return losses.real_targets(y, outputs)


def shortcut(**options):
    return Shortcut([layers.Dense(3, Plain(**options)), layers.Dropout(0.5)])


@dataclass(eq=False)
class Steps(optimizers.Optimizer):
    name = "steps"

    def update(self, xp, values, gradients, slots, learning_rate, step):
        values -= learning_rate * gradients * xp.astype(step, values.dtype)


SAME = {"activation": Plain, "block": shortcut, "loss": Inherits, "optimizer": Steps}


@pytest.mark.parametrize("make", SAME.values(), ids=SAME)
def test_equal_objects_have_equal_keys(make):
    one, another = make(), copy.deepcopy(make())  # a copy adds a member to the class
    assert key(one) is not None
    assert key(one) == key(another)
    assert hash(key(one)) == hash(key(another))


CHANGES = {
    "global variable": ("FACTOR", 3.0),
    "minus zero": ("FACTOR", -0.0),
    "type": ("FACTOR", 2),
    "list": ("BETAS", [0.5, 0.9, 0.99]),
    "dict": ("TABLE", {"factor": 3.0}),
    "function": ("doubled", lambda z: z * 3),
    "hidden built-in": ("isinstance", lambda a, b: True),
    "another module": ("MODULE", types.SimpleNamespace(factor=2.0)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changed_variables_change_the_key(name, monkeypatch):
    before = key(Plain())
    monkeypatch.setitem(globals(), *CHANGES[name])
    assert key(Plain()) != before


@pytest.mark.parametrize("owner", [MODULE, Plain, TABLE, doubled, shortcut().body])
def test_changes_in_place_change_the_key(owner, monkeypatch):
    before = key(shortcut())
    value = shortcut()
    if owner is MODULE:
        monkeypatch.setattr(MODULE, "factor", 3.0)
    elif owner is Plain:
        monkeypatch.setattr(Plain, "limit", 5.0)
    elif owner is TABLE:
        monkeypatch.setitem(TABLE, "factor", 3.0)
    elif owner is doubled:
        monkeypatch.setattr(doubled, "__code__", (lambda z: z * FACTOR * 2).__code__)
    else:
        value.body.layers[1].rate = 0.6
    assert key(value) != before


def test_a_replaced_method_a_redefined_class_and_another_attribute_change_the_key(monkeypatch):
    assert key(defined()) is not None
    assert key(defined()) != key(defined())
    assert key(Plain(scale=2)) != key(Plain())
    assert key(Plain(others=[1, {"a": (2.0, 0)}])) != key(Plain())
    assert key(Plain(function=lambda z: z)) != key(Plain(function=lambda z: z + 1))
    before = key(Plain())
    monkeypatch.setattr(Plain, "value", lambda self, xp, z: z)
    assert key(Plain()) != before


BUILT_IN = [
    (Inherits, losses.BinaryCrossEntropy, "values"),
    (Inherits, losses.Loss, "check_targets"),
    (shortcut, layers.Dense, "forward"),
]


@pytest.mark.parametrize(("make", "owner", "method"), BUILT_IN)
def test_a_replaced_method_of_a_built_in_class_changes_the_key(make, owner, method, monkeypatch):
    """Custom code may call the method, for example by `super()`."""
    before = key(make())
    monkeypatch.setattr(owner, method, lambda *arguments: None)
    assert None not in (before, key(make()))
    assert key(make()) != before


def test_a_closure_and_defaults_change_the_key():
    value, change = closed()
    before = key(value)
    change()
    assert None not in (before, key(value))
    assert key(value) != before

    def with_default(self, xp, z, factor=2.0, *, more=(1,)):
        return z * factor

    value = activation(with_default)
    before = key(value)
    with_default.__defaults__ = (3.0,)
    assert None not in (before, key(value))
    assert key(value) != before


def test_one_object_in_two_places_differs_from_two_equal_objects():
    """For example, a layer that is called twice has other dropout masks than two layers."""
    one, two = layers.Dropout(0.5), layers.Dropout(0.5)

    class Twice(layers.Block):
        name = "twice_with_key"

        def __init__(self, a, b):
            super().__init__()
            self.a, self.b = a, b

        def forward(self, x):
            return self.a(x) + self.b(x)

    assert key(Twice(one, two)) is not None
    assert key(Twice(one, one)) != key(Twice(one, two))


class Mixin:
    def helper(self, z):
        return z


class Mixed(Mixin, activations.Activation):
    def value(self, xp, z):
        return self.helper(z)


class OwnClass(activations.Activation):
    def value(self, xp, z):
        return z * __class__().count()


class Meta(type):
    factor = 2.0


def imports(self, xp, z):
    import os

    return z * len(os.environ)


def sets(self, xp, z):
    type(self).count = 1
    return z


def stores(self, xp, z):
    self.count = 1
    return z


def changes_global(self, xp, z):
    global COUNT
    COUNT = 1
    return z


def enters(self, xp, z):
    with self.context:
        return z


def matches(self, xp, z):
    match self:
        case Plain(scale=scale):
            return z * scale
    return z


def adds(self, xp, z):
    for each in {8, 0}:
        z = z * 3 + each
    return z


UNKNOWN = {
    "environment": lambda self, xp, z: z * len(os.environ),
    "module's function": lambda self, xp, z: z * sys.getrecursionlimit(),
    "file": lambda self, xp, z: z * len(open(__file__).read()),  # noqa: SIM115
    "attributes by name": lambda self, xp, z: z * getattr(MODULE, "fac" + "tor"),
    "object": lambda self, xp, z: z * SETTINGS.factor,
    "lazy module": lambda self, xp, z: z * LAZY.factor,
    "module": lambda self, xp, z: z * len(vars(MODULE)),
    "random numbers": lambda self, xp, z: z * float(GENERATOR.random()),
    "NumPy's random numbers": lambda self, xp, z: z * float(np.random.random()),  # noqa: NPY002
    "NumPy's file": lambda self, xp, z: z * float(np.load("a.npy")),
    "Python behind NumPy": lambda self, xp, z: WRAPPED(z),
    "model file": lambda self, xp, z: z * gpunn.load_model("a").seed,
    "class": lambda self, xp, z: z * self.__class__.limit,
    "class with a constructor": lambda self, xp, z: Plain().value(xp, z),
    "order of a set": lambda self, xp, z: sum([each(z) for each in {self.f, self.g}]),
    "order of a constant set": adds,
    "pattern": matches,
    "context manager": enters,
    "text": lambda self, xp, z: z * len(f"{self}"),
    "text of an object": lambda self, xp, z: z * len(str(self)),
    "text of an attribute": lambda self, xp, z: z * float(TEXT.format(self)),
    "configuration": lambda self, xp, z: z * self.config()["l2_penalty"],
    "schedule": lambda self, xp, z: z * self.schedule.start,
    "missing variable": lambda self, xp, z: z * MISSING,  # noqa: F821
    "key of dropout": lambda self, xp, z: z * self.key,
    "learning rate": lambda self, xp, z: z * self.learning_rate,
    "import": imports,
    "counter": counting(),
    "attribute of the class": sets,
    "attribute": stores,
    "changed variable": changes_global,
    "cached function": functools.lru_cache(lambda self, xp, z: z),
    "partial function": functools.partialmethod(lambda self, factor, xp, z: z, 2.0),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_code_that_may_depend_on_more_has_no_key(name):
    assert key(activation(lambda self, xp, z: z)) is not None
    assert key(activation(UNKNOWN[name])) is None


class Doubled(property):
    def __get__(self, instance, owner=None):
        return super().__get__(instance, owner) * FACTOR


class Lazy:
    def __init__(self, fget):
        self.fget = fget

    def __get__(self, instance, owner):
        return self.fget(instance) * FACTOR


MEMBERS = {
    "method of an object": {"scaled": Lazy(doubled).fget.__get__(SETTINGS)},
    "descriptor": {"scaled": Lazy(lambda self: 1.0)},
    "other property": {"scaled": Doubled(lambda self: 1.0)},
    "own comparison": {"__eq__": lambda self, other: FACTOR == 2, "__hash__": object.__hash__},
    "cached property": {"a": functools.cached_property(lambda self: 1)},
    "any attribute": {"__getattr__": lambda self, name: FACTOR},
    "object": {"settings": SETTINGS},
    "array": {"weights": np.ones(3)},
    "large list": {"weights": [0.0] * 101},
    "inner class": {"Inner": type("Inner", (), {"factor": 2.0})},
    "copy": {"__deepcopy__": lambda self, memo: self},
}


@pytest.mark.parametrize("name", MEMBERS)
def test_classes_with_members_that_cannot_be_compared_have_no_key(name):
    assert key(activation(lambda self, xp, z: z, **MEMBERS[name])) is None


def test_objects_that_cannot_be_compared_have_no_key():
    named = make_dataclass("Named", ["factor"])(2.0)
    nested = [1.0]
    nested.append(nested)
    record = np.zeros(1, [("a", "f8")])[0]
    values = SETTINGS, np.ones(2), named, functools.partial(doubled), GENERATOR.random, {1}, object
    for value in (*values, nested, record, 1 << 20000, Counter(a=1), namedtuple("N", "a")(1)):
        assert key(Plain(function=value)) is None, type(value)
    assert key(Mixed()) is None
    assert key(OwnClass()) is None


def test_a_module_within_a_module_is_read_too(monkeypatch):
    value = activation(lambda self, xp, z: z * MODULE.inner.factor)
    before = key(value)
    monkeypatch.setattr(MODULE.inner, "factor", 3.0)
    assert None not in (before, key(value))
    assert key(value) != before


def test_names_of_the_attributes_that_a_network_sets_in_its_layers():
    """Another object may have its own attributes with these names."""

    @dataclass(frozen=True)
    class Weighted(activations.Activation):
        values: tuple = (1.0,)
        gradients: float = 1.0

        def value(self, xp, z):
            return z * self.values[0] * self.gradients

    assert key(Weighted()) == key(Weighted())
    assert None not in (key(Weighted()), key(Weighted((2.0,))), key(Weighted(gradients=2.0)))
    assert len({key(Weighted()), key(Weighted((2.0,))), key(Weighted(gradients=2.0))}) == 3
    layer = shortcut()
    before = key(layer)
    gpunn.Sequential([layer], 3, "numpy")
    assert key(layer) == before


def test_a_static_method_differs_from_a_method():
    def count(*arguments):
        return len(arguments)

    value = activation(lambda self, xp, z: z * self.count(1), count=count)
    before = key(value)
    type(value).count = staticmethod(count)
    assert None not in (before, key(value))
    assert key(value) != before


def test_functions_with_other_built_ins():
    built_ins = {**vars(builtins), "FACTOR": 2.0}
    value = eval("lambda self, xp, z: z * FACTOR", {"__name__": "user", "__builtins__": built_ins})
    value = activation(value)
    before = key(value)
    built_ins["FACTOR"] = 3.0
    assert None not in (before, key(value))
    assert key(value) != before


def test_a_private_attribute_of_a_built_in_layer():
    value = shortcut()
    keys = []
    for number in (1.0, 2.0):
        value.body.layers[0]._factor = number
        keys.append(key(value))
    assert None not in keys
    assert keys[0] != keys[1]
