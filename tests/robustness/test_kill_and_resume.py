"""A few kills of the hunt whose figures are in docs/explanation/reliability.md."""

import json

import pytest

from robustness import kill_and_resume


@pytest.fixture
def hunt(capsys, monkeypatch, tmp_path):
    def run(*options):
        figures = tmp_path / "figures.jsonl"
        arguments = ["--epochs", "2", "--json", str(figures), *options]
        monkeypatch.setattr("sys.argv", ["kill_and_resume", *arguments])
        assert kill_and_resume.main() == 0
        assert "the same" in capsys.readouterr().out
        return json.loads(figures.read_text())

    return run


def test_a_kill(hunt):
    found = hunt("--kills", "1", "--only", "lion", "--epochs", "1")
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
def test_a_few_kills(hunt, options):
    found = hunt(*options)
    assert (found["kills"], found["different"]) == (int(options[1]), 0)


@pytest.mark.full
@pytest.mark.tier(5)
@pytest.mark.emulated
def test_a_kill_on_the_emulated_device(hunt):
    found = hunt("--kills", "1", "--emulated")
    assert (found["backend"], found["kills"], found["different"]) == ("emulated CuPy", 1, 0)
