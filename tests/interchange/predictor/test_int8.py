"""Networks of 8-bit integers: their accuracy, what they refuse, and their programs in C."""

from subprocess import run

import numpy as np
import pytest
from c_programs import SANITIZERS, compiled, rows_in_c

import gpunn
from gpunn.errors import DataError, ExportError
from gpunn.interchange import Int8Network, save_c
from gpunn.interchange.predictor import int8
from gpunn.layers import (
    Activation,
    AveragePool1D,
    AveragePool2D,
    BatchNorm,
    Conv1D,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool1D,
    MaxPool2D,
    Rescaling,
    Residual,
    Scale,
    SpatialDropout,
    Standardization,
)

NETWORKS = {
    "images": (
        (5, 4, 2),
        lambda: [
            Rescaling(0.5, -0.25),
            Conv2D(6, 3, padding="same", strides=(2, 1), bias=False),
            BatchNorm(),
            Activation("relu"),
            MaxPool2D(3, strides=1, padding="same"),
            SpatialDropout(0.5),
            Conv2D(6, (1, 2), dilation_rate=2, groups=3),
            AveragePool2D(2, strides=1, padding="same"),
            Activation("relu"),
            BatchNorm(),
            Flatten(),
            Dropout(0.5),
            Dense(8, "relu"),
            Dense(3),
        ],
        "float32",
    ),
    "signals": (
        (9, 3),
        lambda: [
            BatchNorm(),
            Conv1D(6, 3, padding="same", groups=3, activation="relu"),
            AveragePool1D(2),
            Conv1D(4, 2),
            GlobalAveragePool1D(),
        ],
        "float64",
    ),
    "pixels": (
        (4, 3, 2),
        lambda: [
            Conv2D(3, 2),
            Flatten(),
            BatchNorm(),
            Rescaling(2, 0.5),
            Dense(3),
        ],
        "float32",
    ),
    "positive": (
        (4, 3, 2),
        lambda: [Conv2D(3, 2, activation="relu"), BatchNorm(), Flatten(), BatchNorm(), Dense(3)],
        "float32",
    ),
    "flattened": ((2, 3, 2), lambda: [Rescaling(2), Flatten(), BatchNorm(), Dense(3)], "float64"),
    "vectors": (
        (4,),
        lambda: [
            Standardization(),
            Dense(9, "relu", label="input"),
            Dense(2),
            BatchNorm(),
            Activation("relu"),
        ],
        "float32",
    ),
}


def trained(name):
    shape, make, dtype = NETWORKS[name]
    model = gpunn.Sequential(make(), shape, "numpy", dtype=dtype, seed=2)
    random = np.random.default_rng(0)
    for parameter, array in model.parameters.to_host().items():
        kind = parameter.split(".")[-1]
        if kind in ("scale", "running_variance", "deviation"):
            model.parameters[parameter] = random.uniform(0.5, 2, array.shape)
        elif kind in ("shift", "running_mean", "mean", "biases"):
            model.parameters[parameter] = random.normal(0, 0.3, array.shape)
    model.adapted = True
    return model, random.normal(0.5, 1, (40, *shape)).astype(dtype)


@pytest.mark.parametrize("name", NETWORKS)
def test_integers_are_close_to_numbers(name):
    model, X = trained(name)
    expected, y = model.predict(X), Int8Network(model, X).predict(X)
    assert (y.shape, y.dtype) == (expected.shape, expected.dtype)
    assert np.abs(y - expected).max() < 0.03 * np.abs(expected).max()
    assert np.abs(y - expected).max() > 0  # it is not the network itself
    no_rows = Int8Network(model, X).predict(X[:0])
    assert (no_rows.shape, no_rows.dtype) == (model.predict(X[:0]).shape, model.dtype)


MAIN = """
static void {prefix}_all(void) {{
    static const {real} rows[][{guard}_INPUTS] = {{{rows}}};
    for (unsigned k = 0; k < sizeof rows / sizeof rows[0]; k++) {{
        {real} y[{guard}_OUTPUTS];
        {prefix}_predict(rows[k], y);
        for (int i = 0; i < {guard}_OUTPUTS; i++) printf("%.17g ", (double)y[i]);
    }}
    printf("\\n");
}}
"""


def test_programs_in_c(tmp_path):
    """The outputs are bitwise identical, also for rows outside the range of calibration."""
    source, expected = "#include <stdio.h>\n", []
    for name in NETWORKS:
        model, X = trained(name)
        network, X = Int8Network(model, X), np.concatenate([X, X * 1000])
        save_c(network, tmp_path / f"{name}.h", prefix=name)
        expected.append(network.predict(X).ravel())
        real = {"float32": "float", "float64": "double"}[model.dtype]
        part = MAIN.format(prefix=name, guard=name.upper(), real=real, rows=rows_in_c(X))
        source += f'#include "{name}.h"\n{part}'
    calls = "".join(f"{name}_all();" for name in NETWORKS)
    (tmp_path / "main.c").write_text(f"{source}\nint main(void) {{ {calls} return 0; }}\n")
    lines = compiled("gcc", tmp_path, "main.c", flags=("-O0", *SANITIZERS)).splitlines()
    for line, each in zip(lines, expected, strict=True):
        np.testing.assert_array_equal(np.array(line.split(), each.dtype), each)
    text = (tmp_path / "images.h").read_text()
    assert "#define IMAGES_BUFFER_0 72\n#define IMAGES_BUFFER_1 72\n" in text
    assert "a call takes about 144 bytes of stack" in text
    short = ["gcc", "-fsyntax-only", "-Dint=short", "-x", "c", tmp_path / "images.h"]
    assert "images_needs_int_of_32_bits" in run(short, capture_output=True, text=True).stderr


def test_a_weight_of_zero_and_a_large_bias():
    """Units without weights, and biases beyond the range of sums, still have finite scales."""
    model = gpunn.Sequential([Dense(3, "relu"), Dense(2)], 2, "numpy")
    model.parameters["dense_1.weights"] = np.array([[0.0, 1e-9, 1.0], [0.0, 0.0, 1.0]])
    model.parameters["dense_1.biases"] = np.array([0.0, 50.0, 1.0])
    X = np.eye(2, dtype="float32")
    y, expected = Int8Network(model, X).predict(X), model.predict(X)
    np.testing.assert_allclose(y, expected, atol=0.02 * np.abs(expected).max())


def test_a_unit_of_zeros_does_not_affect_other_units():
    """With inputs of 1e7, the multipliers of the other units had two bits left."""
    model = gpunn.Sequential([Dense(5, "relu", bias=False), Dense(2)], 4, "numpy", seed=0)
    weights = model.parameters.to_host()["dense_1.weights"]
    model.parameters["dense_1.weights"] = weights * [0, 1e-7, 1e-7, 1e-7, 1e-7]
    X = np.random.default_rng(0).normal(0, 1e7, (300, 4))
    y, expected = Int8Network(model, X).predict(X), model.predict(X)
    np.testing.assert_allclose(y, expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        ([Dense(4, "tanh"), Dense(2)], "layer 'dense_1': 8-bit integers do not support this layer"),
        ([Residual([Dense(4)]), Dense(2)], "not in this position; use convolution"),
        ([Dense(4, "relu"), Rescaling(2), Activation("relu")], "layer 'rescaling_1': 8-bit"),
        ([Dense(4, "relu"), Rescaling(2)], "layer 'rescaling_1': 8-bit integers do not"),
        ([Dense(4), Scale()], "layer 'scale_1': 8-bit integers do not support this layer"),
        ([Activation("relu"), Dense(2)], "layer 'activation_1': 8-bit integers do not support"),
        ([Rescaling()], "model: for 8-bit integers, expected at least one convolution"),
        ([Dense(2)], "layer 'dense_1': a unit has 4 weights; 8-bit integers allow at most 3"),
    ],
)
def test_what_is_refused(monkeypatch, layers, problem):
    monkeypatch.setattr(int8, "LIMIT", 3 * 255 * 127)
    model = gpunn.Sequential(layers, 4, "numpy")
    with pytest.raises(ExportError) as raised:
        Int8Network(model, np.ones((1, 4)))
    assert problem in str(raised.value)


def test_a_scaling_before_pooling_is_refused():
    layers = [Conv2D(2, 1, activation="relu"), BatchNorm(), MaxPool2D(1), Flatten()]
    with pytest.raises(ExportError, match="layer 'batch_norm_1': 8-bit integers do not support"):
        Int8Network(gpunn.Sequential(layers, (1, 1, 4), "numpy"), np.ones((1, 1, 1, 4)))


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (np.ones((0, 4)), "X: expected at least one row"),
        (np.ones((3, 5)), r"X: this network expects shape \(rows, 4\); got \(3, 5\)"),
        (np.full((3, 4), np.nan), r"X: expected finite numbers; X\[0, 0\] is nan"),
    ],
)
def test_rows_that_do_not_fit(rows, problem):
    with pytest.raises(DataError, match=problem):
        Int8Network(gpunn.Sequential([Dense(2)], 4, "numpy"), rows)
