"""pre-commit runs the linters of ci/test.sh, and no others."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_the_hooks_are_the_linters_of_the_tests():
    script = (REPOSITORY / "ci" / "test.sh").read_text()
    hooks = (REPOSITORY / ".pre-commit-config.yaml").read_text()
    linters = re.findall(
        r'^  "\$environment(_python|/bin/[\w-]+)" (.*) \|\| status=1$', script, re.M
    )
    expected = [
        f".venv{'/bin/python' if tool == '_python' else tool} {rest}" for tool, rest in linters
    ]
    assert re.findall("entry: (.*)", hooks) == expected
    assert len(expected) >= 3
