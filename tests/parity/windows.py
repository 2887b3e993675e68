"""Cases of the operations on windows: convolution and pooling."""

from collections.abc import Iterator
from dataclasses import astuple
from typing import Any

import array_api_compat.numpy
import numpy as np
from parity import operations
from parity.operations import Case, Draw, Of, Same, kinked

from gpunn import activations
from gpunn.backends.windows import Window

SMALL_IMAGES = [
    # rows, height, width, channels, units, window, output height and width
    (3, 5, 6, 2, 4, Window((3, 3)), (3, 4)),
    (2, 6, 5, 1, 3, Window((5, 3), padding=(2, 1)), (6, 5)),
    (2, 7, 8, 3, 5, Window((3, 2), (2, 3), (1, 0)), (4, 3)),
    (2, 7, 7, 2, 2, Window((2, 3), dilation=(3, 2)), (4, 3)),
    (1, 1, 9, 4, 6, Window((1, 4), (1, 2), (0, 1)), (1, 4)),
    (2, 3, 3, 2, 1, Window((1, 1), (2, 2)), (2, 2)),
    (2, 2, 2, 1, 2, Window((4, 4), (1, 1), (1, 1)), (2, 2)),
    (2, 2, 3, 1, 2, Window((2, 2), padding=(3, 0)), (5, 2)),  # some patches have only padding
    (2, 9, 10, 2, 3, Window((3, 3), (2, 3), (1, 2), (3, 2)), (2, 4)),
    (2, 7, 7, 3, 2, Window((3, 3), (2, 2), (2, 1), (2, 2)), (3, 3)),
]
LARGE_IMAGES = [
    (4, 14, 14, 32, 64, Window((3, 3), padding=(1, 1)), (14, 14)),
    (3, 28, 28, 1, 6, Window((5, 5), padding=(2, 2)), (28, 28)),
    (4, 13, 13, 19, 37, Window((3, 3), (2, 2), (1, 1)), (7, 7)),
    (1, 1, 300, 33, 5, Window((1, 5), padding=(0, 2)), (1, 300)),  # a row is divided
    (18, 1, 16, 15, 500, Window((1, 9), padding=(0, 4)), (1, 16)),  # many weights, few pixels
]
GROUPED = [
    # groups first
    (2, (2, 5, 5, 4, 6, Window((3, 3)), (3, 3))),
    (4, (2, 5, 6, 4, 4, Window((3, 2), (2, 1), (1, 1), (1, 2)), (3, 6))),
    (3, (2, 4, 4, 3, 6, Window((2, 2)), (3, 3))),
    (3, (5, 9, 9, 3, 3, Window((2, 2), padding=(1, 1)), (9, 9))),
    (6, (2, 9, 11, 6, 6, Window((2, 5), (2, 3), (1, 2), (1, 2)), (5, 2))),
    (3, (2, 5, 6, 3, 3, Window((2, 4)), (4, 3))),  # three columns with the same weights
    (3, (2, 7, 7, 3, 3, Window((3, 3), (2, 2), (1, 1), (2, 2)), (3, 3))),  # common factors
    (48, (2, 9, 9, 48, 48, Window((3, 3), padding=(1, 1)), (9, 9))),
]
POOLS = [
    (3, 6, 4, 6, Window((2, 2), (2, 2)), (3, 2)),
    (2, 7, 5, 3, Window((2, 2), (2, 2)), (3, 2)),
    (2, 5, 6, 17, Window((3, 3), (2, 2), (1, 1)), (3, 3)),
    (2, 5, 5, 2, Window((3, 2), (1, 1)), (3, 4)),
    (2, 1, 8, 5, Window((1, 3), (1, 3)), (1, 2)),
    (3, 4, 5, 33, Window((4, 5), (4, 5)), (1, 1)),
    (2, 5, 5, 4, Window((2, 2), (3, 3), (0, 0), (2, 2)), (1, 1)),
]


def case(name: str, operation: str, **arguments: Any) -> Case:
    return operations.case(f"{operation}-{name}", operation, **arguments)


def draw(*shape: int) -> Draw:
    return lambda g: g.standard_normal(shape)


def convolutions() -> Iterator[Case]:
    every = [(1, each) for each in (*SMALL_IMAGES, *LARGE_IMAGES)] + GROUPED
    for groups, (n, height, width, channels, units, window, (rows, columns)) in every:
        x, y = draw(n, height, width, channels), draw(n, rows, columns, units)
        fan_in = window.kernel[0] * window.kernel[1] * channels // groups
        name = f"{n}x{height}x{width}x{channels}-{units}-{joined(window)}-{groups}"
        weights, pixels = draw(fan_in, units), n * rows * columns
        for label, bias in (("", draw(units)), ("-unbiased", None)):
            yield case(
                name + label, "convolution", terms=fan_in,
                x=x, weights=weights, bias=bias, window=window, out=y,
            )  # fmt: skip
        yield case(
            name, "convolution_weights", terms=pixels,
            x=x, gradient=y, window=window, out=weights,
        )  # fmt: skip
        yield case(
            name, "convolution_inputs", terms=fan_in // channels * units,
            gradient=y, weights=weights, window=window, out=x,
        )  # fmt: skip
        for f in (activations.ReLU(), activations.Tanh(), activations.SiLU()):
            if groups == 1 and (n, height) != (1, 1):
                yield from composites(name, x, weights, units, f, window, y, pixels)


def composites(
    name: str, x: Draw, weights: Draw, units: int, f: Any, window: Window, y: Draw, terms: int
) -> Iterator[Case]:
    out = Same("z") if f.from_output else y
    yield case(
        f"{name}-{f.name}", "convolve", terms=terms,
        x=x, weights=weights, bias=draw(units), activation=f, window=window, z=y, out=out,
    )  # fmt: skip
    shape = y(np.random.default_rng(0)).shape
    z: Any = kinked(*shape)
    value = lambda array: f.value(array_api_compat.numpy, array)  # noqa: E731
    z, output = ((lambda g: value(kinked(*shape)(g))), Same("z")) if f.from_output else (
        z, Of("z", value),
    )  # fmt: skip
    yield case(
        f"{name}-{f.name}", "activation_gradient", terms=terms, activation=f, z=z, output=output,
        gradient=y, bias_gradient=draw(units),
    )  # fmt: skip


def joined(window: Window) -> str:
    return "".join(str(number) for pair in astuple(window) for number in pair)


def pools() -> Iterator[Case]:
    for n, height, width, channels, window, (rows, columns) in POOLS:
        shape, result = (n, height, width, channels), (n, rows, columns, channels)
        name = f"{n}x{height}x{width}x{channels}-{joined(window)}"
        for label, x in (("", draw(*shape)), ("-ties", lambda g, s=shape: g.integers(0, 3, s) / 4)):
            yield case(name + label, "max_pool", exact=True, x=x, window=window, out=result)
            yield case(
                name + label, "max_pool_gradient", terms=9, x=x,
                output=Of("x", lambda x, w=window, s=result: largest(x, w, s)),
                gradient=result, window=window, out=shape,
            )  # fmt: skip
        yield case(
            f"{name}-nan", "max_pool", exact=True, window=window, out=result,
            x=lambda g, s=shape: np.insert(g.standard_normal(np.prod(s) - 1), 0, np.nan).reshape(s),
        )  # fmt: skip
        yield case(name, "average_pool", terms=20, x=shape, window=window, out=result)
        yield case(
            name, "average_pool_gradient", terms=20, gradient=result, window=window, out=shape
        )
    for shape, size in (((2, 3, 4, 5), (2, 2)), ((1, 1, 3, 17), (1, 3)), ((2, 2, 2, 1), (3, 2))):
        out = (shape[0], shape[1] * size[0], shape[2] * size[1], shape[3])
        name = "x".join(map(str, (*shape, *size)))
        yield case(name, "upsample", exact=True, x=shape, out=out)
    for shape in ((3, 4, 5, 6), (1, 1, 7, 1), (5, 9, 9, 33)):
        name = "x".join(map(str, shape))
        yield case(
            name, "activation_gradient", terms=405, activation=activations.Identity(), z=shape,
            output=Same("z"), gradient=shape, bias_gradient=shape[3:],
        )  # fmt: skip
        yield case(
            name, "multiply_channels", exact=True, x=shape, factors=(shape[0], shape[3]), out=shape
        )
        yield case(
            f"{name}-in-place", "multiply_channels", exact=True,
            x=shape, factors=(shape[0], shape[3]), out=Same("x"),
        )  # fmt: skip


def largest(x: np.ndarray, window: Window, shape: tuple[int, ...]) -> np.ndarray:
    padded = window.padded(array_api_compat.numpy, x, shape, -np.inf)
    return np.max([padded[tap] for tap in window.taps(shape)], axis=0)
