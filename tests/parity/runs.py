"""A table of training runs with every layer, activation, loss, optimizer, metric and option.

The oracle is `Backend` on NumPy in float64. A run's results are the history, the parameters,
predictions and an evaluation.

Tolerances are relative to each number, or to an array's largest number: 1e-9 in float64 and 5e-4
in float32. Training amplifies rounding errors, so they are larger than for single operations.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from layers.blocks import Attention, Features, Gate, Shortcuts, Tied, Twice
from parity.operations import builtin

import gpunn
from gpunn import activations, layers, losses, metrics, optimizers, schedules
from gpunn.backends import Backend
from gpunn.layers import Activation, Dense, Layer

TOLERANCES = {"float64": 1e-9, "float32": 5e-4}
ROWS, FEATURES, CLASSES = 45, 6, 3

_random = np.random.default_rng(0)
LABELS = _random.integers(0, CLASSES, ROWS)
INPUTS = _random.normal(size=(ROWS, FEATURES)) + np.eye(CLASSES, FEATURES)[LABELS]
NUMBERS = INPUTS[:, :CLASSES] + 0.5
ONE_HOT = np.eye(CLASSES)[LABELS]
PIXELS = _random.integers(0, 256, (ROWS, 3, 2), np.uint8)
WEIGHTS = _random.random(ROWS)


def plain() -> list[Layer]:
    return [Dense(8, "tanh"), Dense(CLASSES)]


def some_layers() -> list[Layer]:
    """Weights with and without decay, and statistics; faster to record than every layer."""
    return [
        layers.Standardization(),
        Dense(16, bias=False),  # as below
        layers.BatchNorm(),
        Dense(8, "tanh"),
        layers.Dropout(0.1),
        Dense(CLASSES),
    ]


def every_layer() -> list[Layer]:
    return [
        layers.Flatten(),
        layers.Standardization(),
        Dense(16, bias=False),  # the gradient of a bias here would be only rounding error
        layers.BatchNorm(),
        layers.Chain([Activation("silu"), layers.Dropout(0.3), layers.Rescaling(1.5, 0.1)]),
        Dense(8, "tanh"),
        layers.Residual([Dense(8, "relu")]),
        layers.LayerNorm(),
        Activation("gelu"),
        layers.Dropout(0.1),
        Dense(CLASSES),
    ]


def factors() -> list[Layer]:
    return [
        Dense(16, "selu", learning_rate_factor=6.0, weight_decay_factor=6.0),
        layers.BatchNorm(learning_rate_factor={"shift": 0.1}, weight_decay_factor={"scale": 0.5}),
        layers.Chain(
            [Dense(8, "tanh", learning_rate_factor=0.5), layers.Dropout(0.3)],
            learning_rate_factor=0.2,
            weight_decay_factor=0.0,
        ),
        Dense(CLASSES, learning_rate_factor={"biases": 0.1}),
    ]


def moving() -> list[Layer]:
    rate = schedules.FlatCosine(0.3)
    return [
        Dense(16, "relu"),
        layers.Dropout(rate),
        Dense(8, "tanh"),
        layers.Dropout(rate),
        *plain(),
    ]


def frozen() -> list[Layer]:
    """Frozen layers between and within others that are trained."""
    return [
        layers.Standardization(),
        Dense(16),
        layers.BatchNorm(trainable=False),
        layers.Chain([Dense(8, "tanh"), layers.Dropout(0.1), Dense(8, "gelu", trainable=False)]),
        layers.LayerNorm(trainable=False),
        layers.Chain([Dense(8, "relu"), layers.Scale()], trainable=False),
        Dense(CLASSES, learning_rate_factor={"biases": 0.1}),
    ]


def members(*more: Layer) -> list[Layer]:
    return [
        layers.Members(3),
        layers.MemberDense(8, "tanh"),
        layers.MemberDense(CLASSES, separate=True),
        *more,
    ]


def blocks() -> list[Layer]:
    """Branches, layers that are called several times, and formulas with parameters."""
    shared = layers.Residual([Dense(6, "tanh"), layers.BatchNorm(), layers.Dropout(0.2)])
    return [
        layers.Multiply([[], [Dense(FEATURES, "sigmoid")], [Gate()]]),
        Twice(shared),
        layers.LayerNorm(),
        Shortcuts([Dense(4, "silu"), Features()]),
        layers.Add([[Dense(5)], [Dense(7, "relu"), Dense(5)]]),
        layers.Concatenate([[Tied()], [Attention()], [layers.PReLU()]]),
        layers.Residual([Dense(CLASSES)], [Dense(CLASSES, trainable=False)]),
    ]


def frozen_blocks() -> list[Layer]:
    every = blocks()
    for layer in every[:6:2]:
        layer.trainable = False
    return every


def pixels() -> list[Layer]:
    return [layers.Flatten(), layers.Rescaling(), Dense(8, "relu"), Dense(CLASSES)]


def images() -> list[Layer]:
    """Convolutions with parts of a window outside the image, with groups, and depthwise."""
    return [
        layers.Conv2D(4, 3, padding="same", activation="relu"),
        layers.MaxPool2D(2, 1),
        layers.Conv2D(4, 2, groups=4, padding="same"),
        layers.BatchNorm(),
        layers.Activation("silu"),
        layers.SpatialDropout(0.2),
        layers.UpSampling2D((1, 2)),
        layers.Conv2D(6, (2, 3), 2, groups=2, activation="tanh"),
        layers.AveragePool2D(2, 1, "same"),
        layers.Conv2D(5, 1, activation="relu"),
        layers.GlobalAveragePool2D(),
        Dense(CLASSES),
    ]


def signals() -> list[Layer]:
    return [
        layers.Conv1D(4, 3, padding="same", activation="relu"),
        layers.MaxPool1D(2),
        layers.AveragePool1D(2, 1),
        layers.GlobalAveragePool1D(),
        Dense(CLASSES),
    ]


IMAGES = _random.normal(size=(ROWS, 6, 5, 2)) + LABELS[:, None, None, None]

EDGES = [[-1.5, -0.5, 0.0, 2.0], [-2.0, 0.5, 2.0]]


def table_layers() -> list[Layer]:
    """Layers of tabular models, with members. The last two columns of INPUTS are codes."""
    waves = [layers.PeriodicEmbedding(4, 2, kind="plr", lite=True)]
    pieces = [layers.PiecewiseLinearEmbedding(EDGES, 2)]
    return [
        layers.ColumnGroups(
            [
                {"columns": [0, 1], "layers": [layers.PeriodicEmbedding(4)]},
                {"columns": [1, 2], "layers": waves},
                {"columns": [2, 4], "layers": pieces},
                {"columns": [4, 5], "layers": [layers.OneHot([3])]},
                {"columns": [5, 6], "layers": [layers.Embedding([4], 2)]},
            ]
        ),
        layers.Scale(),
        Dense(8, parametrization="ntp"),
        layers.ParametricActivation("mish"),
        layers.Members(2, "normal", [4, 4]),
        layers.MemberDense(5, "tanh"),
        layers.MemberDense(4, "gelu", adapters=False),
        layers.MemberDense(3, separate=True),
        layers.Flatten(),
        Dense(CLASSES),
    ]


def frozen_table_layers() -> list[Layer]:
    """The same layers, with all frozen except two, one of them the first."""
    every = table_layers()
    for layer in every[1:-1]:
        layer.trainable = False
    groups = every[0]
    assert isinstance(groups, layers.ColumnGroups)
    for group in groups.parts[1:]:
        assert group.chain is not None
        group.chain.trainable = False
    return every


TABLE = np.column_stack([INPUTS[:, :4], LABELS, _random.integers(0, 4, ROWS)])


@dataclass(frozen=True)
class Run:
    name: str
    network: Callable[[], list[Layer]] = plain
    loss: Any = "softmax_cross_entropy"
    optimizer: Callable[[], optimizers.Optimizer] = lambda: optimizers.Adam(0.01)
    metrics: Sequence[Any] = ()
    X: np.ndarray = field(default_factory=lambda: INPUTS)
    y: np.ndarray = field(default_factory=lambda: LABELS)
    batch_size: int = 8
    accumulation: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    def make(self, backend: Backend | str, dtype: str) -> gpunn.Trainer:
        shape = self.X.shape[1:]
        model = gpunn.Sequential(self.network(), shape, backend, seed=4, dtype=dtype)
        return gpunn.Trainer(
            model,
            self.loss,
            self.optimizer(),
            list(self.metrics),
            gradient_accumulation=self.accumulation,
            log_every=3,
        )

    def fit(self, trainer: gpunn.Trainer, **options: Any) -> gpunn.Trainer:
        trainer.fit(
            self.X,
            self.y,
            **{
                "epochs": 3,
                "batch_size": self.batch_size,
                "validation_split": 0.2,
                "progress": False,
                **self.options,
                **options,
            },
        )
        return trainer

    def results(self, trainer: gpunn.Trainer) -> dict[str, np.ndarray]:
        figures = {
            f"history of {name}": np.array(trainer.history[name])
            for name in trainer.log_names
            if name not in ("seconds", "samples_per_second")
        }
        evaluation = trainer.evaluate(self.X, self.y)
        figures |= {f"evaluated {name}": np.array(value) for name, value in evaluation.items()}
        predictions = trainer.model.predict(self.X)
        return {**figures, **trainer.model.parameters.to_host(), "predictions": predictions}


def targets_of(loss: losses.Loss) -> np.ndarray:
    if isinstance(loss, losses.SoftmaxCrossEntropy):
        return LABELS
    if isinstance(loss, losses.BinaryCrossEntropy):
        return ONE_HOT
    if isinstance(loss, losses.GaussianNLL | losses.Quantiles):
        return NUMBERS[:, :1]
    if isinstance(loss, losses.Poisson | losses.Gamma | losses.Tweedie):
        return 3.0 * ONE_HOT + isinstance(loss, losses.Gamma)
    return NUMBERS


PARAMETERS: dict[str, dict[str, Any]] = {
    "top_k_accuracy": {"k": 2},
    **{name: {"average": "macro"} for name in ("precision", "recall", "f1")},
}
"""Averages of metrics that require one for three classes."""

LAST = {losses.GaussianNLL: lambda: [Dense(2)], losses.Quantiles: lambda: [layers.SortedOutputs()]}
"""Further layers for losses with several outputs for a target."""

RATES = {
    optimizers.SGD: 0.1,
    optimizers.Adagrad: 0.1,
    optimizers.Adadelta: 3.0,
    optimizers.RAdam: 0.1,
    optimizers.Lars: 4.0,
}
"""Learning rates with which a short run learns, if 0.01 is too small."""


def table() -> Iterator[Run]:
    for cls in builtin(activations.Activation):
        yield Run(
            f"activation {cls.name}",
            lambda cls=cls: [Dense(8, cls()), Dense(6), Activation(cls()), Dense(CLASSES)],
        )
    for cls in builtin(losses.Loss):
        # Not Adam, which makes steps of full length from gradients that are only rounding errors.
        yield Run(
            f"loss {cls.name}",
            lambda cls=cls: [*some_layers(), *LAST.get(cls, list)()],
            cls(),
            lambda: optimizers.SGD(0.02, momentum=0.9),
            y=targets_of(cls()),
        )
    yield Run("loss soft targets", loss=losses.SoftmaxCrossEntropy(0.1), y=0.9 * ONE_HOT + 0.1 / 3)
    for cls in builtin(metrics.Metric):
        classes = issubclass(cls, metrics.ClassMetric)
        probabilities = issubclass(cls, metrics.BinaryAccuracy)
        yield Run(
            f"metric {cls.name}",
            loss="softmax_cross_entropy" if classes else "mean_squared_error",
            metrics=[cls(**PARAMETERS.get(cls.name, {}))],
            y=LABELS if classes else ONE_HOT if probabilities else NUMBERS,
        )
    for cls in builtin(optimizers.Optimizer):
        rate = RATES.get(cls, 0.01)
        yield Run(f"optimizer {cls.name}", some_layers, optimizer=lambda c=cls, r=rate: c(r))
        yield Run(
            f"optimizer {cls.name}, decay and clipping",
            some_layers,
            optimizer=lambda cls=cls, rate=rate: cls(
                schedules.WarmUp(schedules.Cosine(rate), 1.0), weight_decay=0.1, max_norm=0.5
            ),
        )
    for nesterov in (False, True):
        yield Run(
            f"optimizer momentum, nesterov {nesterov}",
            some_layers,
            optimizer=lambda n=nesterov: optimizers.SGD(0.02, momentum=0.9, nesterov=n),
        )
    yield Run(
        "loss of members, of scaled targets",
        lambda: members(layers.MeanOverMembers(), layers.TargetScaling()),
        "mean_squared_error",
        lambda: optimizers.SGD(0.05, momentum=0.9),
        ["root_mean_squared_error"],
        y=10 + 5 * NUMBERS,
        options={"sample_weight": WEIGHTS},
    )
    yield Run(
        "loss of members, of classes",
        lambda: members(layers.MeanOverMembers("softmax")),
        optimizer=lambda: optimizers.SGD(0.1, momentum=0.9),
        metrics=["accuracy"],
        options={"class_weight": "balanced"},
    )
    for norm in (None, 0.5):
        yield Run(
            f"optimizer factors of parameters, max_norm {norm}, clipping",
            factors,
            optimizer=lambda norm=norm: optimizers.SGD(
                0.01, weight_decay=0.1, momentum=0.9, max_norm=norm, l2_penalty=0.01
            ),
        )
    yield Run(
        "optimizer frozen layers, clipping",
        frozen,
        optimizer=lambda: optimizers.SGD(
            0.02, weight_decay=0.1, momentum=0.9, max_norm=0.5, l2_penalty=0.01
        ),
    )
    yield Run(
        "optimizer moving settings, clipping",
        moving,
        losses.SoftmaxCrossEntropy(schedules.CosineLog(0.2, time_of_update=0.0)),
        lambda: optimizers.Adam(
            schedules.CosineLog(0.01, time_of_update=0.0), weight_decay=schedules.FlatCosine(0.1)
        ),
    )
    options: dict[str, dict[str, Any]] = {
        "sample weights": {"sample_weight": WEIGHTS},
        "class weights": {"class_weight": "balanced"},
        "unshuffled": {"shuffle": False},
        "validation data": {"validation_split": 0.0, "validation_data": (INPUTS[:9], LABELS[:9])},
        "whole batches": {"validation_split": 0.0, "batch_size": 15},
    }
    for name, option in options.items():
        yield Run(name, every_layer, metrics=["accuracy"], options=option)
    for accumulation, weights in itertools.product((2, 3), (None, WEIGHTS)):
        yield Run(
            f"accumulation of {accumulation}{'' if weights is None else ', weighted'}",
            accumulation=accumulation,
            batch_size=4,
            options={"sample_weight": weights},
        )
    yield Run("one batch", options={"batch_size": 64})
    yield Run("pixels", pixels, X=PIXELS)
    # Not Adam: the gradient of a bias before a normalization is only rounding error.
    yield Run("blocks", blocks, optimizer=lambda: optimizers.SGD(0.01, momentum=0.5))
    yield Run("blocks, frozen", frozen_blocks, optimizer=lambda: optimizers.SGD(0.01))
    # Not Adam, for the same reason.
    yield Run("signals", signals, X=IMAGES.reshape(ROWS, 30, 2))
    yield Run("images", images, optimizer=lambda: optimizers.SGD(0.05, momentum=0.5), X=IMAGES)
    yield Run("tables", table_layers, X=TABLE)
    yield Run("tables, frozen", frozen_table_layers, X=TABLE)


RUNS = {run.name: run for run in table()}


def assert_close(actual: dict[str, Any], expected: dict[str, Any], dtype: str) -> None:
    assert actual.keys() == expected.keys()
    for name, want in expected.items():
        tolerance = TOLERANCES[dtype]
        scale = float(np.abs(want).max(initial=0.0))
        np.testing.assert_allclose(
            actual[name], want, rtol=tolerance, atol=tolerance * scale, err_msg=name
        )


def assert_same_bits(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    assert actual.keys() == expected.keys()
    for name, want in expected.items():
        np.testing.assert_array_equal(actual[name], want, err_msg=name, strict=True)


def assert_learned(results: dict[str, Any]) -> None:
    losses_seen = results["history of loss"]
    assert losses_seen[-1] < losses_seen[0], losses_seen
