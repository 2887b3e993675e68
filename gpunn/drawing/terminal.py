"""Draws curves of a history as text, with Braille characters."""

from collections.abc import Mapping, Sequence

from gpunn.drawing.panels import Panel, panels

DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""The bit of each dot of a Braille character, by row and column."""

BLANK = 0x2800

COLORS = {"training": "\x1b[34m", "validation": "\x1b[33m"}
PLAIN = "\x1b[0m"

LABEL = 9

NARROWEST = 36


def text_curves(
    rows: Sequence[Mapping[str, float]],
    width: int,
    height: int,
    names: Sequence[str] = (),
    *,
    colors: bool = True,
) -> list[str]:
    """Return curves by epoch as lines of text, with as many panels side by side as fit.

    Training is a solid line and validation a dotted line; with `colors`, both have ANSI colors.
    `rows` is a history; values that are not finite are skipped. `width` and `height` are in
    characters; a panel needs a width of 36 and a height of 4. `names` are the metrics to show, by
    default the loss and all metrics of the last row.

    >>> rows = [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}]
    >>> for line in text_curves(rows, 40, 4, colors=False):
    ...     print(line.rstrip())
    Loss: train 0.5
           1 ⠉⠉⠑⠒⠒⠒⠢⠤⠤⠤⢄⣀⣀⣀⡀
         0.5               ⠈⠉⠉⠉⠑⠒⠒⠒⠢⠤⠤⠤⢄⣀⣀
             epoch 1                     2
    """
    shown = panels(rows, names)[: max(1, width // NARROWEST)]
    if not shown:
        return []
    size = width // len(shown)
    drawn = [panel_lines(panel, size - 2, height, colors) for panel in shown]
    return ["  ".join(parts) for parts in zip(*drawn, strict=True)]


def panel_lines(panel: Panel, width: int, height: int, colors: bool) -> list[str]:
    down = max(1, height - 2)
    ticks = panel.ticks(max(2, down // 2))
    margin = max([LABEL, *(len(text) + 1 for text in ticks.values())])
    across = width - margin
    (first, last), (low, high) = panel.x_range, panel.y_range
    cells = [[BLANK] * across for _ in range(down)]
    owners = [[""] * across for _ in range(down)]
    for name in ("training", "validation"):
        points = getattr(panel, name)
        heights = sampled(points, first, last, 2 * across)
        before = None
        for column, y in enumerate(heights):
            if y is None:
                before = None
                continue
            stop = round((high - y) / (high - low) * (4 * down - 1))
            start = stop if before is None else before + (stop > before) - (stop < before)
            before = stop
            if name == "validation" and column % 3 == 2:
                continue
            for row in range(min(start, stop), max(start, stop) + 1):
                cells[row // 4][column // 2] |= DOTS[row % 4][column % 2]
                owners[row // 4][column // 2] = name
    labels = [""] * down
    for tick, text in ticks.items():
        labels[round((high - tick) / (high - low) * (4 * down - 1)) // 4] = text
    lines = [title(panel, width, colors)]
    for label, line, owned in zip(labels, cells, owners, strict=True):
        text = "".join(
            " " if cell == BLANK else colored(chr(cell), owner, colors)
            for cell, owner in zip(line, owned, strict=True)
        )
        lines.append(f"{label:>{margin - 1}} {text}")
    begin, end = f"epoch {first:.0f}", f"{last:.0f}" if last > first else ""
    lines.append(" " * margin + begin + end.rjust(across - len(begin)))
    return lines


def title(panel: Panel, width: int, colors: bool) -> str:
    length, text = len(panel.title) + 1, f"{panel.title}:"
    for name, short in (("training", "train"), ("validation", "val")):
        if name in panel.ends:
            word = f" {short} {panel.ends[name]:.4g}"
            if length + len(word) <= width:
                text, length = text + colored(word, name, colors), length + len(word)
    return text + " " * (width - length)


def colored(text: str, name: str, colors: bool) -> str:
    return f"{COLORS[name]}{text}{PLAIN}" if colors and name else text


def sampled(
    points: Sequence[tuple[float, float]], first: float, last: float, count: int
) -> list[float | None]:
    if not points:
        return []
    if last <= first:
        return [points[-1][1]]
    heights: list[float | None] = []
    index = 0
    for column in range(count):
        x = first + (last - first) * column / (count - 1)
        while index < len(points) - 1 and points[index + 1][0] < x:
            index += 1
        (x0, y0), (x1, y1) = points[index], points[min(index + 1, len(points) - 1)]
        if x < x0 - 1e-9 or x > max(x1, x0) + 1e-9:
            heights.append(None)
        else:
            heights.append(y0 if x1 <= x0 else y0 + (y1 - y0) * min(1.0, (x - x0) / (x1 - x0)))
    return heights
