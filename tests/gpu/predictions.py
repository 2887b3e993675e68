"""Predicted times of training steps, from counts of the emulated device and data sheets.

`gpu.steps` writes the tables. docs/explanation/gpu.md describes the prediction.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import documented
import numpy as np
from gpu import traffic

import gpunn
from gpunn import layers, optimizers
from gpunn.layers import Dense, Dropout, Layer, MaxPool2D, MemberDense


class Card(NamedTuple):
    """A card's bytes and float32 operations per second, from NVIDIA's data sheets."""

    name: str
    bandwidth: float
    arithmetic: float


CARDS = [
    Card("H100 SXM", 3.35e12, 67e12),
    Card("RTX 4090", 1.008e12, 82.6e12),
    Card("T4", 0.32e12, 8.1e12),
]
KERNEL, PRODUCT = (2e-6, 3e-6), (5e-6, 8e-6)
"""Assumed shortest times of a kernel and of a product within a graph: an optimistic and a
pessimistic number of seconds."""


@dataclass(frozen=True)
class Network:
    name: str
    layers: Callable[[], list[Layer]]
    shape: tuple[int, ...]
    batch: int
    optimizer: Callable[[], optimizers.Optimizer] = optimizers.Adam
    loss: str = "mean_squared_error"
    metrics: tuple[str, ...] = ()
    categories: int = 0

    def launches(self) -> list[traffic.Launch]:
        """Return the launches of an update, in a process whose kernels `traffic` watches."""
        from gpu.launches import step_of

        from gpunn.backends.cupy import CupyBackend

        X = np.random.default_rng(0).standard_normal((self.batch, *self.shape), np.float32)
        y = X[:, :1]
        if self.categories:
            X[:, -1] = np.arange(len(X)) % self.categories
        if self.loss == "softmax_cross_entropy":
            y = np.arange(len(X)) % 10
        model = gpunn.Sequential(self.layers(), self.shape, CupyBackend(0, graph=False), seed=0)
        step = step_of(
            gpunn.Trainer(model, self.loss, self.optimizer(), self.metrics), X, y, self.batch
        )
        before = len(traffic.LAUNCHES)
        step.update(self.batch)
        return traffic.LAUNCHES[before:]


def perceptron() -> list[Layer]:
    return [Dense(512, "relu"), Dense(512, "relu"), Dense(10)]


def normalized() -> list[Layer]:
    hidden = [(Dense(256), layers.LayerNorm(), layers.Activation("gelu")) for _ in range(3)]
    return [*(each for block in hidden for each in block), Dense(1)]


def tabm(adapters: bool) -> list[Layer]:
    hidden = [
        (MemberDense(192, "relu", adapters=adapters, input_adapter=number > 0), Dropout(0.1))
        for number in range(3)
    ]
    blocks = [each for block in hidden for each in block]
    return [layers.Members(8), *blocks, MemberDense(1, separate=True), layers.MeanOverMembers()]


def realmlp() -> list[Layer]:
    hidden = [
        (Dense(256, parametrization="ntp"), layers.ParametricActivation("mish"), Dropout(0.1))
        for _ in range(3)
    ]
    blocks = [each for block in hidden for each in block]
    last = Dense(1, parametrization="ntp")
    return [layers.PeriodicEmbedding(), layers.Scale(), *blocks, last]


def embedding() -> list[Layer]:
    groups = [
        {"columns": (0, 1), "layers": []},
        {"columns": (1, 2), "layers": [layers.Embedding([100_000], 16)]},
    ]
    return [layers.ColumnGroups(groups), Dense(256, "relu"), Dense(1)]


def lenet() -> list[Layer]:
    blocks = [(layers.Conv2D(filters, 5, activation="relu"), MaxPool2D()) for filters in (6, 16)]
    dense = [Dense(120, "relu"), Dense(84, "relu"), Dense(10)]
    return [*(each for block in blocks for each in block), layers.Flatten(), *dense]


def wide_convolutions() -> list[Layer]:
    blocks = [
        (layers.Conv2D(filters, 3), layers.BatchNorm(), layers.Activation("relu"))
        for filters in (32, 64)
    ]
    dense = [MaxPool2D(), layers.Flatten(), Dense(10)]
    return [*(each for block in blocks for each in block), *dense]


CLASSES = "softmax_cross_entropy"
TABULAR: dict[str, Any] = {"shape": (100,), "batch": 256, "metrics": ("root_mean_squared_error",)}
CLIPPED: dict[str, Any] = {
    **TABULAR,
    "metrics": (),
    "optimizer": partial(optimizers.AdamW, max_norm=1.0),
}

NETWORKS = [
    Network("784-512-512-10, batch 128", perceptron, (784,), 128, loss=CLASSES),
    Network("784-512-512-10, batch 1024", perceptron, (784,), 1024, loss=CLASSES),
    Network("100-256x3-1, layer norm, GELU, batch 256", normalized, (100,), 256),
    Network("TabM-mini, 8 x 3x192, batch 256", partial(tabm, False), **CLIPPED),
    Network("TabM-full, 8 x 3x192, batch 256", partial(tabm, True), **CLIPPED),
    Network("like RealMLP, 3x256, batch 256", realmlp, **TABULAR),
    Network("embedding of 100,000 x 16, batch 256", embedding, (2,), 256, categories=100_000),
    Network("LeNet-5, 28x28, batch 128", lenet, (28, 28, 1), 128, loss=CLASSES),
    Network(
        *("3x3 to 32 and 64, batch norm, 28x28, batch 128", wide_convolutions),
        *((28, 28, 1), 128),
        loss=CLASSES,
    ),
]


def seconds(launch: traffic.Launch, card: Card, pessimistic: bool) -> float:
    least = max(launch.bytes / card.bandwidth, launch.operations / card.arithmetic)
    shortest = (PRODUCT if launch.operations else KERNEL)[pessimistic]
    return max(shortest, 2 * least if pessimistic else least)


@cache
def counted(network: Network) -> list[traffic.Launch]:
    return network.launches()


def registers() -> dict[str, int]:
    table = documented.table_in(documented.KERNELS, "registers")
    head, *rows = re.findall(r"^\| `?(\w+)`? \| (.+) \|$", table, re.MULTILINE)
    column = head[1].split(" | ").index("sm_90")
    return {f"gpunn_{name}": int(cells.split(" | ")[column] or 0) for name, cells in rows}


def costs() -> str:
    lines = [
        "| network | nodes | kernels | products | registers, at most | MB | GFLOP |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    taken = registers()
    for network in NETWORKS:
        launches = counted(network)
        products = sum(each.operations > 0 for each in launches)
        most = max(taken.get(each.name, 0) for each in launches)
        numbers = len(launches), len(launches) - products, products, most
        moved, done = (sum(each[column] for each in launches) for column in (1, 2))
        cells = [*map(str, numbers), f"{moved / 1e6:.3g}", f"{done / 1e9:.3g}"]
        lines.append(f"| {network.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def times() -> str:
    names = [card.name for card in CARDS]
    lines = [f"| predicted µs per update | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for network in NETWORKS:
        cells = []
        for card in CARDS:
            low, high = (
                round(1e6 * sum(seconds(each, card, pessimistic) for each in counted(network)))
                for pessimistic in (False, True)
            )
            cells.append(f"{low} to {high}")
        lines.append(f"| {network.name} | {' | '.join(cells)} |")
    return "\n".join(lines)
