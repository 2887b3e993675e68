"""Images of the first layer's weights."""

from dataclasses import dataclass

import numpy as np

from gpunn.layers import Conv2D, Dense
from gpunn.network import Sequential
from gpunn.reporting.images import sample_image, weight_image

UNITS = 48


@dataclass(frozen=True)
class WeightImages:
    sources: list[str]
    alternative: str
    note: str


def first_layer(model: Sequential, pixels: tuple[int, ...] | None) -> WeightImages | None:
    # Each filter of a convolution is an image. If rows are images, each unit's weights are an image
    # of the same shape. Otherwise all weights are one image, with a row for each input and a column
    # for each unit, unless this image would be too large.
    pairs = zip(model.labels, model.layers, strict=True)
    label, layer = next((each for each in pairs if isinstance(each[1], Conv2D | Dense)), ("", None))
    if layer is None:
        return None
    weights = model.backend.to_host(model.parameters[f"{label}.weights"]).astype(np.float64)
    limit = float(np.quantile(np.abs(weights), 0.995)) or 1.0
    if isinstance(layer, Conv2D):
        height, width = layer.kernel_size  # type: ignore[misc]
        return each_unit(label, weights, limit, (height, width), "filters")
    if pixels is None or weights.shape[0] != np.prod(pixels[:2]):
        return whole(label, weights, limit) if max(weights.shape) <= 256 else None
    return each_unit(label, weights, limit, pixels[:2], "units")


def each_unit(
    label: str, weights: np.ndarray, limit: float, shape: tuple[int, ...], noun: str
) -> WeightImages:
    norms, units = np.linalg.norm(weights, axis=0), weights.shape[1]
    strongest = np.sort(np.argsort(-norms, kind="stable")[:UNITS])
    which = f"{len(strongest)} of {units} {noun}" if units > UNITS else f"all {units} {noun}"
    arrays = [weights[:, unit].reshape(*shape, -1) for unit in strongest]
    in_color = arrays[0].shape[2] == 3
    if in_color:
        sources, colors = [sample_image(each, -limit, limit) for each in arrays], "Gray is zero"
    else:  # more channels are averaged
        sources = [weight_image(each.mean(axis=2), limit) for each in arrays]
        colors = "Positive weights are orange; negative weights are blue"
    return WeightImages(
        sources,
        f"Weights of {which} of layer {label}, each as an image of {shape[0]} by {shape[1]} pixels",
        f"{which.capitalize()} of {label}"
        + (f", the {noun} with the largest weights" if units > UNITS else "")
        + f". {colors}. Full color means {limit:.3g}.",
    )


def whole(label: str, weights: np.ndarray, limit: float) -> WeightImages:
    inputs, units = weights.shape
    return WeightImages(
        [weight_image(weights, limit)],
        f"Weights of layer {label} as an image of {inputs} inputs, top to bottom, by {units} "
        "units, left to right",
        f"Layer {label}: {inputs} inputs from top to bottom, {units} units from left to right. "
        f"Positive weights are orange; negative weights are blue. Full color means {limit:.3g}.",
    )
