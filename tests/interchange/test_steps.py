"""Layers and activations with steps; every export refuses others, by name."""

from types import SimpleNamespace

import exported_networks
import pytest

import gpunn
from gpunn.activations import Activation
from gpunn.configurable import is_built_in, known
from gpunn.errors import ArgumentTypeError, ExportError
from gpunn.interchange import (
    Int8Network,
    save_c,
    save_onnx,
    save_python,
    state_dict,
    to_sklearn,
    torch_code,
)
from gpunn.interchange.steps import LAYERS, ArrayName, steps_of
from gpunn.layers import Block, Dense, Layer, Members


def test_every_built_in_layer_is_exported_by_a_test():
    def classes(layers):
        for layer in layers:
            yield type(layer)
            yield from classes(layer.children().values())

    layers = [layer for make in exported_networks.NETWORKS.values() for layer in make()]
    used, built_in = set(classes(layers)), set(filter(is_built_in, known(Layer).values()))
    assert built_in <= used
    assert set(LAYERS) == {Block if issubclass(each, Block) else each for each in used}
    activations = filter(is_built_in, known(Activation).values())
    assert set(activations) <= {type(layer.f) for layer in layers if hasattr(layer, "f")}


@pytest.mark.parametrize(
    "export",
    [
        lambda model: save_onnx(model, "model.onnx"),
        lambda model: save_python(model, "model.py"),
        lambda model: save_c(model, "model.h"),
        lambda model: Int8Network(model, [[0.0]]),
        state_dict,
        torch_code,
        lambda model: to_sklearn(model, "numbers"),
    ],
)
@pytest.mark.parametrize("attribute", ["model", "network_"])
def test_an_export_of_the_object_around_a_network(export, attribute):
    trainer = SimpleNamespace(**{attribute: gpunn.Sequential([Dense(1)], 1, backend="numpy")})
    message = f"expected a gpunn.Sequential; got SimpleNamespace; pass its attribute {attribute}"
    with pytest.raises(ArgumentTypeError, match=f"model: {message}"):
        export(trainer)


def test_each_array_is_exported_once():
    """A block's weights are arrays of its matrix products only."""
    for name in exported_networks.NETWORKS:
        steps = steps_of(exported_networks.made(name, "float32"))
        used = {each for step in steps.steps for each in step.arguments}
        assert {ArrayName(name) for name in steps.arrays} <= used, name


class Sorted(Activation):
    name = "sorted"

    def value(self, xp, z):
        return xp.sort(z)


class Mean(Activation):
    name = "mean of rows"

    def value(self, xp, z):
        return z - xp.mean(z, axis=0)


class Constant(Activation):
    """An activation without exports, since it is not a function."""

    name = "constant"

    def value(self, xp, z):
        return xp.ones_like(z)


class Share(Activation):
    """Depends on the number of rows, which an exported file does not have."""

    name = "share"

    def value(self, xp, z):
        return z / z.shape[0]


class Twice(Dense):
    """A subclass with a different function, which must not be exported as its base."""

    name = "twice_as_dense"


def untraced(layer, name, why):
    what = f"can't export the activation {name}, because its code can't be traced"
    return f"layer {layer!r}: {what}: {why}"


@pytest.mark.parametrize("save", [save_onnx, save_python, save_c])
@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        (
            lambda: [Dense(4), Twice(2)],
            "layer 'twice_as_dense_1': can't export the custom layer Twice; write it as a "
            "gpunn.layers.Block",
        ),
        (lambda: [Dense(4, Sorted())], untraced("dense_1", "Sorted", "xp.sort")),
        (
            lambda: [gpunn.layers.Activation(Mean())],
            untraced("activation_1", "Mean", "the code combines several rows"),
        ),
        (
            lambda: [Dense(4, Constant())],
            untraced("dense_1", "Constant", "the result is the same for every row"),
        ),
        (
            lambda: [Dense(4, Share())],
            untraced("dense_1", "Share", "the code's results depend on the number of rows"),
        ),
        (lambda: [Members(2)], "model: C and Python exports need vectors as outputs; got shape"),
    ],
    ids=["layer", "activation", "activation layer", "constant", "rows", "outputs"],
)
def test_what_cannot_be_exported(tmp_path, save, layers, problem):
    if save is save_onnx and isinstance(layers()[0], Members):
        return  # its outputs may have any shape
    with pytest.raises(ExportError) as raised:
        save(gpunn.Sequential(layers(), (5,), "numpy"), tmp_path / "a")
    assert str(raised.value).startswith(problem)
    assert not list(tmp_path.iterdir())
