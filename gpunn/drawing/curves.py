"""Curves of a history as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpunn.drawing.panels import Panel, panels
from gpunn.drawing.svg import INK, MUTED, RULE, Canvas, Drawing

TRAINING, VALIDATION = "#2563eb", "#d9600a"

WIDTH, HEIGHT = 340.0, 230.0

LEFT, TOP, RIGHT, BOTTOM = 58.0, 52.0, 14.0, 34.0
"""Margins of a panel around its curves; long tick labels make the left margin wider."""

DIGIT = 7.0

ACROSS = 3


def curves_drawing(rows: Sequence[Mapping[str, float]], names: Sequence[str] = ()) -> Drawing:
    drawn, canvas = panels(rows, names), Canvas()
    for index, panel in enumerate(drawn):
        down, across = divmod(index, ACROSS)
        draw(canvas, panel, across * WIDTH, down * HEIGHT)
    text = "; ".join(f"{panel.title}: {panel.last or 'no values'}" for panel in drawn)
    epochs = f"epoch {rows[-1]['epoch']:.0f}" if rows else "no epoch yet"
    width, height = WIDTH * min(ACROSS, max(1, len(drawn))), HEIGHT * -(-len(drawn) // ACROSS or -1)
    alternative = f"Curves up to {epochs}. {text}"
    return Drawing(canvas.svg(width, height, "Learning curves", alternative), alternative)


def draw(canvas: Canvas, panel: Panel, left: float, top: float) -> None:
    canvas.text(left + 16, top + 22, panel.title, weight=600)
    legend = left + 16
    for name, color, dashed in (("training", TRAINING, False), ("validation", VALIDATION, True)):
        if name in panel.ends:
            canvas.curve([(legend, top + 36), (legend + 22, top + 36)], color, dashed)
            text = f"{name} {panel.ends[name]:.4g}"
            canvas.text(legend + 27, top + 40, text, color=MUTED, size=11.5)
            legend += 150
    (first, last), (low, high) = panel.x_range, panel.y_range
    ticks = panel.ticks(5)
    longest = max(map(len, ticks.values()), default=0)
    x0, x1 = left + max(LEFT, 22 + DIGIT * longest), left + WIDTH - RIGHT
    y0, y1 = top + HEIGHT - BOTTOM, top + TOP

    def position(point: tuple[float, float]) -> tuple[float, float]:
        x, y = point
        part = (x - first) / (last - first) if last > first else 0.5
        return x0 + part * (x1 - x0), y0 + (y - low) / (high - low) * (y1 - y0)

    for tick, text in ticks.items():
        _, y = position((first, tick))
        canvas.line(x0, y, x1, y, RULE)
        canvas.text(x0 - 6, y + 4, text, anchor="end", color=MUTED, size=11.5)
    for points, color, dashed in (
        (panel.training, TRAINING, False),
        (panel.validation, VALIDATION, True),
    ):
        if points:
            canvas.curve([position(point) for point in points], color, dashed)
    for epoch in dict.fromkeys((first, last)):
        x, _ = position((epoch, low))
        text = f"epoch {epoch:.0f}"
        anchor = "middle" if first == last else "start" if epoch == first else "end"
        canvas.text(x, y0 + 18, text, anchor=anchor, color=MUTED, size=11.5)
    canvas.line(x0, y0, x1, y0, INK)
