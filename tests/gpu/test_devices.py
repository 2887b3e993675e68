"""Several devices: nothing strays, and what is mixed is refused."""

import gc

import numpy as np
import pytest
from parity.runs import INPUTS, LABELS, Run, assert_same_bits, every_layer

from gpunn import activations, losses, metrics, optimizers
from gpunn.backends import get_backend

pytestmark = [pytest.mark.emulated, pytest.mark.rung(5)]


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
    """How many bytes each device's pool hands out now."""

    import cupy

    def look():
        gc.collect()  # what other tests left would go at any time
        found = []
        for number in range(cupy.cuda.runtime.getDeviceCount()):
            with cupy.cuda.Device(number):
                found.append(cupy.get_default_memory_pool().used_bytes())
        return found

    return look


def test_everything_is_on_the_device_asked_for(used, proved):
    before = used()[0]
    trainer = RUN.make("cupy:1", "float32")
    RUN.fit(trainer)
    trainer.evaluate(INPUTS, LABELS)
    trainer.model.predict(INPUTS)
    found = list(arrays_of(trainer))
    assert len(found) > 30
    assert {array.device.id for array in found} == {1}
    assert used()[0] == before
    proved("arrays of a trained network on the device asked for", len(found))


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


def operations(here, there):
    """Return calls on the device `here`, each with one array that lies `there`."""

    def numbers(device, *shape):
        return device.from_host(np.ones(shape), "float32")

    def order(device):
        return device.from_host(np.arange(4))

    start = here.from_host(np.array([0]))
    one = numbers(here, 1)
    step = here.from_host(np.array([1]))
    labels = here.from_host(np.arange(4) % 3)
    return {
        "add": lambda: here.add(numbers(there, 4, 3), numbers(here, 4, 3)),
        "matmul": lambda: here.matmul(
            numbers(here, 4, 3), numbers(there, 3, 4), numbers(here, 4, 4)
        ),
        "activate": lambda: here.activate(
            activations.GELU(), numbers(there, 4, 3), numbers(here, 3), numbers(here, 4, 3)
        ),
        "bias": lambda: here.activate(
            activations.GELU(), numbers(here, 4, 3), numbers(there, 3), numbers(here, 4, 3)
        ),
        "gather_rows": lambda: here.gather_rows(
            numbers(there, 4, 3), order(here), start, numbers(here, 4, 3)
        ),
        "order": lambda: here.gather_rows(
            numbers(here, 4, 3), order(there), start, numbers(here, 4, 3)
        ),
        "sum_weights": lambda: here.sum_weights(numbers(there, 4), one),
        "loss": lambda: here.loss(
            losses.SoftmaxCrossEntropy(),
            numbers(there, 4, 3),
            labels,
            numbers(here, 4),
            one,
            numbers(here, 4, 3),
            one,
        ),
        "metric": lambda: here.metric(
            metrics.Accuracy(), numbers(there, 4, 3), labels, numbers(here, 4), one
        ),
        "update": lambda: here.update(
            optimizers.Adam(),
            numbers(here, 5),
            numbers(there, 5),
            {name: numbers(here, 5) for name in optimizers.Adam().slots},
            one,
            step,
            5,
        ),
        "clip": lambda: here.clip(numbers(there, 5), 1.0),
    }


OPERATIONS = [
    "add",
    "matmul",
    "activate",
    "bias",
    "gather_rows",
    "order",
    "sum_weights",
    "loss",
    "metric",
    "update",
    "clip",
]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("name", OPERATIONS)
def test_arrays_of_another_device_are_refused(capfd, proved, name, number):
    here, there = get_backend(f"cupy:{number}"), get_backend(f"cupy:{1 - number}")
    call = operations(here, there)[name]
    # CuPy, the emulator's memory and its cuBLAS each say it with an error of their own.
    with pytest.raises(Exception, match=r"(?i)device|cublas"):
        call()
    capfd.readouterr()  # what cuBLAS has printed
    proved("operations refuse an array of another device")
