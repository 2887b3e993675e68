"""The sums of the test tiers: which tier a test counts for, and in which process it runs."""

import os
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiers
from devices import BACKENDS, TARGETS
from processes import run_python

TESTS = Path(__file__).parent
SUITE = """\
import pytest
from devices import BACKENDS

@pytest.mark.tier(2)
def test_marked(proved):
    proved("machines", 3)

@pytest.mark.tier(2)
def test_skipped():
    pytest.skip("no driver")

def test_target(target, proved):
    proved("cases", 2)

@pytest.mark.parametrize("make", BACKENDS.values(), ids=BACKENDS)
def test_made(make):
    assert make is not None

@pytest.mark.tier(4)
def test_broken(proved):
    proved("lies", 9)
    assert False

@pytest.mark.tier(5)
def test_device():
    assert False, "there is none"

def test_of_no_tier():
    pass
"""


def test_each_tier_is_summed_up(tmp_path):
    """In a process of its own, with the project's plugins."""
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {TESTS}\n")
    (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    (tmp_path / "test_suite.py").write_text(SUITE)
    environment = {n: v for n, v in os.environ.items() if n != "GPUNN_TEST_DEVICE"}
    command = ["-m", "pytest", "-p", "no:cacheprovider"]
    output = run_python(*command, cwd=tmp_path, env=environment, status=1).stdout
    summary = output.partition("test tiers")[2]
    assert f"tier 1, portable: tests: {len(TARGETS) + len(BACKENDS)} passed\n" in summary
    assert re.search(rf"^ +{2 * len(TARGETS)} cases$", summary, re.MULTILINE)
    assert "tier 2, import: tests: 1 passed, 1 skipped\n" in summary
    assert re.search("^ +3 machines$", summary, re.MULTILINE)
    assert "tier 4, semantics: tests: 1 failed\n" in summary
    assert "lies" not in summary
    assert "tier 5" not in summary
    assert "1 failed" in output.splitlines()[-1]
    assert "1 deselected" in output.splitlines()[-1]


def test_a_device_that_there_is_none_of(monkeypatch):
    monkeypatch.setenv("GPUNN_TEST_DEVICE", "cuba")
    with pytest.raises(ValueError, match="expected 'emulated' or 'cuda', or nothing; got 'cuba'"):
        runpy.run_path(str(TESTS / "devices.py"))


def test_a_file_that_is_not_read_on_a_device_has_no_test_for_it(request):
    item = SimpleNamespace(
        nodeid="test_a.py::test_a[strict]",
        path=request.path,
        callspec=SimpleNamespace(params={"backend": "strict"}),
        get_closest_marker=lambda name: None,
    )
    with pytest.raises(pytest.UsageError, match="add the file to WITH_TESTS_OF_DEVICES"):
        tiers.pytest_collection_modifyitems(request.config, [item])
