"""A table of cases for every operation of a backend, and the comparison with the oracle.

The oracle is `Backend` on NumPy in float64, which runs the definitions. Each case runs twice with
the same numbers: on the oracle, and on the tested backend in its type and memory layout. Then all
arrays are compared, both those that should change and those that should not.
"""

import copy
import itertools
import math
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from types import FunctionType
from typing import Any, TypeAlias

import array_api_compat.numpy
import numpy as np

from gpunn import activations, losses, metrics, optimizers
from gpunn.backends import Backend
from gpunn.backends.numpy.lowerings import CHUNK
from gpunn.backends.operations import Segment, Trained, UpdateCounters
from gpunn.configurable import Configurable, known
from gpunn.expressions import expression_of

ORACLE = Backend(array_api_compat.numpy)
LAYOUTS = ("contiguous", "transposed", "sliced")


@dataclass(frozen=True)
class Same:
    """Stands for the same array as another argument."""

    argument: str


@dataclass(frozen=True)
class Moving:
    """Stands for a loss or optimizer with a scheduled setting: a number on the device.

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
    """A call of an operation, which is a method of the backend.

    `arguments` returns the keyword arguments, with NumPy arrays, from a generator of random
    numbers. `terms` is the number of terms in the longest sum. If `exact`, results must be bitwise
    identical to the definition's in the same type.
    """

    name: str
    operation: str
    arguments: Callable[[np.random.Generator], dict[str, Any]]
    terms: int = 1
    exact: bool = False


def to_backend(backend: Backend, value: Any, dtype: str, layout: str) -> Any:
    """Return a host array as an array of the backend; floating-point types become `dtype`."""
    if isinstance(value, dict):
        return {name: to_backend(backend, item, dtype, layout) for name, item in value.items()}
    if isinstance(value, list):
        return [to_backend(backend, item, dtype, layout) for item in value]
    if isinstance(value, tuple):
        return type(value)(*(to_backend(backend, item, dtype, layout) for item in value))
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
    generator = np.random.default_rng(zlib.crc32(case.name.encode()))
    return to_backend(ORACLE, case.arguments(generator), dtype, "contiguous")


def resolved(backend: Backend, dtype: str, placed: dict[str, Any]) -> dict[str, Any]:
    arguments = {}
    for name, value in placed.items():
        arguments[name] = placed[value.argument] if isinstance(value, Same) else value
        if isinstance(value, Moving):
            arguments[name] = value.on(backend, dtype)
    return arguments


def execute(
    backend: Backend, dtype: str, case: Case, host: dict[str, Any], layout: str = "contiguous"
) -> dict[str, np.ndarray]:
    placed = to_backend(backend, host, dtype, layout)
    arguments = resolved(backend, dtype, placed)
    # NumPy warns if infinities, which some cases contain, give NaN.
    with np.errstate(invalid="ignore"):
        getattr(backend, case.operation)(**arguments)
    return {name: backend.to_host(value) for name, value in flatten(placed)}


@lru_cache(maxsize=128)
def oracle(case: Case, dtype: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    host = inputs(case, dtype)
    return host, execute(ORACLE, dtype if case.exact else "float64", case, host)


def check(backend: Backend, dtype: str, case: Case, layouts: tuple[str, ...] = LAYOUTS) -> None:
    host, expected = oracle(case, dtype)
    allowed = tolerance(case, dtype, expected)
    for layout in layouts:
        after = execute(backend, dtype, case, host, layout)
        where = f"{case.name}, {layout}"
        compare(after, expected, dict(flatten(host)), dtype, allowed, case.exact, where)


def tolerance(case: Case, dtype: str, expected: dict[str, np.ndarray]) -> float:
    """Return the tolerance for a case's results.

    With S the largest absolute number among inputs and outputs, the error may be at most
    eps * S * (4 + 2 * sqrt(terms)). Each rounding costs half an ulp, and each exp, tanh or log one
    or two: 4 ulps in total. In a sum of n terms, rounding errors of half an ulp behave as if
    independent and grow as sqrt(n) (Higham & Mary 2019). 2 * sqrt(n) ulps are four times that, for
    the worst of many sums. Integers and unchanged inputs must be equal.
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
            if not (np.array_equal(got, want) and (got.dtype == want.dtype or not exact)):
                np.testing.assert_array_equal(got, want, err_msg=message, strict=exact)
        else:
            assert got.dtype == dtype, message
            if not within(tolerance, got, want):
                np.testing.assert_allclose(got, want, 0, tolerance, err_msg=message)


def within(tolerance: float, got: np.ndarray, want: np.ndarray) -> bool:
    """Return True if arrays are equal within a tolerance, faster than `assert_allclose`."""
    if got.shape != want.shape:
        return False
    with np.errstate(invalid="ignore"):  # inf - inf
        return bool((np.abs(got - want) <= tolerance).all())


SHAPES = ((0, 4), (1, 1), (1, 7), (6, 5), (1, CHUNK - 1), (128, 128), (5, 3277))
"""Zero, one and several rows, and sizes just below, at and just above a chunk."""

TALL = ((300, 3), (1037, 33))
"""Enough rows for several device blocks per column, in one group of columns and in several."""

WIDTHS = (1, 5, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK)
"""Lengths of flat vectors, for the same reason."""

SMALL_BATCHES = ((0, 4), (1, 1), (70, 1), (1, 3), (7, 2), (130, 10))
BATCHES = (*SMALL_BATCHES[:-1], (4097, 10), (3, 5462))
"""Rows and outputs of predictions; the small ones are for cases that differ in a setting."""

EMULATED = os.environ.get("GPUNN_TEST_DEVICE") == "emulated"
MOST_CLASSES = 547
"""Maximum classes of AUC there: with more, the emulated device needs several seconds."""

EXTREMES = {
    kind: np.array([row, (0.5, 0.0, -0.5)])
    for kind, row in {
        "infinite": (math.inf, 1.0, -1.0),
        "minus_infinite": (0.5, -math.inf, -1.0),
        "all_minus_infinite": (-math.inf, -math.inf, -math.inf),
        "nan": (1.0, 2.0, math.nan),
        "large": (60.0, -60.0, 3.0),
    }.items()
}
"""Predictions of a diverging network, which is detected by its non-finite loss."""


def builtin(base: type[Configurable]) -> list[type[Any]]:
    return [cls for cls in known(base).values() if cls.__module__.startswith("gpunn.")]


Draw: TypeAlias = Callable[[np.random.Generator], Any]
"""A function that returns an argument of a case."""


@dataclass(frozen=True)
class Of:
    """Stands for a function of an earlier argument."""

    argument: str
    function: Callable[[np.ndarray], np.ndarray]


def case(name: str, operation: str, terms: int = 1, exact: bool = False, **arguments: Any) -> Case:
    """Return a case, whose arguments are drawn in order by `drawn`."""

    def make(g: np.random.Generator) -> dict[str, Any]:
        kwargs: dict[str, Any] = {}
        for argument, value in arguments.items():
            of = isinstance(value, Of)
            kwargs[argument] = value.function(kwargs[value.argument]) if of else drawn(value, g)
        return kwargs

    return Case(name, operation, make, terms, exact)


def drawn(value: Any, g: np.random.Generator) -> Any:
    """Return normal numbers for a shape, a function's result, or any other value unchanged."""
    if type(value) is tuple:
        return g.standard_normal(value)
    return value(g) if isinstance(value, FunctionType | partial) else value


def normal(g: np.random.Generator, *shape: int) -> np.ndarray:
    return g.standard_normal(shape)


def times(factor: float, *shape: int) -> Draw:
    return lambda g: factor * g.standard_normal(shape)


def squared(*shape: int) -> Draw:
    return lambda g: g.standard_normal(shape) ** 2


def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Draw:
    return lambda g: low + (high - low) * g.random(shape)


def with_zeros(g: np.random.Generator, *shape: int) -> np.ndarray:
    """Return normal numbers, and exactly 0 in every fifth, where some functions have a kink."""
    z = g.standard_normal(shape)
    z.reshape(-1)[::5] = 0
    return z


def kinked(*shape: int) -> Draw:
    return lambda g: 2 * with_zeros(g, *shape)


def activated(f: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the arguments z and output of a gradient: one array if f works in place."""
    z, value = kinked(*shape), partial(f.value, array_api_compat.numpy)
    if f.from_output:
        return {"z": lambda g: value(z(g)), "output": Same("z")}
    return {"z": z, "output": Of("z", value)}


def whole_range(dtype: str, *shape: int) -> Draw:
    limits = np.iinfo(dtype)
    return lambda g: g.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def joined(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes))


def counters(
    position: int, loss_sum: float, g: np.random.Generator, updates: int = 41
) -> UpdateCounters:
    return UpdateCounters(
        rates=g.random(5) / 10,
        position=np.array([position]),
        rate=normal(g, 1),
        updates=np.array([updates]),
        weight=g.random(1),
        loss_sum=np.array([loss_sum]),
        weight_sum=normal(g, 1),
        finite_steps=np.array([3.0]),
    )


def descended(g: np.random.Generator) -> Trained:
    """Return the arrays of an update; with gradients of 0, nothing is rounded."""
    return Trained(normal(g, 7), np.zeros(7), {}, [Segment(0, 7)])


def bookkeeping() -> Iterator[Case]:
    for shape in ((1,), (7,), (6, 5)):
        at = joined(shape)
        yield case(f"fill-{at}", "fill", out=shape, value=0.5)
        yield case(f"assign-{at}", "assign", exact=True, values=shape, out=shape)
        yield case(f"accumulate-{at}", "accumulate", values=shape, out=shape)
    yield case("increment", "increment", counter=np.array([41]), amount=2)
    for index, columns in ((0, 1), (3, 1), (4, 3)):
        kwargs = {"table": (5, columns), "index": np.array([index]), "out": (1, columns)}
        yield case(f"take-row-{index}-{columns}", "take", exact=True, **kwargs)
    for index in (0, 4):
        kwargs = {"table": (5,), "index": np.array([index]), "out": (1,)}
        yield case(f"take-{index}", "take", exact=True, **kwargs)
    yield case("count_pass", "count_pass", start=np.array([40]), rows=7, passes=np.array([5]))
    for position, loss_sum in ((0, 1.5), (4, math.nan), (2, math.inf)):
        at, counted = f"{position}-{loss_sum}", partial(counters, position, loss_sum)
        yield case(f"count_update-{at}", "count_update", exact=True, counters=counted)
        kwargs = {"trained": descended, "counters": counted, "optimizer": optimizers.SGD()}
        yield case(f"counted_update-{at}", "counted_update", exact=True, **kwargs)
    for rows in (1, 7, 33, 5000):
        yield case(f"sum-{rows}", "sum", terms=rows, values=uniform(rows), out=(1,))
    for loss_sum in (1.5, math.inf, -math.inf, math.nan):
        kwargs = {"loss_sum": np.array([loss_sum]), "out": np.array([3.0])}
        yield case(f"count_finite-{loss_sum}", "count_finite", exact=True, **kwargs)


ROWS = {"1d": (), "2d": (6,), "3d": (3, 4)}
"""Shapes of a row of data."""

KINDS = {"float": np.float64, "uint8": np.uint8, "int64": np.int64}
LIMITS = {"uint8": 256, "int64": 10}


def rows_of_data(name: str) -> Any:
    kind, dimensions = name.split("-")
    shape = (40, *ROWS[dimensions])
    if kind == "float":
        return shape
    return lambda g: g.integers(0, LIMITS[kind], shape).astype(KINDS[kind])


def rows_taken(name: str, rows: int, same_type: bool) -> np.ndarray:
    kind, dimensions = name.split("-")
    return np.ones((rows, *ROWS[dimensions]), KINDS[kind] if same_type else np.float64)


def gathers() -> Iterator[Case]:
    sources = ("float-1d", "float-2d", "float-3d", "uint8-2d", "uint8-3d", "int64-1d")
    for name, rows, same_type in itertools.product(sources, (0, 1, 13), (True, False)):
        if same_type or not name.startswith("float"):
            yield case(
                f"gather_rows-{name}-{rows}-{'as_is' if same_type else 'to_float'}",
                "gather_rows",
                exact=True,
                source=rows_of_data(name),
                order=lambda g: g.permutation(40),
                start=np.array([40 - rows]),
                out=rows_taken(name, rows, same_type),
            )
    pairs = {
        "numbers_and_labels": {"float-2d": True, "int64-1d": True},
        "pixels_and_weights": {"uint8-3d": False, "float-2d": True, "float-1d": True},
    }
    for (name, chosen), rows in itertools.product(pairs.items(), (0, 1, 13, 700)):
        tables = [rows_of_data(source) for source in chosen]
        yield case(
            f"next_batch-{name}-{rows}",
            "next_batch",
            exact=True,
            sources=lambda g, tables=tables: [drawn(each, g) for each in tables],
            order=lambda g, rows=rows: g.integers(0, 40, rows + 5),
            start=np.array([5]),
            outs=[rows_taken(source, rows, same) for source, same in chosen.items()],
            passes=np.array([7]),
        )
        if rows in (1, 13):
            yield case(
                f"append-{name}-{rows}",
                "append",
                exact=True,
                sources=lambda g, tables=tables, n=rows: [drawn(each, g)[:n] for each in tables],
                tables=lambda g, tables=tables: [drawn(each, g) for each in tables],
                position=np.array([40 - rows]),
            )


def products() -> Iterator[Case]:
    sizes = ((1, 1, 1), (0, 3, 2), (5, 7, 3), (64, 200, 10))
    for (m, k, n), ta, tb in itertools.product(sizes, (False, True), (False, True)):
        a, b = (k, m) if ta else (m, k), (n, k) if tb else (k, n)
        kwargs = {"a": a, "b": b, "out": (m, n), "transpose_a": ta, "transpose_b": tb}
        yield case(f"matmul-{m}x{k}x{n}-{ta:d}{tb:d}", "matmul", terms=k, **kwargs)


def passes(
    operation: str, f: Any, x: tuple[int, ...], weights: tuple[int, ...], bias: bool
) -> Iterator[Case]:
    """Yield cases of a dense layer's passes, optionally with groups."""
    units, fed = weights[-1], {"x": x, "weights": weights}
    z, biases = (*x[:-1], units), (*weights[:-2], units) if bias else None
    at = f"{f.name}-{joined((*x, units))}{'' if bias else '-no_bias'}"
    yield case(
        f"{operation}-{at}",
        operation,
        terms=x[-1],
        **fed,
        bias=biases,
        activation=f,
        z=z,
        out=Same("z") if f.from_output else z,
    )
    for kind, wanted in (("inputs", x), ("parameters", None)):
        yield case(
            f"{operation}_gradient-{at}-{kind}",
            f"{operation}_gradient",
            terms=max(x[0], units),
            **activated(f, z),
            **fed,
            activation=f,
            gradient=z,
            weight_gradient=weights,
            bias_gradient=biases,
            input_gradient=wanted,
        )


def dense_layers() -> Iterator[Case]:
    functions = [
        activations.Identity(),
        activations.ReLU(),
        activations.Tanh(),
        activations.GELU(),
    ]
    sizes = ((1, 1, 1), (0, 3, 2), (5, 7, 3), (64, 200, 10), (33, 16, 48))
    sizes += (
        (21, 40, 1),
        (32, 256, 300),
        (70, 3, 1000),
    )  # several methods of products, and several chunks
    for f, (rows, inputs, units), bias in itertools.product(functions, sizes, (True, False)):
        yield from passes("dense", f, (rows, inputs), (inputs, units), bias)


def elementwise() -> Iterator[Case]:
    functions = [cls() for cls in builtin(activations.Activation)]
    functions += [activations.LeakyReLU(0.0), activations.LeakyReLU(0.3), activations.ELU(0.7)]
    some = {activations.Identity, activations.ReLU, activations.GELU}
    for index, f in enumerate(functions):
        derived = type(f).derivative is activations.Activation.derivative
        shapes = (SHAPES[0], SHAPES[3], SHAPES[-1]) if derived else SHAPES  # no separate kernels
        for shape in (*shapes, *(TALL if type(f) in some else ())):
            at, bias = f"{f.name}-{index}-{joined(shape)}", (shape[1],)
            back = {**activated(f, shape), "activation": f, "gradient": shape}
            name = f"activation_gradient-{at}"
            if shape not in TALL:
                yield case(f"{name}-no_bias", "activation_gradient", **back, bias_gradient=None)
            yield case(name, "activation_gradient", shape[0], **back, bias_gradient=bias)
            if shape not in TALL:
                out, z = Same("z") if f.from_output else shape, kinked(*shape)
                yield case(f"activate-{at}", "activate", out=out, bias=bias, z=z, activation=f)
                kwargs = {"z": z, "bias": None, "out": shape}
                yield case(f"activate-{at}-no_bias", "activate", **kwargs, activation=f)
    for shape in (*SHAPES, (3, CHUNK)):
        at, key = joined(shape), 0xDEADBEEF
        dropout = partial(case, operation="dropout", exact=True, x=shape)
        fifth = {"key": key, "passes": np.array([5]), "out": shape}
        # Both ends of the range, where all or no elements are kept.
        ends = ((0.0, 3), (1e-12, 4), (1 - 1e-10, 2), (1 - 2**-53, 6))
        for rate, number in ((0.5, 1), (0.1, 123_456_789), (0.999, 0), *ends):
            kwargs = {**fifth, "passes": np.array([number])}
            yield dropout(f"dropout-{rate}-{at}", rate=rate, **kwargs)
        for number in (0.0, 0.3, 2.0**-31, 1 - 2.0**-24):
            yield dropout(f"dropout-moving-{number}-{at}", rate=np.array([number]), **fifth)
        for first in (1, 12_345, 2**32 - 2, 2**40 + 3):
            yield dropout(f"dropout-from_{first}-{at}", rate=0.5, first=first, **fifth)
        in_place = {**fifth, "key": 7, "out": Same("x")}
        yield dropout(f"dropout-in_place-{at}", rate=0.3, **in_place)
        for kind in ("float", "uint8", "int8", "uint16", "int16"):
            x = shape if kind == "float" else whole_range(kind, *shape)
            scale = 1.0 if kind == "float" else 1 / 2**16
            kwargs = {"x": x, "scale": scale, "offset": -0.5, "out": shape}
            yield case(f"rescale-{kind}-{at}", "rescale", **kwargs)
        kwargs = {"x": shape, "scale": 0.3, "offset": 0.1, "out": Same("x")}
        yield case(f"rescale-in_place-{at}", "rescale", **kwargs)


def gate(xp: Any, x: Any, gradient: Any, bias: Any) -> list[Any]:
    """Return x times a gate, its derivatives, and the mean of each row."""
    share = 1 / (1 + xp.exp(-x - bias))
    slope = gradient * x * share * (1 - share)
    means = xp.mean(x, axis=1, keepdims=True)
    return [x * share, gradient * share + slope, xp.sum(slope, axis=0), means]


def expressions() -> Iterator[Case]:
    for shape in (*SHAPES[1:], *TALL):
        (rows, columns), dtype = shape, np.float32
        kinds = {"x": shape, "gradient": shape, "bias": (columns,)}
        expression = expression_of(gate, {k: (of, "float") for k, of in kinds.items()}, dtype)
        results = [shape, shape, (columns,), (rows, 1)]
        yield case(
            f"compute-gate-{joined(shape)}",
            "compute",
            max(shape),
            expression=expression,
            inputs=lambda g, kinds=kinds: [g.standard_normal(of) for of in kinds.values()],
            outs=lambda g, results=results: [g.standard_normal(of) for of in results],
        )


TABLES = ((1, [3]), (7, [2, 5]), (70, [4, 3, 9, 2]), (33, [40, 3]), (300, [17]))
"""Rows, and the number of codes in each column."""


def codes_of(rows: int, sizes: list[int]) -> Draw:
    return lambda g: np.stack([g.integers(-1, n + 1, rows) for n in sizes], 1).astype(np.float64)


def categories() -> Iterator[Case]:
    for (rows, sizes), signs in itertools.product(TABLES, (True, False)):
        at = f"{rows}x{'+'.join(map(str, sizes))}"
        outputs = sum(1 if signs and size == 3 else size - 1 for size in sizes)
        yield case(
            f"one_hot-{at}{'-signs' if signs else ''}",
            "one_hot",
            exact=True,
            codes=codes_of(rows, sizes),
            sizes=sizes,
            binary_as_sign=signs,
            levels=(3, outputs),
            out=(rows, outputs),
        )
    for (rows, sizes), dimension in itertools.product(TABLES, (1, 8, 33)):
        at = f"{rows}x{'-'.join(map(str, sizes))}x{dimension}"
        codes = {"codes": codes_of(rows, sizes), "sizes": sizes}
        table, uses = (sum(sizes), dimension), (rows, len(sizes) * dimension)
        yield case(f"embed-{at}", "embed", exact=True, **codes, table=table, out=uses)
        kwargs = {**codes, "gradient": uses, "table_gradient": table}
        yield case(f"embed_gradient-{at}", "embed_gradient", terms=rows, **kwargs)


RANGES = ((1, 1, 0, 1, 0, 1), (6, 9, 2, 5, 3, 2), (70, 40, 7, 90, 50, 33), (5, 3, 0, 3, 0, 3))
"""Rows; source columns and the first one to copy; target columns and the first; number to copy."""

MEMBERS = ((1, 1, 1), (7, 3, 5), (70, 1, 33), (70, 4, 16), (64, 8, 100))
"""Rows, members and features."""


def members() -> Iterator[Case]:
    for rows, width, first, out_width, out_first, columns in RANGES:
        kwargs = {"source": (rows, width), "first": first, "out": (rows, out_width)}
        kwargs |= {"out_first": out_first, "columns": columns}
        yield case(f"copy_columns-{rows}x{width}-{columns}", "copy_columns", exact=True, **kwargs)
    for (rows, count, features), shared in itertools.product(MEMBERS, (True, False)):
        at = f"{rows}x{count}x{features}{'-shared' if shared else ''}"
        x, factors = (rows, 1 if shared else count, features), (count, features)
        out, kwargs = (rows, *factors), {"x": x, "factors": factors}
        yield case(f"scale-{at}", "scale", **kwargs, out=out)
        kwargs |= {"gradient": out, "factors_gradient": factors}
        wanted = {"none": None, "own": x, "in_place": Same("gradient")}
        for kind in ("none", "own", *(() if shared and count > 1 else ("in_place",))):
            name, own = f"scale_gradient-{at}-{kind}", wanted[kind]
            yield case(name, "scale_gradient", rows + count, **kwargs, input_gradient=own)
    functions = [activations.SELU(), activations.Mish(), activations.ReLU(), activations.GELU()]
    functions += [activations.ExactGELU()]
    functions += [activations.Identity(), activations.LeakyReLU(0.3)]
    for f, (rows, count, features) in itertools.product(functions, MEMBERS):
        at = f"{f.name}-{rows}x{count}x{features}"
        shape = (rows, features) if count == 1 else (rows, count, features)
        kwargs = {"activation": f, "x": kinked(*shape), "alpha": shape[1:]}
        yield case(f"parametric_activate-{at}", "parametric_activate", **kwargs, out=shape)
        name, kwargs = "parametric_activation_gradient", {**kwargs, "gradient": shape}
        yield case(f"{name}-{at}", name, terms=rows, **kwargs, alpha_gradient=shape[1:])


MASKS = {"fixed": 0.3, "moving": np.array([0.25])}
"""Rates of dropout."""


def fused_with_dropout() -> Iterator[Case]:
    """Yield operations that consist of activations, `scale`, `dropout` and their gradients."""
    functions = [(f(), (7, 3, 5)) for f in (activations.SELU, activations.ReLU)]
    functions += [(activations.GELU(), (300, 1, 33)), (activations.ReLU(), (64, 8, 100))]
    for (f, shape), (kind, rate) in itertools.product(functions, MASKS.items()):
        rows, *row = shape
        bias, at = tuple(row), f"{f.name}-{joined(shape)}"
        mask = {"rate": rate, "key": 0xDEADBEEF, "passes": np.array([5]), "first": 7}
        scale = {"x": shape, "factors": bias}
        forward = {"activation": f, "z": kinked(*shape), "bias": bias}
        forward["out"] = Same("z") if f.from_output else shape
        backward = {**activated(f, shape), "activation": f, "gradient": shape}
        dropped, wanted = {**mask, "dropped": shape}, {"bias_gradient": bias}
        adapted = {**scale, **wanted, "factors_gradient": bias}
        adapted["input_gradient"] = Same("gradient")
        if kind == "fixed":
            yield case(f"scale_activate-{at}", "scale_activate", **scale, **forward)
            name = "activation_scale_gradient"
            yield case(f"{name}-{at}", name, 2 * rows, **backward, **adapted)
        at = f"{at}-{kind}"
        for without in ({}, {"bias": None}):
            name, kwargs = "activate_dropout", {**forward, **dropped, **without}
            yield case(f"{name}-{at}{'-no_bias' * len(without)}", name, **kwargs)
        name, kwargs = "scale_activate_dropout", {**scale, **forward, **dropped}
        yield case(f"{name}-{at}", name, **kwargs)
        name, kwargs = "dropout_activation_gradient", {**backward, **mask}
        yield case(f"{name}-{at}", name, rows, **kwargs, **wanted)
        yield case(f"{name}-{at}-no_bias", name, **kwargs, bias_gradient=None)
        name = "dropout_activation_scale_gradient"
        yield case(f"{name}-{at}", name, 2 * rows, **kwargs, **adapted)


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
            name = f"group_matmul-{rows}x{groups}x{inputs}x{units}-{kind}"
            yield case(name, "group_matmul", terms, a=a, b=b, out=out, **flag)
    functions = (activations.Identity(), activations.ReLU(), activations.GELU())
    for f, sizes, bias in itertools.product(functions, GROUPED, (True, False)):
        yield from passes("group_dense", f, sizes[:3], sizes[1:], bias)


EMBEDDED = ((1, 1, 1), (7, 3, 5), (70, 8, 16), (33, 2, 48), (300, 5, 3))
"""Rows, columns, and waves or bins."""


def embeddings_of_numbers() -> Iterator[Case]:
    for (rows, columns, waves), shifted in itertools.product(EMBEDDED, (True, False)):
        at = f"{rows}x{columns}x{waves}{'-phases' if shifted else ''}"
        x, own = (rows, columns), (columns, waves)
        out = (*x, waves if shifted else 2 * waves)
        phases = uniform(*own, low=-math.pi, high=math.pi) if shifted else None
        kwargs = {"x": x, "frequencies": times(1 / 8, *own), "phases": phases}
        yield case(f"periodic-{at}", "periodic", **kwargs, out=out)
        for kind, wanted in (("inputs", x), ("parameters", None)):
            yield case(
                f"periodic_gradient-{at}-{kind}",
                "periodic_gradient",
                terms=max(rows, out[2]),
                **kwargs,
                gradient=out,
                frequencies_gradient=own,
                phases_gradient=own if shifted else None,
                input_gradient=wanted,
            )
    for rows, columns, bins in EMBEDDED:
        at, out = f"{rows}x{columns}x{bins}", (rows, columns, bins)
        one, first, last = np.ones((columns, 1)), np.arange(bins) == 0, np.arange(bins) == bins - 1
        kwargs = {
            "x": times(2, rows, columns),
            "starts": (columns, bins),
            "slopes": uniform(columns, bins, high=3.0),
            "lowest": np.where(first, -1e30, 0.0) * one,
            "highest": np.where(last, 1e30, 1.0) * one,
        }
        yield case(f"piecewise_linear-{at}", "piecewise_linear", **kwargs, out=out)
        name, kwargs = "piecewise_linear_gradient", {**kwargs, "gradient": out}
        yield case(f"{name}-{at}", name, bins, **kwargs, input_gradient=(rows, columns))


NORMALIZED = (
    *((1, 1), (1, 6), (2, 3), (64, 10), (5, 3277), (CHUNK + 1, 2), *TALL),
    *((6, 1), (1, 300), (3, 7), (17, 33), (40, 256), (8192, 3), (9, 300)),
)
"""Rows and features: one, several, and numbers that no number of lanes divides."""


def moved(far: Any, rows: int, features: int) -> Draw:
    return lambda g: 2 * normal(g, rows, features) + far


def with_nan(x: Draw) -> Draw:
    """Return a function that draws x with a NaN, which spreads only within its column or row."""

    def draw(g: np.random.Generator) -> np.ndarray:
        numbers = x(g)
        numbers[tuple(size // 2 for size in numbers.shape)] = math.nan
        return numbers  # type: ignore[no-any-return]

    return draw


def normalizations() -> Iterator[Case]:
    for rows, features in NORMALIZED:
        at, x, of = f"{rows}x{features}", (rows, features), (features,)
        affine, positive = {"scale": of, "shift": of}, uniform(features, low=0.1, high=1.1)
        scaled = {"std": uniform(features, low=0.5, high=1.5), "x": x, "mean": of}
        yield case(f"standardize-{at}", "standardize", **scaled, out=x)
        yield case(f"standardize-in_place-{at}", "standardize", **scaled, out=Same("x"))
        scaled = {"mean": of, "std": scaled["std"], "x": x, "out": x}
        least, largest = Of("mean", lambda mean: mean - 0.3), Of("mean", lambda mean: mean + 0.4)
        name, bounds = "unstandardize", {"minimum": least, "maximum": largest}
        yield case(f"{name}-free-{at}", name, **scaled, minimum=None, maximum=None)
        yield case(f"{name}-bounded-{at}", name, **scaled, **bounds)
        kwargs = {"x": x, "mean": of, "variance": positive, "epsilon": 1e-5}
        yield case(f"normalize-{at}", "normalize", **kwargs, **affine, out=x)
        yield case(f"normalize-plain-{at}", "normalize", **kwargs, scale=None, shift=None, out=x)
        # Far from 0, and increasing with the row, so that parts of rows have different means.
        far = 1000 + np.linspace(0, 4, rows)[:, None] if x in TALL else 1
        running = {"running_mean": of, "running_variance": positive, "momentum": 0.9}
        for name, numbers, more, deviations, terms in (
            ("batch_norm", moved(far, *x), {**running, "mean": of}, of, rows),
            ("layer_norm", moved(1, *x), {"normalized": x}, (rows, 1), features),
        ):
            kwargs = {**affine, **more, "epsilon": 1e-2, "inverse_std": deviations}
            yield case(f"{name}-{at}", name, terms, x=numbers, **kwargs, out=x)
            if rows * features < 500:
                same = np.full(x, 0.75)  # without variance
                yield case(f"{name}-constant-{at}", name, terms, x=same, **kwargs, out=x)
                nan = with_nan(numbers)
                yield case(f"{name}-nan-{at}", name, terms, x=nan, **kwargs, out=x)
        sums = {"scale_gradient": of, "shift_gradient": of}
        functions = [cls() for cls in builtin(activations.Activation)]
        for f in functions if x == (64, 10) else [activations.GELU()]:
            name = "layer_norm_activate"
            kwargs = {**affine, "epsilon": 1e-2, "normalized": x, "inverse_std": (rows, 1)}
            kwargs |= {"activation": f, "x": moved(1, *x), "z": x, "out": x}
            yield case(f"{name}-{f.name}-{at}", name, features, **kwargs)
            kwargs = {**activated(f, x), "activation": f, "gradient": x, "normalized": x}
            kwargs |= {"inverse_std": (rows, 1), "scale": of, **sums}
            name, terms = "layer_norm_activation_gradient", max(rows, features)
            yield case(f"{name}-{f.name}-{at}", name, terms, **kwargs)
        for name, more, deviations, terms in (
            ("batch_norm_gradient", {"x": x, "mean": of}, of, rows),
            ("layer_norm_gradient", {"normalized": x}, (rows, 1), max(rows, features)),
        ):
            inverse = uniform(*deviations, low=0.5, high=1.5)
            kwargs = {"gradient": x, **more, "inverse_std": inverse, "scale": of}
            yield case(f"{name}-{at}", name, terms, **kwargs, **sums)


def moments_of_parts(rows: int, features: int) -> Draw:
    """Return a function that draws moments of three parts, the second one without rows."""

    def draw(g: np.random.Generator) -> np.ndarray:
        counts = np.array([[rows], [0], [2 * rows]], float)
        parts = np.hstack([counts, normal(g, 3, features), rows * normal(g, 3, features) ** 2])
        parts[1] = 0
        return parts

    return draw


def of_ranks() -> Iterator[Case]:
    """Yield cases of operations that several ranks use instead of `clip` and `batch_norm`."""
    for size, norm in itertools.product(WIDTHS, (0.5, 1e6)):
        name = f"sum_of_squares-{size}-{norm}"
        yield case(name, "sum_of_squares", terms=size, values=(size,), out=(1,))
        kwargs = {"gradients": (size,), "squares": squared(3), "max_norm": norm}
        yield case(f"clip_to-{size}-{norm}", "clip_to", terms=3, **kwargs)
    for rows, features in ((1, 1), (5, 3), (130, 17)):
        at, x, of = f"{rows}x{features}", (rows, features), (features,)
        batch = {"gradient": x, "x": x, "mean": of, "inverse_std": squared(features)}
        kwargs = {"x": x, "out": (1 + 2 * features,)}
        yield case(f"column_moments-{at}", "column_moments", terms=rows, **kwargs)
        kwargs = {"parts": moments_of_parts(rows, features), "mean": of, "variance": of}
        yield case(f"combine_moments-{at}", "combine_moments", terms=3, **kwargs)
        yield case(f"running_average-{at}", "running_average", current=of, momentum=0.9, out=of)
        kwargs = {"x": x, "mean": of, "variance": squared(features), "scale": of, "shift": of}
        kwargs |= {"epsilon": 1e-3, "inverse_std": of, "out": x}
        yield case(f"batch_norm_of-{at}", "batch_norm_of", **kwargs)
        kwargs = {**batch, "scale_gradient": of, "shift_gradient": of}
        yield case(f"batch_norm_sums-{at}", "batch_norm_sums", terms=rows, **kwargs)
        kwargs = {**batch, "scale": of, "sums": (2 * features,)}
        kwargs |= {"counts": np.array([rows, 0.0, 2 * rows])}
        yield case(f"batch_norm_input_gradient-{at}", "batch_norm_input_gradient", 3, **kwargs)


MEMBER_MEANS = ((0, 2, 3), (1, 1, 1), (7, 4, 3), (130, 8, 10), (5, 3, 70))


def outputs_of_members(of: str, shape: tuple[int, ...]) -> Draw:
    def draw(g: np.random.Generator) -> np.ndarray:
        x = 3 * normal(g, *shape)
        if of != "identity" and x.size:
            x[-1] *= 100  # probabilities that underflow in float32
        return x

    return draw


def member_means() -> Iterator[Case]:
    for of, shape in itertools.product(("identity", "softmax", "sigmoid"), MEMBER_MEANS):
        name, x = f"mean_over_members-{of}-{joined(shape)}", outputs_of_members(of, shape)
        out = (shape[0], shape[2])
        yield case(name, "mean_over_members", terms=shape[1], x=x, of=of, out=out)


def targets_for(loss: Any, g: np.random.Generator, p: np.ndarray, form: str) -> np.ndarray:
    """Return valid targets of the loss, some of them equal to predictions."""
    rows, outputs = p.shape
    if form == "labels":
        return g.integers(0, outputs, rows)
    if isinstance(loss, losses.SoftmaxCrossEntropy):
        return g.dirichlet(np.ones(outputs), rows)
    if isinstance(loss, losses.BinaryCrossEntropy):
        return g.random(p.shape)
    if isinstance(loss, losses.Poisson):
        return g.poisson(2.0, p.shape).astype(np.float64)
    if isinstance(loss, losses.Gamma | losses.Tweedie):
        return g.gamma(2.0, size=p.shape)
    if isinstance(loss, losses.GaussianNLL):
        p = p[:, : outputs // 2]
    t = p + normal(g, *p.shape)
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
        g: np.random.Generator,
        loss: Any,
        form: str,
        p: Any,
        gradient: bool = True,
        weighted: bool = True,
    ) -> dict[str, Any]:
        p = drawn(p, g)
        if isinstance(loss, losses.GaussianNLL):
            p = np.hstack([p, p])  # two outputs for each target
        if isinstance(loss, losses.Quantiles):
            p = np.resize(p, (len(p), len(loss.quantiles)))
        w = weighted * g.random(len(p))
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

    for index, loss in enumerate(every):
        built_in = loss.of if isinstance(loss, Moving) else loss
        softmax = isinstance(built_in, losses.SoftmaxCrossEntropy)
        for form in ("labels", "rows") if softmax else ("rows",):
            name = f"loss-{built_in.name}-{index}-{form}"
            shapes = BATCHES if index < default else SMALL_BATCHES
            if type(built_in) not in WITH_KERNELS:
                shapes = *BATCHES[:1], *BATCHES[-3:]
            for shape, gradient in itertools.product(shapes, (True, False)):
                at = joined(shape) + ("-gradient" if gradient else "-value")
                kwargs = partial(arguments, loss=loss, form=form, p=shape, gradient=gradient)
                yield Case(f"{name}-{at}", "loss", kwargs, terms=max(shape))
            for kind, p in EXTREMES.items():
                yield Case(f"{name}-{kind}", "loss", partial(arguments, loss=loss, form=form, p=p))
            kwargs = partial(arguments, loss=loss, form=form, p=EXTREMES["nan"], weighted=False)
            yield Case(f"{name}-unweighted", "loss", kwargs)


def metric_cases() -> Iterator[Case]:
    # With the default grid, thousands of classes would use a gigabyte.
    every = [cls(16) if cls is metrics.AUC else cls() for cls in builtin(metrics.Metric)]
    default = len(every)
    every += [metrics.TopKAccuracy(2), metrics.BinaryAccuracy(0.5), metrics.Recall(threshold=0.5)]

    def arguments(g: np.random.Generator, metric: Any, form: str, p: Any) -> dict[str, Any]:
        p = drawn(p, g)
        rows, outputs = p.shape
        labels = g.integers(0, outputs, rows)
        return {
            "metric": metric,
            "predictions": p,
            "targets": labels if form == "labels" else normal(g, *p.shape),
            "weights": g.random(rows),
            "summary": g.random(metric.size(outputs)),
        }

    def few_scores(g: np.random.Generator, rows: int, outputs: int) -> np.ndarray:
        """Return few numbers: of many, one would be so near a bin's limit that rounding decides."""
        return np.round(2 * normal(g, 5, outputs))[g.integers(0, 5, rows)] / 2

    for index, metric in enumerate(every):
        of_classes = isinstance(metric, metrics.ClassMetric)
        for form in ("labels", "rows") if of_classes else ("rows",):
            name = f"metric-{metric.name}-{index}-{form}"
            tall = TALL if isinstance(metric, metrics.R2) else ()
            # The work of AUC is rows x bins. Recall and F1 have the same sums as Precision.
            known_sums = metrics.AUC, metrics.Recall, metrics.F1
            few = index >= default or isinstance(metric, known_sums)
            for shape in (*(SMALL_BATCHES if few else BATCHES), *tall):
                if form == "labels" and shape[1] == 1:
                    continue  # labels require more than one output
                if isinstance(metric, metrics.R2) and not shape[0]:
                    continue  # the trainer never uses a batch without rows
                if isinstance(metric, metrics.AUC) and EMULATED:
                    shape = shape[0], min(shape[1], MOST_CLASSES)
                auc = isinstance(metric, metrics.AUC)
                p = partial(few_scores, rows=shape[0], outputs=shape[1]) if auc else shape
                kwargs = partial(arguments, metric=metric, form=form, p=p)
                yield Case(f"{name}-{joined(shape)}", "metric", kwargs, terms=max(shape))
            for kind, p in EXTREMES.items():
                kwargs = partial(arguments, metric=metric, form=form, p=p)
                yield Case(f"{name}-{kind}", "metric", kwargs)


HALVES = ((1.0, 1.0), (1.0, 0.0))
FACTORS = ((6.0, 6.0), (1.0, 1.0), (1.0, 0.5), (0.1, 0.0), (0.1, 0.1))
"""Factors of the learning rate and of the decay, in the segments of an update."""

WITH_KERNELS: tuple[type[Configurable], ...] = (
    *(losses.MeanSquaredError, losses.MeanAbsoluteError, losses.Huber, losses.Quantile),
    *(losses.SoftmaxCrossEntropy, losses.BinaryCrossEntropy, losses.Poisson),
    *(optimizers.SGD, optimizers.RMSprop, optimizers.Adam, optimizers.AdamW, optimizers.Lion),
)
"""Losses and optimizers for which an engine has a separate kernel; others need fewer sizes."""

SIGNED = ("mean", "velocity")
"""State vectors that may be negative, unlike squares and maxima."""


def trained_by(optimizer: Any, size: int, factors: Sequence[tuple[float, float]]) -> Draw:
    def draw(g: np.random.Generator) -> Trained:
        gradients = with_zeros(g, size)
        slots = {
            name: normal(g, size) if name in SIGNED else g.random(size) * (gradients != 0)
            for name in optimizer.slots
        }
        cuts = [0, *(size * (i + 1) // len(factors) for i in range(len(factors)))]
        bounds = zip(itertools.pairwise(cuts), factors, strict=True)
        segments = [Segment(*places, *each) for places, each in bounds]
        return Trained(normal(g, size), gradients, slots, segments)

    return draw


def updates() -> Iterator[Case]:
    for size, norm in itertools.product(WIDTHS, (0.5, 1e6)):
        yield case(f"clip-{size}-{norm}", "clip", terms=size, gradients=(size,), max_norm=norm)
    for size, weight in itertools.product(WIDTHS, (8.0, 0.0)):
        kwargs = {"values": (size,), "gradients": (size,), "weight": np.array([weight])}
        kwargs |= {"strength": 0.1, "loss_sum": np.array([2.0])}
        yield case(f"l2_penalty-{size}-{weight}", "l2_penalty", terms=size, **kwargs)
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
    for (index, optimizer), (size, step), factors in itertools.product(
        enumerate(every), moments, (False, True)
    ):
        moving = isinstance(optimizer, Moving)
        plain = optimizer.of if moving else optimizer
        alike = step == 1 and size in WIDTHS[1:-2] and type(plain) not in WITH_KERNELS
        if alike or ((factors or moving) and (size, step) != (CHUNK + 1, 1)):
            continue
        trained = trained_by(plain, size, FACTORS if factors else HALVES)
        both = {"optimizer": optimizer, "trained": trained}
        kwargs = {**both, "learning_rate": np.array([0.01]), "step": np.array([step])}
        at = f"{plain.name}-{index}-{size}-{step}{'-factors' if factors else ''}"
        yield case(f"update-{at}", "update", **kwargs)
        if step > 1 or size in (min(WIDTHS), max(WIDTHS)):
            counted = partial(counters, 1, 1.5, updates=step - 1)
            yield case(f"counted_update-{at}", "counted_update", **both, counters=counted)
            name, clipped = "clipped_update", {**both, "max_norm": (0.5, 1e6)[index % 2]}
            if size == max(WIDTHS):
                yield case(f"{name}-{at}", name, size, **clipped, counters=counted)
            name, done, not_done = "update_if_finite", np.array([1]), np.array([0])
            yield case(f"{name}-{at}", name, finite=done, **kwargs)
            yield case(f"{name}-{at}-not", name, exact=True, finite=not_done, **kwargs)
    yield from loss_scaling()


def scaled_gradients(size: int, wrong: Any) -> Draw:
    def draw(g: np.random.Generator) -> np.ndarray:
        gradients = normal(g, size) * 2.0**10
        if wrong == "everywhere":
            gradients[:] = np.resize([math.inf, -math.inf, math.nan], size)
        elif wrong is not None:
            gradients[size // 2] = wrong
        return gradients

    return draw


def loss_scaling() -> Iterator[Case]:
    for weight, scale in ((8.0, 2.0**16), (0.0, 1.0), (0.3, 2.0**-14)):
        kwargs = {"weight": np.array([weight]), "scale": np.array([scale]), "normalizer": (1,)}
        name = f"scale_loss-{weight}-{scale}"
        yield case(name, "scale_loss", exact=True, **kwargs, finite=np.array([0]))
    for size, wrong, before in itertools.product(
        WIDTHS, (None, math.inf, math.nan, "everywhere"), (1, 0)
    ):
        name, scale = f"unscale-{size}-{wrong}-{before}", np.array([2.0**10])
        kwargs = {"gradients": scaled_gradients(size, wrong), "finite": np.array([before])}
        yield case(name, "unscale", exact=True, **kwargs, scale=scale)
    for finite, good, scale in (
        *((1, 0, 4.0), (1, 8, 4.0), (1, 9, 4.0), (1, 9, 2.0**24)),
        *((0, 5, 4.0), (0, 0, 2.0**-14)),
    ):
        yield case(
            f"adjust_loss_scale-{finite}-{good}-{scale}",
            "adjust_loss_scale",
            exact=True,
            finite=np.array([finite]),
            scale=np.array([scale]),
            good_updates=np.array([good]),
            updates=np.array([41]),
            interval=10,
            smallest=2.0**-14,
            largest=2.0**24,
        )


GENERATORS = (
    *(bookkeeping, gathers, elementwise, expressions, categories, members, fused_with_dropout),
    embeddings_of_numbers,
    *(normalizations, member_means, loss_cases, metric_cases, updates),
)
PRODUCTS = (products, dense_layers, grouped_products)
CASES = [case for make in (*GENERATORS, *PRODUCTS, of_ranks) for case in make()]
