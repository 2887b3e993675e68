"""Expressions in exported files give what they give in float64, in each language."""

import json
import math
import random

import exported_networks
import numpy as np
import pytest
from c_programs import SANITIZERS, compiled, rows_in_c
from functions import FUNCTIONS
from processes import run_python

import gpunn
from gpunn.expressions import expression_of, in_order
from gpunn.interchange import save_c, save_python, to_onnx
from gpunn.interchange.expressions.rows import ROWS
from gpunn.interchange.steps import LAYERS, Steps
from gpunn.layers import Layer

SIZE = 6
ARRAYS = {
    "b": np.linspace(-2, 3, SIZE),
    "s": np.array([0.7]),
    "m": np.cos(np.arange(12.0)).reshape(4, 3),
}


def softmax_of_members(xp, x, w):
    """Return a softmax of each half of a row, as a custom layer for ensembles may."""
    z, w = (xp.reshape(each, (x.shape[0], 2, 3)) for each in (x, w))
    power = xp.exp(z - xp.max(z, axis=-1, keepdims=True))
    total = xp.sum(power, axis=-1)
    return xp.zeros_like(z) + power / total[:, :, None] + xp.sum(z * w, axis=2)[:, :, None] * w


def largest_only(xp, x):
    """Return sums over the largest share of each row; each column is read alone."""
    power = xp.exp(x - xp.max(x, axis=1, keepdims=True))
    shares = power / xp.sum(power, axis=1, keepdims=True)
    largest = xp.astype(shares == xp.max(shares, axis=1, keepdims=True), x.dtype) * shares
    return largest[:, :1] + 2 * largest[:, 1:2] + 3 * largest[:, 2:3]


SHAPED = {
    "affine": lambda xp, x, w, b, s, m: (x * b + w) * s,
    "of arrays": lambda xp, x, w, b, s, m: x * xp.exp(-b) * xp.sum(m) + xp.log(s * s),
    "gate": lambda xp, x, w, b, s, m: w / (1 + xp.exp(-(x + b))),
    "columns": lambda xp, x, w, b, s, m: x[:, 1:4] * xp.sin(w)[:, 2:5] + x[:, :1],
    "column": lambda xp, x, w, b, s, m: (x[:, -1] * s)[:, None],
    "norm": lambda xp, x, w, b, s, m: x * b / xp.sqrt(xp.mean(x * x, axis=1)[:, None] + 1e-3) + w,
    "weights": lambda xp, x, w, b, s, m: (
        w * xp.exp(x - xp.max(x, axis=-1, keepdims=True)) / xp.sum(abs(w) + 1, axis=-1)[:, None]
    ),
    "outer": lambda xp, x, w, b, s, m: (x[:, :4, None] * m + xp.tanh(w[:, None, :3])) * m[:, :1],
    "groups": lambda xp, x, w, b, s, m: (
        xp.reshape(xp.exp(-abs(x)), (x.shape[0], 2, 3)) * xp.reshape(b, (2, 3)) ** 2
    ),
    "one channel": lambda xp, x, w, b, s, m: (
        xp.reshape(x, (x.shape[0], 2, 3, 1)) * m[:3, :1] + xp.reshape(w, (w.shape[0], 2, 3, 1))
    ),
    "members": lambda xp, x, w, b, s, m: softmax_of_members(xp, x, w),
    "columns of members": lambda xp, x, w, b, s, m: xp.reshape(
        xp.reshape(x, (-1, 3))[:, 1:] + xp.sin(xp.reshape(w, (-1, 3)))[:, :2], (x.shape[0], 4)
    ),
    "sums": lambda xp, x, w, b, s, m: (
        xp.sum(x, axis=1) * xp.min(w, axis=1) - xp.sum(xp.maximum(x, w), axis=1)
    )[:, None],
    "conditions": lambda xp, x, w, b, s, m: (
        xp.where((x > w) | ~(x >= b), x, 1.5) + ((x < 0) & (w > 0)) - xp.where(x == w, 1.0, 2.0)
    ),
    "repeated": lambda xp, x, w, b, s, m: xp.broadcast_to(xp.exp(-abs(x[:, :1])), w.shape),
    "filled": lambda xp, x, w, b, s, m: xp.where(x > 0, xp.ones_like(x), xp.full_like(w, -2.0)),
    "copy": lambda xp, x, w, b, s, m: +w,
    "limits": lambda xp, x, w, b, s, m: xp.where(w > 1e-60, xp.clip(x, -1e300, math.inf), 1e300),
    "joined": lambda xp, x, w, b, s, m: xp.concat(
        [x[:, 4:] * w[:, :2], xp.stack([x[:, 0], w[:, 1]], axis=1), w[:, :1] > 0, x[:, :1]], axis=1
    ),
    "part of joined": lambda xp, x, w, b, s, m: xp.concat([x, w], axis=1)[:, 4:9],
    "joined members": lambda xp, x, w, b, s, m: xp.reshape(
        xp.concat([xp.reshape(x, (-1, 3)), xp.reshape(w, (-1, 3)) ** 2], axis=1), (x.shape[0], 12)
    ),
    "largest of shares": lambda xp, x, w, b, s, m: largest_only(xp, x) * w,
    "lists": lambda xp, x, w, b, s, m: x * xp.asarray([0.5, -1.0, 2.0] * 2) + b[2] * b[1:4][1],
    "constants": lambda xp, x, w, b, s, m: xp.where(x > 1e9, math.nan, xp.tanh(0.5) * w),
}
"""Functions of rows x and w, and of arrays that all rows share."""

UNARY = ("tanh", "abs", "negative", "floor", "sign", "sin", "exp", "sqrt", "log1p", "round")
BINARY = ("add", "subtract", "multiply", "maximum", "minimum", "divide", "where")
ROW = ("sum", "max", "min", "mean")


def random_code(seed):
    choices = random.Random(seed)
    drawn = [
        (choices.random(), choices.choice(UNARY), choices.choice(BINARY), choices.choice(ROW))
        for _ in range(choices.randint(3, 15))
    ]
    places = [(choices.random(), choices.random(), choices.randrange(SIZE)) for _ in drawn]

    def function(xp, x, w, b, s, m):
        values = [x, w, b, s]
        for (kind, unary, binary, row), (first, second, column) in zip(drawn, places, strict=True):
            y, z = (values[int(each * len(values))] for each in (first, second))
            if kind < 0.3:
                y = xp.abs(y) if unary in ("sqrt", "log1p") else y
                values.append(getattr(xp, unary)(xp.minimum(y, 3.0) if unary == "exp" else y))
            elif kind < 0.7:
                given = (y, 1.5 + xp.abs(z)) if binary == "divide" else (y, z)
                given = (y > 0.5, y, z) if binary == "where" else given
                values.append(getattr(xp, binary)(*given))
            elif y.shape == x.shape:
                columns = y[:, column : column + 1]
                values.append(
                    columns if kind > 0.85 else getattr(xp, row)(y, axis=1, keepdims=True)
                )
        return xp.tanh(values[-1] + values[-2] * 0.1 + x)

    return function


CODE = {
    **SHAPED,
    **{name: lambda xp, x, *_, f=f: f(xp, x) for name, f in FUNCTIONS.items()},
    **{f"random {seed}": random_code(seed) for seed in range(15)},
}


def traced(name, dtype, rows=ROWS):
    shapes = {"x": (rows, SIZE), "w": (rows, SIZE)} | {k: a.shape for k, a in ARRAYS.items()}
    return expression_of(CODE[name], {k: (shape, "float") for k, shape in shapes.items()}, dtype)


class Formulas(Layer):
    name = "formulas"

    def output_shape(self, input_shape):
        return (sum(np.size(each) // 4 for each in expected(np.ones((4, 2 * SIZE))).values()),)


def steps_of_formulas(steps: Steps, layer: Formulas, x: str) -> str:
    halves = [
        steps.add(
            "columns", x, k * SIZE, (k + 1) * SIZE, shape=(SIZE,), to=f"half {k}".replace(" ", "_")
        )
        for k in range(2)
    ]
    arrays = [steps.array(name, array) for name, array in ARRAYS.items()]
    outputs = []
    for name in CODE:
        y = steps.compute(
            name,
            traced(name, steps.dtype),
            [*halves, *arrays],
            summary=f'Return {name} """\\ */\n*/',
            to=steps.variable("y"),
        )
        size = math.prod(steps.shapes[y])
        outputs.append(steps.add("flatten", y, shape=(size,)))
    width = sum(steps.shapes[y][0] for y in outputs)
    return steps.add("concatenate", outputs, shape=(width,), to=x)


def expected(rows):
    arrays = *np.split(rows.astype(float), 2, axis=1), *ARRAYS.values()
    with np.errstate(all="ignore"):
        return {name: traced(name, "float64", len(rows))(np, *arrays)[0] for name in CODE}


def ignores_nan(name):
    """Return whether onnxruntime may ignore NaN: in the largest and the smallest of a row."""
    nodes = in_order(traced(name, "float64").results)
    return any(node.op in ("row_maximum", "row_minimum") for node in nodes)


def rows_of(dtype):
    drawn = np.random.default_rng(1)
    rows = drawn.normal(0, 2, (12, 2 * SIZE))
    rows[5:8] *= 1000
    rows[8:] = drawn.choice([np.nan, np.inf, -np.inf, 0.0, 1.0, -1.0], (4, 2 * SIZE))
    return rows.astype(dtype)


MAIN = """\
#include <stdio.h>
#include "a.h"

int main(void) {{
    static const {real} rows[][PREDICTOR_INPUTS] = {{{rows}}};
    static {real} output[PREDICTOR_OUTPUTS];
    for (unsigned k = 0; k < sizeof rows / sizeof rows[0]; k++) {{
        predictor_predict(rows[k], output);
        for (int i = 0; i < PREDICTOR_OUTPUTS; i++) printf("%.17g ", (double)output[i]);
    }}
    return 0;
}}
"""


def in_c(model, rows, folder):
    save_c(model, folder / "a.h")
    assert max(map(len, (folder / "a.h").read_text().splitlines())) <= 100
    real = {"float32": "float", "float64": "double"}[model.dtype]
    (folder / "main.c").write_text(MAIN.format(real=real, rows=rows_in_c(rows)))
    return compiled("gcc", folder, "main.c", flags=("-O0", *SANITIZERS)).split()


def in_onnx(model, rows, folder):
    session = exported_networks.onnx_session(to_onnx(model))
    return session.run(["output"], {"input": rows})[0]


ELSEWHERE = """\
import json, runpy, sys
sys.modules["gpunn"] = None  # importing it raises an error
network = runpy.run_path("a.py")["network"]
rows = json.load(open("rows.json"))
if sys.argv[1] == "pure":
    y = [network(row) for row in rows]
else:
    import numpy
    with numpy.errstate(all="ignore"):
        y = network(numpy.array(rows, sys.argv[1])).tolist()
json.dump(y, open("y.json", "w"))
"""


def in_python(model, rows, folder, pure=False):
    save_python(model, folder / "a.py", pure=pure)
    assert max(map(len, (folder / "a.py").read_text().splitlines())) <= 100
    (folder / "rows.json").write_text(json.dumps(rows.tolist()))
    flags = ["-I", "-S"] if pure else ["-I"]
    kind = "pure" if pure else model.dtype
    run_python(*flags, "-W", "error", "-c", ELSEWHERE, kind, cwd=folder)
    return json.loads((folder / "y.json").read_text())


LANGUAGES = {
    "C": in_c,
    "ONNX": in_onnx,
    "NumPy": in_python,
    "Python": lambda *arguments: in_python(*arguments, pure=True),
}


@pytest.mark.parametrize(
    ("language", "dtype"),
    [
        *(("C", "float32"), ("ONNX", "float64"), ("NumPy", "float32"), ("Python", "float64")),
        *(
            pytest.param(*each, marks=pytest.mark.full)
            for each in (("C", "float64"), ("ONNX", "float32"), ("NumPy", "float64"))
        ),
    ],
)
def test_languages(monkeypatch, tmp_path, language, dtype):
    monkeypatch.setitem(LAYERS, Formulas, steps_of_formulas)
    model = gpunn.Sequential([Formulas()], 2 * SIZE, "numpy", dtype=dtype)
    rows = rows_of(dtype)
    y = np.array(LANGUAGES[language](model, rows, tmp_path), float).reshape(len(rows), -1)
    tolerance = 2e-6 if dtype == "float32" else 1e-12
    largest = np.abs(rows).max(axis=1, keepdims=True)
    largest = np.where(np.isfinite(largest), np.maximum(largest, 1), 1)
    wrong, column = {}, 0
    for name, result in expected(rows).items():
        with np.errstate(over="ignore"):
            result = result.reshape(len(rows), -1).astype(dtype)
        found = y[:, column : column + result.shape[1]]
        column += result.shape[1]
        with np.errstate(all="ignore"):
            scale = np.maximum(np.abs(result), largest)
            same = (np.abs(found - result) <= tolerance * scale) | (found == result)
        same |= np.isnan(found) & np.isnan(result)
        if language == "ONNX" and ignores_nan(name):
            same |= ~np.isfinite(rows).all(axis=1, keepdims=True)
        for row in np.flatnonzero(~same.all(axis=1))[:1]:
            wrong[name] = rows[row], found[row], result[row]
    assert column == y.shape[1]
    assert not wrong
