"""Every operation of a backend as a table of cases, and the comparison with the oracle.

The oracle is the plain base on NumPy in float64. A case is run twice from the same numbers: by the
oracle, and by the backend under test in its own type and memory layout. Then every array that went
in is compared: what should have changed, and what should not.
"""

from __future__ import annotations

import copy
import itertools
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import array_api_compat.numpy
import numpy as np

from gpunn import activations, losses, metrics, optimizers
from gpunn.backends import Backend
from gpunn.backends.numpy.bind import CHUNK
from gpunn.backends.operations import Segment, Trained, UpdateCounters
from gpunn.configurable import Configurable, known

ORACLE = Backend(array_api_compat.numpy)
LAYOUTS = ("contiguous", "transposed", "sliced")


@dataclass(frozen=True)
class Same:
    """Stands for the very array given as another argument."""

    argument: str


@dataclass(frozen=True)
class Moving:
    """Stands for a loss or optimizer with a setting that a schedule moves: a number on the device.

    float32 must hold the number exactly.
    """

    of: Any
    setting: str
    number: float

    def on(self, backend: Backend, dtype: str) -> Any:
        moved = copy.copy(self.of)
        object.__setattr__(moved, self.setting, backend.from_host(np.array([self.number]), dtype))
        return moved


@dataclass(frozen=True)
class Case:
    """One call of one operation.

    Parameters
    ----------
    name : str
    operation : str
        Method of the backend.
    arguments : callable
        From a generator of random numbers to the keyword arguments, arrays being NumPy's.
    terms : int
        Number of terms in the longest sum.
    exact : bool
        Whether the bits must be those of the base in the same type.
    """

    name: str
    operation: str
    arguments: Callable[[np.random.Generator], dict[str, Any]]
    terms: int = 1
    exact: bool = False


# ------------------------------------------------------------------------------- comparison


def place(backend: Backend, value: Any, dtype: str, layout: str) -> Any:
    """Return a host array as an array of the backend, floats being of `dtype`."""
    if isinstance(value, dict):
        return {name: place(backend, item, dtype, layout) for name, item in value.items()}
    if isinstance(value, list):
        return [place(backend, item, dtype, layout) for item in value]
    if isinstance(value, tuple):
        return type(value)(*(place(backend, item, dtype, layout) for item in value))
    if not isinstance(value, np.ndarray):
        return value
    target = dtype if value.dtype.kind == "f" else value.dtype.name
    if layout == "transposed" and value.ndim > 1:
        reverse = tuple(range(value.ndim))[::-1]
        transposed = backend.from_host(np.array(value.transpose(reverse)), target)
        return backend.xp.permute_dims(transposed, reverse)
    if layout == "sliced" and value.size > 1:
        wide = np.repeat(value, 2, axis=-1)
        return backend.from_host(wide, target)[..., ::2]
    return backend.from_host(value.copy(), target)


def flatten(arguments: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the arrays among the arguments, and those within them, by name."""
    for name, value in arguments.items():
        if isinstance(value, list):
            numbered = {str(number): item for number, item in enumerate(value)}
            yield from flatten(numbered, f"{prefix}{name}.")
        elif isinstance(value, tuple):
            yield from flatten(value._asdict(), f"{prefix}{name}.")
        elif isinstance(value, dict):
            yield from flatten(value, f"{prefix}{name}.")
        elif hasattr(value, "shape"):
            yield prefix + name, value


def inputs(case: Case, dtype: str) -> dict[str, Any]:
    """Return a case's arguments on the host, with numbers that `dtype` can hold."""
    generator = np.random.default_rng(zlib.crc32(case.name.encode()))
    return place(ORACLE, case.arguments(generator), dtype, "contiguous")


def resolved(backend: Backend, dtype: str, placed: dict[str, Any]) -> dict[str, Any]:
    """Return the keyword arguments, with what others stand for."""
    arguments = {}
    for name, value in placed.items():
        arguments[name] = placed[value.argument] if isinstance(value, Same) else value
        if isinstance(value, Moving):
            arguments[name] = value.on(backend, dtype)
    return arguments


def execute(
    backend: Backend, dtype: str, case: Case, host: dict[str, Any], layout: str = "contiguous"
) -> dict[str, np.ndarray]:
    """Run a case and return all its arrays as they are afterwards."""
    placed = place(backend, host, dtype, layout)
    arguments = resolved(backend, dtype, placed)
    # NumPy warns of a NaN that comes of infinities, which some cases begin with.
    with np.errstate(invalid="ignore"):
        getattr(backend, case.operation)(**arguments)
    return {name: backend.to_host(value) for name, value in flatten(placed)}


@lru_cache(maxsize=128)
def oracle(case: Case, dtype: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a case's arguments on the host, and the oracle's results, for several backends."""
    host = inputs(case, dtype)
    return host, execute(ORACLE, dtype if case.exact else "float64", case, host)


def check(backend: Backend, dtype: str, case: Case, layouts: tuple[str, ...] = LAYOUTS) -> None:
    """Assert that a backend gives the oracle's results, in these layouts."""
    host, expected = oracle(case, dtype)
    allowed = tolerance(case, dtype, expected)
    for layout in layouts:
        after = execute(backend, dtype, case, host, layout)
        where = f"{case.name}, {layout}"
        compare(after, expected, dict(flatten(host)), dtype, allowed, case.exact, where)


def tolerance(case: Case, dtype: str, expected: dict[str, np.ndarray]) -> float:
    """Return by how much the results of a case may differ from the oracle's.

    With S the largest absolute number that goes in or comes out, an error of at most
    eps * S * (4 + 2 * sqrt(terms)). Each of the few roundings on the way costs half an ulp, each
    exp, tanh or log one or two: 4 together. Rounding errors of a sum of n terms, half an ulp each,
    behave as if independent and grow as sqrt(n) (Higham & Mary 2019); 2 * sqrt(n) ulps are four
    times that, for the worst of many sums. Integers must be equal, and so must inputs that are not
    to be changed.
    """
    numbers = [a[np.isfinite(a)] for a in expected.values() if a.dtype.kind == "f"]
    scale = max([1.0, *(float(np.abs(a).max(initial=0)) for a in numbers)])
    return float(np.finfo(dtype).eps) * scale * (4 + 2 * math.sqrt(case.terms))


def compare(
    after: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    before: dict[str, np.ndarray],
    dtype: str,
    tolerance: float,
    exact: bool,
    where: str,
) -> None:
    for name, want in expected.items():
        got, message = after[name], f"{where}: {name}"
        untouched = np.array_equal(before[name], want)
        if exact or untouched or want.dtype.kind != "f":
            if not (got.dtype == want.dtype and np.array_equal(got, want)):
                np.testing.assert_array_equal(got, want, err_msg=message, strict=exact)
        else:
            assert got.dtype == dtype, message
            if not within(tolerance, got, want):
                np.testing.assert_allclose(got, want, 0, tolerance, err_msg=message)


def within(tolerance: float, got: np.ndarray, want: np.ndarray) -> bool:
    """Return whether arrays are surely equal within a tolerance; `assert_allclose` takes longer."""
    if got.shape != want.shape:
        return False
    with np.errstate(invalid="ignore"):  # inf - inf
        return bool((np.abs(got - want) <= tolerance).all())


# -------------------------------------------------------------------------------- the cases

SHAPES = ((0, 4), (1, 1), (1, 7), (6, 5), (1, CHUNK - 1), (128, 128), (5, 3277))
"""None, one and several rows, and sizes one below, at and one above a chunk."""

TALL = ((300, 3), (1037, 33))
"""So many rows that blocks of a device share a column; in one group of columns, and in several."""

WIDTHS = (1, 5, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK)
"""Lengths of flat vectors, for the same reason."""

SMALL_BATCHES = ((0, 4), (1, 1), (70, 1), (1, 3), (7, 2), (130, 10))
BATCHES = (*SMALL_BATCHES[:-1], (4097, 10), (3, 5462))
"""Rows and outputs of predictions; the small ones where only a setting is another."""

EXTREMES = {
    "infinite": (math.inf, 1.0, -1.0),
    "minus_infinite": (0.5, -math.inf, -1.0),
    "all_minus_infinite": (-math.inf, -math.inf, -math.inf),
    "nan": (1.0, 2.0, math.nan),
    "large": (60.0, -60.0, 3.0),
}
"""Predictions of a network that diverges: whether a loss is finite decides whether it did."""


def builtin(base: type[Configurable]) -> list[type[Any]]:
    """Return the package's own classes of a kind."""
    return [cls for cls in known(base).values() if cls.__module__.startswith("gpunn.")]


def normal(g: np.random.Generator, *shape: int) -> np.ndarray:
    return g.standard_normal(shape)


def with_zeros(g: np.random.Generator, *shape: int) -> np.ndarray:
    """Return normal numbers, every fifth being exactly 0, where some functions have a kink."""
    z = g.standard_normal(shape)
    z.reshape(-1)[::5] = 0
    return z


def whole_range(g: np.random.Generator, dtype: np.dtype, *shape: int) -> np.ndarray:
    """Return integers of all that a type holds."""
    limits = np.iinfo(dtype)
    return g.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def counters(
    position: int, loss_sum: float, g: np.random.Generator, updates: int = 41
) -> dict[str, Any]:
    """Return the arguments of `count_update`."""
    given = UpdateCounters(
        rates=g.random(5) / 10,
        position=np.array([position]),
        rate=normal(g, 1),
        updates=np.array([updates]),
        weight=g.random(1),
        loss_sum=np.array([loss_sum]),
        weight_sum=normal(g, 1),
        finite_steps=np.array([3.0]),
    )
    return {"counters": given}


def bookkeeping() -> Iterator[Case]:
    for shape in ((1,), (7,), (6, 5)):
        at = "x".join(map(str, shape))
        yield Case(f"fill-{at}", "fill", lambda g, s=shape: {"out": normal(g, *s), "value": 0.5})
        yield Case(
            f"assign-{at}",
            "assign",
            lambda g, s=shape: {"values": normal(g, *s), "out": normal(g, *s)},
            exact=True,
        )
        yield Case(
            f"accumulate-{at}",
            "accumulate",
            lambda g, s=shape: {"values": normal(g, *s), "out": normal(g, *s)},
        )
    yield Case("increment", "increment", lambda g: {"counter": np.array([41]), "amount": 2})
    for index, columns in ((0, 1), (3, 1), (4, 3)):
        yield Case(
            f"take-row-{index}-{columns}",
            "take",
            lambda g, i=index, n=columns: {
                "table": normal(g, 5, n),
                "index": np.array([i]),
                "out": normal(g, 1, n),
            },
            exact=True,
        )
    for index in (0, 4):
        yield Case(
            f"take-{index}",
            "take",
            lambda g, i=index: {"table": normal(g, 5), "index": np.array([i]), "out": normal(g, 1)},
            exact=True,
        )
    yield Case(
        "count_pass",
        "count_pass",
        lambda g: {"start": np.array([40]), "rows": 7, "passes": np.array([5])},
    )
    for position, loss_sum in ((0, 1.5), (4, math.nan), (2, math.inf)):
        at, given = f"{position}-{loss_sum}", partial(counters, position, loss_sum)
        yield Case(f"count_update-{at}", "count_update", given, exact=True)

        def descent(g: np.random.Generator, given: Any = given) -> dict[str, Any]:
            # Without a gradient nothing is rounded.
            trained = Trained(normal(g, 7), np.zeros(7), {}, [Segment(0, 7)])
            return {**given(g), "optimizer": optimizers.SGD(), "trained": trained}

        yield Case(f"counted_update-{at}", "counted_update", descent, exact=True)
    for rows in (1, 7, 33, 5000):
        yield Case(
            f"sum-{rows}",
            "sum",
            lambda g, n=rows: {"values": g.random(n), "out": normal(g, 1)},
            terms=rows,
        )
    for loss_sum in (1.5, math.inf, -math.inf, math.nan):
        yield Case(
            f"count_finite-{loss_sum}",
            "count_finite",
            lambda g, x=loss_sum: {"loss_sum": np.array([x]), "out": np.array([3.0])},
            exact=True,
        )


def gathers() -> Iterator[Case]:
    sources = {
        "float-1d": lambda g: normal(g, 40),
        "float-2d": lambda g: normal(g, 40, 6),
        "float-3d": lambda g: normal(g, 40, 3, 4),
        "uint8-2d": lambda g: g.integers(0, 256, (40, 6)).astype(np.uint8),
        "uint8-3d": lambda g: g.integers(0, 256, (40, 3, 4)).astype(np.uint8),
        "int64-1d": lambda g: g.integers(0, 10, 40),
    }
    for (name, source), rows, same_type in itertools.product(
        sources.items(), (0, 1, 13), (True, False)
    ):

        def arguments(
            g: np.random.Generator,
            source: Callable[[np.random.Generator], np.ndarray] = source,
            rows: int = rows,
            same_type: bool = same_type,
        ) -> dict[str, Any]:
            table = source(g)
            out = np.ones((rows, *table.shape[1:]), table.dtype if same_type else np.float64)
            start = np.array([40 - rows])
            return {"source": table, "order": g.permutation(40), "start": start, "out": out}

        if same_type or not name.startswith("float"):
            kind = "as_is" if same_type else "to_float"
            yield Case(f"gather_rows-{name}-{rows}-{kind}", "gather_rows", arguments, exact=True)

    pairs = {
        "numbers_and_labels": [("float-2d", "as_is"), ("int64-1d", "as_is")],
        "pixels_and_weights": [
            ("uint8-3d", "to_float"),
            ("float-2d", "as_is"),
            ("float-1d", "as_is"),
        ],
    }
    for (name, chosen), rows in itertools.product(pairs.items(), (0, 1, 13, 700)):

        def batch(g: np.random.Generator, chosen: Any = chosen, rows: int = rows) -> dict[str, Any]:
            tables = [sources[source](g) for source, _ in chosen]
            outs = [
                np.ones((rows, *t.shape[1:]), np.float64 if kind == "to_float" else t.dtype)
                for t, (_, kind) in zip(tables, chosen, strict=True)
            ]
            order, start = g.integers(0, 40, rows + 5), np.array([5])
            counters = {"start": start, "passes": np.array([7])}
            return {"sources": tables, "order": order, "outs": outs, **counters}

        yield Case(f"next_batch-{name}-{rows}", "next_batch", batch, exact=True)


def products() -> Iterator[Case]:
    sizes = ((1, 1, 1), (0, 3, 2), (5, 7, 3), (64, 200, 10))
    for (m, k, n), ta, tb in itertools.product(sizes, (False, True), (False, True)):
        yield Case(
            f"matmul-{m}x{k}x{n}-{ta:d}{tb:d}",
            "matmul",
            lambda g, m=m, k=k, n=n, ta=ta, tb=tb: {
                "a": normal(g, k, m) if ta else normal(g, m, k),
                "b": normal(g, n, k) if tb else normal(g, k, n),
                "out": normal(g, m, n),
                "transpose_a": ta,
                "transpose_b": tb,
            },
            terms=k,
        )


def dense_layers() -> Iterator[Case]:
    functions = [
        activations.Identity(),
        activations.ReLU(),
        activations.Tanh(),
        activations.GELU(),
    ]
    sizes = ((1, 1, 1), (0, 3, 2), (5, 7, 3), (64, 200, 10), (33, 16, 48))
    sizes += ((32, 256, 300), (70, 3, 1000))  # of several forms of products, and several chunks
    for f, (rows, inputs, units), bias in itertools.product(functions, sizes, (True, False)):

        def forward(
            g: np.random.Generator,
            f: Any = f,
            rows: int = rows,
            inputs: int = inputs,
            units: int = units,
            bias: bool = bias,
        ) -> dict[str, Any]:
            return {
                "x": normal(g, rows, inputs),
                "weights": normal(g, inputs, units),
                "bias": normal(g, units) if bias else None,
                "activation": f,
                "z": normal(g, rows, units),
                "out": Same("z") if f.from_output else normal(g, rows, units),
            }

        def backward(
            g: np.random.Generator,
            wanted: bool,
            f: Any = f,
            rows: int = rows,
            inputs: int = inputs,
            units: int = units,
            bias: bool = bias,
        ) -> dict[str, Any]:
            z = 2 * with_zeros(g, rows, units)
            a = f.value(array_api_compat.numpy, z)
            return {
                "x": normal(g, rows, inputs),
                "weights": normal(g, inputs, units),
                "activation": f,
                "z": a if f.from_output else z,
                "output": Same("z") if f.from_output else a,
                "gradient": normal(g, rows, units),
                "weight_gradient": normal(g, inputs, units),
                "bias_gradient": normal(g, units) if bias else None,
                "input_gradient": normal(g, rows, inputs) if wanted else None,
            }

        at = f"{f.name}-{rows}x{inputs}x{units}" + ("" if bias else "-no_bias")
        yield Case(f"dense-{at}", "dense", forward, terms=inputs)
        for wanted in (True, False):
            yield Case(
                f"dense_gradient-{at}-{'inputs' if wanted else 'parameters'}",
                "dense_gradient",
                partial(backward, wanted=wanted),
                terms=max(rows, units),
            )


def elementwise() -> Iterator[Case]:
    functions = [cls() for cls in builtin(activations.Activation)]
    functions += [activations.LeakyReLU(0.0), activations.LeakyReLU(0.3), activations.ELU(0.7)]
    some = {activations.Identity, activations.ReLU, activations.GELU}
    for index, f in enumerate(functions):
        for shape in (*SHAPES, *(TALL if type(f) in some else ())):
            at = f"{f.name}-{index}-" + "x".join(map(str, shape))

            def forward(
                g: np.random.Generator, f: Any = f, shape: Any = shape, bias: bool = True
            ) -> dict[str, Any]:
                out = Same("z") if f.from_output else normal(g, *shape)
                b = normal(g, shape[1]) if bias else None
                return {"activation": f, "z": 2 * with_zeros(g, *shape), "bias": b, "out": out}

            def without_bias(
                g: np.random.Generator, f: Any = f, shape: Any = shape
            ) -> dict[str, Any]:
                return {
                    "activation": f,
                    "z": 2 * with_zeros(g, *shape),
                    "bias": None,
                    "out": normal(g, *shape),
                }

            def backward(
                g: np.random.Generator, f: Any = f, shape: Any = shape, bias: bool = True
            ) -> dict[str, Any]:
                z = 2 * with_zeros(g, *shape)
                a = f.value(array_api_compat.numpy, z)
                return {
                    "activation": f,
                    "z": a if f.from_output else z,
                    "output": Same("z") if f.from_output else a,
                    "gradient": normal(g, *shape),
                    "bias_gradient": normal(g, shape[1]) if bias else None,
                }

            if shape not in TALL:
                without = partial(backward, bias=False)
                yield Case(f"activation_gradient-{at}-no_bias", "activation_gradient", without)
            yield Case(f"activation_gradient-{at}", "activation_gradient", backward, terms=shape[0])
            if shape not in TALL:
                yield Case(f"activate-{at}", "activate", forward)
                yield Case(f"activate-{at}-no_bias", "activate", without_bias)
    for shape in (*SHAPES, (3, CHUNK)):
        at = "x".join(map(str, shape))
        # To both ends of the range, where all or nothing is kept.
        ends = ((0.0, 3), (1e-12, 4), (1 - 1e-10, 2), (1 - 2**-53, 6))
        for rate, passes in ((0.5, 1), (0.1, 123_456_789), (0.999, 0), *ends):
            fixed = {"rate": rate, "key": 0xDEADBEEF}
            yield Case(
                f"dropout-{rate}-{at}",
                "dropout",
                lambda g, s=shape, fixed=fixed, p=passes: {
                    "x": normal(g, *s),
                    "passes": np.array([p]),
                    "out": normal(g, *s),
                    **fixed,
                },
                exact=True,
            )
        for number in (0.0, 0.3, 2.0**-31, 1 - 2.0**-24):
            yield Case(
                f"dropout-moving-{number}-{at}",
                "dropout",
                lambda g, s=shape, r=number: {
                    "x": normal(g, *s),
                    "rate": np.array([r]),
                    "key": 0xDEADBEEF,
                    "passes": np.array([5]),
                    "out": normal(g, *s),
                },
                exact=True,
            )
        for first in (1, 12_345, 2**32 - 2, 2**40 + 3):
            yield Case(
                f"dropout-from_{first}-{at}",
                "dropout",
                lambda g, s=shape, first=first: {
                    "x": normal(g, *s),
                    "rate": 0.5,
                    "key": 0xDEADBEEF,
                    "passes": np.array([5]),
                    "out": normal(g, *s),
                    "first": first,
                },
                exact=True,
            )
        yield Case(
            f"dropout-in_place-{at}",
            "dropout",
            lambda g, s=shape: {
                "x": normal(g, *s),
                "rate": 0.3,
                "key": 7,
                "passes": np.array([5]),
                "out": Same("x"),
            },
            exact=True,
        )
        for kind in ("float", "uint8", "int8", "uint16", "int16"):

            def rescaled(
                g: np.random.Generator, shape: Any = shape, kind: str = kind
            ) -> dict[str, Any]:
                floats = kind == "float"
                x = normal(g, *shape) if floats else whole_range(g, np.dtype(kind), *shape)
                scale = 1.0 if floats else 1 / 2**16
                return {"x": x, "scale": scale, "offset": -0.5, "out": normal(g, *shape)}

            yield Case(f"rescale-{kind}-{at}", "rescale", rescaled)
        yield Case(
            f"rescale-in_place-{at}",
            "rescale",
            lambda g, s=shape: {
                "x": normal(g, *s),
                "scale": 0.3,
                "offset": 0.1,
                "out": Same("x"),
            },
        )


TABLES = ((1, [3]), (7, [2, 5]), (70, [4, 3, 9, 2]), (33, [40, 3]), (300, [17]))
"""Rows, and how many codes each column has."""


def codes_of(g: np.random.Generator, rows: int, sizes: list[int]) -> np.ndarray:
    """Return codes of each column as numbers, some of them out of range."""
    return np.stack([g.integers(-1, size + 1, rows) for size in sizes], 1).astype(np.float64)


def categories() -> Iterator[Case]:
    for (rows, sizes), signs in itertools.product(TABLES, (True, False)):
        at = f"{rows}x{'+'.join(map(str, sizes))}"
        outputs = sum(1 if signs and size == 3 else size - 1 for size in sizes)
        yield Case(
            f"one_hot-{at}{'-signs' if signs else ''}",
            "one_hot",
            lambda g, rows=rows, sizes=sizes, signs=signs, outputs=outputs: {
                "codes": codes_of(g, rows, sizes),
                "sizes": sizes,
                "binary_as_sign": signs,
                "levels": normal(g, 3, outputs),
                "out": normal(g, rows, outputs),
            },
            exact=True,
        )
    for (rows, sizes), dimension in itertools.product(TABLES, (1, 8, 33)):
        at, columns, total = (
            f"{rows}x{'-'.join(map(str, sizes))}x{dimension}",
            len(sizes),
            sum(sizes),
        )

        def lookup(
            g: np.random.Generator, rows: int = rows, sizes: Any = sizes, d: int = dimension
        ) -> dict[str, Any]:
            return {
                "codes": codes_of(g, rows, sizes),
                "sizes": sizes,
                "table": normal(g, sum(sizes), d),
                "out": normal(g, rows, len(sizes) * d),
            }

        yield Case(f"embed-{at}", "embed", lookup, exact=True)
        yield Case(
            f"embed_gradient-{at}",
            "embed_gradient",
            lambda g, rows=rows, sizes=sizes, d=dimension, columns=columns, total=total: {
                "codes": codes_of(g, rows, sizes),
                "sizes": sizes,
                "gradient": normal(g, rows, columns * d),
                "table_gradient": normal(g, total, d),
            },
            terms=rows,
        )


RANGES = ((1, 1, 0, 1, 0, 1), (6, 9, 2, 5, 3, 2), (70, 40, 7, 90, 50, 33), (5, 3, 0, 3, 0, 3))
"""Rows; columns of the source, and the first one to copy; those of the target; how many."""

MEMBERS = ((1, 1, 1), (7, 3, 5), (70, 1, 33), (70, 4, 16), (64, 8, 100))
"""Rows, members and features."""


def members() -> Iterator[Case]:
    for rows, width, first, out_width, out_first, columns in RANGES:
        yield Case(
            f"copy_columns-{rows}x{width}-{columns}",
            "copy_columns",
            lambda g, a=rows, b=width, c=first, d=out_width, e=out_first, f=columns: {
                "source": normal(g, a, b),
                "first": c,
                "out": normal(g, a, d),
                "out_first": e,
                "columns": f,
            },
            exact=True,
        )
    for (rows, count, features), shared in itertools.product(MEMBERS, (True, False)):
        at = f"{rows}x{count}x{features}{'-shared' if shared else ''}"
        x_members = 1 if shared else count

        def scaled(
            g: np.random.Generator,
            n: int = rows,
            x_members: int = x_members,
            k: int = count,
            d: int = features,
        ) -> dict[str, Any]:
            x, factors = normal(g, n, x_members, d), normal(g, k, d)
            return {"x": x, "factors": factors, "out": normal(g, n, k, d)}

        def back(
            g: np.random.Generator,
            kind: str,
            n: int = rows,
            x_members: int = x_members,
            k: int = count,
            d: int = features,
        ) -> dict[str, Any]:
            dx = {"none": None, "own": normal(g, n, x_members, d), "in_place": Same("gradient")}
            return {
                "x": normal(g, n, x_members, d),
                "factors": normal(g, k, d),
                "gradient": normal(g, n, k, d),
                "factors_gradient": normal(g, k, d),
                "input_gradient": dx[kind],
            }

        yield Case(f"scale-{at}", "scale", scaled)
        for kind in ("none", "own", *(() if shared and count > 1 else ("in_place",))):
            given = partial(back, kind=kind)
            yield Case(f"scale_gradient-{at}-{kind}", "scale_gradient", given, terms=rows + count)
    functions = [activations.SELU(), activations.Mish(), activations.ReLU(), activations.GELU()]
    functions += [activations.ExactGELU()]
    functions += [activations.Identity(), activations.LeakyReLU(0.3)]
    for f, (rows, count, features) in itertools.product(functions, MEMBERS):
        at = f"{f.name}-{rows}x{count}x{features}"
        shape = (rows, features) if count == 1 else (rows, count, features)
        yield Case(
            f"parametric_activate-{at}",
            "parametric_activate",
            lambda g, f=f, shape=shape: {
                "activation": f,
                "x": 2 * with_zeros(g, *shape),
                "alpha": normal(g, *shape[1:]),
                "out": normal(g, *shape),
            },
        )
        yield Case(
            f"parametric_activation_gradient-{at}",
            "parametric_activation_gradient",
            lambda g, f=f, shape=shape: {
                "activation": f,
                "x": 2 * with_zeros(g, *shape),
                "alpha": normal(g, *shape[1:]),
                "gradient": normal(g, *shape),
                "alpha_gradient": normal(g, *shape[1:]),
            },
            terms=rows,
        )


GROUPED = ((1, 1, 1, 1), (7, 3, 5, 2), (70, 4, 16, 3), (64, 8, 48, 16), (33, 2, 200, 130))
"""Rows, groups, inputs and units."""


def grouped_products() -> Iterator[Case]:
    for rows, groups, inputs, units in GROUPED:
        batch, weights = (rows, groups, inputs), (groups, inputs, units)
        outputs, turned = (rows, groups, units), (groups, units, inputs)
        for kind, a, b, out, terms in (
            ("plain", batch, weights, outputs, inputs),
            ("transpose_a", batch, outputs, weights, rows),
            ("transpose_b", batch, turned, outputs, inputs),
        ):
            flag = {} if kind == "plain" else {kind: True}
            yield Case(
                f"group_matmul-{rows}x{groups}x{inputs}x{units}-{kind}",
                "group_matmul",
                lambda g, a=a, b=b, out=out, flag=flag: {
                    "a": normal(g, *a),
                    "b": normal(g, *b),
                    "out": normal(g, *out),
                    **flag,
                },
                terms=terms,
            )
    functions = (activations.Identity(), activations.ReLU(), activations.GELU())
    for f, sizes, bias in itertools.product(functions, GROUPED, (True, False)):
        at = f"{f.name}-{'x'.join(map(str, sizes))}{'' if bias else '-no_bias'}"

        def forward(
            g: np.random.Generator, f: Any = f, sizes: Any = sizes, bias: bool = bias
        ) -> dict[str, Any]:
            rows, groups, inputs, units = sizes
            return {
                "x": normal(g, rows, groups, inputs),
                "weights": normal(g, groups, inputs, units),
                "bias": normal(g, groups, units) if bias else None,
                "activation": f,
                "z": normal(g, rows, groups, units),
                "out": Same("z") if f.from_output else normal(g, rows, groups, units),
            }

        def backward(
            g: np.random.Generator, wanted: bool, f: Any = f, sizes: Any = sizes, bias: bool = bias
        ) -> dict[str, Any]:
            rows, groups, inputs, units = sizes
            z = 2 * with_zeros(g, rows, groups, units)
            a = f.value(array_api_compat.numpy, z)
            return {
                "x": normal(g, rows, groups, inputs),
                "weights": normal(g, groups, inputs, units),
                "activation": f,
                "z": a if f.from_output else z,
                "output": Same("z") if f.from_output else a,
                "gradient": normal(g, rows, groups, units),
                "weight_gradient": normal(g, groups, inputs, units),
                "bias_gradient": normal(g, groups, units) if bias else None,
                "input_gradient": normal(g, rows, groups, inputs) if wanted else None,
            }

        yield Case(f"group_dense-{at}", "group_dense", forward, terms=sizes[2])
        for wanted in (True, False):
            yield Case(
                f"group_dense_gradient-{at}-{'inputs' if wanted else 'parameters'}",
                "group_dense_gradient",
                partial(backward, wanted=wanted),
                terms=max(sizes[0], sizes[3]),
            )


EMBEDDED = ((1, 1, 1), (7, 3, 5), (70, 8, 16), (33, 2, 48), (300, 5, 3))
"""Rows, columns, and waves or bins."""


def embeddings_of_numbers() -> Iterator[Case]:
    for (rows, columns, waves), shifted in itertools.product(EMBEDDED, (True, False)):
        at = f"{rows}x{columns}x{waves}{'-phases' if shifted else ''}"
        outputs = waves if shifted else 2 * waves

        def given(
            g: np.random.Generator,
            n: int = rows,
            c: int = columns,
            k: int = waves,
            shifted: bool = shifted,
        ) -> dict[str, Any]:
            return {
                "x": normal(g, n, c),
                "frequencies": normal(g, c, k) / 8,
                "phases": g.uniform(-math.pi, math.pi, (c, k)) if shifted else None,
            }

        def back(
            g: np.random.Generator,
            wanted: bool,
            given: Any = given,
            n: int = rows,
            c: int = columns,
            k: int = waves,
            outputs: int = outputs,
            shifted: bool = shifted,
        ) -> dict[str, Any]:
            return {
                **given(g),
                "gradient": normal(g, n, c, outputs),
                "frequencies_gradient": normal(g, c, k),
                "phases_gradient": normal(g, c, k) if shifted else None,
                "input_gradient": normal(g, n, c) if wanted else None,
            }

        yield Case(
            f"periodic-{at}",
            "periodic",
            lambda g, given=given, n=rows, c=columns, m=outputs: {
                **given(g),
                "out": normal(g, n, c, m),
            },
        )
        for wanted in (True, False):
            yield Case(
                f"periodic_gradient-{at}-{'inputs' if wanted else 'parameters'}",
                "periodic_gradient",
                partial(back, wanted=wanted),
                terms=max(rows, outputs),
            )
    for rows, columns, bins in EMBEDDED:
        at = f"{rows}x{columns}x{bins}"

        def lines(
            g: np.random.Generator, n: int = rows, c: int = columns, t: int = bins
        ) -> dict[str, Any]:
            return {
                "x": 2 * normal(g, n, c),
                "starts": normal(g, c, t),
                "slopes": g.random((c, t)) * 3,
                "lowest": np.where(np.arange(t) == 0, -1e30, 0.0) * np.ones((c, 1)),
                "highest": np.where(np.arange(t) == t - 1, 1e30, 1.0) * np.ones((c, 1)),
            }

        yield Case(
            f"piecewise_linear-{at}",
            "piecewise_linear",
            lambda g, lines=lines, n=rows, c=columns, t=bins: {
                **lines(g),
                "out": normal(g, n, c, t),
            },
        )
        yield Case(
            f"piecewise_linear_gradient-{at}",
            "piecewise_linear_gradient",
            lambda g, lines=lines, n=rows, c=columns, t=bins: {
                **lines(g),
                "gradient": normal(g, n, c, t),
                "input_gradient": normal(g, n, c),
            },
            terms=bins,
        )


NORMALIZED = (
    *((1, 1), (1, 6), (2, 3), (64, 10), (5, 3277), (CHUNK + 1, 2), *TALL),
    *((6, 1), (1, 300), (3, 7), (17, 33), (40, 256), (9, 300)),
)
"""Rows and features; of both one, several, and such as no number of lanes divides."""


def constant(g: np.random.Generator, given: Any) -> dict[str, Any]:
    """Return a normalisation's arguments, x being without variance."""
    arguments = given(g)
    return {**arguments, "x": np.full_like(arguments["x"], 0.75)}


def with_nan(g: np.random.Generator, given: Any) -> dict[str, Any]:
    """Return them with a NaN in x, which spreads to what is normalised with it, and no further."""
    arguments = given(g)
    middle = tuple(size // 2 for size in arguments["x"].shape)
    arguments["x"][middle] = math.nan
    return arguments


def normalizations() -> Iterator[Case]:
    for rows, features in NORMALIZED:
        at = f"{rows}x{features}"

        def given(
            g: np.random.Generator, n: int = rows, k: int = features, affine: bool = True
        ) -> dict[str, Any]:
            return {
                "x": normal(g, n, k),
                "mean": normal(g, k),
                "variance": g.random(k) + 0.1,
                "epsilon": 1e-5,
                "scale": normal(g, k) if affine else None,
                "shift": normal(g, k) if affine else None,
                "out": normal(g, n, k),
            }

        def plain(g: np.random.Generator, given: Any = given) -> dict[str, Any]:
            return {**given(g), "scale": None, "shift": None}

        def batch(g: np.random.Generator, n: int = rows, k: int = features) -> dict[str, Any]:
            # Far from 0, and higher from row to row: rows of a part have another mean than all.
            far = 1000 + np.linspace(0, 4, n)[:, None] if (n, k) in TALL else 1
            return {
                "x": 2 * normal(g, n, k) + far,
                "scale": normal(g, k),
                "shift": normal(g, k),
                "running_mean": normal(g, k),
                "running_variance": g.random(k) + 0.1,
                "momentum": 0.9,
                "epsilon": 1e-2,
                "normalized": normal(g, n, k),
                "inverse_std": normal(g, k),
                "out": normal(g, n, k),
            }

        def layer(g: np.random.Generator, n: int = rows, k: int = features) -> dict[str, Any]:
            return {
                "x": 2 * normal(g, n, k) + 1,
                "scale": normal(g, k),
                "shift": normal(g, k),
                "epsilon": 1e-2,
                "normalized": normal(g, n, k),
                "inverse_std": normal(g, n, 1),
                "out": normal(g, n, k),
            }

        def back(g: np.random.Generator, n: int, k: int, deviations: Any) -> dict[str, Any]:
            return {
                "gradient": normal(g, n, k),
                "normalized": normal(g, n, k),
                "inverse_std": g.random(deviations) + 0.5,
                "scale": normal(g, k),
                "scale_gradient": normal(g, k),
                "shift_gradient": normal(g, k),
            }

        def batch_back(
            g: np.random.Generator, n: int = rows, k: int = features, back: Any = back
        ) -> dict[str, Any]:
            return back(g, n, k, (k,))

        def layer_back(
            g: np.random.Generator, n: int = rows, k: int = features, back: Any = back
        ) -> dict[str, Any]:
            return back(g, n, k, (n, 1))

        def standardized(
            g: np.random.Generator, n: int = rows, k: int = features
        ) -> dict[str, Any]:
            std = g.random(k) + 0.5
            x, mean = normal(g, n, k), normal(g, k)
            return {"x": x, "mean": mean, "std": std, "out": normal(g, n, k)}

        def standardized_in_place(
            g: np.random.Generator, standardized: Any = standardized
        ) -> dict[str, Any]:
            return {**standardized(g), "out": Same("x")}

        yield Case(f"standardize-{at}", "standardize", standardized)
        yield Case(f"standardize-in_place-{at}", "standardize", standardized_in_place)
        for bounded in (False, True):

            def unstandardized(
                g: np.random.Generator,
                n: int = rows,
                k: int = features,
                bounded: bool = bounded,
            ) -> dict[str, Any]:
                mean, std = normal(g, k), g.random(k) + 0.5
                return {
                    "x": normal(g, n, k),
                    "mean": mean,
                    "std": std,
                    "least": mean - 0.3 if bounded else None,
                    "largest": mean + 0.4 if bounded else None,
                    "out": normal(g, n, k),
                }

            kind = "bounded" if bounded else "free"
            yield Case(f"unstandardize-{kind}-{at}", "unstandardize", unstandardized)
        yield Case(f"normalize-{at}", "normalize", given)
        yield Case(f"normalize-plain-{at}", "normalize", plain)
        for name, norm, terms in (("batch_norm", batch, rows), ("layer_norm", layer, features)):
            yield Case(f"{name}-{at}", name, norm, terms=terms)
            for kind, special in (("constant", constant), ("nan", with_nan)):
                if rows * features < 500:
                    yield Case(
                        f"{name}-{kind}-{at}", name, partial(special, given=norm), terms=terms
                    )
        longest = max(rows, features)
        yield Case(f"batch_norm_gradient-{at}", "batch_norm_gradient", batch_back, terms=rows)
        yield Case(f"layer_norm_gradient-{at}", "layer_norm_gradient", layer_back, terms=longest)


def of_ranks() -> Iterator[Case]:
    """Yield cases of what several ranks do in place of `clip` and `batch_norm`."""
    for size, norm in itertools.product(WIDTHS, (0.5, 1e6)):
        yield Case(
            f"sum_of_squares-{size}-{norm}",
            "sum_of_squares",
            lambda g, n=size: {"values": normal(g, n), "out": normal(g, 1)},
            terms=size,
        )
        yield Case(
            f"clip_to-{size}-{norm}",
            "clip_to",
            lambda g, n=size, m=norm: {
                "gradients": normal(g, n),
                "squares": normal(g, 3) ** 2,
                "max_norm": m,
            },
            terms=3,
        )
    for rows, features in ((1, 1), (5, 3), (130, 17)):
        at = f"{rows}x{features}"

        def moments(g: np.random.Generator, n: int = rows, k: int = features) -> dict[str, Any]:
            return {"x": normal(g, n, k), "out": normal(g, 1 + 2 * k)}

        def combined(g: np.random.Generator, n: int = rows, k: int = features) -> dict[str, Any]:
            counts = np.array([[n], [0], [2 * n]], float)
            parts = np.hstack([counts, normal(g, 3, k), n * normal(g, 3, k) ** 2])
            parts[1] = 0
            return {"parts": parts, "mean": normal(g, k), "variance": normal(g, k)}

        def average(g: np.random.Generator, k: int = features) -> dict[str, Any]:
            return {"current": normal(g, k), "momentum": 0.9, "out": normal(g, k)}

        def norm_of(g: np.random.Generator, n: int = rows, k: int = features) -> dict[str, Any]:
            return {
                "x": normal(g, n, k),
                "mean": normal(g, k),
                "variance": normal(g, k) ** 2,
                "scale": normal(g, k),
                "shift": normal(g, k),
                "epsilon": 1e-3,
                "normalized": normal(g, n, k),
                "inverse_std": normal(g, k),
                "out": normal(g, n, k),
            }

        def sums(g: np.random.Generator, n: int = rows, k: int = features) -> dict[str, Any]:
            return {
                "gradient": normal(g, n, k),
                "normalized": normal(g, n, k),
                "scale_gradient": normal(g, k),
                "shift_gradient": normal(g, k),
            }

        def back(g: np.random.Generator, n: int = rows, k: int = features) -> dict[str, Any]:
            return {
                "gradient": normal(g, n, k),
                "normalized": normal(g, n, k),
                "inverse_std": normal(g, k) ** 2,
                "scale": normal(g, k),
                "sums": normal(g, 2 * k),
                "counts": np.array([n, 0.0, 2 * n]),
            }

        yield Case(f"column_moments-{at}", "column_moments", moments, terms=rows)
        yield Case(f"combine_moments-{at}", "combine_moments", combined, terms=3)
        yield Case(f"running_average-{at}", "running_average", average)
        yield Case(f"batch_norm_of-{at}", "batch_norm_of", norm_of)
        yield Case(f"batch_norm_sums-{at}", "batch_norm_sums", sums, terms=rows)
        yield Case(f"batch_norm_input_gradient-{at}", "batch_norm_input_gradient", back, terms=3)


MEMBER_MEANS = ((0, 2, 3), (1, 1, 1), (7, 4, 3), (130, 8, 10), (5, 3, 70))


def member_means() -> Iterator[Case]:
    for of, shape in itertools.product(("identity", "softmax", "sigmoid"), MEMBER_MEANS):

        def given(g: np.random.Generator, of: str = of, shape: Any = shape) -> dict[str, Any]:
            x = 3 * normal(g, *shape)
            if of != "identity" and x.size:
                x[-1] *= 100  # probabilities that float32 has no number for
            return {"x": x, "of": of, "out": normal(g, shape[0], shape[2])}

        at = "x".join(map(str, shape))
        yield Case(f"mean_over_members-{of}-{at}", "mean_over_members", given, terms=shape[1])


def targets_for(loss: Any, g: np.random.Generator, p: np.ndarray, form: str) -> np.ndarray:
    """Return targets that the loss takes, some of them hit exactly."""
    rows, outputs = p.shape
    if form == "labels":
        return g.integers(0, outputs, rows)
    if isinstance(loss, losses.SoftmaxCrossEntropy):
        return g.dirichlet(np.ones(outputs), rows)
    if isinstance(loss, losses.BinaryCrossEntropy):
        return g.random(p.shape)
    if isinstance(loss, losses.Poisson):
        return g.poisson(2.0, p.shape).astype(np.float64)
    t = p + normal(g, rows, outputs)
    t.reshape(-1)[::4] = p.reshape(-1)[::4]
    return t


def loss_cases() -> Iterator[Case]:
    every = [cls() for cls in builtin(losses.Loss)]
    default = len(every)
    every += [
        losses.MeanSquaredError("sum"),
        losses.MeanSquaredError("half_sum"),
        losses.Huber(0.3),
        losses.Quantile(0.9),
        losses.SoftmaxCrossEntropy(0.1),
        Moving(losses.SoftmaxCrossEntropy(), "label_smoothing", 0.125),
    ]

    def arguments(
        g: np.random.Generator, loss: Any, form: str, p: np.ndarray, gradient: bool
    ) -> dict[str, Any]:
        w = g.random(len(p))
        near = np.where(np.isfinite(p), p, 0)
        return {
            "loss": loss,
            "predictions": p,
            "targets": targets_for(loss.of if isinstance(loss, Moving) else loss, g, near, form),
            "weights": w,
            "normalizer": np.array([float(w.sum())]),
            "gradient": normal(g, *p.shape) if gradient else None,
            "loss_sum": np.array([2.0]),
        }

    def batch(
        g: np.random.Generator, loss: Any, form: str, shape: tuple[int, int], gradient: bool
    ) -> dict[str, Any]:
        return arguments(g, loss, form, normal(g, *shape), gradient)

    def diverging(
        g: np.random.Generator, loss: Any, form: str, kind: str, weighted: bool = True
    ) -> dict[str, Any]:
        p = np.array([EXTREMES[kind], (0.5, 0.0, -0.5)])
        given = arguments(g, loss, form, p, True)
        return given if weighted else given | {"weights": np.zeros(2), "normalizer": np.zeros(1)}

    for index, loss in enumerate(every):
        built_in = loss.of if isinstance(loss, Moving) else loss
        softmax = isinstance(built_in, losses.SoftmaxCrossEntropy)
        for form in ("labels", "rows") if softmax else ("rows",):
            name = f"loss-{built_in.name}-{index}-{form}"
            shapes = BATCHES if index < default else SMALL_BATCHES
            for shape, gradient in itertools.product(shapes, (True, False)):
                at = "x".join(map(str, shape)) + ("-gradient" if gradient else "-value")
                given = partial(batch, loss=loss, form=form, shape=shape, gradient=gradient)
                yield Case(f"{name}-{at}", "loss", given, terms=max(shape))
            for kind in EXTREMES:
                given = partial(diverging, loss=loss, form=form, kind=kind)
                yield Case(f"{name}-{kind}", "loss", given)
            given = partial(diverging, loss=loss, form=form, kind="nan", weighted=False)
            yield Case(f"{name}-unweighted", "loss", given)


def metric_cases() -> Iterator[Case]:
    # On the grid by default, thousands of classes would take a gigabyte.
    every = [cls(16) if cls is metrics.AUC else cls() for cls in builtin(metrics.Metric)]
    default = len(every)
    every += [metrics.TopKAccuracy(2), metrics.BinaryAccuracy(0.5)]

    def arguments(g: np.random.Generator, metric: Any, form: str, p: np.ndarray) -> dict[str, Any]:
        rows, outputs = p.shape
        labels = g.integers(0, outputs, rows)
        return {
            "metric": metric,
            "predictions": p,
            "targets": labels if form == "labels" else normal(g, *p.shape),
            "weights": g.random(rows),
            "summary": g.random(metric.size(outputs)),
        }

    def batch(
        g: np.random.Generator, metric: Any, form: str, shape: tuple[int, int]
    ) -> dict[str, Any]:
        rows, outputs = shape
        p = normal(g, *shape)
        if isinstance(metric, metrics.AUC):
            # Few scores: one of many would lie so near a bin's end that rounding decides.
            p = np.round(2 * normal(g, 5, outputs))[g.integers(0, 5, rows)] / 2
        return arguments(g, metric, form, p)

    def diverging(g: np.random.Generator, metric: Any, form: str, kind: str) -> dict[str, Any]:
        return arguments(g, metric, form, np.array([EXTREMES[kind], (0.5, 0.0, -0.5)]))

    for index, metric in enumerate(every):
        of_classes = isinstance(metric, metrics.ClassMetric)
        for form in ("labels", "rows") if of_classes else ("rows",):
            name = f"metric-{metric.name}-{index}-{form}"
            tall = TALL if isinstance(metric, metrics.R2) else ()
            # The work of AUC is rows x bins; Recall and F1 sum up what Precision does.
            known_sums = metrics.AUC, metrics.Recall, metrics.F1
            few = index >= default or isinstance(metric, known_sums)
            for shape in (*(SMALL_BATCHES if few else BATCHES), *tall):
                if form == "labels" and shape[1] == 1:
                    continue  # one output has no labels
                if isinstance(metric, metrics.R2) and not shape[0]:
                    continue  # the trainer never has a batch without rows
                given = partial(batch, metric=metric, form=form, shape=shape)
                yield Case(f"{name}-{'x'.join(map(str, shape))}", "metric", given, terms=max(shape))
            for kind in EXTREMES:
                given = partial(diverging, metric=metric, form=form, kind=kind)
                yield Case(f"{name}-{kind}", "metric", given)


HALVES = ((1.0, 1.0), (1.0, 0.0))
FACTORS = ((6.0, 6.0), (1.0, 1.0), (1.0, 0.5), (0.1, 0.0), (0.1, 0.1))
"""Of the learning rate and of the decay, in the segments of an update."""


def updates() -> Iterator[Case]:
    for size, norm in itertools.product(WIDTHS, (0.5, 1e6)):
        yield Case(
            f"clip-{size}-{norm}",
            "clip",
            lambda g, n=size, m=norm: {"gradients": normal(g, n), "max_norm": m},
            terms=size,
        )
    for size, weight in itertools.product(WIDTHS, (8.0, 0.0)):
        yield Case(
            f"l2_penalty-{size}-{weight}",
            "l2_penalty",
            lambda g, n=size, w=weight: {
                "values": normal(g, n),
                "gradients": normal(g, n),
                "weight": np.array([w]),
                "strength": 0.1,
                "loss_sum": np.array([2.0]),
            },
            terms=size,
        )
    every = [cls() for cls in builtin(optimizers.Optimizer)]
    every += [
        optimizers.SGD(momentum=0.9),
        optimizers.SGD(momentum=0.9, nesterov=True, weight_decay=0.1),
        optimizers.Adam(beta1=0.0, beta2=0.0),
        optimizers.Adam(epsilon=1e-3, epsilon_hat=True),
        optimizers.Lion(weight_decay=0.1),
        optimizers.RMSprop(weight_decay=0.1),
    ]
    every += [
        Moving(cls(weight_decay=0.1), "weight_decay", 0.125)
        for cls in builtin(optimizers.Optimizer)
    ]
    moments = [*((size, 1) for size in WIDTHS), (5, 1000)]
    for (index, given), (size, step), factors in itertools.product(
        enumerate(every), moments, (False, True)
    ):
        few = factors or isinstance(given, Moving)
        if few and (size, step) != (CHUNK + 1, 1):
            continue
        optimizer = given.of if isinstance(given, Moving) else given

        def arguments(
            g: np.random.Generator,
            given: Any = given,
            optimizer: Any = optimizer,
            n: int = size,
            step: int = step,
            factors: bool = factors,
        ) -> dict[str, Any]:
            gradients = with_zeros(g, n)
            slots = {
                name: g.random(n) * (gradients != 0) if name == "square" else normal(g, n)
                for name in optimizer.slots
            }
            segments = FACTORS if factors else HALVES
            cuts = [0, *(n * (i + 1) // len(segments) for i in range(len(segments)))]
            return {
                "optimizer": given,
                "trained": Trained(
                    normal(g, n),
                    gradients,
                    slots,
                    [
                        Segment(*bounds, *each)
                        for bounds, each in zip(itertools.pairwise(cuts), segments, strict=True)
                    ],
                ),
                "learning_rate": np.array([0.01]),
                "step": np.array([step]),
            }

        kind = "-factors" if factors else ""
        yield Case(f"update-{optimizer.name}-{index}-{size}-{step}{kind}", "update", arguments)

        def counted(
            g: np.random.Generator, arguments: Any = arguments, step: int = step
        ) -> dict[str, Any]:
            given = arguments(g)
            del given["learning_rate"], given["step"]
            return {**given, **counters(1, 1.5, g, step - 1)}

        if step > 1 or size in (min(WIDTHS), max(WIDTHS)):
            at = f"{optimizer.name}-{index}-{size}-{step}{kind}"
            yield Case(f"counted_update-{at}", "counted_update", counted)

        def conditional(
            g: np.random.Generator, arguments: Any = arguments, finite: int = 1
        ) -> dict[str, Any]:
            return {"finite": np.array([finite]), **arguments(g)}

        at = f"{optimizer.name}-{index}-{size}-{step}{kind}"
        yield Case(f"update_if_finite-{at}", "update_if_finite", conditional)
        yield Case(
            f"update_if_finite-{at}-not",
            "update_if_finite",
            lambda g, conditional=conditional: conditional(g, finite=0),
            exact=True,
        )
    yield from loss_scaling()


def loss_scaling() -> Iterator[Case]:
    for weight, scale in ((8.0, 2.0**16), (0.0, 1.0), (0.3, 2.0**-14)):
        yield Case(
            f"scale_loss-{weight}-{scale}",
            "scale_loss",
            lambda g, w=weight, s=scale: {
                "weight": np.array([w]),
                "scale": np.array([s]),
                "normalizer": normal(g, 1),
                "finite": np.array([0]),
            },
            exact=True,
        )
    everywhere = np.array([math.inf, -math.inf, math.nan])
    for size, wrong, before in itertools.product(
        WIDTHS, (None, math.inf, math.nan, "everywhere"), (1, 0)
    ):

        def scaled(
            g: np.random.Generator, size: int = size, wrong: Any = wrong, before: int = before
        ) -> dict[str, Any]:
            gradients = normal(g, size) * 2.0**10
            if wrong == "everywhere":
                gradients[:] = np.resize(everywhere, size)
            elif wrong is not None:
                gradients[size // 2] = wrong
            scale, finite = np.array([2.0**10]), np.array([before])
            return {"gradients": gradients, "scale": scale, "finite": finite}

        yield Case(f"unscale-{size}-{wrong}-{before}", "unscale", scaled, exact=True)
    for finite, good, scale in (
        *((1, 0, 4.0), (1, 8, 4.0), (1, 9, 4.0), (1, 9, 2.0**24)),
        *((0, 5, 4.0), (0, 0, 2.0**-14)),
    ):
        yield Case(
            f"adjust_loss_scale-{finite}-{good}-{scale}",
            "adjust_loss_scale",
            lambda g, finite=finite, good=good, scale=scale: {
                "finite": np.array([finite]),
                "scale": np.array([scale]),
                "good_updates": np.array([good]),
                "updates": np.array([41]),
                "interval": 10,
                "smallest": 2.0**-14,
                "largest": 2.0**24,
            },
            exact=True,
        )


CASES = [
    *bookkeeping(),
    *gathers(),
    *products(),
    *dense_layers(),
    *elementwise(),
    *categories(),
    *members(),
    *grouped_products(),
    *embeddings_of_numbers(),
    *normalizations(),
    *member_means(),
    *of_ranks(),
    *loss_cases(),
    *metric_cases(),
    *updates(),
]
