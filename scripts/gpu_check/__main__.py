"""Check gpunn on this machine's CUDA device; see docs/gpu.md.

Here it is only made sure that what the check itself needs is installed.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib

from device import REPOSITORY


def missing() -> list[str]:
    """Return gpunn's requirements that are not installed, as pip takes them."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    requirements: list[str] = project["project"]["dependencies"]
    return [each for each in requirements if importlib.util.find_spec(module_of(each)) is None]


def module_of(requirement: str) -> str:
    """Return what is imported of a requirement such as "array-api-compat>=1.11"."""
    return re.split(r"[^\w-]", requirement)[0].replace("-", "_")


if __name__ == "__main__":
    absent = missing()
    if absent:
        names = ", ".join(map(module_of, absent))
        packages = " ".join(f"'{each}'" for each in absent)
        print(
            f"gpu_check.sh: error: gpunn needs what {sys.executable} does not have: {names}. "
            f"To fix it:\n{sys.executable} -m pip install {packages}",
            file=sys.stderr,
        )
        sys.exit(2)
    from check import main

    main(prog_name="gpu_check.sh")
