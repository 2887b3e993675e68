import json

import pytest

from gpunn.errors import DataFileError
from gpunn.sweep.trials import TRIALS, Trial, Trials, read_trials, write_trials


def trial(number, state="complete", value=None, **more):
    return Trial(number=number, folder=f"trial-{number:04d}", state=state, value=value, **more)


def trials(*found, direction="max"):
    return Trials(metric="val_accuracy", direction=direction, trials=list(found))


def test_the_best_is_complete():
    pruned, low, high = trial(0, "pruned", 0.9), trial(1, value=0.5), trial(2, value=0.7)
    found = trials(pruned, low, high, trial(3, "running"))
    assert found.best is high
    assert [each.number for each in found.ranked] == [2, 1, 0, 3]
    assert trials(pruned, low, high, direction="min").best is low
    assert trials(pruned, trial(1, "running", 0.8)).best is None
    assert trials(trial(0)).best is None  # forged: it has no value
    assert trials().best is None


def test_the_first_of_equal_ones_is_the_best():
    assert trials(trial(0, value=0.1), trial(1, value=0.7), trial(2, value=0.7)).best.number == 1


def test_what_counts():
    states = ["complete", "pruned", "diverged", "failed", "running", "interrupted", "lost"]
    assert trials(*(trial(*pair) for pair in enumerate(states))).counted == 5


def test_what_is_written_is_read(tmp_path):
    found = trials(trial(0, value=0.5, parameters={"a": [1]}, epoch=2, epochs=3), trial(1, "lost"))
    write_trials(tmp_path, found)
    assert read_trials(tmp_path) == found
    assert json.loads((tmp_path / TRIALS).read_text())["best"] == 0


@pytest.mark.parametrize(
    "text", ["", "[]", '{"metric": "a"}', "[" * 100_000, '{"metric": "a", "direction": "up"}']
)
def test_damaged_files(tmp_path, text):
    (tmp_path / TRIALS).write_text(text)
    with pytest.raises(DataFileError, match=r"trials\.json: damaged"):
        read_trials(tmp_path)


@pytest.mark.parametrize(
    "forged",
    [
        {"state": 7},
        {"epochs": -1},
        {"epochs": 10**400},
        {"number": -1},
        {"epoch": 10**400},
        {"parameters": {"a": 10**400}},
        {"parameters": {"a": "\ud800"}},
        {"parameters": {"a": {"b": json.loads("[" * 100 + "]" * 100)}}},
    ],
)
def test_forged_trials(tmp_path, forged):
    plain = {**trial(0, value=0.5).plain(), **forged}
    content = {"metric": "val_loss", "direction": "min", "trials": [plain]}
    (tmp_path / TRIALS).write_text(json.dumps(content))
    with pytest.raises(DataFileError, match=r"trials\.json: damaged: trials\[0\]"):
        read_trials(tmp_path)
