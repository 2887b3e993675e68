"""The content of a wheel: compiled kernels if they can be built, and training without numba."""

import os
import re
import runpy
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import run_python

from gpunn.backends.numpy.compiled.targets import Target, runnable_targets, this_machines_targets

pytest.importorskip("hatchling")
pytest.importorskip("numba")

from hatchling.metadata.core import ProjectMetadata

REPOSITORY = Path(__file__).parents[2]
BUILT = "gpunn/backends/numpy/compiled/built"

pytestmark = pytest.mark.skipif(not this_machines_targets(), reason="there are no kernels here")


def hook_module():
    return SimpleNamespace(**runpy.run_path(str(REPOSITORY / "ci/build_hook.py")))


@pytest.fixture
def data(monkeypatch, tmp_path):
    """`data("standard", ".so")`: the hook's build data for a wheel with such libraries."""

    def made(version, suffix, content=b"GLIBC_2.2.5\0"):
        def build(target: Target, folder: Path) -> Path:
            path = folder / f"{target.name}-0123{suffix}"
            path.write_bytes(content)
            return path

        monkeypatch.setattr("gpunn.backends.numpy.compiled.building.build", build)
        monkeypatch.setattr(sys, "path", [*sys.path])
        (tmp_path / BUILT).mkdir(parents=True, exist_ok=True)
        hook = hook_module().KernelsHook(str(tmp_path), {}, None, None, str(tmp_path), "wheel")
        build_data = {"pure_python": True, "force_include": {}}
        hook.initialize(version, build_data)
        return build_data

    return made


PURE = {"pure_python": True, "force_include": {}}


def test_a_wheel_has_the_kernels_of_all_processors_of_its_architecture(data):
    build_data = data("standard", ".so")
    targets = [target.name for target in this_machines_targets()]
    assert sorted(build_data["force_include"].values()) == sorted(
        f"{BUILT}/{name}{end}" for name in targets for end in (".json", "-0123.so")
    )
    assert build_data["pure_python"] is False
    assert build_data["tag"].startswith("py3-none-")


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc has versions")
@pytest.mark.parametrize(("needed", "tag"), [(b"2.2.5", "manylinux_2_17"), (b"2.29", "linux")])
def test_the_tag_names_the_systems_that_can_load_them(data, needed, tag):
    build_data = data("standard", ".so", b"GLIBC_" + needed + b"\0")
    assert build_data["tag"] == f"py3-none-{tag}_{os.uname().machine}"


@pytest.mark.parametrize(("chosen", "tag"), [("", "macosx_15_0"), ("11.0", "macosx_11_0")])
def test_the_tag_of_a_mac_has_one_architecture(monkeypatch, chosen, tag):
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("platform.mac_ver", lambda: ("15.7.1", ("", "", ""), "arm64"))
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.setenv("MACOSX_DEPLOYMENT_TARGET", chosen)
    assert hook_module().platform_tag([]) == f"{tag}_arm64"


def test_a_wheel_is_pure_without_a_linker(data, capsys):
    assert data("standard", ".zip") == PURE
    assert "no C compiler" in capsys.readouterr().err


def test_an_editable_install_builds_kernels_only_for_this_processor(data, tmp_path):
    assert data("editable", ".so") == PURE
    names = [path.name for path in (tmp_path / BUILT).iterdir()]
    assert names == [f"{target.name}-0123.so" for target in runnable_targets()[:1]]


def test_without_numba_a_wheel_is_pure(data, monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert data("standard", ".so") == PURE
    assert "no numba" in capsys.readouterr().err


def test_a_wheel_is_pure_if_kernels_are_off(data, monkeypatch):
    monkeypatch.setenv("GPUNN_KERNELS", "off")
    assert data("standard", ".so") == PURE


LINUX = ("cpython", (3, 14), False, "linux", "x86_64", (2, 39), True)
MAC = ("cpython", (3, 11), False, "darwin", "arm64", (), True)


@pytest.mark.parametrize(
    ("base", "other", "expected"),
    [
        (LINUX, {}, True),
        (LINUX, {"machine": "aarch64", "glibc": (2, 27)}, True),
        (MAC, {}, True),
        (MAC, {"machine": "x86_64"}, False),
        (LINUX, {"implementation": "pypy"}, False),
        (LINUX, {"free_threaded": True}, False),
        (LINUX, {"python": (3, 15)}, False),
        (LINUX, {"platform": "win32"}, False),
        (LINUX, {"machine": "riscv64"}, False),
        (LINUX, {"glibc": ()}, False),  # musl
        (LINUX, {"glibc": (2, 17)}, False),
        (LINUX, {"compiler": False}, False),
    ],
)
def test_kernels_are_compiled_if_numba_has_wheels_and_a_compiler_links(base, other, expected):
    assert hook_module().System(*base)._replace(**other).can_compile() is expected


@pytest.mark.parametrize(("kernels", "compiles"), [(None, True), (None, False), ("off", True)])
def test_a_build_requires_the_packages_for_compiling(monkeypatch, kernels, compiles):
    monkeypatch.delenv("GPUNN_KERNELS", raising=False)
    if kernels:
        monkeypatch.setenv("GPUNN_KERNELS", kernels)
    module = hook_module()
    monkeypatch.setattr(module.System, "can_compile", lambda system: compiles)
    metadata = ProjectMetadata(str(REPOSITORY), None)
    hook = module.KernelsHook(str(REPOSITORY), {}, None, metadata, "", "wheel")
    names = {re.match("[a-z0-9-]+", each)[0] for each in hook.dependencies()}
    assert names == (
        {"array-api-compat", "click", "numba", "numpy", "safetensors", "threadpoolctl", "tqdm"}
        if compiles and not kernels
        else set()
    )


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
    """In a process without numba, LLVM, a compiler or a writable folder."""
    pip = ["-m", "pip", "--disable-pip-version-check", "--no-input"]
    for _ in range(2):  # the second uses the build of the first
        command = ["wheel", "--no-build-isolation", "--no-deps", "-w", tmp_path, REPOSITORY]
        run_python(*pip, *command, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    with zipfile.ZipFile(wheel) as file:
        names = [name for name in file.namelist() if name.startswith(BUILT)]
    assert len(names) == 2 * len(this_machines_targets())
    command = ["install", "--no-deps", "--target", tmp_path / "site", wheel]
    run_python(*pip, *command)
    for each in (tmp_path / "site").rglob("*"):
        each.chmod(0o555 if each.is_dir() else 0o444)
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PATH": "", "HOME": str(tmp_path / "none")}
    ran = run_python("-c", TRAINING, cwd=tmp_path, env=environment)
    assert ran.stderr == ""
    assert ran.stdout.startswith(str(tmp_path / "site"))
    assert "kernels for" in ran.stdout
    for each in (tmp_path / "site").rglob("*"):
        each.chmod(0o755)
