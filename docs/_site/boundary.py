"""Draw the image of the home page: a network learns to separate two crescents of points.

This command trains the network and redraws docs/boundary.svg::

    python docs/_site/boundary.py
"""

import io
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np

import gpunn

mpl.use("svg")
from matplotlib import pyplot as plt

IMAGE = Path(__file__).parents[1] / "boundary.svg"
UPDATES = (0, 10, 40, 400)
COLORS = ("#3b7dd8", "#e07b39")
GRAY = "#808080"  # readable on white and on black


def crescents(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random points of the plane, and each point's class, 0 or 1."""
    random = np.random.default_rng(3)
    classes = np.arange(rows) % 2
    turn = np.pi * random.random(rows)
    points = np.stack([np.cos(turn) - 0.5, np.sin(turn) - 0.25], axis=1)
    points[classes == 1] *= -1
    return points + random.normal(0, 0.12, points.shape), classes


def main() -> None:
    points, classes = crescents(120)
    model = gpunn.Sequential(
        [gpunn.layers.Dense(16, "tanh"), gpunn.layers.Dense(16, "tanh"), gpunn.layers.Dense(1)],
        input_shape=(2,),
        backend="numpy",
        seed=1,
    )
    trainer = gpunn.Trainer(model, "binary_cross_entropy", gpunn.optimizers.Adam(0.01))
    model.output_activation = "sigmoid"  # training with this loss sets it
    x, y = np.meshgrid(np.linspace(-2, 2, 41), np.linspace(-1.5, 1.5, 31))
    plane = np.stack([x.ravel(), y.ravel()], axis=1)

    plt.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "gpunn", "font.size": 10})
    figure, axes = plt.subplots(1, len(UPDATES), figsize=(9.6, 2.1), layout="constrained")
    figure.patch.set_alpha(0)
    for axis, updates in zip(axes, UPDATES, strict=True):
        missing = updates - trainer.updates
        if missing:
            trainer.fit(points, classes, epochs=missing, batch_size=len(points), progress=False)
        probabilities = model.predict_proba(plane)[:, -1].reshape(x.shape)
        map_ = mpl.colors.LinearSegmentedColormap.from_list("classes", COLORS)
        axis.contourf(x, y, probabilities, levels=np.linspace(0, 1, 7), cmap=map_, alpha=0.4)
        axis.contour(x, y, probabilities, levels=[0.5], colors=GRAY, linewidths=1.5)
        for each, color in enumerate(COLORS):
            axis.plot(*points[classes == each].T, ".", color=color, markersize=4)
        axis.set_title(f"{updates} updates" if updates else "at first", color=GRAY)
        axis.set_axis_off()
    drawing = io.StringIO()
    figure.savefig(drawing, metadata={"Date": None})
    shorter = re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", drawing.getvalue())
    IMAGE.write_text(re.sub(r"[ \n]+(?=[LCQz])", " ", shorter), encoding="utf-8")


if __name__ == "__main__":
    main()
