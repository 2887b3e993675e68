"""Images without extra packages: SVG as text, and curves on a terminal."""

from gpunn.drawing.curves import curves_drawing
from gpunn.drawing.network import Block, Branch, network_drawing
from gpunn.drawing.svg import Drawing
from gpunn.drawing.terminal import text_curves

__all__ = ["Block", "Branch", "Drawing", "curves_drawing", "network_drawing", "text_curves"]
