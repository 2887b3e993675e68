"""Counts of one training step on the emulated device, for docs/project/gpu_testing.md.

    GPUNN_TEST_DEVICE=emulated PYTHONPATH=tests python -m gpu.steps

writes these tables, and the tables of `predictions` and `kernels.registers`. With `--show`, the
command only prints these tables and the tables of `predictions`.
"""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import documented
import numpy as np
from calls import Calls
from gpu import predictions, traffic

import gpunn
from gpunn import layers, losses, metrics, optimizers
from gpunn.layers import Conv2D, Dense, Layer, MaxPool2D

DOCUMENT = documented.GPU_TESTING
BATCH, FEW, MANY = 16, 4, 12
"""Rows in a batch, and numbers of batches in the two epochs that are compared."""


def labels(rows: int) -> np.ndarray:
    return np.arange(rows) % 10


def numbers(rows: int, columns: int = 1) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, columns))


@dataclass(frozen=True)
class Steps:
    name: str
    network: Callable[[], list[Layer]]
    optimizer: Callable[[], optimizers.Optimizer] = optimizers.Adam
    loss: Any = "softmax_cross_entropy"
    metrics: Sequence[Any] = ()
    accumulation: int = 1
    pixels: bool = False
    targets: Callable[[int], np.ndarray] = labels
    options: dict[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    shape: tuple[int, ...] = (64,)


def perceptron() -> list[Layer]:
    return [Dense(32, "relu"), Dense(16, "relu"), Dense(10)]


def hidden(
    units: int, activation: str, normalization: Callable[[], Layer] | None, dropout: float = 0.0
) -> list[Layer]:
    made: list[Layer] = [Dense(units)] + ([normalization()] if normalization else [])
    made.append(layers.Activation(activation))
    return [*made, layers.Dropout(dropout)] if dropout else made


STEPS = [
    Steps("one dense layer, SGD", lambda: [Dense(10)], optimizers.SGD),
    Steps("64-32-16-10, ReLU, SGD", perceptron, optimizers.SGD),
    Steps("64-32-16-10, ReLU, Adam", perceptron),
    Steps("the same with accuracy", perceptron, metrics=["accuracy"]),
    Steps("the same with clipping", perceptron, lambda: optimizers.Adam(max_norm=1e-3)),
    Steps(
        "the same with sample weights",
        perceptron,
        options={"sample_weight": np.linspace(0.5, 1, BATCH * MANY)},
    ),
    Steps("the same, two batches a step", perceptron, accumulation=2),
    Steps(
        "the same with dropout",
        lambda: [Dense(32, "relu"), layers.Dropout(0.2), Dense(16, "relu"), Dense(10)],
    ),
    Steps(
        "pixels, GELU, batch norm, dropout, SiLU, layer norm, AdamW, top-k accuracy",
        lambda: [
            layers.Rescaling(),
            Dense(32, "gelu"),
            layers.BatchNorm(),
            layers.Dropout(0.3),
            Dense(16, "silu"),
            layers.LayerNorm(),
            Dense(10),
        ],
        optimizers.AdamW,
        metrics=[metrics.TopKAccuracy(3)],
        pixels=True,
    ),
    Steps(
        "regression: tanh, Huber, momentum, R2",
        lambda: [Dense(32, "tanh"), Dense(2)],
        lambda: optimizers.SGD(0.01, momentum=0.9),
        losses.Huber(),
        metrics=["r2"],
        targets=lambda rows: numbers(rows, 2),
    ),
]

REALISTIC = [
    Steps(
        "layer norm, GELU, dropout, clipping, AdamW",
        lambda: (
            hidden(32, "gelu", layers.LayerNorm, 0.1)
            + hidden(16, "gelu", layers.LayerNorm, 0.1)
            + [Dense(1)]
        ),
        lambda: optimizers.AdamW(max_norm=1.0),
        "mean_squared_error",
        targets=numbers,
    ),
    Steps(
        "batch norm, SiLU, dropout, label smoothing, accuracy, clipping, AdamW",
        lambda: (
            hidden(32, "silu", layers.BatchNorm, 0.2)
            + hidden(16, "silu", layers.BatchNorm, 0.2)
            + [Dense(10)]
        ),
        lambda: optimizers.AdamW(max_norm=1.0),
        losses.SoftmaxCrossEntropy(label_smoothing=0.1),
        ["accuracy"],
    ),
    Steps(
        "tanh, dropout, clipping, AdamW",
        lambda: hidden(32, "tanh", None, 0.1) + hidden(16, "tanh", None, 0.1) + [Dense(10)],
        lambda: optimizers.AdamW(max_norm=1.0),
    ),
    Steps(
        "ELU, Huber, sample weights, L2, mean absolute error, RMSprop",
        lambda: [Dense(32, "elu"), Dense(16, "elu"), Dense(1)],
        lambda: optimizers.RMSprop(l2_penalty=1e-4),
        losses.Huber(),
        ["mean_absolute_error"],
        targets=numbers,
        options={"sample_weight": np.linspace(0.5, 1, BATCH * MANY)},
    ),
    Steps(
        "several labels a row: layer norm, leaky ReLU, binary accuracy",
        lambda: [*hidden(32, "leaky_relu", layers.LayerNorm), Dense(20)],
        loss="binary_cross_entropy",
        metrics=["binary_accuracy"],
        targets=lambda rows: 1.0 * (numbers(rows, 20) > 0),
    ),
    Steps(
        "tanh, in float64",
        lambda: [Dense(32, "tanh"), Dense(16, "tanh"), Dense(1)],
        loss="mean_squared_error",
        targets=numbers,
        dtype="float64",
    ),
    Steps(
        "standardization, two classes, AUC, F1, log loss, Brier score",
        lambda: [layers.Standardization(), Dense(32, "relu"), Dense(2)],
        metrics=["auc", "f1", "log_loss", "brier_score"],
        targets=lambda rows: labels(rows) % 2,
    ),
    Steps(
        "one number, R2",
        lambda: [Dense(32, "relu"), Dense(1)],
        loss="mean_squared_error",
        metrics=["r2"],
        targets=numbers,
    ),
]
"""Steps of typical networks, but small, since the number of kernels does not depend on sizes."""


def tabular(
    name: str, make: Callable[..., gpunn.tabular.Recipe], scaling: str, **sizes: Any
) -> Steps:
    columns, rows = 20, 100
    table = {f"x{column}": values for column, values in enumerate(numbers(rows, columns).T)}
    schema = gpunn.tables.Schema.fit(table, scaling=scaling)
    recipe = partial(make, schema, schema.encode(table), 1, "regression", **sizes)
    return Steps(
        *(name, lambda: [*recipe().layers], lambda: recipe().optimizer),
        loss=recipe().loss,
        metrics=[recipe().metric],
        targets=numbers,
        shape=(columns,),
    )


def tabm(name: str, **sizes: Any) -> Steps:
    sizes |= {"members": 8, "bins": 8, "embedding_size": 4, "hidden_layer_sizes": (32, 32, 32)}
    return tabular(name, gpunn.tabular.tabm, "quantile", **sizes)


TABULAR = [
    tabular("RealMLP", gpunn.tabular.realmlp, "robust", hidden_layer_sizes=(32, 32, 32)),
    tabm("TabM, 8 members"),
    tabm("TabM-full, 8 members", kind="full"),
]


def lenet() -> list[Layer]:
    blocks = [(Conv2D(filters, 5, activation="relu"), MaxPool2D()) for filters in (3, 4)]
    return [*(each for block in blocks for each in block), layers.Flatten(), *perceptron()]


def normalized_convolutions() -> list[Layer]:
    blocks = [(Conv2D(n, 3), layers.BatchNorm(), layers.Activation("relu")) for n in (3, 4)]
    last = [MaxPool2D(), layers.Flatten(), Dense(8, "relu"), Dense(10)]
    return [*(each for block in blocks for each in block), *last]


def depthwise() -> list[Layer]:
    first, separate = Conv2D(4, 3, 2, activation="relu"), Conv2D(4, 3, padding="same", groups=4)
    last = [layers.BatchNorm(), Conv2D(8, 1, activation="relu"), layers.GlobalAveragePool2D()]
    return [first, separate, *last, Dense(10)]


IMAGES = [
    Steps("LeNet-5", lenet, shape=(16, 16, 1)),
    Steps("two 3x3 convolutions, batch norm, ReLU", normalized_convolutions, shape=(8, 8, 1)),
    Steps("3x3, depthwise 3x3, batch norm, 1x1, global average", depthwise, shape=(9, 9, 1)),
]


@dataclass
class Counted:
    """Counts of one step in the steady state, with the maximum number of steps in a launch.

    The device ran `kernels` and `products`. The host submitted `launches`: kernels and products one
    by one, and graphs. Kernels read and wrote `bytes`, which only `traffic` counts; `names` are the
    names of kernels.
    """

    kernels: float
    products: float
    launches: float
    syncs: float
    host_to_device: float
    device_to_host: float
    pool_mallocs: float
    cuda_mallocs: float
    bytes: float
    names: Counter[str]


def totals(counts: Any) -> Counter[str]:
    """Return the current counts of the emulator's `Counts`, by the names of `Counted`."""
    kernels = counts.kernels + counts.replayed
    products = counts.matmuls + counts.replayed_matmuls
    return Counter(
        {
            "kernels": kernels.total(),
            "products": products.total(),
            "launches": counts.launches + counts.graph_launches,
            "syncs": counts.host_syncs,
            "host_to_device": counts.copies["host_to_device"],
            "device_to_host": counts.copies["device_to_host"],
            "pool_mallocs": counts.pool_mallocs,
            "cuda_mallocs": counts.cuda_mallocs,
            "bytes": traffic.MOVED.total(),
            **{f"kernel {name}": number for name, number in kernels.items()},
        }
    )


def last_epoch(steps: Steps, updates: int, dtype: str, graph: bool) -> Counter[str]:
    """Return the counts of the last epoch, each of which has this number of updates.

    Updates one by one are alike from the second epoch on, and graphs are from the fourth.
    """
    import emulated_cuda
    from gpu.launches import unhurried

    from gpunn.backends.cupy import CupyBackend

    rows = BATCH * updates * steps.accumulation
    random = np.random.default_rng(0)
    X = random.integers(0, 256, (rows, *steps.shape)).astype("u1" if steps.pixels else dtype)
    backend = CupyBackend(1, graph=graph)
    model = gpunn.Sequential(steps.network(), steps.shape, backend, seed=0, dtype=dtype)
    trainer = gpunn.Trainer(
        model,
        steps.loss,
        steps.optimizer(),
        list(steps.metrics),
        gradient_accumulation=steps.accumulation,
        log_every=10**6,
    )
    options = {
        name: value[:rows] if isinstance(value, np.ndarray) else value
        for name, value in steps.options.items()
    }
    y = steps.targets(rows)
    with unhurried(), emulated_cuda.counters() as counts:
        seen: list[Counter[str]] = []
        look = Calls(on_epoch_end=lambda *_: seen.append(totals(counts)))
        options |= {"epochs": 4 if graph else 2, "callbacks": [look]}
        trainer.fit(X, y, batch_size=BATCH, progress=False, **options)
    assert dtype == "float64" or not counts.float64, dict(counts.float64)
    last = Counter(seen[-1])
    last.subtract(seen[-2])
    return last


def count(steps: Steps, dtype: str = "float32", graph: bool = True) -> Counted:
    """Return the counts of a step: the difference of two epochs over that of their lengths.

    So costs that an epoch has only once do not count, such as copying its permutation and
    statistics.
    """
    difference = last_epoch(steps, MANY, dtype, graph)
    difference.subtract(last_epoch(steps, FEW, dtype, graph))
    each = {name: number / (MANY - FEW) for name, number in difference.items()}
    prefix = "kernel "
    names = {n.removeprefix(prefix): v for n, v in each.items() if n.startswith(prefix) and v}
    return Counted(
        names=Counter(names), **{n: v for n, v in each.items() if not n.startswith(prefix)}
    )


HEAD = ("training", "kernels", "kB by kernels", "products", "launches, recorded", "one by one")

TABLES = {
    "steps": STEPS,
    "realistic steps": REALISTIC,
    "tabular steps": TABULAR,
    "image steps": IMAGES,
}
"""The tables of docs/project/gpu_testing.md, by the names in the comments around them."""


def table(trainings: Sequence[Steps]) -> str:
    """Return a table of the document, in a process whose kernels `traffic` watches."""
    lines = [f"| {' | '.join(HEAD)} |", f"|---|{'---:|' * (len(HEAD) - 1)}"]
    for steps in trainings:
        recorded, eager = (count(steps, steps.dtype, graph) for graph in (True, False))
        assert recorded.names == eager.names, (recorded.names, eager.names)
        assert recorded.products == eager.products
        assert recorded.bytes == eager.bytes > 0
        cells = [f"{cell:.4g}" for cell in (eager.kernels, eager.bytes / 1e3, eager.products)]
        cells += [f"{cell:.4g}" for cell in (recorded.launches, eager.launches)]
        lines.append(f"| {steps.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


WRITTEN = {
    **{(DOCUMENT, name): partial(table, trainings) for name, trainings in TABLES.items()},
    (documented.GPU_EXPLAINED, "costs"): predictions.costs,
    (documented.GPU_HOW_TO, "times"): predictions.times,
}
"""For each document and the name of a table in it, the function that returns the table."""


if __name__ == "__main__":
    import devices

    if devices.DEVICE != "emulated":
        raise SystemExit("the steps are counted on the emulated device: GPUNN_TEST_DEVICE=emulated")
    traffic.watch()
    if "--show" in sys.argv:
        print(*(make() for make in WRITTEN.values()), sep="\n\n")
    else:
        from kernels import registers

        documented.write(registers.DOCUMENT, "registers", registers.current())
        for (document, name), make in WRITTEN.items():
            documented.write(document, name, make())
