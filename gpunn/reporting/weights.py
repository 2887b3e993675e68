"""Images of the weights of the first layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpunn.layers import Dense
from gpunn.network import Sequential
from gpunn.reporting.images import weight_image

__all__ = ["WeightImages", "first_layer"]

UNITS = 48
"""Maximum number of units to show."""


@dataclass(frozen=True)
class WeightImages:
    """One image per unit, and one text alternative for all images."""

    sources: list[str]
    alternative: str
    note: str


def first_layer(model: Sequential, pixels: tuple[int, ...] | None) -> WeightImages | None:
    """Return images of the first dense layer's weights, or None if these are missing or too large.

    If rows are images, each unit's weights are an image of the same shape. Otherwise all weights
    are one image, with a row for each input and a column for each unit.
    """
    first = next((index for index, one in enumerate(model.layers) if isinstance(one, Dense)), None)
    if first is None:
        return None
    label = model.labels[first]
    weights = model.backend.to_host(model.parameters[f"{label}.weights"]).astype(np.float64)
    limit = float(np.quantile(np.abs(weights), 0.995)) or 1.0
    if pixels is None or weights.shape[0] != np.prod(pixels[:2]):
        return whole(label, weights, limit) if max(weights.shape) <= 256 else None
    norms = np.linalg.norm(weights, axis=0)
    strongest = np.sort(np.argsort(-norms, kind="stable")[:UNITS])
    units, shape = weights.shape[1], pixels[:2]
    which = f"{len(strongest)} of {units} units" if units > UNITS else f"all {units} units"
    return WeightImages(
        [weight_image(weights[:, unit].reshape(shape), limit) for unit in strongest],
        f"Weights of {which} of layer {label}, each as an image of {shape[0]} by {shape[1]} pixels",
        f"{which.capitalize()} of {label}"
        + (", the units with the largest weights" if units > UNITS else "")
        + f". Orange is above zero, blue below; full color is {limit:.3g}.",
    )


def whole(label: str, weights: np.ndarray, limit: float) -> WeightImages:
    """Return a weight matrix as one image."""
    inputs, units = weights.shape
    return WeightImages(
        [weight_image(weights, limit)],
        f"Weights of layer {label} as an image of {inputs} inputs, top to bottom, by {units} "
        "units, left to right",
        f"Layer {label}: {inputs} inputs from top to bottom, {units} units from left to right. "
        f"Orange is above zero, blue below; full color is {limit:.3g}.",
    )
