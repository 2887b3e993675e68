"""The content of an sdist and a wheel, and that builds are reproducible everywhere."""

import email
import importlib.util
import os
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from gpunn.version import __version__

pytest.importorskip("hatchling")

from hatchling.build import build_sdist, build_wheel

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
BESIDE_THE_PACKAGE = {
    ".gitignore",  # its rules exclude files from a build of the sdist
    "CHANGELOG.md",
    "LICENSE",
    "PKG-INFO",
    "README.md",
    "ci/build_hook.py",
    "pyproject.toml",
}


def built(build, source, folder):
    folder.mkdir(exist_ok=True)
    before = Path.cwd()
    os.chdir(source)
    try:
        return folder / build(str(folder))
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def without_numba():
    """Builds make no kernels, which take long; test_build_hook.py tests these."""
    find_spec = importlib.util.find_spec
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "importlib.util.find_spec", lambda name: None if name == "numba" else find_spec(name)
        )
        yield


@pytest.fixture(scope="module")
def sdist(without_numba, tmp_path_factory):
    return built(build_sdist, REPOSITORY, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def unpacked(sdist, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as file:
        file.extractall(folder, filter="data")
    return folder / f"gpunn-{__version__}"


@pytest.fixture(scope="module")
def wheel(without_numba, tmp_path_factory):
    return built(build_wheel, REPOSITORY, tmp_path_factory.mktemp("wheel"))


def package_files(root):
    return {
        str(path.relative_to(root))
        for path in (root / "gpunn").rglob("*")
        if path.is_file() and not {"__pycache__", "built"} & set(path.parts)
    }


def test_an_sdist_has_the_sources_of_a_wheel(unpacked):
    files = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert files == package_files(REPOSITORY) | BESIDE_THE_PACKAGE


def test_a_wheel_has_only_the_package(wheel):
    about = f"gpunn-{__version__}.dist-info"
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    assert {"gpunn/py.typed", "gpunn/data/digits.npz", "gpunn/reporting/style.css"} <= names
    assert names == package_files(REPOSITORY) | {
        f"{about}/{name}"
        for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    }


def test_the_citation_has_this_version():
    assert f"\nversion: {__version__}\n" in (REPOSITORY / "CITATION.cff").read_text()


def test_metadata_of_a_wheel(wheel):
    about = f"gpunn-{__version__}.dist-info"
    with zipfile.ZipFile(wheel) as file:
        said = email.message_from_bytes(file.read(f"{about}/METADATA"))
        commands = file.read(f"{about}/entry_points.txt").decode()
    assert said["Name"] == "gpunn"
    assert said["Version"] == __version__
    assert said["License-Expression"] == "MIT"
    assert said["License-File"] == "LICENSE"
    assert said["Requires-Python"] == PROJECT["requires-python"]
    assert said["Description-Content-Type"] == "text/markdown"
    required = [each for each in said.get_all("Requires-Dist") if "extra ==" not in each]
    assert required == PROJECT["dependencies"]
    assert commands == "[console_scripts]\ngpunn = gpunn.cli:main\n"


@pytest.mark.parametrize(("build", "original"), [(build_sdist, "sdist"), (build_wheel, "wheel")])
def test_an_sdist_builds_the_same_bytes(build, original, unpacked, tmp_path, request):
    """Also in another folder, from files with other times and permissions."""
    for path in unpacked.rglob("*.py"):
        path.chmod(0o600)
        os.utime(path, (1, 1))
    again = built(build, unpacked, tmp_path)
    first = request.getfixturevalue(original)
    assert again.name == first.name
    assert again.read_bytes() == first.read_bytes()
