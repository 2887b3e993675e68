"""Converts arrays to small PNG images inside the page."""

import base64
import io

import numpy as np

from gpunn.optional import install_command, require

POSITIVE, NEGATIVE = (217, 119, 6), (37, 99, 235)
"""Orange and blue: distinct for color-blind readers, and visible on white and on black."""


def sample_image(values: np.ndarray, low: float, high: float) -> str:
    span = high - low or 1.0
    return data_uri(np.clip(255 * (values.astype(np.float64) - low) / span, 0, 255))


def weight_image(weights: np.ndarray, limit: float) -> str:
    # Positive weights are orange, negative ones blue; 0 is transparent, and +-`limit` is opaque.
    strength = np.clip(np.abs(weights) / (limit or 1.0), 0, 1)
    colors = np.where(weights[..., None] > 0, POSITIVE, NEGATIVE)
    return data_uri(np.concatenate([colors, 255 * strength[..., None]], axis=2))


def data_uri(pixels: np.ndarray) -> str:
    image = require("PIL.Image", "a report", install_command("report"))
    content = io.BytesIO()
    image.fromarray(np.round(pixels).astype(np.uint8)).save(content, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
