import logging
from unittest.mock import Mock

import pytest

from gpunn.backends import Backend, choose_backend, get_backend, selection
from gpunn.backends.cupy.options import PRECISIONS, CudaOptions
from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.selection import settle_backend
from gpunn.errors import ArgumentError, ArgumentTypeError, BackendUnavailableError


@pytest.fixture(autouse=True)
def no_variable(monkeypatch):
    monkeypatch.delenv("GPUNN_BACKEND", raising=False)
    selection._warn_once.cache_clear()


@pytest.fixture
def no_device(monkeypatch):
    missing = BackendUnavailableError("no CUDA device")
    monkeypatch.setattr(selection, "_cupy", Mock(side_effect=missing))


@pytest.fixture
def devices(monkeypatch):
    devices = []

    def create(device, options):
        devices.append(device)
        return Backend(None, device, "cupy")

    monkeypatch.setattr(selection, "_cupy", create)
    return devices


@pytest.mark.parametrize(
    ("argument", "variable", "configured", "expected"),
    [
        ("numpy", "cupy", "cupy:1", "numpy"),
        (None, "cupy", "cupy:1", "cupy"),
        (None, None, "cupy:1", "cupy:1"),
        (None, None, None, "auto"),
        (None, "", "numpy", "numpy"),
        ("", "", "", "auto"),
    ],
)
def test_precedence(monkeypatch, argument, variable, configured, expected):
    if variable is not None:
        monkeypatch.setenv("GPUNN_BACKEND", variable)
    assert choose_backend(argument, configured) == expected


@pytest.mark.parametrize(
    ("argument", "variable", "configured", "origin"),
    [
        ("nump", "numpy", "numpy", "backend"),
        (None, "nump", "numpy", "GPUNN_BACKEND"),
        (None, "nump", None, "GPUNN_BACKEND"),
        (None, None, "nump", "backend"),
        (None, "numpy", "nump", "backend"),
        ("numpy", None, "nump", "backend"),
    ],
)
def test_a_wrong_name_and_where_it_comes_from(monkeypatch, argument, variable, configured, origin):
    if variable is not None:
        monkeypatch.setenv("GPUNN_BACKEND", variable)
    with pytest.raises(ArgumentError, match=f"^{origin}: there is no backend 'nump'"):
        settle_backend(argument, configured) if configured else get_backend(argument)


def test_the_backend_with_the_highest_priority(monkeypatch, devices):
    monkeypatch.setenv("GPUNN_BACKEND", "cupy:1")
    assert settle_backend(None, "numpy").device == 1
    assert isinstance(settle_backend("numpy", "cupy"), NumpyBackend)


def test_a_backend_is_returned_unchanged():
    backend = NumpyBackend()
    assert get_backend(backend) is backend


def test_variable_decides_where_nothing_is_given(monkeypatch, no_device):
    monkeypatch.setenv("GPUNN_BACKEND", "cupy")
    with pytest.raises(BackendUnavailableError):
        get_backend()
    assert isinstance(get_backend("numpy"), NumpyBackend)
    monkeypatch.setenv("GPUNN_BACKEND", "numpy")
    assert isinstance(get_backend(), NumpyBackend)


@pytest.mark.parametrize(
    ("name", "number"), [("cupy", None), ("cupy:0", 0), ("cupy:12", 12), ("auto", None)]
)
def test_device_numbers(devices, name, number):
    assert get_backend(name).name == "cupy"
    assert devices == [number]


def test_options_reach_the_cuda_backend(monkeypatch):
    options_used = []
    monkeypatch.setattr(selection, "_cupy", lambda device, options: options_used.append(options))
    get_backend("cupy")
    get_backend("auto", graph=False)
    for precision in PRECISIONS:
        get_backend("cupy:1", matmul_precision=precision)
    chosen = [CudaOptions(True, precision) for precision in PRECISIONS]
    assert options_used == [CudaOptions(), CudaOptions(graph=False), *chosen]


@pytest.mark.parametrize("name", ["numpy", "cupy"])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"matmul_precision": "float8"}, ArgumentError, "'float8' is not supported; .*'float16'"),
        ({"matmul_precision": "tf23"}, ArgumentError, "did you mean 'tf32'"),
        ({"matmul_precision": 32}, ArgumentError, "32 is not supported"),
        ({"matmul_algorithms": "mesured"}, ArgumentError, "did you mean 'measured'"),
        ({"graph": "yes"}, ArgumentTypeError, "graph: expected True or False; got 'yes'"),
        ({"fused_products": 1}, ArgumentTypeError, "fused_products: expected True or False"),
    ],
)
def test_invalid_options(devices, name, options, error, message):
    with pytest.raises(error, match=message):
        get_backend(name, **options)
    assert devices == []


@pytest.mark.parametrize("name", ["cupy", "cupy:3"])
def test_no_silent_fallback(no_device, name):
    with pytest.raises(BackendUnavailableError, match="no CUDA device"):
        get_backend(name)


@pytest.mark.parametrize(("has_signs", "claimed"), [(True, True), (True, False), (False, True)])
def test_auto_falls_back_and_one_process_warns_once_if_there_are_signs_of_a_gpu(
    no_device, caplog, monkeypatch, has_signs, claimed
):
    signs = Mock(return_value=has_signs)  # looked for once, since this takes long
    monkeypatch.setattr(selection, "has_signs_of_gpu", signs)
    monkeypatch.setattr(selection, "claim", lambda subject: claimed)
    with caplog.at_level(logging.WARNING, "gpunn"):
        assert isinstance(get_backend("auto"), NumpyBackend)
        assert isinstance(get_backend(), NumpyBackend)
    assert signs.call_count == 1
    assert [record.getMessage() for record in caplog.records] == [
        "gpunn: backend 'auto' chose 'numpy': no CUDA device. To use a GPU, run: gpunn doctor. "
        "To hide this warning, set GPUNN_BACKEND=numpy"
    ][: int(has_signs and claimed)]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("numpi", "did you mean 'numpy'?"),
        ("cupi", "did you mean 'cupy'?"),
        ("cupy:", "use 'cupy'"),
        ("cupy:-1", "did you mean 'cupy"),
        ("cupy:one", "valid: 'auto', 'cupy', 'cupy:0', 'numpy'"),
        ("NumPy", "use 'numpy' (valid: 'auto', 'cupy', 'cupy:0', 'numpy')"),
        ("cpu", "use 'numpy'"),
        ("cuda", "use 'cupy'"),
        ("torch", "valid: 'auto', 'cupy', 'cupy:0', 'numpy'"),
    ],
)
def test_unknown_names(devices, name, hint):
    with pytest.raises(ArgumentError) as caught:
        get_backend(name)
    message = str(caught.value)
    assert message.startswith(f"backend: there is no backend {name!r}; ")
    assert hint in message
    assert devices == []


def test_wrong_arguments():
    with pytest.raises(ArgumentTypeError, match="backend: expected a name or a Backend; got 3"):
        get_backend(3)
    with pytest.raises(ArgumentError, match="<gpunn backend 'numpy'>, which already has options"):
        get_backend(NumpyBackend(), graph=False)
