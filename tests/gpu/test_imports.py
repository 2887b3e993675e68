"""Real Python processes without usable CUDA: CuPy is missing or broken, or there is no driver.

Each process sees a folder of links to this environment's packages, except packages that its machine
lacks. Without the environment itself, the process cannot find a missing package in any way.
"""

import importlib.util
import json
import os
import shutil
import sysconfig
from ctypes import CDLL
from pathlib import Path

import pytest
from digits import configuration
from processes import run_python

import gpunn

pytestmark = pytest.mark.tier(2)

PACKAGES = Path(sysconfig.get_path("purelib"))
TESTS = Path(__file__).parents[1]
SOURCE = Path(gpunn.__file__).parents[1]
CUPY = ("cupy", "cupyx", "cupy_backends", "cupy_*")

UNSET = ("GPUNN_BACKEND", "CUDA_PATH", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in UNSET}
SIGN = {**ENVIRONMENT, "CUDA_VISIBLE_DEVICES": "0"}  # without a sign of a GPU, nothing warns

PROGRAM = """
import sys
sys.path[:0] = {path!r}
{before}
import logging
said = []
handler = logging.Handler()
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger("gpunn").addHandler(handler)

import gpunn
imported = "cupy" in sys.modules and "emulated_cuda" not in sys.modules
import json
from click.testing import CliRunner
from gpunn.cli import main

def refusal(name):
    try:
        gpunn.get_backend(name)
    except gpunn.errors.BackendUnavailableError as error:
        return str(error)

def doctor(*options):
    result = CliRunner().invoke(main, ["doctor", *options])
    assert result.exit_code == 0 and result.exception is None, result.output
    return result.stdout

model = gpunn.Sequential([gpunn.layers.Dense(2)], 3, backend="auto")
print(json.dumps({{
    "imported": imported,
    "auto": [gpunn.get_backend("auto").name, model.backend.name],
    "said": said,
    "available": gpunn.available_backends(),
    "cupy": refusal("cupy"),
    "cupy:1": refusal("cupy:1"),
    "train": CliRunner().invoke(main, ["train", {config!r}, "--backend", "cupy"]).stderr,
    "doctor": doctor(),
    "report": json.loads(doctor("--json")),
}}))
"""


def has_driver() -> bool:
    try:
        CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


needs_emulator = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
needs_cupy = pytest.mark.skipif(
    importlib.util.find_spec("cupy") is None, reason="CuPy is not installed"
)
needs_no_driver = pytest.mark.skipif(has_driver(), reason="this machine has an NVIDIA driver")


@pytest.fixture
def machine(tmp_path):
    """`machine(lacks=["cupy*"])` returns the results of a process without these packages."""

    def look(lacks=(), emulated=False):
        packages = tmp_path / "packages"
        packages.mkdir()
        for entry in PACKAGES.iterdir():
            if not any(entry.match(pattern) for pattern in lacks):
                (packages / entry.name).symlink_to(entry)
        config = tmp_path / "digits.toml"
        config.write_text(configuration(epochs=1))
        path = [str(SOURCE), str(packages), *([str(TESTS)] if emulated else [])]
        before = "import emulated_cuda; emulated_cuda.install(devices=2)" if emulated else ""
        program = PROGRAM.format(path=path, before=before, config=str(config))
        # -S: without the environment's own packages; -I: without what variables add.
        result = run_python("-I", "-S", "-c", program, cwd=tmp_path, env=SIGN)
        return json.loads(result.stdout)

    return look


def assert_falls_back(found, *parts):
    """Assert that the process trains on NumPy, and that all messages name the reason."""
    assert not found["imported"], "import gpunn imports CuPy"
    assert found["auto"] == ["numpy", "numpy"]
    assert found["available"] == ["numpy"]
    assert found["report"]["auto"]["backend"] == "numpy"
    (said,) = found["said"]
    (problem, *_) = [each for each in found["report"]["cuda"] if each["problem"]]
    assert problem["fix"]
    for text in (found["cupy"], found["cupy:1"], found["train"]):
        assert ". To fix it: " in text
    assert ". To use a GPU, run: gpunn doctor. " in said
    texts = [said, found["cupy"], found["cupy:1"], found["train"], found["doctor"]]
    for text in [*texts, problem["problem"]]:
        assert [part for part in parts if part not in text] == [], text
    assert found["cupy"].startswith("backend 'cupy': ")
    assert found["cupy:1"].startswith("backend 'cupy:1': ")
    assert found["train"].startswith("Error: ")


PROVED = "kinds of machines without usable CUDA get an error that names the missing piece"


@pytest.mark.parametrize(
    ("described", "parts", "fix"),
    [
        pytest.param(
            *({"lacks": CUPY}, ["CuPy is not installed"], "pip install '.[cuda13]'"),
            id="absent",
        ),
        pytest.param(
            *({}, ["there is no NVIDIA driver here"], "install the driver"),
            id="no driver",
            marks=[needs_cupy, needs_no_driver],
        ),
        pytest.param(
            {"lacks": ["cupy_backends"]},
            *(["CuPy is installed but can't be imported", "cupy_backends"], "uninstall CuPy"),
            id="half installed",
            marks=needs_cupy,
        ),
        pytest.param(  # an emulated driver and device; without NVIDIA's packages there is no NVRTC
            {"lacks": ["nvidia"], "emulated": True},
            *(["NVRTC can't be loaded"], "'.[cuda13-toolkit]'"),
            id="a driver and no compiler",
            marks=[needs_cupy, needs_emulator],
        ),
    ],
)
def test_machines_without_a_usable_cuda(machine, proved, described, parts, fix):
    found = machine(**described)
    assert_falls_back(found, *parts)
    assert fix in found["cupy"]
    if not described:
        installed = importlib.import_module("cupy").__version__
        assert installed in [finding["value"] for finding in found["report"]["cuda"]]
    proved(PROVED)
