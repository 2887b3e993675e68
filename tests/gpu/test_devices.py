"""Several devices: arrays stay on their device, and mixing devices raises an error."""

import gc
import re

import numpy as np
import pytest
from calls import Calls
from parity.runs import INPUTS, LABELS, Run, assert_same_bits, every_layer

from gpunn import Sequential, activations, layers, metrics, optimizers
from gpunn.backends import get_backend
from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.operations import Segment, Trained
from gpunn.errors import ArgumentError

pytestmark = [pytest.mark.emulated, pytest.mark.tier(5)]


RUN = Run("anywhere", every_layer, metrics=["accuracy"])


def arrays_of(value, seen=None):
    """Yield the device's arrays that can be reached from an object of the package."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if type(value).__module__.startswith("cupy") and hasattr(value, "device"):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from arrays_of(item, seen)
    elif isinstance(value, (list, tuple, set)):
        for item in value:
            yield from arrays_of(item, seen)
    elif type(value).__module__.startswith("gpunn"):
        for cls in type(value).__mro__:
            for name in getattr(cls, "__slots__", ()):
                yield from arrays_of(getattr(value, name, None), seen)
        yield from arrays_of(getattr(value, "__dict__", {}), seen)


@pytest.fixture
def used():
    import cupy

    def look():
        gc.collect()  # what other tests left would go at any time
        found = []
        for number in range(cupy.cuda.runtime.getDeviceCount()):
            with cupy.cuda.Device(number):
                found.append(cupy.get_default_memory_pool().used_bytes())
        return found

    return look


def test_everything_is_on_the_requested_device(used, proved):
    before = used()[0]
    trainer = RUN.make("cupy:1", "float32")
    RUN.fit(trainer)
    trainer.evaluate(INPUTS, LABELS)
    trainer.model.predict(INPUTS)
    found = list(arrays_of(trainer))
    assert len(found) > 30
    assert {array.device.id for array in found} == {1}
    assert used()[0] == before
    proved("arrays of a trained network on the requested device", len(found))


def test_each_device_gives_the_same_bits():
    first, second = (RUN.results(RUN.fit(RUN.make(f"cupy:{n}", "float32"))) for n in (0, 1))
    assert_same_bits(second, first)


def test_networks_on_two_devices_take_turns():
    alone = RUN.fit(RUN.make("cupy:0", "float32"), epochs=2)
    trainers = [RUN.make(f"cupy:{n}", "float32") for n in (0, 1)]
    for _ in range(2):
        for trainer in trainers:
            RUN.fit(trainer, epochs=1)
    for trainer in trainers:
        assert_same_bits(trainer.model.parameters.to_host(), alone.model.parameters.to_host())


@pytest.mark.parametrize("graph", [True, False])
def test_a_callback_may_make_another_device_current(graph):
    """All work between two updates then begins on the wrong device."""
    import cupy

    def leave(*_):
        cupy.cuda.Device(0).use()

    def trained(**functions):
        trainer = RUN.make(get_backend("cupy:1", graph=graph), "float32")
        RUN.fit(trainer, callbacks=[Calls(every_updates=1, **functions)])
        return trainer.model.parameters.to_host()

    assert_same_bits(trained(on_updates_end=leave, on_epoch_end=leave), trained())


def operations(here, there):
    """Return calls on the device `here`, each with one array on `there`, and its name."""

    def numbers(device, *shape):
        return device.from_host(np.ones(shape), "float32")

    def order(device):
        return device.from_host(np.arange(4))

    start = here.from_host(np.array([0]))
    one = numbers(here, 1)
    labels = here.from_host(np.arange(4) % 3)
    adam = optimizers.Adam()
    slots = dict.fromkeys(adam.slots, numbers(here, 5))
    vectors = numbers(here, 5), numbers(here, 5)
    a, b, out = numbers(here, 4, 3), numbers(here, 3, 4), numbers(here, 4, 4)
    return {
        "a product": ("b", lambda: here.matmul(a, numbers(there, 3, 4), out)),
        "what a product writes to": ("out", lambda: here.matmul(a, b, numbers(there, 4, 4))),
        "a kernel": (
            "bias",
            lambda: here.activate(activations.GELU(), a, numbers(there, 3), numbers(here, 4, 3)),
        ),
        "a raw kernel": ("order", lambda: here.gather_rows(a, order(there), start, out)),
        "a plain definition": (
            "predictions",
            lambda: here.metric(Own(), numbers(there, 4, 3), labels, numbers(here, 4), one),
        ),
        "an array of a sequence": (
            "sources",
            lambda: here.next_batch([a, numbers(there, 4)], order(here), start, [out, one], start),
        ),
        "an array of a mapping": (
            "trained",
            lambda: here.update(
                adam,
                Trained(*vectors, slots | {adam.slots[-1]: numbers(there, 5)}, [Segment(0, 5)]),
                one,
                start,
            ),
        ),
        "a named argument": ("max_norm", lambda: here.clip(one, max_norm=numbers(there, 1))),
        "a transfer": ("array", lambda: here.to_host(numbers(there, 5))),
    }


class Own(metrics.Accuracy):
    name = "own_of_test_devices"


CASES = list(operations(NumpyBackend(), NumpyBackend()))


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_arrays_of_another_device_are_refused(proved, case, number):
    here, there = get_backend(f"cupy:{number}"), get_backend(f"cupy:{1 - number}")
    argument, call = operations(here, there)[case]
    with pytest.raises(ArgumentError) as caught:
        call()
    where = rf"the array is on cupy:{1 - number}, but .* computes on cupy:{number}\."
    assert re.match(rf"\w+: {argument}: {where}", str(caught.value))
    proved("operations refuse an array of another device")


class Astray(layers.Layer):
    name = "astray_of_test_devices"

    def forward(self, x, workspace):
        import cupy

        with cupy.cuda.Device(0):
            return cupy.zeros(x.shape, x.dtype)


def test_arrays_that_a_custom_layer_puts_elsewhere_are_refused():
    model = Sequential([Astray(), layers.Dense(3)], INPUTS.shape[1:], backend="cupy:1")
    with pytest.raises(ArgumentError, match=r"array: the array is on cupy:0, .* on cupy:1\."):
        model.predict(INPUTS)
