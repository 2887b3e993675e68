import os
from pathlib import Path

import pytest

from gpunn.errors import ConfigError, DataFileError
from gpunn.monitor import Best
from gpunn.sweep import Source, read_trials
from gpunn.sweep.journal import JOURNAL
from gpunn.sweep.study import Study
from tests.sweep.conftest import CONFIG

optuna = pytest.importorskip("optuna")

RULE = Best("val_accuracy", "max")
DATA = {"training": [1149, 1], "validation": [288, 2]}
ROW = {"epoch": 2, "val_accuracy": 0.5}


@pytest.fixture
def opened(config, tmp_path):
    """`opened()` is the study in the folder "sweep"; settings change its configuration."""

    def study(*settings, folder="sweep", data=DATA):
        found, sweep = Source(config, settings).read()
        return Study(tmp_path / folder, found, sweep, RULE, data)

    return study


def states(study):
    return [trial.state for trial in study.summary().trials]


def test_trials_count_over_all_workers(opened):
    one, other = opened(), opened()
    first, second = one.claim(3), other.claim(3)
    assert (first.number, second.number) == (0, 1)
    one.end(first, "complete", ROW, 2)
    assert one.claim(3).number == 2
    assert other.claim(3) is None
    assert one.claim(3) is None
    other.end(second, "pruned", ROW, 1, "pruned: behind")
    assert states(one) == ["complete", "pruned", "running"]


def test_what_was_interrupted_is_made_up_for(opened):
    study = opened()
    for state in ("interrupted", "diverged", "failed"):
        study.end(study.claim(3), state)
    assert study.claim(3).number == 3
    assert study.claim(3) is None
    assert states(study) == ["interrupted", "diverged", "failed", "running"]


def test_an_end_is_noted_once(opened):
    study = opened()
    claim = study.claim(3)
    study.end(claim, "complete", ROW, 2)
    study.end(claim, "interrupted", reason="later")
    assert states(study) == ["complete"]


@pytest.fixture
def one_of_each(opened, monkeypatch):
    """A study with a trial of this process, and one of another machine's."""
    study = opened()
    study.claim(2)
    with monkeypatch.context() as patch:
        patch.setattr("gpunn.sweep.study.this_process", lambda: ["elsewhere", 1])
        study.claim(2)
    return study


def test_trials_of_killed_processes_are_lost(one_of_each, monkeypatch):
    assert one_of_each.claim(2) is None  # both may be in training
    monkeypatch.setattr("gpunn.sweep.study.is_gone", lambda process: process[0] == "elsewhere")
    assert one_of_each.claim(2).number == 2
    assert states(one_of_each) == ["running", "lost", "running"]


def test_trials_of_other_machines_can_be_reclaimed(one_of_each):
    assert one_of_each.claim(2, reclaim=True).number == 2
    assert states(one_of_each) == ["running", "lost", "running"]  # its own are its own


def test_values_depend_on_the_number_and_not_on_who_asks(opened):
    one, alone = [], opened(folder="one")
    for number in range(14):  # the first ten are random
        claim = alone.claim(20)
        one.append(claim.values)
        alone.end(claim, "complete", {"epoch": 1, "val_accuracy": number / 20}, 1)
    other = []
    for number in range(14):
        study = opened(folder="other")
        claim = study.claim(20)
        other.append(claim.values)
        study.end(claim, "complete", {"epoch": 1, "val_accuracy": number / 20}, 1)
    assert one == other
    assert len({str(values) for values in one}) == 14
    assert opened("sweep.seed=1", folder="third").claim(1).values != one[0]


def test_random_values(opened):
    study = opened("sweep.sampler=random")
    assert study.claim(2).values != study.claim(2).values


def test_a_grid_has_each_combination_once(opened):
    settings = (
        "sweep.sampler=grid",
        "sweep.parameters={seed={low=1, high=2}, "
        "'training.optimizer'={choices=['adam', {name='sgd', momentum=0.5}]}, "
        "'training.optimizer.weight_decay'={low=0.0, high=0.3, step=0.1}}",
    )
    study, other, seen = opened(*settings), opened(*settings), []
    while (claim := study.claim(99)) is not None:
        study.end(claim, "interrupted" if claim.number == 3 else "complete", ROW, 2)
        seen.append(claim.values)
        study, other = other, study
    assert len(seen) == 2 * 2 * 4 + 1
    assert seen[4] == seen[3]  # once more
    assert seen[0] == {
        "seed": 1, "training.optimizer": "adam", "training.optimizer.weight_decay": 0.0,
    }  # fmt: skip
    assert seen[5]["training.optimizer"] == {"name": "sgd", "momentum": 0.5}
    assert [values["seed"] for values in seen] == [1] * 9 + [2] * 8
    assert [round(10 * values["training.optimizer.weight_decay"]) for values in seen[-4:]] == [
        *(0, 1, 2, 3),
    ]
    assert len({str(values) for values in seen}) == 16


def test_what_is_told_of_trials(opened, tmp_path):
    study = opened()
    claim = study.claim(3)
    for epoch, value in enumerate([0.2, 0.4, 0.3], start=1):
        claim.trial.report(value, step=epoch)
    (so_far,) = study.summary().trials
    assert (so_far.value, so_far.epoch, so_far.epochs) == (0.4, 2, 3)
    study.end(claim, "interrupted", reason="Ctrl-C")
    (trial,) = read_trials(tmp_path / "sweep").trials
    assert (trial.state, trial.value, trial.epochs, trial.reason) == (
        "interrupted", 0.4, 3, "Ctrl-C",
    )  # fmt: skip
    assert trial.parameters == claim.values


def test_a_trial_without_a_finite_number_is_not_complete(opened):
    study = opened()
    study.end(study.claim(3), "complete", None, 2)
    (trial,) = study.summary().trials
    assert (trial.state, trial.reason) == ("failed", "val_accuracy was never a finite number")


@pytest.mark.parametrize("pruner", ["median", "halving", "none"])
def test_pruners(opened, pruner):
    study = opened(f"sweep.pruner={pruner}", "sweep.min_epochs=2")
    for value in [0.9] * 8:
        claim = study.claim(20)
        for epoch in (1, 2, 3):
            claim.trial.report(value, step=epoch)
            assert not claim.trial.should_prune()
        study.end(claim, "complete", {"epoch": 3, "val_accuracy": value}, 3)
    bad = study.claim(20).trial
    bad.report(0.1, step=1)
    assert not bad.should_prune()
    bad.report(0.1, step=2)
    assert bad.should_prune() == (pruner != "none")


def test_a_study_with_the_old_name_of_a_key_continues(opened, tmp_path):
    opened("sweep.min_epochs=2")
    journal = tmp_path / "sweep" / JOURNAL
    journal.write_text(journal.read_text().replace("min_epochs", "least_epochs"))
    opened("sweep.min_epochs=2")
    with pytest.raises(ConfigError, match=r"sweep\.min_epochs: the sweep in .* has 2"):
        opened()


def test_another_configuration_is_another_sweep(opened):
    opened()
    opened("sweep.trials=30", "backend=auto")
    for setting, problem in [
        ("training.epochs=9", "training.epochs: the sweep in .*sweep has 2 and cannot continue"),
        ("sweep.seed=9", "sweep.seed: the sweep in"),
        ("sweep.parameters.seed={low=0, high=1}", "sweep.parameters.seed"),
    ]:
        with pytest.raises(ConfigError, match=problem):
            opened(setting)


def test_other_data_is_another_sweep(opened, tmp_path):
    opened()
    opened(data=dict(DATA))
    for name in DATA:
        with pytest.raises(ConfigError, match=r"data: the sweep in .*sweep was trained on other"):
            opened(data={**DATA, name: [288, 9]})
    journal = tmp_path / "sweep" / JOURNAL
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(line for line in lines if '{"data":{"training":' not in line))
    assert len(journal.read_text()) < len("".join(lines)), "a sweep of an earlier release"
    opened(data={})


def test_a_folder_of_something_else(opened, tmp_path):
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="got a folder with a run"):
        opened()
    (folder / "config.json").rename(folder / "notes")
    with pytest.raises(ConfigError, match="got a folder with other files"):
        opened()


def test_a_folder_in_which_another_worker_just_begins(opened, tmp_path):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / ".turn.lock0123.rename").touch()  # as Optuna gives a lock back
    assert opened().claim(1).number == 0


@pytest.mark.parametrize(
    "content", [b"nonsense\n", b"{}\n", b'{"op_code": 99}\n', b"\xff\n\n", b"[1]\n", b"1\n2\n"]
)
def test_a_damaged_study(opened, tmp_path, content):
    opened()
    with open(tmp_path / "sweep" / JOURNAL, "ab") as file:
        file.write(content)
    with pytest.raises(
        DataFileError, match=r"study\.jsonl: this file is damaged, or is not a study"
    ):
        opened()


@pytest.mark.skipif(os.name != "posix", reason="devices and pipes of POSIX")
@pytest.mark.parametrize("kind", ["device", "pipe", "long line"])
def test_a_study_that_is_no_file(opened, tmp_path, kind):
    """Each is refused immediately, without reading or waiting."""
    folder, other = tmp_path / "sweep", tmp_path / "other"
    folder.mkdir()
    if kind == "device":
        other = Path("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(other)
    elif kind == "long line":
        with open(other, "wb") as file:
            file.truncate(2**40)  # sparse
    (folder / JOURNAL).symlink_to(other)
    said = {
        "device": "expected a regular file, got a device",
        "pipe": r"expected a regular file, got a pipe",
        "long line": "line 1: damaged: more than 16,777,216 bytes",
    }
    with pytest.raises(DataFileError, match=said[kind]):
        opened()


DEEP = "[" * 100 + "]" * 100

FORGED = [
    ('"begun":{', '"begun":null,"x":{'),
    ('"begun":{', '"begun":[{}],"x":{'),
    ('"parameters":{', '"parameters":null,"x":{'),
    ('"parameters":{', '"parameters":"a","x":{'),
    ('"parameters":{', '"parameters":{"\\ud800":1,'),
    ('"parameters":{', f'"parameters":{{"a":1{"0" * 400},'),
    ('"parameters":{', f'"parameters":{{"a":{DEEP},'),
    ('"state":"complete"', '"state":7'),
    ('"value":0.5', '"value":NaN'),
    ('"value":0.5', '"value":"much"'),
    ('"epoch":2', '"epoch":-2'),
    ('"epochs":2', f'"epochs":1{"0" * 400}'),
    ('"epochs":2', '"epochs":"two"'),
    ('"reason":""', '"reason":{}'),
    ('"ended":{', '"ended":7,"x":{'),
    ('"intermediate_value":0.25', '"intermediate_value":"high"'),
    ('"step":1', '"step":"first"'),
    ('"step":1', '"step":-1'),
    ('"values":[0.5]', '"values":["high"]'),
    ('"values":[0.5]', '"values":[Infinity]'),
    ('"values":[0.5]', '"values":null'),
    ('"values":[0.5]', '"values":[]'),
    ('"directions":[2]', '"directions":[1]'),
    ('"directions":[2]', '"directions":[]'),
    ('"param_value_internal":', '"param_value_internal":null,"x":'),
    ('"param_value_internal":', f'"param_value_internal":1{"0" * 400},"x":'),
]


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """The lines of a study with one complete trial."""
    folder = tmp_path_factory.mktemp("journal")
    path = folder / "digits.toml"
    path.write_text(CONFIG)
    found, sweep = Source(path).read()
    study = Study(folder / "sweep", found, sweep, RULE, DATA)
    claim = study.claim(3)
    claim.trial.report(0.25, step=1)
    study.end(claim, "complete", ROW, 2)
    return (folder / "sweep" / JOURNAL).read_text()


@pytest.mark.parametrize(("old", "new"), FORGED)
def test_forged_trials(opened, journal, tmp_path, old, new):
    """An error that names the file, before any trial."""
    assert old in journal
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / JOURNAL).write_text(journal.replace(old, new))
    with pytest.raises(DataFileError, match=r"study\.jsonl: .*damaged"):
        opened()
