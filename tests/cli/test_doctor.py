import json
import os
import sys
from types import SimpleNamespace
from unittest.mock import Mock

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
    error = BackendUnavailableError("backend 'cupy': cuBLAS can't be loaded. To fix it: pip it")
    monkeypatch.setattr(diagnosis, "findings", lambda: FINDINGS)
    monkeypatch.setattr(diagnosis, "require_device", Mock(side_effect=error))


def test_text(gpunn, no_gpu):
    text = gpunn("doctor").stdout
    for part in (
        f"gpunn {package.__version__}",
        np.__version__,
        f"cores for this process: {len(os.sched_getaffinity(0))}",
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


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("GPUNN_BACKEND=nump", "there is no backend 'nump'"),
        ("GPUNN_THREADS=many", "expected an integer; go"),
    ],
)
def test_a_wrong_variable_is_told_and_no_failure(gpunn, no_gpu, monkeypatch, variable, said):
    name, value = variable.split("=")
    monkeypatch.setenv(name, value)
    assert f"problem                 {name}: {said}" in gpunn("doctor").stdout


def test_without_threadpoolctl(gpunn, no_gpu, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "to see the threads, install threadpoolctl" in gpunn("doctor").stdout


def test_a_usable_device(gpunn, monkeypatch):
    monkeypatch.setattr(diagnosis, "findings", lambda: FINDINGS[:1])
    monkeypatch.setattr(doctor, "get_backend", lambda *name: SimpleNamespace(name="cupy:0"))
    report = json.loads(gpunn("doctor", "--json").stdout)
    assert report["auto"] == {"backend": "cupy:0", "reason": "a CUDA device is usable"}
    monkeypatch.setenv("GPUNN_BACKEND", "auto")
    text = gpunn("doctor").stdout
    assert text.startswith("Training on the CUDA device of backend 'cupy:0': fast\n")


FOUND = {"target": "x86-64-v3", "file": "/a.so", "problem": "", "fix": ""}
LACKING = {"target": None, "file": None, "problem": "it is late", "fix": "Run: pip install it"}


@pytest.mark.parametrize(
    ("kernels", "said", "verdict"),
    [
        (FOUND, "for x86-64-v3, from /a.so", "fast: compiled kernels for x86-64-v3, 3 threads\n"),
        (LACKING, "none: it is late", "slow: no compiled kernels (it is late). Without kernels,"),
    ],
)
def test_which_kernels_there_are(gpunn, no_gpu, monkeypatch, kernels, said, verdict):
    cpu = {"threads": 3, "problem": "", "kernels": kernels}
    monkeypatch.setattr(doctor, "cpu_engine", lambda: cpu)
    text = gpunn("doctor").stdout
    assert text.startswith(f"Training on this CPU: {verdict}")
    assert ("\n  Run: pip install it\n  If other programs" in text) == (kernels is LACKING)
    assert "threads                 3" in text
    assert f"compiled kernels        {said}" in text
    assert json.loads(gpunn("doctor", "--json").stdout)["cpu"] == cpu


KERNELS_OFF = {"GPUNN_KERNELS": "off"}


@pytest.mark.parametrize(
    ("variables", "first", "advice"),
    [
        (KERNELS_OFF, "Training on this CPU: slow: no compiled", "  Unset GPUNN_KERNELS"),
        (
            {"GPUNN_KERNELS": "no"},
            "Training is impossible: GPUNN_KERNELS: there is no target 'no'",
            "",
        ),
        ({"GPUNN_THREADS": "0"}, "Training is impossible: GPUNN_THREADS: expected", ""),
        ({"GPUNN_BACKEND": "cupy"}, "Training is impossible: backend 'cupy': cuBLAS", ""),
    ],
)
def test_the_first_lines_are_a_verdict(gpunn, no_gpu, monkeypatch, variables, first, advice):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    lines = gpunn("doctor").stdout.splitlines()
    assert lines[0].startswith(first)
    assert lines[1] == advice


def test_verdict_without_numba_and_kernels(no_gpu, monkeypatch, tmp_path):
    files = pytest.importorskip("gpunn.backends.numpy.compiled.files")
    monkeypatch.setattr(files, "folders", lambda: [tmp_path])
    for has, advice in ((False, "pip install 'numba>=0.68'"), (True, "python -m gpunn.build")):
        name = "gpunn.backends.numpy.compiled.library.has_numba"
        monkeypatch.setattr(name, lambda has=has: has)
        found = doctor.diagnose()["verdict"]
        assert not found["fast"]
        assert "times as long" in found["text"]
        assert advice in found["advice"][0]
