"""Draw the tutorial's images, in English and Chinese, with the numbers of its examples.

    python scripts/docs/draw_tutorial.py [FOLDER]

writes SVG files to FOLDER, by default `docs/start/pictures`. Each has its own background, light or
dark like the reader's system, so that it can be read on any page. Each file's title describes the
image.
"""

import itertools
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

FOLDER = Path(__file__).parents[2] / "docs" / "start" / "pictures"

STYLE = """
svg { font: 19px system-ui, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", sans-serif; }
.page { fill: #fff; stroke: #d5dae3; }
text { fill: #1a1f2b; text-anchor: middle; }
.start { text-anchor: start; } .end { text-anchor: end; }
.strong { font-weight: 700; } .small { font-size: 16.5px; }
text.muted { fill: #565f6e; } text.go { fill: #1d4fc4; } text.back { fill: #a8430a; }
.shape { fill: #eef1f6; stroke: #69748a; stroke-width: 1.5; }
.chosen { fill: #dfe9ff; stroke: #2456d6; stroke-width: 2; }
.warm { fill: #fdebdc; stroke: #b8500f; stroke-width: 2; }
.line { fill: none; stroke: #69748a; stroke-width: 1.5; }
.line.go { stroke: #2456d6; stroke-width: 2; } .line.back { stroke: #b8500f; stroke-width: 2; }
.head { fill: #69748a; } .head.go { fill: #2456d6; } .head.back { fill: #b8500f; }
@media (prefers-color-scheme: dark) {
.page { fill: #171c24; stroke: #333c4a; }
text { fill: #e7eaf0; } text.muted { fill: #a3adbc; }
text.go { fill: #8ab0ff; } text.back { fill: #ffab70; }
.shape { fill: #262d38; stroke: #8a95a8; }
.chosen { fill: #1d2f57; stroke: #8ab0ff; } .warm { fill: #4a2a12; stroke: #ff9a4d; }
.line { stroke: #8a95a8; } .head { fill: #8a95a8; }
.line.go { stroke: #8ab0ff; } .line.back { stroke: #ff9a4d; }
.head.go { fill: #8ab0ff; } .head.back { fill: #ff9a4d; }
}
"""


class Picture:
    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.parts: list[str] = []

    def text(self, x: float, y: float, text: str, kind: str = "") -> None:
        """Write text that is centered at (x, y), starts there ("start") or ends there ("end")."""
        self.parts.append(f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(text)}</text>')

    def circle(self, x: float, y: float, radius: float, kind: str = "shape") -> None:
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" class="{kind}"/>')

    def box(
        self, x: float, y: float, width: float, height: float, kind: str = "shape", round: int = 8
    ) -> None:
        """Draw a rectangle; (x, y) is its upper left corner."""
        position = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
        self.parts.append(f'<rect {position} rx="{round}" class="{kind}"/>')

    def curve(self, points: Sequence[tuple[float, float]], kind: str = "") -> None:
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.parts.append(f'<path d="M{path}" class="line {kind}"/>')

    def arrow(self, x: float, y: float, to_x: float, to_y: float, kind: str = "") -> None:
        along = np.array([to_x - x, to_y - y], float)
        along *= 9 / np.hypot(*along)
        across = np.array([-along[1], along[0]]) * 0.5
        tip = np.array([to_x, to_y])
        corners = tip, tip - along + across, tip - along - across
        self.curve([(x, y), tuple(tip - 0.8 * along)], kind)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
        self.parts.append(f'<polygon points="{points}" class="head {kind}"/>')

    def svg(self, title: str) -> str:
        size = f'viewBox="0 0 {self.width} {self.height}" width="{self.width}"'
        frame = f'width="{self.width - 1}" height="{self.height - 1}" rx="12" class="page"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} height="{self.height}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect x=".5" y=".5" {frame}/>',
            *self.parts,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"


def number(value: float, decimals: int = 1) -> str:
    return (
        f"{np.round(value, decimals) + 0.0:.{decimals}f}".rstrip("0").rstrip(".").replace("-", "−")
    )


def sub(name: str, index: int) -> str:
    return name + "₀₁₂₃₄₅₆₇₈₉"[index]


# --------------------------------------------------------- the numbers of the tutorial's examples

INPUTS = np.array([1.0, 2.0, 3.0])
WEIGHTS = np.array([0.2, 0.8, -0.5])
BIAS = 2.0
TARGET = 2.0

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
W = np.array([[0.2, 0.5, -0.3, 0.1], [0.8, -0.9, 0.2, 0.4], [-0.5, 0.3, 0.1, -0.2]])
B = np.array([0.1, 0.2, 0.3, 0.4])

ROWS, BATCH = 1437, 32

# ----------------------------------------------------------------------------------- the images


def neuron(words: Callable[[str], str]) -> Picture:
    """Sections 1 and 2: inputs, weights, bias, sum, activation."""
    picture = Picture(640, 300)
    z = WEIGHTS @ INPUTS + BIAS
    for column, name in ((62, "inputs"), (184, "weights"), (372, "sum"), (500, "activation")):
        picture.text(column, 34, words(name), "muted small")
    for i, (x, w) in enumerate(zip(INPUTS, WEIGHTS, strict=True)):
        y = 80 + 62 * i
        picture.arrow(88, y, 322, 142 + 12 * (i - 1), "go")
        picture.circle(62, y, 25)
        picture.text(62, y + 6, f"{number(x)}", "strong")
        picture.text(22, y + 6, sub("x", i + 1), "muted")
        middle = y + (142 + 12 * (i - 1) - y) * 0.41
        picture.box(126, middle - 16, 116, 32, "page")
        picture.text(184, middle + 6, f"{sub('w', i + 1)} = {number(w)}")
    picture.arrow(372, 236, 372, 194, "go")
    picture.text(372, 258, f"b = {number(BIAS)}")
    picture.text(372, 280, words("bias"), "muted small")
    picture.circle(372, 142, 48, "chosen")
    picture.text(372, 138, "Σ wᵢxᵢ + b", "small")
    picture.text(372, 161, number(z), "strong")
    picture.arrow(422, 142, 455, 142, "go")
    picture.box(458, 104, 84, 76, "chosen")
    picture.curve([(470, 150), (500, 150), (530, 120)], "go")
    picture.text(500, 170, "ReLU", "small")
    picture.arrow(544, 142, 580, 142, "go")
    picture.text(584, 148, number(max(z, 0)), "strong start")
    picture.text(598, 122, "a", "muted")
    return picture


def matrix(picture: Picture, x: float, y: float, values: np.ndarray, marks: str = "") -> None:
    """Write a matrix; "row", "column" or "entry" highlights the first one."""
    rows, columns = values.shape
    width, height = 48, 34
    if marks:
        wide = columns if marks == "row" else 1
        high = rows if marks == "column" else 1
        picture.box(x, y, width * wide, height * high, "warm" if marks == "row" else "chosen")
    for (i, j), value in np.ndenumerate(values):
        picture.text(x + width * (j + 0.5), y + height * i + 23, number(value))
    for side, foot in ((x - 4, 7), (x + width * columns + 4, -7)):
        top, bottom = y - 4, y + height * rows + 4
        picture.curve([(side + foot, top), (side, top), (side, bottom), (side + foot, bottom)])


def layer(words: Callable[[str], str]) -> Picture:
    """Section 3: each neuron is a column of W, each sample a row of X."""
    picture = Picture(640, 250)
    for x, y, name, note, values, marks in (
        (18, 99, "X", "samples", X, "row"),
        (200, 82, "W", "neurons", W, "column"),
        (430, 99, "Z", "sums", X @ W, "entry"),
    ):
        matrix(picture, x, y, values, marks)
        middle = x + 24 * values.shape[1]
        picture.text(middle, 40, name, "strong")
        picture.text(middle, 62, words(note), "muted small")
    picture.text(181, 139, "×", "strong")
    picture.text(411, 139, "=", "strong")
    picture.text(320, 226, words("sentence"), "small")
    return picture


def forward(words: Callable[[str], str]) -> Picture:
    """Section 4: a forward pass of a sample."""
    picture = Picture(640, 330)
    z = X[0] @ W + B
    for column, name in ((62, "sample"), (300, "sum"), (516, "activation")):
        picture.text(column, 34, words(name), "muted small")
    for j in range(4):
        y = 80 + 66 * j
        for i in range(3):
            picture.curve([(87, 113 + 66 * i), (212, y)], "go")
    for i in range(3):
        picture.circle(62, 113 + 66 * i, 25)
        picture.text(62, 119 + 66 * i, number(X[0, i]), "strong")
    for j in range(4):
        y = 80 + 66 * j
        kind = "chosen" if z[j] > 0 else "shape"
        picture.box(212, y - 25, 190, 50, kind)
        before, added = number(X[0] @ W[:, j]), number(B[j])
        picture.text(307, y + 6, f"{before} + {added} = {number(z[j])}")
        picture.arrow(404, y, 470, y, "go" if z[j] > 0 else "")
        picture.text(436, y - 8, "ReLU", "small muted")
        picture.circle(498, y, 25, kind)
        picture.text(498, y + 6, number(max(z[j], 0)), "strong")
        picture.text(531, y + 6, words("passes" if z[j] > 0 else "stopped"), "start small muted")
    return picture


def downhill(words: Callable[[str], str]) -> Picture:
    """Section 6: five steps of gradient descent on C = mean (w x - y)^2."""
    picture = Picture(640, 340)
    x = np.array([1.0, 2.0, 3.0])

    def cost(w: float) -> float:
        return float(np.mean((w * x - 2 * x) ** 2))

    def position(w: float, height: float) -> tuple[float, float]:
        return 70 + 145 * w, 290 - 12.5 * height

    picture.arrow(60, 290, 610, 290)
    picture.arrow(70, 300, 70, 28)
    picture.text(600, 316, "w", "strong")
    picture.text(48, 42, "C", "strong")
    for tick in range(4):
        picture.text(position(tick, 0)[0], 314, str(tick), "muted small")
    ws = np.linspace(-0.03, 3.6, 100)
    picture.curve([position(w, cost(w)) for w in ws if cost(w) < 19.5], "go")
    w, path = 0.0, []
    for _ in range(5):
        path.append(w)
        w -= 0.05 * np.mean(2 * (w * x - 2 * x) * x)
    for before, after in itertools.pairwise(path):
        start, end = position(before, cost(before)), position(after, cost(after))
        if np.hypot(end[0] - start[0], end[1] - start[1]) > 25:
            picture.arrow(*start, *end, "back")
    for index, each in enumerate(path):
        a, b = position(each, cost(each))
        picture.circle(a, b, 6, "warm")
        if index < 3:
            picture.text(a + 14, b - 6, f"w = {number(each, 4)}", "start small")
    picture.text(468, 210, words("minimum"), "small muted")
    picture.arrow(456, 218, 370, 283)
    picture.text(360, 60, words("rule"), "start strong")
    picture.text(360, 86, words("why"), "start small muted")
    return picture


def backward(words: Callable[[str], str]) -> Picture:
    """Section 7: the three factors of the chain rule, from the cost back to a weight."""
    picture = Picture(640, 330)
    z = WEIGHTS @ INPUTS + BIAS
    p = max(z, 0)
    boxes = [
        ("x", ", ".join(number(each) for each in INPUTS)),
        ("z = w · x + b", number(z)),
        ("p = ReLU(z)", number(p)),
        ("C = (p − y)²", number((p - TARGET) ** 2, 2)),
    ]
    slope = number(2 * (p - TARGET))
    inputs = ", ".join(number(each) for each in INPUTS)
    slopes = [("dz/dwᵢ = xᵢ", inputs), ("dp/dz", "1"), ("dC/dp = 2 (p − y)", slope)]
    picture.text(20, 34, words("forward"), "go small start")
    for index, (formula, value) in enumerate(boxes):
        x = 20 + 160 * index
        picture.box(x, 48, 120, 66, "chosen")
        picture.text(x + 60, 76, formula, "small")
        picture.text(x + 60, 101, value, "strong")
    for index, (formula, value) in enumerate(slopes):
        x = 160 + 160 * index
        picture.arrow(x - 16, 81, x + 17, 81, "go")
        picture.arrow(x + 40, 134, x - 40, 134, "back")
        picture.text(x, 162, formula, "small muted")
        picture.text(x, 188, value, "strong back")
    picture.text(620, 140, words("backward"), "back small end")
    picture.text(240, 188, "×", "strong")
    picture.text(400, 188, "×", "strong")
    picture.box(20, 226, 600, 84, "warm")
    gradient = ", ".join(number(each) for each in 2 * (p - TARGET) * INPUTS)
    picture.text(320, 256, words("product"), "small")
    picture.text(320, 290, f"dC/dw = {slope} · 1 · ({inputs}) = ({gradient})", "strong")
    return picture


def batches(words: Callable[[str], str]) -> Picture:
    """Section 8: an epoch is a pass over mini-batches; each gives an update."""
    picture = Picture(640, 320)
    count = -(-ROWS // BATCH)
    picture.text(320, 34, words("data"), "small muted")
    for index, label in enumerate(["1", "2", "3", "4", "5", "6", "…", str(count)]):
        x = 24 + 76 * index
        if label != "…":
            picture.box(x, 50, 60, 44, "chosen" if index == 1 else "shape")
        picture.text(x + 30, 78, label, "strong")
    picture.arrow(130, 96, 110, 142, "go")
    picture.text(140, 126, words("next"), "start small")
    steps = ["forward", "loss", "backward", "update"]
    formulas = ["P = f(X)", "C", "dC/dW", "W − 0.3 dC/dW"]
    for index, (name, formula) in enumerate(zip(steps, formulas, strict=True)):
        x = 24 + 152 * index
        kind = "warm" if name == "backward" else "chosen"
        picture.box(x, 146, 136, 70, kind)
        picture.text(x + 68, 176, words(name), "strong")
        picture.text(x + 68, 202, formula, "small")
        if index < 3:
            picture.arrow(x + 137, 181, x + 151, 181)
    picture.curve([(548, 218), (548, 246), (92, 246)])
    picture.arrow(92, 246, 92, 220)
    picture.text(320, 268, words("again"), "small")
    picture.text(320, 298, words("epoch"), "small muted")
    return picture


# ------------------------------------------------------------------------------------ the words

PICTURES = {
    "neuron": neuron,
    "layer": layer,
    "forward": forward,
    "downhill": downhill,
    "backward": backward,
    "batches": batches,
}

WORDS = tomllib.loads(Path(__file__).with_name("tutorial_words.toml").read_text("utf-8"))


def drawings() -> dict[str, str]:
    result = {}
    for language, pictures in WORDS.items():
        for name, draw in PICTURES.items():
            words = pictures[name]
            suffix = "" if language == "en" else f".{language}"
            result[f"{name}{suffix}.svg"] = draw(words.__getitem__).svg(words["title"])
    return result


def main(folder: Path = FOLDER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in drawings().items():
        (folder / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
