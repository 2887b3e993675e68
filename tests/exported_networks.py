"""Networks that exports are tested on: every built-in layer and activation, with odd numbers."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from layers.blocks import Attention, Broadcast, Gate, Tied, Twice

import gpunn
from gpunn.activations import CELU, ELU, Activation, LeakyReLU
from gpunn.configurable import is_built_in, known
from gpunn.interchange.predictor.python_source import python_source
from gpunn.layers import (
    Add,
    AveragePool1D,
    AveragePool2D,
    BatchNorm,
    Chain,
    ColumnGroups,
    Concatenate,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    Embedding,
    Ensemble,
    Flatten,
    GlobalAveragePool1D,
    GlobalAveragePool2D,
    Layer,
    LayerNorm,
    MaxPool1D,
    MaxPool2D,
    MeanOverMembers,
    MemberDense,
    Members,
    Multiply,
    OneHot,
    ParametricActivation,
    PeriodicEmbedding,
    PiecewiseLinearEmbedding,
    PReLU,
    Rescaling,
    Residual,
    Scale,
    SortedOutputs,
    SpatialDropout,
    Standardization,
    TargetScaling,
    UpSampling2D,
)
from gpunn.layers.outputs import COMBINATIONS

EDGES = [[-2.0, -0.5, 0.0, 1.0], [-1.0, 1.0], [0.0, 1.0, 3.0]]


def onnx_session(made: Any) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@dataclass(frozen=True)
class Snake(Activation):
    rate: float = 0.5

    name = "snake"

    def value(self, xp, z):
        return xp.where(abs(z) < 30, z + xp.sin(self.rate * z) ** 2 / self.rate, z)


class Predict(Activation):
    """A custom activation with the name of a function in exported files, and with conditions."""

    name = "Predict?"

    def value(self, xp, z):
        inside = (z > -1) & ~(z >= 2)
        return xp.where(inside | (z == 3), xp.log1p(abs(z)), xp.zeros_like(z)) + 0.1 * z * inside


class Logarithm(Activation):
    """A custom activation whose parts overflow, or are not defined for some numbers."""

    name = "logarithm"

    def value(self, xp, z):
        return xp.maximum(xp.log(1 + xp.exp(z)), z / (1 + xp.abs(z))) + xp.sign(z) * xp.round(z)


def with_activations(f: Any, g: Any = "identity", h: Any = "identity") -> list[Layer]:
    return [Dense(4, f), gpunn.layers.Activation(g), Dense(3, h)]


def in_threes(activations: list[Activation]) -> list[list[Activation]]:
    return [activations[start : start + 3] for start in range(0, len(activations), 3)]


def piecewise(*arguments: Any) -> list[Layer]:
    group = {"columns": [2, 5], "layers": [PiecewiseLinearEmbedding(EDGES, 2, *arguments)]}
    return [ColumnGroups([group, {"columns": [1, 2]}]), Dense(2)]


def ensemble(of: str, counts: list[int] | None = None) -> Ensemble:
    members = [Members(2), MemberDense(3, separate=True), MeanOverMembers(of)]
    return Ensemble(
        [
            {"columns": [1, 4], "layers": [Dense(4, "tanh"), Dense(3)]},
            {"columns": [0, 5], "layers": members},
            {"columns": [1, 4], "layers": [TargetScaling()]},
        ],
        of,
        counts,
    )


def of_codes() -> list[Layer]:
    groups = [
        {"columns": [0, 2], "layers": [OneHot([3, 5], off=-0.25), Dense(4)]},
        {"columns": [2, 4], "layers": [OneHot([3, 2], binary_as_sign=False)]},
        {"columns": [3, 5], "layers": [Embedding([4, 3], 2)]},
    ]
    return [ColumnGroups(groups[:1] + groups[2:]), Dense(3)]


IMAGES: dict[str, tuple[tuple[int, ...], Callable[[], list[Any]]]] = {
    "images": (
        (5, 4, 2),
        lambda: [
            Rescaling(0.5, 1.0),
            Conv2D(4, 3, padding="same", activation="relu"),
            MaxPool2D(),
            SpatialDropout(0.5),
            Conv2D(3, (2, 1), bias=False),
            BatchNorm(epsilon=0.01),
            gpunn.layers.Activation("silu"),
            Flatten(),
            Dropout(0.5),
            Dense(3),
        ],
    ),
    "windows": (
        (4, 3, 4),
        lambda: [
            Conv2D(6, (3, 2), strides=(2, 1), padding="same", groups=2, activation="tanh"),
            LayerNorm(epsilon=0.01),
            AveragePool2D((3, 2), strides=2, padding="same"),
            UpSampling2D((2, 3)),
            Conv2D(6, 2, dilation_rate=2, padding="same", groups=6),
            MaxPool2D(3, strides=2, padding="same"),
            Flatten(),
            gpunn.layers.Activation("relu"),
            LayerNorm(epsilon=0.01),
            Dense(3),
        ],
    ),
    "signals": (
        (11, 2),
        lambda: [
            Conv1D(4, 3, strides=2, padding="same"),
            MaxPool1D(),
            Conv1D(5, 2, padding="same", dilation_rate=2),
            AveragePool1D(2, strides=1, padding="same"),
            BatchNorm(epsilon=0.01),
            GlobalAveragePool1D(),
            Dense(2),
        ],
    ),
    "image_blocks": (
        (3, 4, 2),
        lambda: [
            Residual([Conv2D(2, 3, padding="same", activation="relu")]),
            Concatenate([[Conv2D(2, 1)], [], [Chain([MaxPool2D(3, 1, "same")])]]),
            PReLU(),
            Residual(
                [Conv2D(5, 3, padding="same", strides=2)],
                [AveragePool2D(padding="same"), Conv2D(5, 1)],
            ),
            Add([[Flatten()], [Flatten(), Dense(20)], [GlobalAveragePool2D(), Dense(20)]]),
        ],
    ),
    "one_pixel": ((2, 2, 3), lambda: [Conv2D(4, 2), Flatten(), gpunn.layers.Activation("tanh")]),
    "periodic_pixels": (
        (2, 3, 1),
        lambda: [Conv2D(2, 2), Flatten(), PeriodicEmbedding(4), Dense(2)],
    ),
    "flattened": ((2, 3, 1), lambda: [Conv2D(2, 1), Flatten()]),
}
"""Shapes of rows that are images or signals, and lists of layers."""

NETWORKS: dict[str, Callable[[], list[Any]]] = {
    "dense": lambda: [Dense(4, bias=False), Dropout(0.5), Dense(2)],
    "batch_norm": lambda: [Dense(4), BatchNorm(epsilon=0.01), Dense(2)],
    "layer_norm": lambda: [Dense(4), LayerNorm(epsilon=0.01), Dense(2)],
    "standardization": lambda: [Standardization(), Dense(4, "tanh"), Dense(2)],
    "chain": lambda: [Chain([Dense(4, "tanh"), Chain([BatchNorm(), Rescaling(2.0, 1.0)])])],
    "blocks": lambda: [
        Residual([Dense(4, "relu"), Dense(5)], [Dense(5, bias=False)]),
        Multiply([[], [Dense(5, "sigmoid")], [Gate()]]),
        Concatenate([[Twice(Dense(5, "tanh"))], [], [Tied()]]),
        Add([[Dense(3)], [Attention(), LayerNorm(), Dense(3)]]),
    ],
    "blocks_of_members": lambda: [
        Members(3),
        Residual([MemberDense(5, "relu")]),
        Concatenate([[MemberDense(2)], [], [Rescaling(0.5)]]),
        Broadcast(),
        Attention(),
        Flatten(),
    ],
    "rescaling": lambda: [Rescaling(0.5, -1.0), Dense(2)],
    "nothing": lambda: [Dropout(0.5)],
    "flatten": lambda: [Flatten(), Rescaling(), Dense(2)],
    "ntp": lambda: [Scale(), Dense(4, "selu", parametrization="ntp"), Dense(2)],
    "prelu": lambda: [Dense(4), PReLU(), Dense(2)],
    "parametric": lambda: [ParametricActivation("mish"), ParametricActivation("identity")],
    "periodic_pbld": lambda: [PeriodicEmbedding(4), Dense(2)],
    "periodic_pl": lambda: [PeriodicEmbedding(4, 2, kind="pl"), Dense(2)],
    "periodic_plr": lambda: [PeriodicEmbedding(4, 2, kind="plr"), Dense(2)],
    "periodic_lite": lambda: [PeriodicEmbedding(4, 2, kind="plr", lite=True), Dense(2)],
    "piecewise_A": lambda: piecewise("A", "relu"),
    "piecewise_B": lambda: piecewise(),
    "codes": of_codes,
    "one_hot": lambda: [OneHot([3, 2, 4, 3, 5], binary_as_sign=False), Dense(2)],
    "members": lambda: [
        Members(3),
        MemberDense(4, "relu"),
        MemberDense(2, "gelu", adapters=False),
        Members(3),
        Flatten(),
    ],
    "members_fixed": lambda: [
        Members(3, "fixed"),
        MemberDense(4, separate=True),
        MemberDense(2, "mish", input_adapter=False),
        MeanOverMembers(),
        TargetScaling(),
    ],
    "softmax_of_members": lambda: [
        Members(3),
        MemberDense(4, separate=True),
        MeanOverMembers("softmax"),
    ],
    "sigmoid_of_members": lambda: [
        Members(3),
        MemberDense(2, separate=True),
        MeanOverMembers("sigmoid"),
    ],
    "targets": lambda: [Dense(2), TargetScaling()],
    "sorted outputs": lambda: [Dense(3), SortedOutputs()],
    **{f"ensemble_of_{of}": lambda of=of: [ensemble(of)] for of in COMBINATIONS},  # type: ignore[misc]
    "ensemble with counts": lambda: [ensemble("softmax", [2, 1, 3])],
    "target": lambda: [Dense(1), TargetScaling(clip=False)],
    "logarithm of targets": lambda: [Dense(2), TargetScaling(log=True)],
    **{name: make for name, (_, make) in IMAGES.items()},
    "custom": lambda: [Dense(4, Snake()), Dense(4, Predict()), Dense(4, Snake(2.0)), Dense(4)],
    "undefined": lambda: [gpunn.layers.Activation(Logarithm()), Dense(2)],
    **{
        " ".join(f.name for f in group): lambda group=group: with_activations(*group)  # type: ignore[misc]
        for group in in_threes(
            [
                *(LeakyReLU(0.3), CELU(0.4), ELU(0.4)),
                *(cls() for cls in known(Activation).values() if is_built_in(cls)),
            ]
        )
    },
}
"""Lists of layers, of new objects each time. They take rows of 5, or of `SHAPES`."""


def in_turns(first: int = 0) -> list[tuple[str, str]]:
    """Return the name and the type of each network: float32 and float64 in turns."""
    types = ("float32", "float64")
    return [(name, types[(first + number) % 2]) for number, name in enumerate(NETWORKS)]


SHAPES = {"flatten": (2, 3), **{name: shape for name, (shape, _) in IMAGES.items()}}

CODES = ("codes", "one_hot")


@functools.cache
def made(name: str, dtype: str) -> gpunn.Sequential:
    """Return a network whose arrays no initializer gives: positive, so that variances are too.

    Tests do not change it.
    """
    model = gpunn.Sequential(NETWORKS[name](), SHAPES.get(name, (5,)), "numpy", dtype=dtype)
    random = np.random.default_rng(1)
    for parameter, array in model.parameters.to_host().items():
        if parameter.split(".")[-1] in ("starts", "slopes", "lowest", "highest"):
            continue
        drawn = random.uniform(0.5, 1.5, array.shape)
        signed = parameter.endswith(("weights", "biases"))
        sign = random.choice([-1, 1], array.shape) if signed else 1
        if parameter.endswith("least"):
            drawn -= 2
        model.parameters[parameter] = drawn * sign
    model.adapted = True
    return model


def rows_for(name: str, dtype: str, count: int = 7) -> np.ndarray:
    """Return rows of the network's input; the last is large, if that leaves waves exact."""
    random = np.random.default_rng(0)
    if name in CODES:
        return random.integers(-1, 6, (count, 5)).astype(dtype)
    rows = random.normal(0, 2, (count, *SHAPES.get(name, (5,))))
    if not name.startswith("periodic"):
        rows[-1] *= 300
    return rows.astype(dtype)


def special_rows(name: str, dtype: str) -> np.ndarray:
    """Return rows in which each number in turn is not finite, or overflows when it is squared.

    Each number of a vector has every such value; a pixel has one or two.
    """
    rows = rows_for(name, dtype, 1)[0].ravel()
    large = 1e25 if dtype == "float32" else 1e200
    count = max(25, len(rows))
    found = np.repeat(rows[np.newaxis], count, axis=0)
    for place, row in enumerate(found):
        row[place * len(rows) // count] = [np.nan, np.inf, -np.inf, large, -large][place % 5]
    return found


@functools.cache
def outputs_of(name: str, dtype: str) -> np.ndarray:
    return made(name, dtype).predict(rows_for(name, dtype))


@functools.cache
def source_of(name: str, dtype: str, pure: bool = False) -> str:
    return python_source(made(name, dtype), pure)


@functools.cache
def outputs_of_special_rows(name: str, dtype: str) -> np.ndarray:
    rows = special_rows(name, dtype)
    network = defined_by(source_of(name, dtype))["network"]
    with np.errstate(all="ignore"):
        return network(rows.reshape(len(rows), *made(name, dtype).input_shape))


def assert_same_outputs(y: np.ndarray, name: str, dtype: str, tolerance: float) -> None:
    """Check that outputs are those of `predict`, relative to the largest number of a row or 1."""
    rows, expected = (each[: len(y)] for each in (rows_for(name, dtype), outputs_of(name, dtype)))
    assert y.shape == expected.shape
    scale = np.maximum(np.abs(rows.reshape(len(rows), -1)).max(axis=1), 1)
    scale = np.maximum(np.abs(expected).max(axis=1), scale)
    assert (np.abs(y - expected).max(axis=1) / scale).max() <= tolerance


def predictor_of(model: gpunn.Sequential, pure: bool = False) -> dict[str, Any]:
    return defined_by(python_source(model, pure))


def defined_by(source: str) -> dict[str, Any]:
    predictor: dict[str, Any] = {"__name__": "predictor"}
    exec(compile(source, "predictor.py", "exec"), predictor)
    return predictor
