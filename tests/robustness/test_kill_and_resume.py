"""A few kills of the hunt whose figures are in docs/explanation/reliability.md."""

import json
from pathlib import Path

import pytest
from processes import run_python

REPOSITORY = Path(__file__).parents[2]


def hunt(folder, *options):
    figures = folder / "figures.jsonl"
    arguments = ["tests.robustness.kill_and_resume", "--epochs", "2", "--json", figures, *options]
    result = run_python("-m", *arguments, cwd=REPOSITORY)
    assert "the same" in result.stdout
    return json.loads(figures.read_text())


def test_a_kill(tmp_path):
    found = hunt(tmp_path, "--kills", "1", "--only", "lion", "--epochs", "1")
    assert (found["backend"], found["kills"], found["different"]) == ("NumPy", 1, 0)


@pytest.mark.full
@pytest.mark.parametrize(
    "options",
    [
        ("--kills", "3"),
        ("--kills", "3", "--only", "skipping"),  # it comes to its end, and diverges when it goes on
        ("--kills", "2", "--sigterm"),
    ],
)
def test_a_few_kills(tmp_path, options):
    found = hunt(tmp_path, *options)
    assert (found["kills"], found["different"]) == (int(options[1]), 0)


@pytest.mark.full
@pytest.mark.tier(5)
@pytest.mark.emulated
def test_a_kill_on_the_emulated_device(tmp_path):
    found = hunt(tmp_path, "--kills", "1", "--emulated")
    assert (found["backend"], found["kills"], found["different"]) == ("emulated CuPy", 1, 0)
