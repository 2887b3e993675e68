"""What a wheel brings: compiled kernels where they can be built, and a training without numba."""

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from gpunn.backends.numpy.compiled.targets import Target, this_machines_targets

pytest.importorskip("hatchling")
pytest.importorskip("numba")

REPOSITORY = Path(__file__).parents[2]
BUILT = "gpunn/backends/numpy/compiled/built"

pytestmark = pytest.mark.skipif(not this_machines_targets(), reason="there are no kernels here")


def hook_module():
    spec = importlib.util.spec_from_file_location("build_hook", REPOSITORY / "ci/build_hook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(monkeypatch, tmp_path):
    """`data("standard", ".so")`: what the hook tells hatchling of a wheel of such libraries."""

    def made(version, suffix, content=b"GLIBC_2.2.5\0"):
        def build(target: Target, folder: Path) -> Path:
            path = folder / f"{target.name}-0123{suffix}"
            path.write_bytes(content)
            return path

        monkeypatch.setattr("gpunn.backends.numpy.compiled.building.build", build)
        monkeypatch.setattr(sys, "path", [*sys.path])
        (tmp_path / BUILT).mkdir(parents=True, exist_ok=True)
        hook = hook_module().KernelsHook(str(tmp_path), {}, None, None, str(tmp_path), "wheel")
        found = {"pure_python": True, "force_include": {}}
        hook.initialize(version, found)
        return found

    return made


PURE = {"pure_python": True, "force_include": {}}


def test_a_wheel_has_the_kernels_of_all_processors_of_its_architecture(data):
    found = data("standard", ".so")
    targets = [target.name for target in this_machines_targets()]
    assert sorted(found["force_include"].values()) == sorted(
        f"{BUILT}/{name}{end}" for name in targets for end in (".json", "-0123.so")
    )
    assert found["pure_python"] is False
    assert found["tag"].startswith("py3-none-")


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has versions")
@pytest.mark.parametrize(("needed", "tag"), [(b"2.2.5", "manylinux_2_17"), (b"2.29", "linux")])
def test_the_tag_says_which_systems_can_load_them(data, needed, tag):
    found = data("standard", ".so", b"GLIBC_" + needed + b"\0")
    assert found["tag"] == f"py3-none-{tag}_{os.uname().machine}"


@pytest.mark.parametrize(("chosen", "tag"), [("", "macosx_15_0"), ("11.0", "macosx_11_0")])
def test_the_tag_of_a_mac_is_of_one_architecture(monkeypatch, chosen, tag):
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("platform.mac_ver", lambda: ("15.7.1", ("", "", ""), "arm64"))
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.setenv("MACOSX_DEPLOYMENT_TARGET", chosen)
    assert hook_module().platform_tag([]) == f"{tag}_arm64"


def test_a_wheel_is_pure_without_a_linker(data, capsys):
    assert data("standard", ".zip") == PURE
    assert "nothing links them here" in capsys.readouterr().err


def test_an_editable_install_builds_nothing(data):
    assert data("editable", ".so") == PURE


def test_without_numba_a_wheel_is_pure(data, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert data("standard", ".so") == PURE


TRAINING = """
import sys
for name in ("numba", "llvmlite"):
    sys.modules[name] = None
import numpy as np, gpunn
model = gpunn.Sequential([gpunn.layers.Dense(8, "gelu"), gpunn.layers.Dense(3)], (4,), "numpy")
trainer = gpunn.Trainer(model, "softmax_cross_entropy", "adam")
trainer.fit(np.eye(4, dtype="float32"), np.arange(4) % 3, epochs=2, progress=False)
print(gpunn.__file__, model.backend.describe()["library"])
"""


@pytest.mark.full
def test_the_wheel_is_the_fast_engine(tmp_path):
    """In a process without numba, LLVM, a compiler or a place to write to."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    for _ in range(2):  # the second finds what the first has built
        command = ["wheel", "--no-build-isolation", "--no-deps", "-w", tmp_path, REPOSITORY]
        subprocess.run([*pip, *command], check=True, capture_output=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    with zipfile.ZipFile(wheel) as file:
        names = [name for name in file.namelist() if name.startswith(BUILT)]
    assert len(names) == 2 * len(this_machines_targets())
    command = ["install", "--no-deps", "--target", tmp_path / "site", wheel]
    subprocess.run([*pip, *command], check=True, capture_output=True)
    for each in (tmp_path / "site").rglob("*"):
        each.chmod(0o555 if each.is_dir() else 0o444)
    ran = subprocess.run(
        [sys.executable, "-c", TRAINING],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "", "HOME": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert ran.stdout.startswith(str(tmp_path / "site"))
    assert "kernels for" in ran.stdout
    for each in (tmp_path / "site").rglob("*"):
        each.chmod(0o755)
