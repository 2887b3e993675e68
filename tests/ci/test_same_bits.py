"""Training is bitwise identical from a wheel, from a clone, repeated, and on every x86 processor.

This holds for one number of threads, since threads divide sums.
"""

import json
import os
import shutil
from pathlib import Path

import pytest
from processes import run_python

from gpunn.backends.numpy.compiled import files, targets
from gpunn.backends.thread_count import VARIABLE as THREADS

pytest.importorskip("hatchling")
pytest.importorskip("numba")

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not targets.runnable_targets(), reason="there are no kernels here"),
]

REPOSITORY = Path(__file__).parents[2]
TRAININGS = Path(__file__).with_name("trainings.py")
PARTS = ("pyproject.toml", "README.md", "LICENSE", "ci/build_hook.py")
"""The sources of a wheel, besides the package."""


def run(python_path, *command, **variables):
    """Return the output of a process that finds only this gpunn and its kernels."""
    own = {"PYTHONPATH": str(python_path), "PYTHONSAFEPATH": "1", THREADS: "2"}
    cache = {files.VARIABLE: str(python_path / "none")}
    return run_python(*command, env={**os.environ, **own, **cache, **variables}).stdout


@pytest.fixture(scope="module")
def clones(tmp_path_factory):
    def made():
        root = tmp_path_factory.mktemp("clone")
        ignored = shutil.ignore_patterns("__pycache__", files.PACKAGED.name)
        shutil.copytree(REPOSITORY / "gpunn", root / "gpunn", ignore=ignored)
        (root / "ci").mkdir()
        for part in PARTS:
            shutil.copy(REPOSITORY / part, root / part)
        return root

    return made


@pytest.fixture(scope="module")
def clone(clones):
    root = clones()
    names = [target.name for target in targets.runnable_targets()]
    run(root, "-m", "gpunn.build", *(f"--target={name}" for name in names))
    return root


@pytest.fixture(scope="module")
def wheel(clones, tmp_path_factory):
    root, folder, site = clones(), *map(tmp_path_factory.mktemp, ("wheels", "site"))
    pip = "-m", "pip", "--disable-pip-version-check", "--no-input"
    run(root, *pip, "wheel", "--no-build-isolation", "--no-deps", "-w", folder, root)
    (built,) = folder.glob("*.whl")
    run(root, *pip, "install", "--no-deps", "--target", site, built)
    return site


@pytest.fixture(scope="module")
def hashes():
    """`hashes(folder, target)`: hashes of trainings by the gpunn in a folder."""

    def hashes_of(python_path, target):
        printed = json.loads(run(python_path, TRAININGS, **{targets.VARIABLE: target.name}))
        library = Path(printed["library"])
        assert library.is_relative_to(python_path)
        assert library.name.startswith(target.name)
        return printed["hashes"]

    return hashes_of


@pytest.mark.parametrize("target", targets.runnable_targets(), ids=lambda target: target.name)
def test_trainings_are_bitwise_identical(wheel, clone, hashes, target, proved):
    first = hashes(wheel, target)
    assert hashes(wheel, target) == first
    assert hashes(clone, target) == first
    proved("arrays of trainings bitwise identical from a wheel, a clone and repeated", len(first))


def test_they_do_not_depend_on_the_length_of_vectors(clone, hashes):
    first, *others = (hashes(clone, target) for target in targets.runnable_targets())
    assert all(other == first for other in others)
