"""Workflows for a hosted CI: what can be said of them without one."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
WORKFLOWS = sorted(REPOSITORY.glob(".github/workflows/*.yml"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_named_by_hashes_of_commits(path):
    """A tag can be moved to other code, a hash can't; the comment is for people and for updates."""
    actions = re.findall(r"uses: (.*)", path.read_text())
    assert actions
    assert [each for each in actions if not re.fullmatch(r"\S+@[0-9a-f]{40} # v[\d.]+", each)] == []


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_scripts_that_are_run_exist(path):
    scripts = re.findall(r"(?:\./|GITHUB_WORKSPACE/)([\w./]+\.(?:sh|py))", path.read_text())
    assert scripts
    assert [each for each in scripts if not (REPOSITORY / each).is_file()] == []
