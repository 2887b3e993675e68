"""Record the trainings that the page docs/learning/ replays: points, digits, and filters.

    python scripts/docs/record_learning.py [FILE [SITE]]

writes FILE (docs/learning/recording.js) in a second. SITE is the documentation's site, relative to
the page, such as ".."; without it, the page has no links.

gpunn trains in float64, so that rounding doesn't decide whether a ReLU is active. The file has the
numbers in float32. A recording keeps the first n rows of each batch and has these arrays::

    | array | shape | what |
    |---|---|---|
    | start | (parameters,) | weights and biases before the first update, layer by layer |
    | gradients | (steps, parameters) | dC/dw of each batch |
    | sums | (steps, n, neurons) | z = w . x + b of each neuron, layer by layer |
    | derivatives | (steps, n, neurons) | dC/da of each neuron's activation a = f(z) |
    | losses | (steps,) | C, the mean loss of each batch |
    | total_losses, accuracies | (steps + 1,) | of many rows, initially and after each update |

Activations follow from the sums, and the weights of later steps from the gradients. The
recording of filters has other arrays; see `filters`.
"""

import base64
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import gpunn
from gpunn.callbacks import Callback
from gpunn.layers import Activation, Conv2D, Dense, Flatten, MaxPool2D
from gpunn.workspace import Workspace

FILE = Path(__file__).parents[2] / "docs" / "learning" / "recording.js"


@dataclass
class Lesson:
    """A training and its recorded parts.

    The network is the tutorial's: a hidden layer of ReLU neurons, and a linear layer. Activations
    are separate layers here, so that a pass returns both sums and activations.
    """

    X: np.ndarray
    y: np.ndarray
    loss: gpunn.losses.Loss
    hidden: int
    outputs: int
    learning_rate: float
    batch_size: int
    kept: int
    epochs: int
    seed: int
    judged: tuple[np.ndarray, np.ndarray]

    def network(self) -> gpunn.Sequential:
        initializer = gpunn.initializers.GlorotFanInMean()
        layers = [Dense(self.hidden, initializer=initializer), Activation("relu")]
        layers += [Dense(self.outputs)]
        inputs, seed = self.X.shape[1], self.seed
        return gpunn.Sequential(layers, inputs, backend="numpy", seed=seed, dtype="float64")

    def right(self, predictions: np.ndarray, y: np.ndarray) -> np.ndarray:
        if self.outputs == 1:
            return (predictions > 0)[:, 0] == (y > 0)[:, 0]
        return predictions.argmax(axis=1) == y


@dataclass(eq=False)
class Recorder(Callback):
    lesson: Lesson
    weights: list[np.ndarray] = field(default_factory=list)
    gradients: list[np.ndarray] = field(default_factory=list)
    judgments: list[tuple[float, float]] = field(default_factory=list)

    every_updates = 1
    name = "recorder"

    def on_train_begin(self, trainer: gpunn.Trainer) -> None:
        self._look(trainer)

    def on_epoch_end(self, trainer: gpunn.Trainer, logs: Mapping[str, float]) -> None:
        self.on_updates_end(trainer)

    def on_updates_end(self, trainer: gpunn.Trainer) -> None:
        parameters = trainer.model.parameters
        self.gradients.append(flat({name: parameters.gradient(name) for name in parameters}))
        self._look(trainer)

    def _look(self, trainer: gpunn.Trainer) -> None:
        X, y = self.lesson.judged
        predictions = trainer.model.predict(X)
        loss = self.lesson.loss.values(np, predictions, y).mean()
        self.judgments.append((float(loss), float(self.lesson.right(predictions, y).mean())))
        self.weights.append(flat(trainer.model.parameters.to_host()))


def flat(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([np.array(array).ravel() for array in arrays.values()])


def record(lesson: Lesson) -> dict[str, np.ndarray]:
    """Train the lesson's network; return the arrays of the table above, and `weights`."""
    model, recorder = lesson.network(), Recorder(lesson)
    trainer = gpunn.Trainer(model, lesson.loss, gpunn.optimizers.SGD(lesson.learning_rate))
    trainer.fit(
        lesson.X,
        lesson.y,
        epochs=lesson.epochs,
        batch_size=lesson.batch_size,
        shuffle=False,
        callbacks=[recorder],
        progress=False,
    )
    again = lesson.network()
    passes = []
    for step, weights in enumerate(recorder.weights[:-1]):
        first = step * lesson.batch_size % len(lesson.X)
        rows = slice(first, first + lesson.batch_size)
        write(again, weights)
        passes.append(one_pass(again, lesson, lesson.X[rows], lesson.y[rows]))
        gradients = flat({name: again.parameters.gradient(name) for name in again.parameters})
        np.testing.assert_allclose(gradients, recorder.gradients[step], rtol=1e-9, atol=1e-12)
    losses, sums, derivatives = map(np.array, zip(*passes, strict=True))
    judged = np.array(recorder.judgments)
    return {
        "start": recorder.weights[0],
        "weights": np.array(recorder.weights),
        "gradients": np.array(recorder.gradients),
        "losses": losses,
        "sums": sums[:, : lesson.kept],
        "derivatives": derivatives[:, : lesson.kept],
        "total_losses": judged[:, 0],
        "accuracies": judged[:, 1],
    }


def write(model: gpunn.Sequential, weights: np.ndarray) -> None:
    parameters, first = model.parameters, 0
    for name in parameters:
        shape = parameters[name].shape
        size = int(np.prod(shape))
        parameters[name] = weights[first : first + size].reshape(shape)
        first += size


def one_pass(
    model: gpunn.Sequential, lesson: Lesson, X: np.ndarray, y: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the loss of a batch, and z and dC/da of all neurons: (rows, neurons) each."""
    workspace = Workspace(model.backend, model.dtype, capacity=len(X), training=True)
    x, z, a, outputs = model.forward(X, workspace)
    loss = lesson.loss.values(np, outputs, y).mean()
    at_outputs = lesson.loss.gradients(np, outputs, y) / len(X)
    sums = np.hstack([z, outputs])
    dense_1, activation, dense_2 = model.layers
    at_activations = dense_2.backward(a, outputs, at_outputs.copy(), workspace, True).copy()
    at_sums = activation.backward(z, a, at_activations.copy(), workspace, True)
    dense_1.backward(x, z, at_sums, workspace, False)
    return float(loss), sums, np.hstack([at_activations, at_outputs])


# ---------------------------------------------------------------------------------- lessons


def points() -> Lesson:
    """Return the lesson in the plane: an island of points with target 1 in a ring with -1."""
    random = np.random.default_rng(1)
    inside = np.arange(96) % 2 == 1
    radius = np.where(inside, 0.8 * np.sqrt(random.uniform(size=96)), random.uniform(1.2, 1.8, 96))
    angle = random.uniform(0, 2 * np.pi, 96)
    X = (radius * np.stack([np.cos(angle), np.sin(angle)])).T
    y = np.where(inside, 1.0, -1.0)[:, None]
    return Lesson(
        X,
        y,
        gpunn.losses.MeanSquaredError(),
        hidden=6,
        outputs=1,
        learning_rate=0.1,
        batch_size=8,
        kept=8,
        epochs=10,
        seed=8,
        judged=(X, y),
    )


def digits() -> Lesson:
    """Return the lesson with 8 x 8 digits: 64 pixels from 0 to 1, ten classes."""
    X, y, X_test, y_test = gpunn.data.load_digits()
    rows = 30 * 32
    return Lesson(
        X[:rows] / 16,
        y[:rows],
        gpunn.losses.SoftmaxCrossEntropy(),
        hidden=8,
        outputs=10,
        learning_rate=0.4,
        batch_size=32,
        kept=6,
        epochs=2,
        seed=12,
        judged=(X_test / 16, y_test),
    )


LESSONS = {"points": points, "digits": digits}

FILTERS, FILTER_STEPS = 6, 60


def filters() -> dict[str, np.ndarray]:
    """Train a small convolutional network on the digits, and record its filters.

    `weights` has shape (steps + 1, 9, filters) and `biases` (steps + 1, filters), initially and
    after each update; `accuracies` are the shares of the test images that are recognized.
    """
    X, y, X_test, y_test = (
        each.reshape(-1, 8, 8, 1) / 16 if each.ndim == 2 else each
        for each in gpunn.data.load_digits()
    )
    layers = [Conv2D(FILTERS, 3, padding="same", activation="relu"), MaxPool2D()]
    layers += [Flatten(), Dense(10)]
    model = gpunn.Sequential(layers, (8, 8, 1), backend="numpy", seed=3, dtype="float64")
    weights, biases, accuracies = [], [], []

    class FilterRecorder(Callback):
        every_updates = 1
        name = "filter_recorder"

        def on_train_begin(self, trainer: gpunn.Trainer) -> None:
            self.on_updates_end(trainer)

        def on_epoch_end(self, trainer: gpunn.Trainer, logs: Mapping[str, float]) -> None:
            self.on_updates_end(trainer)

        def on_updates_end(self, trainer: gpunn.Trainer) -> None:
            weights.append(np.array(model.parameters["conv_2d_1.weights"]))
            biases.append(np.array(model.parameters["conv_2d_1.biases"]))
            right = model.predict(X_test).argmax(axis=1) == y_test
            accuracies.append(float(right.mean()))

    rows = FILTER_STEPS // 2 * 32
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", gpunn.optimizers.SGD(0.3))
    options = {"epochs": 2, "batch_size": 32, "shuffle": False, "progress": False}
    trainer.fit(X[:rows], y[:rows], callbacks=[FilterRecorder()], **options)
    arrays = {"weights": weights, "biases": biases, "accuracies": accuracies}
    return {name: np.array(values) for name, values in arrays.items()}


# ------------------------------------------------------------------------------------- file

KEPT = ("start", "gradients", "sums", "derivatives", "losses", "total_losses", "accuracies")

TEST_IMAGES = 20


def described(lesson: Lesson, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    result: dict[str, Any] = {
        "sizes": [lesson.X.shape[1], lesson.hidden, lesson.outputs],
        "steps": len(arrays["losses"]),
        "steps_per_epoch": len(lesson.X) // lesson.batch_size,
        "batch_size": lesson.batch_size,
        "kept": lesson.kept,
        "rate": lesson.learning_rate,
    }
    result |= {name: encoded(arrays[name]) for name in KEPT}
    if lesson.outputs == 1:
        return result | {"inputs": encoded(lesson.X), "targets": lesson.y[:, 0].tolist()}
    batches = lesson.X.reshape(-1, lesson.batch_size, lesson.X.shape[1])[:, : lesson.kept]
    labels = lesson.y.reshape(-1, lesson.batch_size)[:, : lesson.kept]
    X_test, y_test = lesson.judged
    return result | {
        "images": images(batches.reshape(-1, lesson.X.shape[1])),
        "labels": labels.ravel().tolist(),
        "test_images": images(X_test[:TEST_IMAGES]),
        "test_labels": y_test[:TEST_IMAGES].tolist(),
    }


def encoded(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode("ascii")


def images(pixels: np.ndarray) -> str:
    """Return pixels (multiples of 1/16 from 0 to 1) as letters, "a" to "q"."""
    return bytes((np.rint(pixels * 16).astype("uint8") + ord("a")).ravel()).decode("ascii")


def main(path: Path = FILE, site: str | None = None) -> None:
    lessons = {name: make() for name, make in LESSONS.items()}
    recordings = {name: described(each, record(each)) for name, each in lessons.items()}
    recordings["filters"] = {name: encoded(each) for name, each in filters().items()}
    content = {"version": gpunn.__version__, "site": site, **recordings}
    text = json.dumps(content, separators=(",", ":"))
    path.write_text(f"const RECORDING = {text};\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]), *sys.argv[2:3])
