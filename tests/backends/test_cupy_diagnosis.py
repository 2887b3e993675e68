"""Test the diagnosis of a missing GPU, with imitations of CuPy: no CuPy or GPU is needed."""

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import gpunn
from gpunn.backends.cupy import diagnosis
from gpunn.backends.cupy.diagnosis import findings, require_device, usable_devices
from gpunn.errors import BackendUnavailableError

OLD_DRIVER, NO_DEVICE, NOT_READY, UNKNOWN = 35, 100, 802, 999


class CudaError(RuntimeError):
    def __init__(self, status):
        super().__init__(f"cudaErrorOfKind{status}: it does not work")
        self.status = status


class Cuda:
    def __init__(
        self,
        driver=13000,
        runtime=13020,
        devices=((9, 0),),
        status=None,
        missing=(),
        archs=(75, 80, 90),
        current=0,
        raises=False,
    ):
        def count():
            if status is not None:
                raise CudaError(status)
            return len(devices)

        def properties(index):
            major, minor = devices[index]
            name = f"GPU {index}".encode()
            return {"major": major, "minor": minor, "name": name, "totalGlobalMem": 80 * 2**30}

        self.missing = missing
        self.archs = archs
        self.runtime = SimpleNamespace(
            driverGetVersion=lambda: driver,
            runtimeGetVersion=lambda: runtime,
            getDeviceCount=count,
            getDeviceProperties=properties,
            getDevice=lambda: current,
        )
        # CuPy 13 raises most errors here, CuPy 14 none.
        self.is_available = lambda: (raises or status is None) and count() > 0

    @property
    def nvrtc(self):
        def version():
            if "nvrtc" in self.missing:
                raise RuntimeError("failed to load libnvrtc.so.13\nand some details")
            return 13, 2

        return SimpleNamespace(getVersion=version, getSupportedArchs=lambda: self.archs)

    @property
    def cublas(self):
        if "cublas" in self.missing:
            raise ImportError("failed to find libcublas.so.13")
        return SimpleNamespace()


def imitation(kernel=lambda x: x + 1, **machine):
    cupy = ModuleType("cupy")
    cupy.__version__ = "14.2.0"
    cupy.cuda = Cuda(**machine)
    cupy.ones = np.ones
    cupy.ElementwiseKernel = lambda *source: kernel
    return cupy


@pytest.fixture(autouse=True)
def one_package(monkeypatch):
    have_packages(monkeypatch, {"cupy-cuda13x": "14.2.0"})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def have_packages(monkeypatch, packages):
    monkeypatch.setattr(diagnosis, "installed_version", packages.get)


def have_cupy(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "cupy", module)


def have_broken_cupy(monkeypatch, folder, source):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    (folder / "cupy.py").write_text(source)
    monkeypatch.syspath_prepend(folder)


def refusal(index=None):
    with pytest.raises(BackendUnavailableError) as caught:
        require_device(index)
    message = str(caught.value)
    assert message.startswith(f"backend 'cupy{'' if index is None else f':{index}'}': ")
    assert ". To fix it: " in message
    return message


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ({"driver": 0, "status": OLD_DRIVER}, ["no NVIDIA driver", "--gpus all"]),
        (
            {"driver": 12040, "runtime": 13020, "status": OLD_DRIVER},
            ["driver is too old", "up to 12.4", "needs CUDA 13.2", "'.[cuda12]'"],
        ),
        (
            {"driver": 11080, "runtime": 12090, "status": OLD_DRIVER},
            ["driver is too old", "up to 11.8", "update the driver; gpunn needs CUDA 12"],
        ),
        ({"missing": ("nvrtc", "cublas")}, ["NVRTC can't be loaded"]),
        ({"status": NOT_READY}, ["does not start", "systemctl start nvidia-fabricmanager"]),
        ({"status": NO_DEVICE}, ["no CUDA device", "nvidia-smi"]),
        ({"devices": ()}, ["no CUDA device", "nvidia-smi"]),
        ({"driver": 0, "status": OLD_DRIVER, "raises": True}, ["no NVIDIA driver"]),
        ({"status": UNKNOWN}, ["does not start", "cudaErrorOfKind999", "nvidia-smi"]),
        (
            {"missing": ("nvrtc",)},
            ["NVRTC can't be loaded", "libnvrtc.so.13", "'.[cuda13-toolkit]'"],
        ),
        (
            {"missing": ("cublas",), "runtime": 12090},
            ["cuBLAS can't be loaded", "libcublas.so.13", "'.[cuda12-toolkit]'"],
        ),
        (
            {"devices": ((7, 0),)},
            ["device 0, GPU 0", "capability 7.0", "only 7.5 and newer", "'.[cuda12]'"],
        ),
    ],
)
def test_message_names_what_is_missing_and_the_fix(monkeypatch, machine, expected):
    have_cupy(monkeypatch, imitation(**machine))
    message = refusal()
    assert [part for part in expected if part not in message] == [], message
    assert "\n" not in message
    assert all(finding.ok or finding.fix for finding in findings())
    assert usable_devices() == []


def test_without_cupy(monkeypatch):
    have_packages(monkeypatch, {})
    have_cupy(monkeypatch, None)
    message = refusal()
    assert "CuPy is not installed" in message
    for extra in ("cuda12", "cuda13", "cuda12-toolkit", "cuda13-toolkit"):
        assert f"'.[{extra}]'" in message
    assert usable_devices() == []
    assert [finding.name for finding in findings()] == ["CuPy package", "import cupy"]
    assert gpunn.available_backends() == ["numpy"]


@pytest.mark.parametrize(
    "source",
    [
        "raise ImportError('=====\\na long story') from OSError('libcudart.so.12: not found')",
        "import a_module_that_cupy_needs",
        "raise AttributeError('no attribute that an older numpy had')",
        "raise SystemError('built for another numpy')",
    ],
)
def test_cupy_that_fails_to_import(monkeypatch, tmp_path, source):
    have_broken_cupy(monkeypatch, tmp_path, source)
    message = refusal()
    assert "CuPy is installed but can't be imported" in message
    reasons = (
        "OSError: libcudart.so.12",
        "a_module_that_cupy_needs",
        "AttributeError: no",
        "built",
    )
    assert any(reason in message for reason in reasons), message
    assert "=====" not in message
    assert usable_devices() == []


def test_several_packages_are_named_as_the_likely_cause(monkeypatch, tmp_path):
    have_packages(monkeypatch, {"cupy-cuda12x": "13.6.0", "cupy-cuda13x": "14.2.0"})
    have_broken_cupy(monkeypatch, tmp_path, "raise ImportError('undefined symbol')")
    message = refusal()
    assert "undefined symbol" in message
    assert "cupy-cuda12x 13.6.0, cupy-cuda13x 14.2.0" in message
    assert "pip uninstall cupy-cuda12x cupy-cuda13x" in message


def test_several_packages_that_work_are_reported_but_not_refused(monkeypatch):
    have_packages(monkeypatch, {"cupy": "14.2.0", "cupy-cuda13x": "14.2.0"})
    have_cupy(monkeypatch, imitation())
    require_device(None)
    first = findings()[0]
    assert not first.ok
    assert not first.blocks
    assert "pip uninstall cupy cupy-cuda13x" in first.fix


def test_working_machine(monkeypatch):
    have_cupy(monkeypatch, imitation(devices=((9, 0), (8, 0))))
    require_device(None)
    require_device(1)
    assert usable_devices() == [0, 1]
    assert gpunn.available_backends() == ["numpy", "cupy:0", "cupy:1"]
    actual = {finding.name: finding.value for finding in findings()}
    assert actual == {
        "CuPy package": "cupy-cuda13x 14.2.0",
        "import cupy": "14.2.0",
        "NVIDIA driver": "CUDA 13.0",
        "CUDA runtime": "CUDA 13.2",
        "NVRTC": "13.2",
        "cuBLAS": "found",
        "device 0": "GPU 0, compute capability 9.0, 80 GiB",
        "device 1": "GPU 1, compute capability 8.0, 80 GiB",
        "first kernel": "compiled and run",
    }
    assert all(finding.ok for finding in findings())


def test_device_number_out_of_range(monkeypatch):
    have_cupy(monkeypatch, imitation(devices=((9, 0), (9, 0))))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    message = refusal(2)
    assert "no CUDA device number 2" in message
    assert "'cupy:0', 'cupy:1'" in message
    assert "CUDA_VISIBLE_DEVICES is '4,5'" in message


def test_hidden_devices_are_explained(monkeypatch):
    have_cupy(monkeypatch, imitation(status=NO_DEVICE))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES is ''" in refusal()


def test_an_old_device_and_a_new_one(monkeypatch):
    have_cupy(monkeypatch, imitation(devices=((6, 1), (9, 0)), current=1))
    require_device(None)
    assert "capability 6.1" in refusal(0)
    assert usable_devices() == [1]


def raising(status):
    def kernel(x):
        raise CudaError(status)

    return kernel


@pytest.mark.parametrize(
    ("kernel", "problem", "fix"),
    [
        (lambda x: 1 / 0, "can't be compiled and run: ZeroDivisionError", ""),
        (lambda x: x + 3, "a kernel that adds 1 to 1 returned 4", "reinstall the NVIDIA driver"),
        (raising(2), "", "memory is full; end one of the processes"),
        (raising(46), "", "nvidia-smi --compute-mode=DEFAULT"),
        (raising(UNKNOWN), "", "if a header file is missing"),
    ],
)
def test_a_failing_first_kernel_is_detected(monkeypatch, kernel, problem, fix):
    have_cupy(monkeypatch, imitation(kernel))
    last = findings()[-1]
    assert last.name == "first kernel"
    assert problem in last.problem
    assert last.fix
    assert fix in last.fix


def test_looking_at_the_backends_does_not_import_cupy():
    code = (
        "import sys, gpunn, gpunn.backends.cupy, gpunn.backends.cupy.diagnosis\n"
        "assert 'cupy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_of_packages_are_read_once(monkeypatch):
    monkeypatch.undo()
    diagnosis.installed_version.cache_clear()
    refusals = [str(refusal(index=99)) for _ in range(2)]
    assert refusals[0] == refusals[1]
    assert diagnosis.installed_version.cache_info().misses == len(diagnosis.PACKAGES)
