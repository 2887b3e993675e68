"""SVG images as text, made without other packages.

A white background makes the images readable in light and dark notebooks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from gpunn.storage.files import write_output

INK, MUTED, RULE, PAGE = "#1a1f2b", "#5c6675", "#b9c1cc", "#ffffff"


@dataclass(frozen=True, repr=False)
class Drawing:
    svg: str
    text: str

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return self.text

    def save(self, path: str | Path) -> None:
        write_output(path, self.svg.encode())


class Canvas:
    def __init__(self) -> None:
        self._elements: list[str] = []

    def box(
        self, x: float, y: float, width: float, height: float, fill: str, dashed: bool = False
    ) -> None:
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self._elements.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="7" '
            f'fill="{fill}" stroke="{RULE}"{dash}/>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, color: str = RULE) -> None:
        self._elements.append(
            f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{color}" stroke-width="0.8"/>'
        )

    def curve(self, points: Sequence[tuple[float, float]], color: str, dashed: bool) -> None:
        if len(points) == 1:
            ((x, y),) = points
            self._elements.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>')
            return
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        dash = ' stroke-dasharray="5 3"' if dashed else ""
        self._elements.append(
            f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="1.7" '
            f'stroke-linejoin="round"{dash}/>'
        )

    def arrow(self, x: float, top: float, bottom: float) -> None:
        self._elements.append(
            f'<path d="M{x:.1f} {top:.1f}V{bottom - 2:.1f}m-3.5 -4.5l3.5 4.5l3.5 -4.5" '
            f'fill="none" stroke="{MUTED}" stroke-width="1.2"/>'
        )

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        anchor: str = "start",
        color: str = INK,
        size: float = 13,
        weight: int = 400,
    ) -> None:
        if text:
            self._elements.append(
                f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}" '
                f'font-size="{size}" font-weight="{weight}">{escape(text)}</text>'
            )

    def svg(self, width: float, height: float, title: str, description: str) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {width:.0f} '
            f'{height:.0f}" width="{width:.0f}" height="{height:.0f}" style="max-width: 100%; '
            'height: auto" font-family="system-ui, -apple-system, Segoe UI, Roboto, Liberation '
            f'Sans, DejaVu Sans, sans-serif"><title>{escape(title)}</title>'
            f"<desc>{escape(description)}</desc>"
            f'<rect width="100%" height="100%" rx="10" fill="{PAGE}"/>'
            f"{''.join(self._elements)}</svg>\n"
        )
