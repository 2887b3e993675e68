"""Messages of ci/test.sh and quickstart.sh about Python; ci/test.sh fails if a part fails."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.uname().machine != "x86_64" or shutil.which("bash") is None,
    reason="the emulated devices need Linux on x86-64, and the commands need bash",
)

# Replaces an interpreter: a shell script prints a version or an error.
INTERPRETER = """#!/usr/bin/env bash
case "$*" in
  *ensurepip*) {look} ;;
  "-m pytest"*)
    device=${{GPUNN_TEST_DEVICE:-none}}
    echo "$device: ${{*:3}}"
    if [[ -n ${{HANG:-}} ]]; then sleep 1000 & echo $! >"$MARKS/$device"; wait; fi
    [[ $device != "${{FAIL:-}}" ]] || exit 1 ;;
esac
"""
WORKS = INTERPRETER.format(look="echo 3.12")
TOOLS = "bash", "cat", "cksum", "dirname", "env", "grep", "mktemp", "rm", "sleep", "uname"


@pytest.fixture
def start(tmp_path):
    """`start(command, interpreters)` runs a command of a copy, with only these on PATH."""
    root, tools = tmp_path / "a clone", tmp_path / "tools"
    for name in ("ci", "scripts", "tests"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=lambda *_: ["__pycache__", "runs"])
    shutil.copy(REPOSITORY / "pyproject.toml", root)
    tools.mkdir()
    for tool in TOOLS:
        (tools / tool).symlink_to(shutil.which(tool))

    def begin(command, interpreters, **variables):
        for name, text in interpreters.items():
            path = root / name if "/" in name else tools / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        return subprocess.Popen(
            ["bash", str(root / command[0]), *command[1:]],
            env={"PATH": str(tools), "MARKS": str(tmp_path), "TMPDIR": str(tmp_path)} | variables,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return begin


@pytest.mark.parametrize(
    ("command", "look", "variables", "said"),
    [
        ("ci/test.sh", None, {}, "python3: command not found"),
        ("scripts/quickstart.sh", None, {"PYTHON": "mine"}, "mine: command not found"),
        ("ci/test.sh", "echo 'is Python 3.9, too old'; exit 1", {}, "python3: is Python 3.9, too"),
        ("scripts/quickstart.sh", "echo 'Error: No ensurepip'; exit 1", {}, "python3: No ensurep"),
    ],
)
def test_problems_of_python_are_reported(start, command, look, variables, said):
    interpreters = {} if look is None else {"python3": INTERPRETER.format(look=look)}
    process = start([command], interpreters, **variables)
    output, _ = process.communicate()
    assert process.returncode == 1
    assert "gpunn needs Python 3.11 or newer with venv and ensurepip" in output
    assert said in output


CHECKOUT = {
    ".venv/bin/python": WORKS,
    ".venv/bin/codespell": "#!/usr/bin/env bash",
    ".venv/bin/lint-imports": "#!/usr/bin/env bash",
    "g++": "#!/usr/bin/env bash\necho 12",
}


@pytest.mark.parametrize(
    ("arguments", "passed_on", "failing"),
    [
        ([], "-m not full", "none"),
        (["--full"], "", "emulated"),
        (["tests/gpu_graph", "-x"], "-m not full tests/gpu_gr", ""),
    ],
)
def test_tests_run_with_and_without_a_device(start, failing, arguments, passed_on):
    process = start(["ci/test.sh", *arguments], CHECKOUT, FAIL=failing)
    output, _ = process.communicate()
    assert f"emulated: {passed_on}" in output
    assert f"none: {passed_on}" in output
    assert process.returncode == bool(failing), output
    parts = {"none": "tests without a CUDA device", "emulated": "tests on emulated CUDA devices"}
    assert output.partition("error: failed: ")[2].startswith(parts.get(failing, ""))


def test_the_quick_run_starts_no_device(start):
    process = start(["ci/test.sh", "quick"], CHECKOUT)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert "none: -m not full tests/" in output
    assert "emulated: " not in output


@pytest.mark.parametrize(
    ("apt_get", "variables", "said"),
    [
        ('echo "apt-get $*" >&2', {}, "apt-get install -qq --no-install-recommends chromium"),
        ("[[ $1 == update ]] || exit 100", {}, "The installation failed"),
        ("exit 1", {"GPUNN_INSTALL_BROWSER": "no"}, "GPUNN_INSTALL_BROWSER=no: tests of"),
        (None, {}, "Install Chromium or Chrome, or name one with GPUNN_BROWSER"),
    ],
)
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root alone installs")
def test_a_missing_browser_is_installed(start, apt_get, variables, said):
    lacking = WORKS.replace("esac", "  *browser.py) exit 1 ;;\nesac")
    tools = {} if apt_get is None else {"apt-get": f"#!/usr/bin/env bash\n{apt_get}"}
    process = start(["ci/test.sh"], CHECKOUT | tools | {".venv/bin/python": lacking}, **variables)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert said in output


def test_an_installed_browser_is_used(start):
    tools = {"apt-get": "#!/usr/bin/env bash\necho called"}
    process = start(["ci/test.sh"], CHECKOUT | tools)
    output, _ = process.communicate()
    assert process.returncode == 0
    assert "called" not in output
    assert "browser" not in output


def is_running(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_interruption_ends_both_and_their_children(start, tmp_path):
    process = start(["ci/test.sh"], CHECKOUT, HANG="yes")
    marks = [tmp_path / "none", tmp_path / "emulated"]
    while not all(mark.exists() and mark.read_text() for mark in marks):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 130
    assert not list(tmp_path.glob("tmp.*")), "the log is left"
    # Nothing waits for them after the signal. If one continues, this test does not end.
    while any(map(is_running, [mark.read_text().strip() for mark in marks])):
        time.sleep(0.01)
