"""Detect, without CUDA, signs of an NVIDIA GPU or of a user who wants to use one."""

import importlib.util
import os
import shutil
from pathlib import Path

FILES = ("proc/driver/nvidia", "dev/nvidiactl", "usr/lib/wsl/lib/nvidia-smi")
"""Files and folders of NVIDIA's driver on Linux and in the Windows Subsystem for Linux."""

NVIDIA, DISPLAY = "0x10de", "0x03"
"""The vendor of a PCI device, and the first byte of the class of graphics cards."""


def has_signs_of_gpu(root: Path = Path("/")) -> bool:
    # Users without any sign of a GPU need no message about a missing GPU.
    return bool(
        importlib.util.find_spec("cupy")
        or os.environ.get("CUDA_VISIBLE_DEVICES")
        or shutil.which("nvidia-smi")
        or any((root / file).exists() for file in FILES)
        or any(map(is_nvidia_gpu, root.glob("sys/bus/pci/devices/*")))
    )


def is_nvidia_gpu(device: Path) -> bool:
    try:
        vendor, kind = ((device / name).read_text() for name in ("vendor", "class"))
    except OSError:
        return False
    return vendor.strip() == NVIDIA and kind.startswith(DISPLAY)
