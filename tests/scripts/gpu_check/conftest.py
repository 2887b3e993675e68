"""Fixtures for tests of the GPU check: its modules, and machines that lack packages."""

import importlib
import os
import sys
from pathlib import Path

import processes
import pytest

CHECK = Path(__file__).parents[3] / "scripts" / "gpu_check"


@pytest.fixture
def check_folder():
    return CHECK


@pytest.fixture(scope="session")
def emulator():
    """The test needs the emulated device, in separate processes."""
    from emulated_cuda import cupy_private

    if not cupy_private.installed():
        needed = f"{cupy_private.DISTRIBUTION}=={cupy_private.CUPY_VERSION}"
        pytest.skip(f"the emulated device needs {needed} and g++")


@pytest.fixture
def load(monkeypatch):
    """Import a module of the script, which is not a package."""
    monkeypatch.syspath_prepend(str(CHECK))
    monkeypatch.delenv("GPUNN_DATA", raising=False)
    for path in CHECK.glob("[a-z]*"):  # a folder of tests may have the same name, such as training
        monkeypatch.delitem(sys.modules, path.stem, raising=False)
    known = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - known:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if name in ("steps", "adapters") or str(CHECK) in origin:
            del sys.modules[name]


@pytest.fixture
def run_step(load):
    def ran(module, quick=False, done=()):
        rows = []
        step = load("process").Step(quick, done, 0.0, rows.append)
        return (*load(f"steps.{module}").run(step), rows)

    return ran


SITE = """\
import os, sys
from importlib.machinery import PathFinder
ABSENT = os.environ["ABSENT"].split()
class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in ABSENT else super().find_spec(name, path, target)
    @classmethod
    def find_distributions(cls, *context):
        return (each for each in super().find_distributions(*context) if each.name not in ABSENT)
sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
"""


@pytest.fixture(scope="session")
def optional():
    """What a bare machine lacks, as modules and as packages; it has pytest."""
    return (
        *("array_api_strict", "array-api-strict", "hypothesis", "jax", "jinja2", "matplotlib"),
        *("numba", "onnx", "onnxruntime", "optax", "pandas", "PIL", "pillow", "scikit-learn"),
        *("scipy", "sklearn", "tensorboardX", "torch"),
    )


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Return the variables of a process that lacks packages."""
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(SITE)
    left_out = ("GPUNN_TEST_DEVICE", "GPUNN_DATA")
    own = {name: value for name, value in os.environ.items() if name not in left_out}
    own |= {"PYTHON": sys.executable, "PYTHONPATH": str(site)}
    return lambda absent=(), **variables: {**own, "ABSENT": " ".join(absent), **variables}


@pytest.fixture(scope="session")
def run_emulated(emulator, environment, optional):
    def ran(*command):
        bare = environment(optional, GPUNN_TEST_DEVICE="emulated")
        return processes.run_python(*command, cwd=CHECK, env=bare, status=None)

    return ran


@pytest.fixture
def run(tmp_path, environment):
    def ended(*arguments, **variables):
        script, own = CHECK.with_suffix(".sh"), environment(**variables)
        return processes.run(script, *arguments, cwd=tmp_path, env=own, status=None)

    return ended
