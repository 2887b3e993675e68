"""The planted bugs still fit the code, and README.md lists them and tests that exist."""

import os
import re
from collections import Counter
from pathlib import Path

import pytest
from processes import run_python
from robustness.mutations.bugs import BUGS, CUPY

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_can_still_be_planted(bug):
    text = (REPOSITORY / bug.file).read_text(encoding="utf-8")
    assert text.count(bug.old) == 1
    changed = text.replace(bug.old, bug.new)
    assert changed != text
    compile(changed, bug.file, "exec")


@pytest.mark.full
@pytest.mark.parametrize(
    ("device", "marks"), [("", "not full"), ("emulated", "not full"), ("emulated", "full")]
)
def test_its_tests_are_there(device, marks):
    """`-k` and `-m` select at least one test of the file."""
    bugs = [bug for bug in BUGS if (bug.device, "full" in bug.tests) == (device, marks == "full")]
    command = ("-m", "pytest", "--collect-only", "-q", "-m", marks, *{bug.tests[0] for bug in bugs})
    environment = os.environ | {"GPUNN_TEST_DEVICE": device}
    listed = run_python(*command, cwd=REPOSITORY, env=environment).stdout.lower().splitlines()
    for file, *options in (bug.tests for bug in bugs):
        own = [name for name in listed if name.startswith(f"{file}::")]
        alternatives = options[1].lower().split(" or ") if options else [file]
        wanted = [words.split(" and ") for words in alternatives]
        assert any(all(word in name for word in words) for words in wanted for name in own), options


def test_the_table_lists_every_bug_and_tests_that_exist():
    table = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+) \| `(.+)` \| (\d) \| `(.+)::(\w+)", table, re.MULTILINE)
    listed = {
        (name, file.replace("cupy/", f"{CUPY}/", 1) if file[0] == "c" else file, int(tier))
        for name, file, tier, _, _ in rows
    }
    assert listed == {(bug.name, bug.file, bug.tier) for bug in BUGS}
    for *_, module, test in rows:
        text = (REPOSITORY / "tests" / f"{module}.py").read_text(encoding="utf-8")
        assert f"def {test}(" in text


def test_every_tier_has_a_bug():
    assert Counter(bug.tier for bug in BUGS).keys() == {1, 2, 3, 4, 5}
    assert len(BUGS) >= 12
    assert len({bug.name for bug in BUGS}) == len(BUGS)
