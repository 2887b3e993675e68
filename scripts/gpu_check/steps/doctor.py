"""Run `gpunn doctor`, and find out whether there is a device to check."""

from typing import Any

import device
import numpy as np
from process import FAILED, PASSED, SKIPPED, Outcome, Step

from gpunn.backends import Backend, get_backend
from gpunn.backends.cupy import diagnosis
from gpunn.doctor import diagnose


def run(step: Step) -> Outcome:
    """Pass if CuPy, the driver, the libraries and the devices work.

    Without CuPy or a device, the step is skipped. If one is there but does not work, it fails. If a
    device is usable, a row describes it in "device".
    """
    findings = diagnosis.findings()
    blocking = [each for each in findings if each.blocks]
    if blocking and not any(each.name.startswith("device") and each.ok for each in findings):
        return unusable(blocking[0])
    backend = get_backend("cupy")
    described = backend.describe()
    step.add({"device": described, "doctor": diagnose()})
    print("\n".join(f"{name:<15} {value}" for name, value in described.items()))
    problems = [f"{each.name}: {each.problem}" for each in findings if not each.ok]
    problems += wrong_with_products(backend, described)
    if problems:
        return FAILED, "; ".join(problems)
    names = ("import cupy", "NVIDIA driver", "CUDA runtime", "NVRTC")
    return PASSED, ", ".join(f"{each.name} {each.value}" for each in findings if each.name in names)


def unusable(finding: diagnosis.Finding) -> Outcome:
    reason = f"{finding.problem}. To fix it: {finding.fix}"
    traces = device.traces()
    if not finding.absent or (finding.name != "import cupy" and traces and not device.hidden()):
        return FAILED, f"{reason} (although {traces[0]} exists)" if finding.absent else reason
    return SKIPPED, f"no CUDA device: {reason}"


def wrong_with_products(backend: Backend, described: dict[str, Any]) -> list[str]:
    problems = []
    if described["matmul"].startswith("cupy.matmul"):
        problems.append(f"cuBLAS: {described['matmul']}")
    if described["fused_products"].startswith("none"):
        problems.append(f"cuBLASLt: {described['fused_products']}")
    a, b = np.arange(6.0).reshape(2, 3), np.arange(12.0).reshape(3, 4)
    out = backend.zeros((2, 4), "float32")
    backend.matmul(backend.from_host(a, "float32"), backend.from_host(b, "float32"), out)
    if not np.array_equal(backend.to_host(out), a @ b):
        problems.append("cuBLAS: the product of two small matrices of integers is wrong")
    return problems
