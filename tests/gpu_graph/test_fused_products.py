"""Products that also compute a bias, ReLU or a bias's gradient, through cuBLASLt."""

import ctypes
import gc
import importlib.util
import re
import threading
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import cupy
import devices
import numpy as np
import pytest
from gpu_graph import products
from gpu_graph.products import Amended, close

import gpunn
from gpunn import activations, layers
from gpunn.backends.cupy import CupyBackend
from gpunn.backends.cupy.matmul import choice, choose_fused_product, cublas, cublaslt, lt_product
from gpunn.backends.cupy.matmul.cublas import CublasError
from gpunn.backends.cupy.matmul.selection import Heuristic
from gpunn.backends.cupy.scratch import Scratch
from gpunn.errors import DivergenceError

SHAPES = [(3, 5, 7), (1, 1, 1), (1, 6, 2), (4, 1, 3), (5, 3, 1), (16, 64, 32)]
EPILOGUES = {
    "bias": (cublaslt.BIAS, lambda z, vector: z + vector),
    "ReLU": (cublaslt.RELU, lambda z, vector: np.maximum(z, 0)),
    "bias and ReLU": (cublaslt.RELU_BIAS, lambda z, vector: np.maximum(z + vector, 0)),
    "gradient of a bias": (cublaslt.BIAS_GRADIENT, lambda z, vector: z),
}


def product(precision="float32"):
    return choose_fused_product(True, precision, Scratch())


def placed(array, offset=0):
    memory = cupy.full(array.size + offset, np.nan, array.dtype)
    view = memory[offset:].reshape(array.shape)
    view.set(array)
    return view


def operands(m, n, k, transpose_a=False, offset=0):
    """Return a, b, an array for their product, and a vector, at offsets into allocations."""
    a, b, _, expected = products.operands(m, n, k, transpose_a)
    vector = np.random.default_rng(n).standard_normal(n).astype("f4")
    out = cupy.full(m * n + offset, np.nan, "f4")[offset:].reshape(m, n)
    return placed(a.get(), offset), placed(b.get(), offset), out, placed(vector, offset), expected


def multiplied(multiply, *arguments, **options):
    if not multiply(*arguments, **options):
        assert devices.DEVICE == "cuda", multiply.reason
        pytest.skip(multiply.reason)


@pytest.mark.parametrize("name", EPILOGUES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("offset", [0, 1, 6])
def test_every_epilogue(name, shape, transpose_a, offset):
    epilogue, formula = EPILOGUES[name]
    a, b, out, vector, expected = operands(*shape, transpose_a, offset)
    given = None if name == "ReLU" else vector
    before = vector.get()
    multiplied(product(), a, b, out, epilogue, given, transpose_a=transpose_a)
    close(out, formula(expected, before))
    sums = b.get().sum(axis=0) if name == "gradient of a bias" else before
    close(vector, sums)


def test_an_algorithm_is_not_used_where_matrices_are_less_aligned():
    multiply = product()
    for offset in (0, 1, 0, 2, 4):
        a, b, out, vector, expected = operands(4, 5, 6, offset=offset)
        before = vector.get()
        multiplied(multiply, a, b, out, cublaslt.BIAS, vector)
        close(out, expected + before)


def test_networks_of_one_shape_have_separate_biases():
    multiply = product()
    for value in (1.0, 2.0, 1.0):
        a, b, out, _, expected = operands(4, 5, 6)
        multiplied(multiply, a, b, out, cublaslt.BIAS, cupy.full(5, value, "f4"))
        close(out, expected + value)


def test_empty_matrices_are_not_fused():
    backend = CupyBackend(0)
    for rows, inputs in ((0, 3), (2, 0)):
        z = cupy.full((rows, 4), np.nan, "f4")
        x, W, b = cupy.ones((rows, inputs), "f4"), cupy.ones((inputs, 4), "f4"), cupy.ones(4, "f4")
        backend.dense(x, W, b, activations.ReLU(), z, z)
        assert z.get().tolist() == [[1.0] * 4] * rows


def test_a_recorded_product_has_its_own_workspace(emulator):
    multiply = product()
    a, b, out, vector, expected = operands(4, 5, 6)
    multiply(a, b, out, cublaslt.BIAS, vector)
    stream = cupy.cuda.Stream(non_blocking=True)
    with emulator.counters() as counts, stream:
        stream.begin_capture()
        multiply(a, b, out, cublaslt.BIAS, vector)
        graph = stream.end_capture()
    assert counts.captured_matmuls == {"float32": 1}
    assert counts.captured_mallocs == 0
    vector += 1
    out.fill(0)
    graph.launch()
    close(out, expected + vector.get())


def dense(backend, activation, bias=True):
    x, W, z, b, _ = operands(8, 5, 6)
    b = b if bias else None
    backend.dense(x, W, b, activation, z, z)
    gradient, W_gradient = cupy.cos(z), cupy.full_like(W, np.nan)
    b_gradient = cupy.full_like(b, np.nan) if bias else None
    x_gradient = cupy.full_like(x, np.nan)
    given = x, W, activation, z, z, gradient
    backend.dense_gradient(*given, W_gradient, b_gradient, x_gradient)
    arrays = z, gradient, W_gradient, b_gradient, x_gradient
    return [array.get() for array in arrays if array is not None]


def assert_close(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("activation", "bias", "fused"),
    [
        (activations.Identity(), True, 2),
        (activations.Identity(), False, 0),
        (activations.ReLU(), True, 1),
        (activations.ReLU(), False, 1),
        (activations.Tanh(), True, 0),
    ],
)
def test_which_products_of_a_layer_are_fused(activation, bias, fused, emulator):
    with emulator.counters() as counts:
        with_them = dense(CupyBackend(0), activation, bias)
    assert counts.fused_matmuls == fused
    with emulator.counters() as counts:
        without = dense(CupyBackend(0, fused_products=False), activation, bias)
    assert counts.fused_matmuls == 0
    assert_close(with_them, without)


def find_none(*arguments):
    ctypes.cast(arguments[-1], ctypes.POINTER(ctypes.c_int))[0] = 0
    return 0


@pytest.mark.parametrize(
    ("functions", "why", "level"),
    [
        ({"cublasLtMatmulAlgoGetHeuristic": lambda *_: 15}, "status 15, not supported", "INFO"),
        ({"cublasLtMatmulAlgoGetHeuristic": lambda *_: 7}, "status 7, invalid value", "WARNING"),
        ({"cublasLtMatmulAlgoGetHeuristic": find_none}, "no algorithm", "INFO"),
        ({"cublasLtMatmul": lambda *_: 15}, "status 15, not supported", "INFO"),
        ({"cublasLtMatmul": lambda *_: 7}, "status 7, invalid value", "WARNING"),
    ],
    ids=["no heuristic", "a wrong question", "no algorithm", "a refusal", "an invalid value"],
)
def test_refused_products_are_computed_without_cublaslt(
    functions, why, level, monkeypatch, emulator, caplog
):
    caplog.set_level("INFO", "gpunn")
    lt_product.say_once.cache_clear()
    monkeypatch.setattr(choice, "load_cublaslt", lambda: Amended(**functions))
    backend = CupyBackend(0)
    assert backend.describe()["fused_products"] == "cuBLASLt"
    with emulator.counters() as counts:
        found = dense(backend, activations.Identity())
    assert counts.fused_matmuls == 0
    assert_close(found, dense(CupyBackend(0), activations.Identity()))
    refused = (
        f"(6, 8) times (8, 5) with bias gradient ({why}); (8, 6) times (6, 5) with bias ({why})"
    )
    assert backend.describe()["fused_products"] == f"cuBLASLt, which refused: {refused}"
    dense(backend, activations.Identity())
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [name for name, _ in said] == [level] * 2  # once for each epilogue
    assert all(why in message for _, message in said)


@pytest.mark.parametrize(
    "function", ["cublasLtMatmul", "cublasLtMatmulAlgoGetHeuristic", "cublasLtMatrixLayoutCreate"]
)
def test_the_error_of_a_failure_names_the_remedy(function):
    amended = Amended(**{function: lambda *_: 14})
    a, b, out, vector, _ = operands(4, 5, 6)
    multiply = lt_product.LtProduct(amended, "float32", Scratch(), Heuristic())
    with pytest.raises(CublasError, match=rf"{function}: cuBLASLt .* status 14.*fused_products="):
        multiplied(multiply, a, b, out, cublaslt.BIAS, vector)


def test_without_the_library_layers_work_and_describe_names_the_reason(monkeypatch):
    monkeypatch.setattr(choice, "load_cublaslt", Mock(side_effect=OSError("no such library")))
    backend = CupyBackend(0)
    described = backend.describe()["fused_products"]
    assert described == "none: cuBLASLt can't be opened: no such library"
    assert backend.describe()["matmul"].startswith("cuBLAS,")
    without = dense(CupyBackend(0, fused_products=False), activations.ReLU())
    for ours, theirs in zip(dense(backend, activations.ReLU()), without, strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_without_a_handle_there_are_no_fused_products(monkeypatch):
    monkeypatch.setattr(choice, "load_cublaslt", lambda: Amended(cublasLtCreate=lambda *_: 3))
    assert "cublasLtCreate: cuBLASLt returned status 3" in product().reason


def test_each_thread_has_its_own_plans():
    """A product writes its vector's address into the plan before it is launched."""
    asked, multiply = [], product()
    choose = multiply.selection.choose
    multiply.selection.choose = lambda *problem: asked.append(problem[1]) or choose(*problem)
    a, b, out, vector, _ = operands(4, 5, 6)
    for each in (lambda: multiply(a, b, out, cublaslt.BIAS, vector),) * 2:
        each()
    thread = threading.Thread(target=each)
    thread.start()
    thread.join()
    assert len(set(map(id, asked))) == len(asked) == 2


@pytest.mark.parametrize(
    "functions",
    [
        {},
        {"cublasLtMatmulAlgoGetHeuristic": lambda *_: 15},
        {"cublasLtMatmulPreferenceSetAttribute": lambda *_: 14},
        {"cublasLtMatrixLayoutCreate": lambda *_: 14},
    ],
    ids=["a product", "a refusal", "no preference", "no layout"],
)
def test_everything_is_destroyed_with_its_thread(functions):
    watched = Amended(**functions)
    a, b, out, vector, _ = operands(16, 64, 32)

    def multiply():
        with suppress(CublasError):
            lt_product.LtProduct(watched, "float32", Scratch(), Heuristic())(
                *(a, b, out, cublaslt.BIAS, vector)
            )

    thread = threading.Thread(target=multiply)
    thread.start()
    thread.join()
    gc.collect()
    refused = {"cublasLtMatrixLayoutCreate"} & functions.keys()  # this one made nothing
    assert watched.unbalanced() == dict.fromkeys(refused, 1)


def test_a_refused_plan_does_not_wait_for_its_thread_to_end():
    watched = Amended(cublasLtMatmulAlgoGetHeuristic=lambda *_: 15)
    a, b, out, vector, _ = operands(16, 64, 32)
    multiply = lt_product.LtProduct(watched, "float32", Scratch(), Heuristic())
    assert not multiply(a, b, out, cublaslt.BIAS, vector)
    gc.collect()
    assert watched.unbalanced() == {"cublasLtCreate": 1}


def test_a_cublas_handle_is_destroyed_on_its_device():
    watched = Amended(cublas.load_cublas())
    last = cupy.cuda.runtime.getDeviceCount() - 1
    devices_used = []
    destroy = watched.cublasDestroy_v2
    watched.cublasDestroy_v2 = lambda handle: (
        devices_used.append(cupy.cuda.runtime.getDevice()),
        destroy(handle),
    )
    with cupy.cuda.Device(last):
        handle = cublas.Handle(watched)
    del handle
    gc.collect()
    assert devices_used == [last]
    assert cupy.cuda.runtime.getDevice() == 0
    assert not watched.unbalanced()


@pytest.mark.parametrize("graph", [True, False])
def test_nan_parameters_are_detected_behind_relu(graph):
    """cuBLASLt's max(x, 0) may be 0 for NaN; the emulated cuBLASLt returns 0."""
    model = gpunn.Sequential(
        [layers.Dense(4, "relu"), layers.Dense(1)], 3, CupyBackend(0, graph=graph), seed=0
    )
    model.layers[0].values["weights"][0, 0] = np.nan
    trainer = gpunn.Trainer(model, "mean_squared_error")
    X = np.ones((8, 3))
    with pytest.raises(DivergenceError):
        trainer.fit(X, X[:, :1], epochs=1, batch_size=4, progress=False)


def header():
    spec = importlib.util.find_spec("nvidia")
    folders = spec.submodule_search_locations if spec is not None else []
    for folder in folders or []:
        for path in Path(folder).glob("*/include/cublasLt.h"):
            return path.read_text()
    return ""


HEADER = header()


@pytest.mark.skipif(not HEADER, reason="nvidia-cublas, which has the header, isn't installed")
def test_numbers_and_sizes_are_those_of_the_header():
    expressions = dict(re.findall(r"\bCUBLASLT_(\w+) = ([^,]+),", HEADER))

    def value(expression):
        terms = expression.strip("() ").split("|")
        return sum(
            int(term, 0)
            if term.strip()[0].isdigit()
            else value(expressions[term.strip().removeprefix("CUBLASLT_")])
            for term in terms
        )

    ours = {
        name: number
        for name, number in vars(cublaslt).items()
        if re.match("EPILOGUE_|MATMUL_(DESC|PREF)_|REDUCTION_SCHEME_", name)
    }
    assert len(ours) == 16
    assert ours == {name: value(expressions[name]) for name in ours}
    assert value(expressions["EPILOGUE_RELU_BIAS"]) == cublaslt.RELU_BIAS
    (words,) = re.findall(r"uint64_t data\[(\d+)\];\n} cublasLtMatmulAlgo_t;", HEADER)
    assert ctypes.sizeof(cublaslt.Algorithm) == 8 * int(words)
    (fields,) = re.findall(
        r"typedef struct \{((?:(?!typedef).)*?)\} \w+HeuristicResult_t;", HEADER, re.S
    )
    declared = re.findall(r"^ *(\w+) \w+(?:\[(\d+)\])?;$", fields, re.M)
    assert declared == [
        ("cublasLtMatmulAlgo_t", ""),
        ("size_t", ""),
        ("cublasStatus_t", ""),
        ("float", ""),
        ("int", "4"),
    ]
    for name, types in cublaslt.FUNCTIONS.items():
        (parameters,) = re.findall(rf"CUBLASWINAPI {name}\(([^;]*)\);", HEADER)
        parameters = re.sub(r"//.*|/\*.*?\*/", "", parameters)
        count = 0 if parameters == "void" else len(parameters.split(","))
        assert len(types) == count, name
