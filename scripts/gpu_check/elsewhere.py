"""Networks in other libraries: one definition of forward pass and loss, for PyTorch and JAX.

An adapter supplies the library's own functions, such as `linear` and `layer_norm`, as attributes of
`library`. Operators and methods that arrays of both libraries have are used directly.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from custom import LogCosh, Residual

from gpunn.layers import (
    Activation,
    ColumnGroups,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    LayerNorm,
    MaxPool2D,
    MeanOverMembers,
    MemberDense,
    Members,
    ParametricActivation,
    PeriodicEmbedding,
    Scale,
)
from gpunn.layers.chain import unique_labels
from gpunn.losses import Loss, MeanSquaredError, SoftmaxCrossEntropy

Forward = Callable[[Mapping[str, Any], Any], Any]


def forward_of(layers: Sequence[Layer], library: Any, prefix: str = "") -> Forward:
    labels = unique_labels(layers)
    steps = [
        step_of(layer, library, f"{prefix}{label}.")
        for label, layer in zip(labels, layers, strict=True)
    ]

    def forward(values: Mapping[str, Any], x: Any) -> Any:
        for step in steps:
            x = step(values, x)
        return x

    return forward


def step_of(layer: Layer, library: Any, at: str) -> Forward:
    f = getattr(library, layer.f.name) if hasattr(layer, "f") else None
    match layer:
        case MemberDense(separate=True):
            return lambda values, x: (
                library.einsum("nmi,miu->nmu", x, values[f"{at}weights"]) + values[f"{at}biases"]
            )
        case Dense(parametrization="ntp"):
            return lambda values, x: f(
                library.linear(
                    x / math.sqrt(x.shape[-1]), values[f"{at}weights"], values[f"{at}biases"]
                )
            )
        case Dense() | MemberDense():
            return lambda values, x: f(
                library.linear(x, values[f"{at}weights"], values[f"{at}biases"])
            )
        case Conv2D(padding="same", kernel_size=(height, width)):
            return lambda values, x: f(
                library.convolution(
                    x, values[f"{at}weights"], values[f"{at}biases"], (height, width, x.shape[-1])
                )
            )
        case MaxPool2D(padding="same", pool_size=size, strides=strides) if size == strides:
            return lambda values, x: library.max_pool(x, size)
        case Flatten():
            return lambda values, x: x.reshape(len(x), -1)
        case LayerNorm():
            return lambda values, x: library.layer_norm(
                x, values[f"{at}scale"], values[f"{at}shift"], layer.epsilon
            )
        case Activation():
            return lambda values, x: f(x)
        case ParametricActivation():
            return lambda values, x: x + values[f"{at}alpha"] * (f(x) - x)
        case Dropout(rate=rate):
            return lambda values, x: library.dropout(x, rate) if rate else x
        case Scale():
            return lambda values, x: x * values[f"{at}factors"]
        case Members():
            return lambda values, x: x[:, None] * values[f"{at}factors"]
        case MeanOverMembers():  # in training, the loss gets the members' outputs
            return lambda values, x: x
        case Embedding():
            return lambda values, x: library.embed(x[:, 0], values[f"{at}table"])
        case PeriodicEmbedding():

            def periodic(values: Mapping[str, Any], x: Any) -> Any:
                w, p, V, b = (
                    values[at + name] for name in ("frequencies", "phases", "weights", "biases")
                )
                waves = library.cos(2 * math.pi * x[:, :, None] * w + p)
                linear = library.einsum("ncf,cfs->ncs", waves, V) + b
                return library.concatenate((linear, x[:, :, None]), 2).reshape(len(x), -1)

            return periodic
        case ColumnGroups():
            columns = [slice(each.start, each.stop) for each in layer.parts]
            bodies = [
                forward_of(getattr(each.chain, "layers", ()), library, f"{at}{each.label}.")
                for each in layer.parts
            ]
            return lambda values, x: library.concatenate(
                [body(values, x[:, part]) for part, body in zip(columns, bodies, strict=True)], 1
            )
        case Residual():
            body = forward_of(layer.layers, library, f"{at}body.")
            return lambda values, x: x + body(values, x)
    raise TypeError(layer)


def loss_of(loss: Loss, library: Any) -> Callable[[Any, Any], Any]:
    if isinstance(loss, SoftmaxCrossEntropy):
        return library.cross_entropy  # type: ignore[no-any-return]
    if not isinstance(loss, (LogCosh, MeanSquaredError)):
        raise TypeError(loss)

    def of_numbers(outputs: Any, targets: Any) -> Any:
        if outputs.ndim == 3:  # each member's outputs
            targets = targets[:, None]
        if isinstance(loss, MeanSquaredError):
            return library.squared_error(outputs, targets)
        distance = abs(outputs - targets)
        return (distance + library.log1p(library.exp(-2 * distance))).mean() - math.log(2)

    return of_numbers
