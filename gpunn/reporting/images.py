"""Arrays as small PNG images inside the page."""

from __future__ import annotations

import base64
import io

import numpy as np

from gpunn.optional import install_command, require

__all__ = ["picture", "weight_picture"]

POSITIVE, NEGATIVE = (217, 119, 6), (37, 99, 235)
"""Orange and blue, which look different to everyone and stand out from white and from black."""


def picture(values: np.ndarray, low: float, high: float) -> str:
    """Return a sample of shape (height, width) or (height, width, 3 or 4) as an image's data URI.

    What is `low` is black, and what is `high` white.
    """
    span = high - low or 1.0
    return data_uri(np.clip(255 * (values.astype(np.float64) - low) / span, 0, 255))


def weight_picture(weights: np.ndarray, limit: float) -> str:
    """Return weights of shape (height, width) as an image's data URI.

    Orange is above zero, blue below, in full colour at the absolute value `limit`; zero is clear.
    """
    strength = np.clip(np.abs(weights) / (limit or 1.0), 0, 1)
    colours = np.where(weights[..., None] > 0, POSITIVE, NEGATIVE)
    return data_uri(np.concatenate([colours, 255 * strength[..., None]], axis=2))


def data_uri(pixels: np.ndarray) -> str:
    """Return pixels from 0 to 255 as a PNG file in a data URI."""
    image = require("PIL.Image", "a report", install_command("report"))
    content = io.BytesIO()
    image.fromarray(np.round(pixels).astype(np.uint8)).save(content, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
