"""Workflows for a hosted CI: checks that need no host."""

import re
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
WORKFLOWS = sorted(REPOSITORY.glob(".github/workflows/*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_named_by_hashes_of_commits(path):
    """A tag can move to other code, a hash cannot; the comment is for readers and updates."""
    actions = re.findall(r"uses: (.*)", path.read_text())
    assert actions
    assert [each for each in actions if not re.fullmatch(r"\S+@[0-9a-f]{40} # v[\d.]+", each)] == []


def test_an_action_has_one_hash_in_all_workflows():
    texts = "".join(path.read_text() for path in WORKFLOWS)
    actions = re.findall(r"uses: ([\w-]+/[\w-]+)[\w/-]*@(.*)", texts)
    assert len(set(actions)) == len({name for name, _ in actions})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_are_yaml(path):
    """An unquoted `:all: -r` is invalid YAML, and GitHub then runs nothing."""
    yaml = pytest.importorskip("yaml")  # installed by Dask
    assert yaml.safe_load(path.read_text())["jobs"]


def test_scripts_that_are_run_exist():
    texts = "".join(path.read_text() for path in WORKFLOWS)
    scripts = re.findall(r"(?:\./|GITHUB_WORKSPACE/)([\w./]+\.(?:sh|py))", texts)
    assert scripts
    assert [each for each in scripts if not (REPOSITORY / each).is_file()] == []


def test_releases_are_built_with_pinned_tools():
    """Everything that pip installs has a hash, except the tried wheel and its requirements."""
    release = (REPOSITORY / ".github/workflows/release.yml").read_text()
    installed = re.findall(r"(?:pip|python)\"? install (.*?)\"?$", release, re.M)
    assert len(installed) == 4
    assert set(installed) == {
        "dist/*.whl",
        "--require-hashes --only-binary :all: -r ci/requirements.txt",
    }
    builds = re.findall(r"python -m build.*", release)
    assert builds
    assert all("--no-isolation" in each for each in builds)


def test_pinned_tools_include_all_that_releases_need():
    pinned = (REPOSITORY / "ci/requirements.txt").read_text()
    blocks = re.findall(r"^([\w-]+)==.*((?:\n    --hash=sha256:[0-9a-f]{64}.*)*)", pinned, re.M)
    assert blocks
    assert [name for name, hashes in blocks if not hashes] == []
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    project = settings["project"]
    needed = (
        settings["build-system"]["requires"]
        + project["dependencies"]
        + project["optional-dependencies"]["fast"]
        + settings["dependency-groups"]["release"]
    )
    names = {re.match(r"[\w-]+", each)[0] for each in needed}
    assert names <= {name for name, _ in blocks}
