"""Merges scaling and shifting layers into a dense layer, for programs that lack such layers.

In inference, `Rescaling`, `Standardization` and `BatchNorm` are y = s * x + t, feature by feature.
Before a dense layer: (s * x + t) W + b = x (diag(s) W) + (t W + b).
After a dense layer:  (x W + b) * s + t = x (W diag(s)) + (b * s + t).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpunn.layers import BatchNorm, Chain, Dense, Layer, Rescaling, Standardization
from gpunn.network import Sequential, check_network


@dataclass(frozen=True, eq=False)
class Affine:
    """y = scale * x + shift, with numbers or with float64 arrays of shape (features,)."""

    scale: Any = 1.0
    shift: Any = 0.0

    @property
    def is_identity(self) -> bool:
        return bool(np.all(self.scale == 1) and np.all(self.shift == 0))

    def then(self, other: Affine) -> Affine:
        return Affine(other.scale * self.scale, other.scale * self.shift + other.shift)

    def before(self, W: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # For a flattened image, the channels' scale and shift are repeated for each pixel.
        scale, shift = (np.resize(each, W.shape[0]) for each in (self.scale, self.shift))
        return scale[:, None] * W, shift @ W + b

    def after(self, W: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return W * self.scale, b * self.scale + self.shift


def affine_of(layer: Layer, arrays: Mapping[str, np.ndarray]) -> Affine | None:
    if type(layer) is Rescaling:
        return Affine(layer.scale, layer.offset)
    if type(layer) is Standardization:
        std = arrays["deviation"]
        return Affine(1 / std, -arrays["mean"] / std)
    if type(layer) is BatchNorm:
        scale = arrays["scale"] / np.sqrt(arrays["running_variance"] + layer.epsilon)
        return Affine(scale, arrays["shift"] - arrays["running_mean"] * scale)
    return None


def flat_layers(layers: Mapping[str, Layer], prefix: str = "") -> Iterator[tuple[str, Layer]]:
    for name, layer in layers.items():
        if type(layer) is Chain:
            yield from flat_layers(layer.children(), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", layer


def layers_of(model: Sequential) -> Iterator[tuple[str, Layer]]:
    return flat_layers(dict(zip(model.labels, model.layers, strict=True)))


def layers_with_arrays(model: Sequential) -> Iterator[tuple[str, Layer, dict[str, np.ndarray]]]:
    # The weights of a dense layer already include the factor of its parametrization.
    check_network(model)
    every = model.parameters.to_host()
    for label, layer in layers_of(model):
        arrays = {name: every[f"{label}.{name}"].astype(np.float64) for name in layer.values}
        if type(layer) is Dense:
            arrays["weights"] *= layer.weight_factor(len(arrays["weights"]))
        yield label, layer, arrays
