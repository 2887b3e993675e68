"""Test training with activations, losses, metrics and optimizers that have no kernel."""

import itertools
import math
import random
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from benchmarked_classes import CLASSES, targets_for
from training_steps import recorded_step

pytest.importorskip("numba")

import gpunn
from gpunn.backends.numpy.compiled import CompiledBackend
from gpunn.backends.numpy.compiled.team import Table
from gpunn.backends.tracing import named
from gpunn.configurable import is_built_in, known
from gpunn.errors import ArgumentError
from gpunn.layers import Dense


@pytest.fixture
def assert_as_called(request):
    """Return a function that compares losses with those of methods that NumPy calls."""

    def compare(losses):
        compiled = losses()
        request.getfixturevalue("numpy_alone")
        np.testing.assert_allclose(compiled, losses(), rtol=1e-5)

    return compare


def trainer_with(kind, custom, threads=2, dtype="float32"):
    activation = custom if kind == "activation" else "relu"
    backend = CompiledBackend(threads)
    model = gpunn.Sequential([Dense(20, activation), Dense(4)], 6, backend, dtype=dtype)
    chosen = {"loss": "mean_squared_error", "optimizer": "adam"}
    if kind != "activation":
        chosen[kind] = [custom] if kind == "metrics" else custom
    return gpunn.Trainer(model, **chosen)


def trained(kind, custom, dtype="float32", callbacks=()):
    trainer = trainer_with(kind, custom, dtype=dtype)
    X = np.random.default_rng(0).normal(size=(70, 6))
    y = targets_for(custom, 70, 4)
    trainer.fit(X, y, epochs=3, batch_size=16, progress=False, callbacks=callbacks)
    return trainer


BUILT_IN = [
    (kind, cls())
    for kind, base in (
        ("activation", gpunn.activations.Activation),
        ("loss", gpunn.losses.Loss),
        ("optimizer", gpunn.optimizers.Optimizer),
    )
    for cls in known(base).values()
    if is_built_in(cls)
]


@pytest.mark.parametrize(
    ("kind", "chosen"), [*(pair[:2] for pair in CLASSES.values()), *BUILT_IN], ids=repr
)
def test_a_step_is_one_program(kind, chosen):
    trainer = trainer_with(kind, chosen)
    trace = recorded_step(trainer, np.zeros((8, 6), np.float32), targets_for(chosen, 8, 4))
    program = trainer.model.backend._program(trace)
    assert [type(each) for each in program._steps] == [Table]


@pytest.mark.parametrize(
    ("name", "dtype"), list(zip(CLASSES, itertools.cycle(["float32", "float64"])))
)
def test_training_agrees_with_calls(name, dtype, request):
    kind, custom, _ = CLASSES[name]
    bound = {"float32": 1e-4, "float64": 1e-9}[dtype]
    compiled = trained(kind, custom, dtype)
    again = trained(kind, custom, dtype)
    request.getfixturevalue("numpy_alone")
    called = trained(kind, custom, dtype)
    for key, values in compiled.history.items():
        if "loss" in key or "error" in key:
            assert values == again.history[key]
            np.testing.assert_allclose(values, called.history[key], rtol=bound)


@dataclass(frozen=True)
class Sorted(gpunn.losses.MeanSquaredError):
    """A loss that can't be traced."""

    name = "sorted"

    def values(self, xp, predictions, targets):
        return xp.sort(xp.mean((predictions - targets) ** 2, axis=1))

    def gradients(self, xp, predictions, targets):
        return predictions - targets


def test_a_class_that_can_not_be_traced_is_called_and_named_once(caplog, request):
    named.discard(Sorted)
    compiled = trained("loss", Sorted())
    trained("loss", Sorted())
    assert [each.getMessage() for each in caplog.records] == [
        "gpunn: Sorted can't be compiled. The results are the same, but training is slower. "
        "Reason: xp.sort is not supported"
    ]
    request.getfixturevalue("numpy_alone")
    called = trained("loss", Sorted())
    np.testing.assert_allclose(compiled.history["loss"], called.history["loss"], rtol=1e-5)


class SortedTerms(gpunn.losses.ElementwiseLoss):
    name = "sorted_terms"

    def terms(self, xp, predictions, targets):
        return xp.sort((predictions - targets) ** 2)


class SortedValue(gpunn.activations.Activation):
    name = "sorted_value"

    def value(self, xp, z):
        return xp.sort(z)


@pytest.mark.parametrize(
    ("kind", "part"), [("loss", SortedTerms()), ("activation", SortedValue())], ids=["loss", "f"]
)
def test_a_class_that_can_not_be_trained_is_not_called_slow(caplog, kind, part):
    with pytest.raises(ArgumentError, match="can't find the derivative"):
        trained(kind, part)
    assert not caplog.records


class Slope(gpunn.activations.Activation):
    """A class without fields; callbacks change what its methods use."""

    name = "slope"
    of_class = 1.0
    __slots__ = ("in_slot",)

    def __init__(self):
        self.in_slot = self.number = 1.0
        self.nested = ({"all": [1.0]},)

    def factor(self):
        numbers = self.of_class, self.in_slot, self.number, self.nested[0]["all"][0]
        return math.prod(numbers) * getattr(self, "later", 1.0)

    def value(self, xp, z):
        return self.factor() * z

    def derivative(self, xp, z, a):
        return xp.full_like(z, self.factor())


class Signed(Slope):
    name = "signed"

    def __init__(self):
        super().__init__()
        self.zero = 0.0

    def factor(self):
        return math.copysign(1.0, self.zero)


class Holder(Slope):
    """A class whose attribute is an object that a callback changes."""

    name = "holder"

    def __init__(self):
        super().__init__()
        self.held = SimpleNamespace(factor=1.0)

    def factor(self):
        return self.held.factor


def of_new_class():
    """Return an object whose class has the attributes that a callback changes."""

    class Shared(Holder):
        name = "shared"
        held = SimpleNamespace(factor=1.0)
        pair = (1.0, 1.0)
        __init__ = Slope.__init__

        def factor(self):
            return self.held.factor * self.pair[0]

    return Shared()


STEEPNESS, SETTINGS = 1.0, {"steepness": 1.0}


def steepness():
    return STEEPNESS * SETTINGS["steepness"]


def of_variables():
    """Return an object whose methods read global variables, by a function, and a closure."""
    globals().update(STEEPNESS=1.0, SETTINGS={"steepness": 1.0})
    here = 1.0

    class Outer(Slope):
        name = "outer"

        def factor(self):
            return steepness() * here

        @staticmethod
        def set_here(value):
            nonlocal here
            here = value

    return Outer()


def change_element(activation):
    activation.nested[0]["all"][0] *= 1.5


class Steeper(gpunn.callbacks.Callback):
    name = "steeper"

    def __init__(self, activation, change):
        self.activation, self.change = activation, change

    def on_epoch_end(self, trainer, logs):
        self.change(self.activation)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (Slope, lambda activation: setattr(activation, "number", 1.5)),
        (Slope, lambda activation: setattr(activation, "of_class", 1.5)),
        (Slope, lambda activation: setattr(activation, "in_slot", 1.5)),
        (Slope, lambda activation: setattr(activation, "later", 1.5)),
        (Slope, change_element),
        (Signed, lambda activation: setattr(activation, "zero", -0.0)),
        (Holder, lambda activation: setattr(activation.held, "factor", 1.5)),
        (of_new_class, lambda activation: setattr(activation.held, "factor", 1.5)),
        (of_new_class, lambda activation: setattr(type(activation), "pair", (1.5, 1.0))),
        (of_variables, lambda activation: globals().update(STEEPNESS=1.5)),
        (of_variables, lambda activation: SETTINGS.update(steepness=1.5)),
        (of_variables, lambda activation: activation.set_here(1.5)),
    ],
)
def test_a_changed_attribute_takes_effect(kind, change, assert_as_called):
    def losses():
        activation = kind()
        callbacks = [Steeper(activation, change)]
        return trained("activation", activation, callbacks=callbacks).history["loss"]

    assert_as_called(losses)


class Normed(gpunn.optimizers.Optimizer):
    """Divides by a norm of the gradients, and by their number."""

    name = "normed"

    def update(self, xp, values, gradients, slots, learning_rate, step):
        norm = xp.sqrt(xp.sum(gradients * gradients)) * values.shape[0]
        values -= 50 * learning_rate * gradients / norm


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_an_update_that_uses_all_parameters_is_not_divided(weight_decay, assert_as_called):
    def losses():
        optimizer = Normed(learning_rate=0.1, weight_decay=weight_decay)
        return trained("optimizer", optimizer).history["loss"]

    assert_as_called(losses)


KEPT = {}


class Keeping(gpunn.activations.Activation):
    """Keeps an array for the gradient."""

    name = "keeping"

    def value(self, xp, z):
        KEPT["half"] = z / 2
        return KEPT["half"] * 3

    def derivative(self, xp, z, a):
        return KEPT["half"] * 0 + 1.5


def test_an_array_outside_the_object_is_refused(assert_as_called):
    assert_as_called(lambda: trained("activation", Keeping()).history["loss"])


class CountingOnItsClass(Slope):
    """A class whose method counts its calls in an attribute of the class."""

    name = "counting_on_its_class"
    calls = 0

    def value(self, xp, z):
        type(self).calls += 1
        return z * (1 + 0.01 * self.calls)


def test_tracing_does_not_count_as_a_call(assert_as_called):
    def losses():
        CountingOnItsClass.calls = 0
        return trained("activation", CountingOnItsClass()).history["loss"]

    assert_as_called(losses)


def counted_by_a_global_variable():
    global CALLS
    CALLS += 1
    return CALLS


def counted_by_a_closure():
    calls = 0

    def count():
        nonlocal calls
        calls += 1
        return calls

    return count


COUNTER, CALLS = None, 0

COUNTERS = {
    "global": lambda: counted_by_a_global_variable,
    "closure": counted_by_a_closure,
    "list": lambda: lambda held=[]: held.append(1) or len(held),
    "dict": lambda: {"calls": 0},
    "set": set,
    "object": SimpleNamespace,
    "iterator": lambda: itertools.count(1),
    "generator": lambda: (each for each in range(1, 1000)),
    "Generator": lambda: np.random.default_rng(0),
    "RandomState": lambda: np.random.RandomState(0),
    "Random": lambda: random.Random(0),
}


def counted(name):
    """Return a number that differs from call to call; its state is outside of the activation."""
    if name == "dict":
        COUNTER["calls"] += 1
        return COUNTER["calls"]
    if name == "set":
        COUNTER.add(len(COUNTER))
        return len(COUNTER)
    if name == "object":
        COUNTER.calls = getattr(COUNTER, "calls", 0) + 1
        return COUNTER.calls
    if name in ("iterator", "generator"):
        return next(COUNTER)
    if name in ("Generator", "RandomState"):
        return float(COUNTER.normal())
    return COUNTER.random() if name == "Random" else COUNTER()


class CountingOutside(Slope):
    name = "counting_outside"

    def value(self, xp, z):
        return z * (1 + 0.01 * counted(self.counter))


@pytest.mark.parametrize("name", COUNTERS)
def test_tracing_does_not_advance_a_counter_outside_of_the_object(name, assert_as_called):
    def losses():
        activation = CountingOutside()
        activation.counter = name
        globals().update(COUNTER=COUNTERS[name](), CALLS=0)
        return trained("activation", activation).history["loss"]

    assert_as_called(losses)
