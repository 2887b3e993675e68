"""What `gpunn doctor` finds."""

from __future__ import annotations

from outcome import FAILED, PASSED, Outcome

from gpunn.doctor import diagnose


def run() -> Outcome:
    """Pass if nothing is wrong with CuPy, the driver, the libraries and the devices."""
    report = diagnose()
    problems = [f"{each['name']}: {each['problem']}" for each in report["cuda"] if each["problem"]]
    if problems:
        return Outcome(FAILED, "; ".join(problems), report)
    names = ("import cupy", "NVIDIA driver", "CUDA runtime", "NVRTC")
    found = {each["name"]: each["value"] for each in report["cuda"]}
    versions = ", ".join(f"{name} {found[name]}" for name in names if name in found)
    return Outcome(PASSED, versions, report)
