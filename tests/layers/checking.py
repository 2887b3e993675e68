"""Check the chain rule of a layer by finite differences of inputs and parameters."""

import math
from functools import partial

import numpy as np
from numerical import assert_gradient

from gpunn.backends import Backend
from gpunn.backends.recording import Trace, record
from gpunn.layers import Layer
from gpunn.parameters import Parameters
from gpunn.typing import Array
from gpunn.workspace import Workspace

ROWS = 6


def attached(
    layer: Layer, shape: tuple[int, ...], backend: Backend, dtype: str = "float64"
) -> Parameters:
    specs = {f"it.{spec.name}": spec for spec in layer.declared(shape)}
    parameters = Parameters(specs, backend, dtype, seed=0)
    g = np.random.default_rng(1)
    for name, spec in specs.items():
        drawn = g.random(spec.shape) + 0.5 if "variance" in name else g.standard_normal(spec.shape)
        parameters[name] = drawn
    layer.attach(*parameters.views("it"), key=0xC0FFEE)
    return parameters


def run(layer: Layer, x: Array, workspace: Workspace) -> np.ndarray:
    return workspace.backend.to_host(layer.forward(x, workspace))


def prepared(
    backend: Backend, layer: Layer, shape: tuple[int, ...], *, training: bool = True
) -> tuple[Parameters, Workspace]:
    """Attach a layer in float32, and return its parameters and a workspace of 64 rows."""
    parameters = attached(layer, shape, backend, "float32")
    return parameters, Workspace(backend, "float32", 64, training=training)


def recorded_passes(
    layer: Layer, shape: tuple[int, ...], backend: Backend, wants_input_gradient: bool = True
) -> tuple[Trace, Trace]:
    """Return the operations of the forward pass and of the backward pass."""
    attached(layer, shape, backend)
    workspace = Workspace(backend, "float64", ROWS, training=True)
    x = backend.from_host(np.ones((ROWS, *shape)), "float64")
    outputs: list[Array] = []
    forward = record(lambda: outputs.append(layer.forward(x, workspace)), backend)
    gradient = backend.from_host(np.ones(outputs[0].shape), "float64")
    backward = partial(layer.backward, x, outputs[0], gradient, workspace, wants_input_gradient)
    return forward, record(backward, backend)


def check_chain_rule(
    layer: Layer, shape: tuple[int, ...], backend: Backend, *, training: bool = True
) -> None:
    """Assert that `backward` gives the derivatives of sum_ij c_ij y_ij, for random c."""
    parameters = attached(layer, shape, backend)
    workspace = Workspace(backend, "float64", ROWS, training=training)
    g = np.random.default_rng(2)
    x = 2 * g.standard_normal((ROWS, *shape)) + 0.1
    c = g.standard_normal((ROWS, *layer.output_shape(shape)))

    def value() -> float:
        return float((c * run(layer, x, workspace)).sum())

    y = layer.forward(x, workspace)
    assert y.shape == c.shape
    dx = backend.to_host(layer.backward(x, y, c.copy(), workspace, True))
    actual = {name: backend.to_host(layer.gradients[name]) for name in layer.gradients}
    assert_gradient(dx, value, x, "input")
    for name, derivative in actual.items():
        assert_gradient(derivative, value, parameters[f"it.{name}"], name)
    trainable = [spec for spec in layer.declared(shape) if spec.trainable]
    assert sum(d.size for d in actual.values()) == sum(math.prod(s.shape) for s in trainable)
