"""A sequence of layers as one layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpunn.configurable import resolve
from gpunn.errors import ArgumentError
from gpunn.layers.base import Layer, operations_only
from gpunn.layers.passes import run_backward, run_forward
from gpunn.parameters import ParameterSpec
from gpunn.typing import Array, Shape
from gpunn.workspace import Workspace


@dataclass(eq=False)
class Chain(Layer):
    """A sequence of layers as one layer: y = f_n(... f_2(f_1(x))).

    Use a chain as a branch of a custom layer, for example as f in y = x + f(x). By the chain rule,
    each layer's dL/dx is the dL/dy of the preceding layer.

    Parameters
    ----------
    layers : sequence of Layer (or their configurations)
        The layers, in order.

    Raises
    ------
    ArgumentError
        If there is no layer, or two layers have the same label.

    Examples
    --------
    >>> chain = gpunn.layers.Chain([gpunn.layers.Dense(8, "relu"), gpunn.layers.Dense(4)])
    >>> chain.output_shape((3,))
    (4,)
    >>> list(chain.children())
    ['dense_1', 'dense_2']
    """

    layers: Sequence[Layer | Mapping[str, Any] | str]

    name = "chain"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.layers, Sequence) or isinstance(self.layers, str) or not self.layers:
            raise ArgumentError(
                f"layers: expected a list of at least one layer; got {self.layers!r}"
            )
        self.layers = tuple(
            resolve(Layer, layer, f"layers[{index}]") for index, layer in enumerate(self.layers)
        )
        unique_labels(self._layers)

    @property
    def _layers(self) -> tuple[Layer, ...]:
        return self.layers  # type: ignore[return-value]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    def children(self) -> dict[str, Layer]:
        return dict(zip(unique_labels(self._layers), self._layers, strict=True))

    def output_shape(self, input_shape: Shape) -> Shape:
        return self._inferred(input_shape)[0]

    def parameters(self, input_shape: Shape) -> list[ParameterSpec]:
        return self._inferred(input_shape)[1]

    def _inferred(self, input_shape: Shape) -> tuple[Shape, list[ParameterSpec]]:
        shape, specs = input_shape, list[ParameterSpec]()
        for label, layer in self.children().items():
            with ArgumentError.instead_of(ArgumentError, prefix=f"layer {label!r}: "):
                own = layer.parameters(shape)
                shape = layer.output_shape(shape)
            specs += [replace(spec, name=f"{label}.{spec.name}") for spec in own]
        return shape, specs

    @operations_only
    def forward(self, x: Array, workspace: Workspace) -> Array:
        outputs = run_forward(self._layers, x, workspace)
        workspace.outputs[self] = outputs
        return outputs[-1]

    @operations_only
    def backward(
        self, x: Array, y: Array, gradient: Array, workspace: Workspace, wants_input_gradient: bool
    ) -> Array:
        outputs = workspace.outputs[self]
        return run_backward(self._layers, outputs, gradient, workspace, wants_input_gradient)


def unique_labels(layers: Sequence[Layer]) -> list[str]:
    labels, counts = [], dict[str, int]()
    for layer in layers:
        counts[layer.name] = counts.get(layer.name, 0) + 1
        labels.append(layer.label or f"{layer.name}_{counts[layer.name]}")
    for label in labels:
        if "." in label:
            raise ArgumentError(f"layers: a label can't contain a dot; got {label!r}")
    if len(set(labels)) < len(labels):
        label = next(each for each in labels if labels.count(each) > 1)
        raise ArgumentError(
            f"layers: two layers have the label {label!r}; give one of them another label"
        )
    return labels
