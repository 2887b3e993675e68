"""Signs of a GPU on a machine."""

import importlib.util
import shutil

import pytest

from gpunn.backends.cupy.signs import has_signs_of_gpu

PCI = "sys/bus/pci/devices/0000:01:00.0"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def test_no_sign(machine):
    assert not has_signs_of_gpu(machine)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"dev/nvidiactl": ""}, True),
        ({"proc/driver/nvidia/version": "570"}, True),
        ({"usr/lib/wsl/lib/nvidia-smi": ""}, True),
        ({f"{PCI}/vendor": "0x10de\n", f"{PCI}/class": "0x030200\n"}, True),
        ({f"{PCI}/vendor": "0x8086\n", f"{PCI}/class": "0x030000\n"}, False),
        ({f"{PCI}/vendor": "0x10de\n", f"{PCI}/class": "0x020000\n"}, False),
        ({f"{PCI}/vendor": "0x10de\n"}, False),
    ],
)
def test_files(machine, files, expected):
    for name, text in files.items():
        path = machine / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert has_signs_of_gpu(machine) is expected


def test_programs_packages_and_variables(machine, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
        assert has_signs_of_gpu(machine)
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: object())
        assert has_signs_of_gpu(machine)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not has_signs_of_gpu(machine)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert has_signs_of_gpu(machine)
