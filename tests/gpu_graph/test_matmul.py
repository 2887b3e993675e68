"""Products through a separate cuBLAS handle: layouts, streams, capture, precision."""

import copy
import os
import pickle
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import cupy
import numpy as np
import pytest
from gpu_graph.products import Amended, close, operands

import gpunn
from gpunn import get_backend, layers
from gpunn.backends.cupy import CupyBackend
from gpunn.backends.cupy.matmul import choice, choose_product, cublas, cublaslt
from gpunn.backends.cupy.options import PRECISIONS
from gpunn.backends.cupy.scratch import Scratch
from gpunn.errors import (
    BackendUnavailableError,
    DeviceMemoryError,
)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 1, 1), (1, 6, 2), (4, 1, 3), (5, 3, 1)])
def test_every_layout(dtype, order, transpose_a, transpose_b, shape):
    a, b, out, expected = operands(*shape, transpose_a, transpose_b, dtype=dtype, order=order)
    options = {"transpose_a": transpose_a, "transpose_b": transpose_b}
    CupyBackend(0).matmul(a, b, out, **options)
    close(out, expected, 1e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("shape", [(0, 5, 3), (3, 0, 4), (3, 4, 0)])
def test_empty_operands(shape):
    a, b, out, expected = operands(*shape)
    CupyBackend(0).matmul(a, b, out)
    assert out.get().tolist() == expected.tolist()


def test_slices_and_mixed_types_are_also_computed():
    a, b, _, expected = operands(6, 4, 5)
    out = cupy.zeros((3, 4), "float32")
    CupyBackend(0).matmul(a[::2], b, out)
    close(out, expected[::2])
    out = cupy.zeros((6, 4), "float64")
    CupyBackend(0).matmul(a, b, out)
    close(out, expected)


def test_the_separate_handle_is_chosen_and_described():
    product = choose_product("float32", Scratch())
    assert product.capturable
    assert product.reason == "cuBLAS, float32 products of float32 matrices"
    described = CupyBackend(0).describe()
    assert described["matmul"] == product.reason
    assert described["graph"] == "on"


def test_a_captured_product_has_its_own_workspace(emulator):
    """The next product uses the current stream again."""
    product = choose_product("float32", Scratch())
    a, b, out, expected = operands(4, 5, 6)
    product(a, b, out, False, False)
    stream = cupy.cuda.Stream(non_blocking=True)
    with emulator.counters() as counts, stream:
        stream.begin_capture()
        product(a, b, out, False, False)
        graph = stream.end_capture()
    assert counts.captured_matmuls == {"float32": 1}
    assert counts.captured_mallocs == 0
    out.fill(0)
    graph.launch()
    close(out, expected)
    out.fill(0)
    with emulator.counters() as counts:
        product(a, b, out, False, False)
    assert counts.matmuls == {"float32": 1}
    close(out, expected)


def test_lower_precision_is_used_only_on_request(emulator):
    a, b, out, expected = operands(20, 30, 40, transpose_b=True)
    errors = {}
    for precision in PRECISIONS:
        with emulator.counters() as counts:
            backend = CupyBackend(0, matmul_precision=precision)
            backend.matmul(a, b, out, transpose_b=True)
        assert counts.matmuls == {precision: 1}
        assert backend.describe()["matmul"] == f"cuBLAS, {precision} products of float32 matrices"
        errors[precision] = np.abs(out.get() - expected).max()
    assert errors["float32"] < 1e-5 < errors["tf32"] < 1e-2 < errors["bfloat16"] < 2e-1
    assert 1e-5 < errors["float16"] < 1e-2


@pytest.mark.emulated
@pytest.mark.parametrize(
    ("number", "rounded"),
    [(65519.0, 65504.0), (65520.0, np.inf), (2.0**-24, 2.0**-24), (2.0**-26, 0.0), (np.nan,) * 2],
)
def test_float16_has_a_narrow_range(number, rounded):
    a, b, out = (cupy.full((1, 1), each, "float32") for each in (number, 1.0, 5.0))
    CupyBackend(0, matmul_precision="float16").matmul(a, b, out)
    np.testing.assert_array_equal(out.get(), [[rounded]])
    CupyBackend(0, matmul_precision="bfloat16").matmul(a, b, out)
    np.testing.assert_allclose(out.get(), [[number]], rtol=2.0**-8)


@pytest.mark.emulated
def test_training_in_lower_precision(emulator):
    X, y, *_ = gpunn.data.load_digits()
    losses = {}
    for name in PRECISIONS:
        backend = get_backend("cupy", matmul_precision=name)
        model = gpunn.Sequential(
            [layers.Rescaling(1 / 16), layers.Dense(16, "relu"), layers.Dense(10)],
            64,
            backend=backend,
            seed=0,
        )
        trainer = gpunn.Trainer(model, "softmax_cross_entropy", "adam")
        with emulator.counters() as counts:
            history = trainer.fit(X[:96], y[:96], epochs=2, batch_size=32, progress=False)
        assert set(counts.matmuls + counts.replayed_matmuls) == {name}
        assert model.parameters.values.dtype == np.float32
        losses[name] = np.array(history["loss"])
        np.testing.assert_allclose(losses[name], losses["float32"], rtol=1e-2)
    assert len({each.tobytes() for each in losses.values()}) == len(PRECISIONS)


def test_a_pickled_network_keeps_its_options():
    backend = get_backend("cupy", graph=False, matmul_precision="tf32")
    model = gpunn.Sequential([layers.Dense(2)], 3, backend=backend)
    copied = pickle.loads(pickle.dumps(model))
    assert copied.backend.options == {
        "graph": False,
        "matmul_precision": "tf32",
        "fused_products": True,
        "matmul_algorithms": "heuristic",
    }
    assert copy.deepcopy(model).backend is backend
    assert copied.to("numpy").backend.options == {}


def test_float64_stays_float64_at_any_precision(emulator):
    a, b, out, expected = operands(4, 5, 6, dtype="float64")
    CupyBackend(0, matmul_precision="tf32").matmul(a, b, out)
    close(out, expected, 1e-13)


def test_without_a_library_cupys_product_is_the_fallback(monkeypatch):
    monkeypatch.setattr(choice, "load_cublas", Mock(side_effect=OSError("no such library")))
    product = choose_product("float32", Scratch())
    assert not product.capturable
    assert "no such library" in product.reason
    a, b, out, expected = operands(4, 5, 6, True, True)
    product(a, b, out, True, True)
    close(out, expected)
    with pytest.raises(BackendUnavailableError, match=r"matmul_precision='tf32'.*no such library"):
        choose_product("tf32", Scratch())


@pytest.mark.skipif(not hasattr(os, "RTLD_NOLOAD"), reason="no question to the linker")
@pytest.mark.parametrize("module", [cublas, cublaslt])
def test_the_library_that_is_loaded_comes_before_others_on_the_machine(module, monkeypatch):
    another = SimpleNamespace(abs_path="/usr/local/another/toolkit/libcublas.so")
    find = Mock(return_value=another)
    monkeypatch.setitem(
        sys.modules, "cuda.pathfinder", SimpleNamespace(load_nvidia_dynamic_lib=find)
    )
    load = module.load_cublas if module is cublas else module.load_cublaslt
    assert load.__wrapped__()._handle == load()._handle
    assert not find.called
    with pytest.raises(OSError, match="another/toolkit"):  # asked only for what is not loaded
        cublas.open_library("nothing")
    find.assert_called_once_with("nothing")


@pytest.fixture
def handleless(monkeypatch):
    def refuse(status):
        monkeypatch.setattr(cublas, "handles", cublas.Handles(cublas.Handle))
        library = Amended(cublas.load_cublas(), cublasCreate_v2=lambda handle: status)
        monkeypatch.setattr(choice, "load_cublas", lambda: library)

    return refuse


@pytest.mark.parametrize("name", ["cupy", "auto"])
def test_without_a_handle_cupys_product_is_the_fallback(name, handleless):
    handleless(1)
    backend = get_backend(name)
    reason = "cuBLAS can't be opened for a second handle: cublasCreate: cuBLAS returned status 1"
    assert backend.describe()["matmul"] == f"cupy.matmul ({reason})"
    with pytest.raises(BackendUnavailableError, match=r"matmul_precision='tf32'.*status 1"):
        get_backend("cupy", matmul_precision="tf32")


@pytest.mark.parametrize("name", ["cupy", "auto"])
def test_no_memory_for_a_handle_is_a_lack_of_device_memory(name, handleless):
    handleless(3)
    with pytest.raises(DeviceMemoryError, match=r"^cublasCreate: .* [\d,]+ free bytes"):
        get_backend(name)


def test_a_refusal_of_cublas_raises_an_error():
    with pytest.raises(cublas.CublasError, match="cublasGemmEx: cuBLAS returned status 15"):
        cublas.check("cublasGemmEx", 15)


SETTINGS = ["cublasSetStream", "cublasSetWorkspace"]  # of a handle, in their order
INTERNAL_ERROR = 14


def place():
    return cupy.cuda.get_current_stream().ptr, cupy.empty(1024, "uint8")


@pytest.mark.parametrize("function", SETTINGS)
def test_a_refusal_raises_an_error_each_time(function):
    failing = {f"{function}_v2": lambda *_: INTERNAL_ERROR}
    handle = cublas.Handle(Amended(cublas.load_cublas(), **failing))
    for _ in range(2):
        with pytest.raises(cublas.CublasError, match=f"^{function}: .* status {INTERNAL_ERROR}$"):
            handle.use(*place())


def test_a_stream_with_the_address_of_a_destroyed_one_is_also_set():
    library, there = Amended(cublas.load_cublas()), place()
    handle = cublas.Handle(library)
    for _ in range(2):
        handle.use(*there)
    settings = [(name, times) for name, times in library.calls.items() if "Set" in name]
    assert settings == [(f"{name}_v2", 2) for name in SETTINGS]
