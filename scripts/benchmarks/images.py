"""Compare training steps of convolutional networks, and convolutions with the FMA peak.

Each library has a process. The processes take turns, and the fastest turn of each counts.
"""

import math
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import cache, partial
from multiprocessing import get_context
from typing import Any

import click
import numpy as np

from benchmarks import fma, machine
from benchmarks.competitors import THREAD_VARIABLES, version

SIZES, BATCH, RATE = (28, 28, 1), 128, 1e-3
"""Size of MNIST's images, rows of a batch, and Adam's learning rate."""

EPOCHS = 8
"""Epochs of a turn: so many that preparing a network to train takes a small part of it."""

Layers = Sequence[tuple[Any, ...]]

NETWORKS: dict[str, tuple[Layers, int]] = {
    "LeNet-5": (
        [
            *[("conv", 1, 6, 5), ("relu",), ("pool",), ("conv", 6, 16, 5), ("relu",), ("pool",)],
            *[("flatten",), ("dense", 256, 120), ("relu",), ("dense", 120, 84), ("relu",)],
            ("dense", 84, 10),
        ],
        32,
    ),
    "32-64": (
        [
            *[("conv", 1, 32, 3), ("norm", 32), ("relu",)],
            *[("conv", 32, 64, 3), ("norm", 64), ("relu",), ("pool",)],
            *[("flatten",), ("dense", 9216, 10)],
        ],
        4,
    ),
}
"""Layers with their numbers of channels, and the steps of an epoch. There is no padding."""

SHAPES = [
    # height, width, channels, kernel, units
    *[(28, 28, 1, 5, 6), (12, 12, 6, 5, 16), (28, 28, 1, 3, 32)],
    *[(26, 26, 32, 3, 64), (14, 14, 64, 3, 64)],
]

OPERATIONS = 10**9
"""Minimum number of operations of a measured convolution; small ones are repeated."""

Turn = Callable[[], object]
"""A function that trains the epochs of a turn."""


def rows(steps: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    X = random.random((steps * BATCH, *SIZES), np.float32)
    return X, random.integers(0, 10, len(X))


def gpunn_turn(layers: Layers, threads: int, steps: int) -> Turn:
    import gpunn
    from gpunn.layers import Activation, BatchNorm, Conv2D, Dense, Flatten, MaxPool2D

    made: list[Any] = []
    for (kind, *sizes), (following, *_) in zip(layers, [*layers[1:], ("",)], strict=True):
        activation = "relu" if following == "relu" else "identity"
        if kind == "conv":
            made.append(Conv2D(*sizes[1:], activation=activation))
        elif kind == "dense":
            made.append(Dense(sizes[1], activation))
        elif kind == "norm":
            made += [BatchNorm(), Activation(activation)]
        elif kind != "relu":
            made.append(Flatten() if kind == "flatten" else MaxPool2D(2))
    model = gpunn.Sequential(made, SIZES, gpunn.get_backend("numpy", threads=threads))
    trainer = gpunn.Trainer(model, "softmax_cross_entropy", gpunn.optimizers.Adam(RATE))
    X, y = rows(steps)
    return lambda: trainer.fit(X, y, epochs=EPOCHS, batch_size=BATCH, progress=False)


def torch_turn(layers: Layers, threads: int, steps: int, channels_last: bool = False) -> Turn:
    import torch
    from torch import nn

    torch.set_num_threads(threads)
    kinds = {
        "conv": nn.Conv2d, "norm": nn.BatchNorm2d, "pool": lambda: nn.MaxPool2d(2),
        "flatten": nn.Flatten, "dense": nn.Linear, "relu": nn.ReLU,
    }  # fmt: skip
    memory = torch.channels_last if channels_last else torch.contiguous_format
    model = nn.Sequential(*[kinds[kind](*sizes) for kind, *sizes in layers])
    model = model.to(memory_format=memory)
    optimizer = torch.optim.Adam(model.parameters(), RATE, fused=True)
    X, y = map(torch.from_numpy, rows(steps))
    X = X.permute(0, 3, 1, 2).contiguous(memory_format=memory)

    def turn() -> None:
        for images, labels in zip(X.split(BATCH) * EPOCHS, y.split(BATCH) * EPOCHS, strict=True):
            optimizer.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()

    return turn


def jax_step(layers: Layers) -> tuple[list[np.ndarray], Callable[..., Any], Callable[..., Any]]:
    """Return first parameters, a function of them that makes a state, and the training step."""
    import jax
    import optax
    from jax import lax, nn
    from jax import numpy as jnp

    def forward(parameters: Any, x: Any) -> Any:
        left = iter(parameters)
        for kind, *_ in layers:
            if kind == "conv":
                form = ("NHWC", "HWIO", "NHWC")
                x = lax.conv_general_dilated(x, next(left), (1, 1), "VALID", dimension_numbers=form)
                x += next(left)
            elif kind == "norm":
                x = nn.standardize(x, axis=(0, 1, 2)) * next(left) + next(left)
            elif kind == "pool":
                window = (1, 2, 2, 1)
                x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")
            elif kind == "dense":
                x = x @ next(left) + next(left)
            else:
                x = nn.relu(x) if kind == "relu" else x.reshape(len(x), -1)
        return x

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(forward(parameters, x), y).mean()

    optimizer = optax.adam(RATE)

    def step(state: Any, batch: Any) -> Any:
        parameters, slots = state
        value, gradients = jax.value_and_grad(loss)(parameters, *batch)
        updates, slots = optimizer.update(gradients, slots)
        return (optax.apply_updates(parameters, updates), slots), value

    def shapes() -> Iterator[tuple[int, ...]]:
        for kind, *sizes in layers:
            if kind in ("conv", "dense", "norm"):
                square = 2 * sizes[2:]  # the kernel
                yield (*square, *sizes[:2])
                yield (sizes[-1] if kind != "conv" else sizes[1],)

    random = np.random.default_rng(0)
    first = [0.1 * random.random(shape, np.float32) for shape in shapes()]
    return first, lambda parameters: (parameters, optimizer.init(parameters)), step


def jax_turn(layers: Layers, threads: int, steps: int) -> Turn:
    import jax
    from jax import lax

    first, start, step = jax_step(layers)
    state = [start(jax.device_put(first))]
    scan = jax.jit(lambda state, batches: lax.scan(step, state, batches))
    X, y = rows(steps)
    batches = X.reshape(steps, BATCH, *SIZES), y.reshape(steps, BATCH)

    def turn() -> None:
        for _ in range(EPOCHS):
            state[0], losses = scan(state[0], batches)
            jax.block_until_ready(losses)

    return turn


LIBRARIES: dict[str, tuple[str, Callable[..., Turn]]] = {
    "gpunn": ("numpy", gpunn_turn),
    "torch": ("torch", torch_turn),
    "torch, channels last": ("torch", lambda *args: torch_turn(*args, channels_last=True)),
    "JAX": ("optax", jax_turn),
}
"""A package that must be installed, and the function that prepares turns."""


@cache
def prepared(library: str, network: str, threads: int) -> Turn:
    layers, steps = NETWORKS[network]
    turn = LIBRARIES[library][1](layers, threads, steps)
    turn()
    return turn


def milliseconds(library: str, network: str, threads: int) -> tuple[float, float]:
    turn = prepared(library, network, threads)
    began = time.perf_counter(), time.process_time()
    turn()
    seconds = time.perf_counter() - began[0], time.process_time() - began[1]
    wall, processor = (1e3 * each / (EPOCHS * NETWORKS[network][1]) for each in seconds)
    return wall, processor


def compare_steps(threads: int, turns: int, libraries: Sequence[str]) -> None:
    os.environ |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    if threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    with ExitStack() as stack:
        pools = {
            name: stack.enter_context(ProcessPoolExecutor(1, get_context("spawn")))
            for name in libraries
        }
        for network in NETWORKS:
            least = dict.fromkeys(libraries, (math.inf, math.inf))
            for _ in range(turns):
                for name, pool in pools.items():
                    wall, processor = pool.submit(milliseconds, name, network, threads).result()
                    least[name] = min(least[name][0], wall), min(least[name][1], processor)
            for name, (wall, processor) in least.items():
                shares = least["gpunn"][0] / wall, least["gpunn"][1] / processor
                click.echo(
                    f"{network}, {name}: {wall:.2f} ms ({processor:.2f} ms of processors); "
                    f"gpunn's share: {shares[0]:.2f} ({shares[1]:.2f})"
                )


def convolutions(shape: Sequence[int]) -> tuple[int, list[Callable[[], object]]]:
    from gpunn.backends.numpy.compiled.backend import CompiledBackend
    from gpunn.backends.numpy.memory import zeros
    from gpunn.backends.recording import record
    from gpunn.backends.windows import Window

    height, width, channels, size, units = shape
    sizes = height - size + 1, width - size + 1
    patch, window, random = size * size * channels, Window((size, size)), np.random.default_rng(0)
    sizes_of_arrays = (BATCH, *shape[:3]), (BATCH, *sizes, units), (patch, units), (units,)
    x, y, weights, bias = arrays = [zeros(each, "float32") for each in sizes_of_arrays]
    for each in arrays:  # in memory as in training
        random.random(out=each, dtype=np.float32)
    backend = CompiledBackend(threads=1)
    results = [zeros(each.shape, "float32") for each in (y, weights, x)]
    calls = (
        lambda: backend.convolution(x, weights, bias, window, results[0]),
        lambda: backend.convolution_weights(x, y, window, results[1]),
        lambda: backend.convolution_inputs(y, weights, window, results[2]),
    )
    runs = [backend.lower(record(call, backend)) for call in calls]
    operations = 2 * y.size * patch
    times = -(-OPERATIONS // operations)
    return times * operations, [partial(run, times) for run in runs]


def print_shares(turns: int) -> None:
    """Print which share of the FMA peak convolutions and their gradients reach on one thread.

    Before each run, the peak is measured by as many operations. A share is the median of `turns`,
    by the thread's own time. All multiplications of direct convolution count, so a share may be
    above 100 %.
    """
    click.echo("Shares of the FMA peak: forward pass, weights, inputs")
    peak, seconds = fma.kernel("float32"), partial(fma.seconds, clock=time.thread_time)
    for height, width, channels, size, units in SHAPES:
        operations, calls = convolutions((height, width, channels, size, units))
        at_peak = partial(peak, operations // (2 * peak.numbers), 1.0, 1.0)
        shares = [
            statistics.median(seconds(at_peak) / seconds(call) for _ in range(turns))
            for call in calls
        ]
        text = ", ".join(f"{share:.0%}" for share in shares)
        click.echo(f"{height}x{width}x{channels}, {size}x{size} to {units}: {text}")


@click.command("images", context_settings={"show_default": True})
@click.option("--threads", type=click.IntRange(1), default=1)
@click.option("--turns", type=click.IntRange(1), default=9)
@click.option(
    "--only", type=click.Choice(list(LIBRARIES)), multiple=True, help="Libraries besides gpunn."
)
def command(threads: int, turns: int, only: Sequence[str]) -> None:
    """Compare training steps of convolutional networks, and convolutions with the FMA peak."""
    click.echo(f"processor: {machine.described()['processor']}, threads: {threads}")
    names = dict.fromkeys(["gpunn", *(only or LIBRARIES)])
    compare_steps(threads, turns, [each for each in names if version(LIBRARIES[each][0])])
    print_shares(turns)
