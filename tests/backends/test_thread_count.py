import os
import subprocess
import sys

import pytest

import gpunn
from gpunn.backends import thread_count
from gpunn.backends.numpy import NumpyBackend
from gpunn.backends.thread_count import max_threads, requested_threads
from gpunn.errors import ArgumentError, ArgumentTypeError


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(thread_count, "usable_cores", lambda: 8)
    for variable in (thread_count.VARIABLE, thread_count.OPENMP):
        monkeypatch.delenv(variable, raising=False)
    thread_count.warn_once.cache_clear()


@pytest.mark.parametrize(
    ("argument", "variable", "openmp", "expected"),
    [
        (None, None, None, None),
        (3, "5", "2", 3),
        (None, "5", "2", 5),
        (None, " 12 ", None, 12),
        (None, None, "2", 2),
        (None, "", "2", 2),
        (None, None, " 4 , 2", 4),
        (None, None, "64", 8),
        (None, None, "", None),
    ],
)
def test_precedence(monkeypatch, caplog, argument, variable, openmp, expected):
    for name, value in ((thread_count.VARIABLE, variable), (thread_count.OPENMP, openmp)):
        if value is not None:
            monkeypatch.setenv(name, value)
    assert requested_threads(argument) == expected
    assert not caplog.text


@pytest.mark.parametrize("value", ["zero", "0", "-1", "1.5", ",2", "9" * 5000])
def test_an_invalid_openmp_variable_is_ignored_with_one_warning(monkeypatch, caplog, value):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert requested_threads(None) is None
    assert requested_threads(None) is None
    assert [record.getMessage()[:37] for record in caplog.records] == [
        "gpunn: OMP_NUM_THREADS is ignored: ex"
    ]


@pytest.mark.parametrize("value", ["zero", "0", "-1", "1.5", "2,1", "20000", "9" * 5000])
def test_an_invalid_value_of_the_variable_raises_an_error(monkeypatch, value):
    monkeypatch.setenv("GPUNN_THREADS", value)
    with pytest.raises((ArgumentError, ArgumentTypeError), match=r"^GPUNN_THREADS: expected a"):
        gpunn.get_backend("numpy")
    assert gpunn.get_backend("numpy", threads=2).threads == 2


@pytest.mark.parametrize("make", [NumpyBackend, lambda n: gpunn.get_backend("numpy", threads=n)])
def test_more_threads_than_any_machine_has_raise_an_error(make):
    maximum = max_threads()
    assert make(maximum).threads == maximum
    for threads in (maximum + 1, 20_000, 10**30):
        with pytest.raises(
            ArgumentError, match=rf"^threads: .* from 1 to {maximum}; got {threads}"
        ):
            make(threads)


def test_the_environment_is_not_part_of_a_backend(monkeypatch):
    """The environment describes this machine, but the backend may be copied to another."""
    monkeypatch.setenv("GPUNN_THREADS", "3")
    backend = gpunn.get_backend("numpy")
    assert backend.threads == 3
    assert backend.options == {}


@pytest.mark.parametrize(
    ("variable", "kernels"),
    [("GPUNN_THREADS", ""), pytest.param("OMP_NUM_THREADS", "off", marks=pytest.mark.full)],
)
def test_a_worker_keeps_to_its_threads(variable, kernels):
    """A library that starts processes sets the number of threads of each."""
    script = (
        "import threading\n"
        "import numpy as np, gpunn\n"
        "layers = [gpunn.layers.Dense(512, 'mish'), gpunn.layers.Dense(3)]\n"
        "model = gpunn.Sequential(layers, input_shape=(512,), backend='numpy')\n"
        "X, y = np.ones((1024, 512), np.float32), np.arange(1024) % 3\n"
        "trainer = gpunn.Trainer(model, 'softmax_cross_entropy')\n"
        "trainer.fit(X, y, batch_size=1024, progress=False)\n"
        "trainer.evaluate(X, y)\n"
        "model.predict(X)\n"
        "assert model.backend.threads == 1\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    environment = {**os.environ, variable: "1", "GPUNN_KERNELS": kernels}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True, timeout=600)
