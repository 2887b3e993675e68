"""What the check needs, what of it this machine lacks, and packages from a folder of wheels.

Only the standard library is imported, because everything else may be missing.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

from device import REPOSITORY

OPTIONAL = ("cupy", "torch", "jax", "pytest", "mpi4py")
PROGRAMS = ("g++", "compute-sanitizer", "ncu", "nvidia-smi", "mpiexec", "git")


class WheelsError(Exception):
    """Raised if packages can't be installed from a folder; the message has the reason."""


def required() -> dict[str, str]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # "array-api-compat>=1.11" is imported as array_api_compat.
    return {
        each: re.split(r"[^\w-]", each)[0].replace("-", "_") for each in project["dependencies"]
    }


def absent_requirements() -> dict[str, str]:
    return {each: name for each, name in required().items() if not installed(name)}


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def overview(environment: Mapping[str, str], data: str | None) -> str:
    modules = (*required().values(), *OPTIONAL)
    absent = [name for name in modules if not installed(name)]
    absent += [name for name in PROGRAMS if shutil.which(name) is None]
    absent += [] if data or environment.get("GPUNN_DATA") else ["MNIST"]
    return (
        f"to bring: {', '.join((*modules, *PROGRAMS))}, MNIST (--data); "
        f"absent here: {', '.join(absent) or 'nothing'}"
    )


def install(folder: Path, target: Path) -> None:
    absent = absent_requirements()
    if not absent:
        return
    wheels = [file.name.partition("-")[0].lower() for file in folder.glob("*.whl")]
    missing = [each for each, name in absent.items() if name.lower() not in wheels]
    if missing:
        raise WheelsError(
            f"--wheels: {folder} has no wheel of {', '.join(missing)}. To get it, run on a machine "
            f"with internet access: pip download --dest FOLDER {' '.join(map(repr, missing))}"
        )
    command = [sys.executable, "-m", "pip", "install", "--isolated", "--quiet", "--no-index"]
    command += ["--no-deps", "--find-links", str(folder), "--target", str(target), *absent]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WheelsError(f"--wheels: pip can't install from {folder}: {done.stderr.strip()}")
    sys.path.insert(0, str(target))
    paths = (str(target), os.environ.get("PYTHONPATH"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
