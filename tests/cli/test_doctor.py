import json
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import gpunn as package
import gpunn.doctor as doctor
from gpunn.backends.cupy import diagnosis
from gpunn.errors import BackendUnavailableError

FINDINGS = [
    SimpleNamespace(name="driver", value="CUDA 13.0", problem="", fix=""),
    SimpleNamespace(name="cuBLAS", value="missing", problem="it can't be loaded", fix="pip it"),
]


@pytest.fixture
def no_gpu(monkeypatch):
    """A machine whose only lack is cuBLAS."""

    def refuse(index: int | None) -> None:
        raise BackendUnavailableError("backend 'cupy': cuBLAS can't be loaded. To fix it: pip it")

    monkeypatch.setattr(diagnosis, "findings", lambda: FINDINGS)
    monkeypatch.setattr(diagnosis, "require_device", refuse)


def test_text(gpunn, no_gpu):
    text = gpunn("doctor").stdout
    for part in (
        f"gpunn {package.__version__}",
        np.__version__,
        f"{len(os.sched_getaffinity(0))} cores for this process",
        "NumPy's BLAS",
        "driver                  CUDA 13.0",
        "problem: it can't be loaded",
        "fix: pip it",
        "numpy: backend 'cupy': cuBLAS can't be loaded",
    ):
        assert part in text


def test_json(gpunn, no_gpu):
    report = json.loads(gpunn("doctor", "--json").stdout)
    assert report["python"] == ".".join(map(str, sys.version_info[:3]))
    assert report["packages"]["numpy"] == np.__version__
    assert report["cuda"] == [vars(finding) for finding in FINDINGS]
    assert report["auto"]["backend"] == "numpy"
    assert report["requested"] == {"variable": "numpy", "backend": "numpy", "problem": ""}


def test_on_this_machine_as_it_is(gpunn):
    assert gpunn("doctor").stdout
    assert json.loads(gpunn("doctor", "--json").stdout)["auto"]["backend"]


def test_a_wrong_variable_is_told_and_no_failure(gpunn, no_gpu, monkeypatch):
    monkeypatch.setenv("GPUNN_BACKEND", "nump")
    assert (
        "problem                 GPUNN_BACKEND: there is no backend 'nump'"
        in gpunn("doctor").stdout
    )


def test_without_threadpoolctl(gpunn, no_gpu, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    text = gpunn("doctor").stdout
    assert "the package threadpoolctl would tell" in text


def test_a_usable_device(gpunn, monkeypatch):
    monkeypatch.setattr(diagnosis, "findings", lambda: FINDINGS[:1])
    monkeypatch.setattr(doctor, "get_backend", lambda *name: SimpleNamespace(name="cupy:0"))
    report = json.loads(gpunn("doctor", "--json").stdout)
    assert report["auto"] == {"backend": "cupy:0", "reason": "a CUDA device is usable"}


@pytest.mark.parametrize(
    ("kernels", "said"),
    [
        ({"target": "x86-64-v3", "file": "/a.so", "problem": ""}, "for x86-64-v3, from /a.so"),
        ({"target": None, "file": None, "problem": "it is late"}, "none: it is late"),
    ],
)
def test_which_kernels_there_are(gpunn, no_gpu, monkeypatch, kernels, said):
    cpu = {"threads": 3, "problem": "", "kernels": kernels}
    monkeypatch.setattr(doctor, "cpu_engine", lambda: cpu)
    text = gpunn("doctor").stdout
    assert "threads                 3" in text
    assert f"compiled kernels        {said}" in text
    assert json.loads(gpunn("doctor", "--json").stdout)["cpu"] == cpu


def test_a_wrong_number_of_threads_is_told_and_no_failure(gpunn, no_gpu, monkeypatch):
    monkeypatch.setenv("GPUNN_THREADS", "many")
    text = gpunn("doctor").stdout
    assert "problem                 GPUNN_THREADS: expected a whole number; got 'many'" in text
