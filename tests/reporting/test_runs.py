"""The runs in a folder: which are listed, how they are selected, and which one is the best."""

import os
import shutil

import pytest
from run_folders import edited, write_lines

from gpunn.differences import ABSENT
from gpunn.errors import ArgumentError, ConfigError
from gpunn.experiment.files import CONFIG, EVALUATION, HISTORY
from gpunn.reporting.records import read_run
from gpunn.reporting.runs import Condition, find_runs, ordered, rank_runs, settings_that_differ
from gpunn.storage.files import FolderLock, is_locked
from gpunn.storage.models import FINAL


def change(path, **values):
    with edited(path) as content:
        content |= values


@pytest.fixture
def folder(digits_run, wider_run, numbers_run, tmp_path):
    """Two runs, one without validation rows, and a sweep's trial."""
    for run, place in ((digits_run, "digits"), (wider_run, "wider"), (numbers_run, "numbers")):
        shutil.copytree(run, tmp_path / place)
    shutil.copytree(digits_run, tmp_path / "tune-sweep" / "trial-0003")
    return tmp_path


def history(run, values):
    rows = [{"epoch": n, "loss": 1.0, "val_accuracy": x} for n, x in enumerate(values, start=1)]
    write_lines(run / HISTORY, rows)


def test_runs_are_found_in_folders_of_folders(folder):
    runs, problems = find_runs(folder)
    assert [run.name for run in runs] == ["digits", "numbers", "tune-sweep/trial-0003", "wider"]
    assert problems == []
    assert [run.name for run in find_runs(folder / "digits")[0]] == ["digits"]


def test_what_can_not_be_read_is_told_and_left_out(folder, monkeypatch):
    (folder / "notes").mkdir()
    (folder / "notes" / "plan.txt").write_text("")
    (folder / "torn").mkdir()
    (folder / "torn" / CONFIG).write_text('{"data": {"data')
    (folder / "foreign").mkdir()
    (folder / "foreign" / CONFIG).write_text('{"architectures": ["Bert"]}')
    (folder / "lost").mkdir()
    (folder / "lost" / HISTORY).write_text("")
    with open(folder / "wider" / HISTORY, "a") as file:
        file.write("nonsense\n")
    with edited(folder / "numbers" / CONFIG) as config:
        config["training"]["callbacks"] = [{"name": "early_stopping", "patience": "long"}]
        config["training"]["monitor"] = None
    (folder / ".hidden").mkdir()
    shutil.copy(folder / "digits" / CONFIG, folder / ".hidden")
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("notes"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    runs, problems = find_runs(folder)
    assert [run.name for run in runs] == ["digits", "tune-sweep/trial-0003"]
    assert len(problems) == 6
    for name in ("notes", "torn", "foreign", "lost", "wider", "numbers"):
        assert sum(f"{folder / name}" in problem for problem in problems) == 1


def test_links_are_followed_and_lead_nowhere_twice(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (folder / "wider").rename(elsewhere / "wider")
    (folder / "linked").symlink_to(elsewhere / "wider")
    (folder / "again").symlink_to(folder / "digits")
    (folder / "round").symlink_to(folder)
    names = [run.name for run in find_runs(folder)[0]]
    assert names == ["again", "linked", "numbers", "tune-sweep/trial-0003"]


def test_no_folder(tmp_path):
    with pytest.raises(ConfigError, match="there is no such folder"):
        find_runs(tmp_path / "none")
    assert find_runs(tmp_path) == ([], [])


@pytest.mark.parametrize(
    ("ending", "final", "state"),
    [
        ({}, True, "finished"),
        ({"stopped": "val_loss has not improved since epoch 2 (0.5)"}, True, "finished"),
        ({"stopped": "interrupted by Ctrl-C"}, True, "interrupted"),
        ({"epochs": 2}, True, "interrupted"),
        ({"stopped": "loss: not a finite number"}, False, "failed"),
        ({"stopped": "pruned: val_accuracy 0.1 is behind"}, True, "pruned"),
        (None, True, "interrupted"),
    ],
)
def test_states(folder, ending, final, state):
    run = folder / "digits"
    if ending is None:
        (run / EVALUATION).unlink()
    else:
        change(run / EVALUATION, **ending)
    if not final:
        (run / FINAL).unlink()
    assert read_run(run).state == state


def test_a_run_that_goes_on_for_more_epochs(folder):
    run = folder / "digits"
    with edited(run / CONFIG) as config:
        config["training"]["epochs"] = 9
    assert read_run(run).state == "interrupted"


def test_a_run_is_running_while_its_folder_is_locked(folder):
    lock = FolderLock(folder / "digits")
    assert is_locked(folder / "digits")
    assert [run.record.state for run in find_runs(folder)[0]][:2] == ["running", "finished"]
    lock.release()
    assert read_run(folder / "digits").state == "finished"
    assert FolderLock(folder / "digits")  # who looked has not kept it


def test_the_best_by_validation(folder):
    history(folder / "digits", [0.5, 0.75, 0.625])
    history(folder / "wider", [0.25, 0.875])
    history(folder / "tune-sweep" / "trial-0003", [None, 0.8125])
    runs, _ = find_runs(folder)
    ranking = rank_runs(runs)
    assert (ranking.metric, ranking.direction) == ("val_accuracy", "max")
    names = [run.name for run in ordered(runs, ranking, None, False)]
    assert names == ["wider", "tune-sweep/trial-0003", "digits", "numbers"]
    names = [run.name for run in ordered(runs, ranking, None, reverse=True)]
    assert names == ["digits", "tune-sweep/trial-0003", "wider", "numbers"]
    assert runs[ranking.best].name == "wider"
    assert "data.dataset" in ranking.unlike
    digits = runs[0]
    assert (digits.columns["epoch"], digits.metrics) == (2, {"val_accuracy": 0.75})


def test_no_ranking_without_validation_rows(folder):
    runs = [run for run in find_runs(folder)[0] if run.name == "numbers"]
    assert rank_runs(runs) is None
    assert runs[0].metrics.keys() == {"loss", "r2"}


def test_the_test_part_has_no_say(folder):
    runs, _ = find_runs(folder)
    before = rank_runs(runs)
    change(folder / "wider" / EVALUATION, test={"rows": 360, "loss": 0.0, "accuracy": 1.0})
    change(folder / "digits" / EVALUATION, test={"rows": 360, "loss": 9.0, "accuracy": 0.0})
    assert rank_runs(find_runs(folder)[0]) == before


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("layers.1.units=24", ["wider"]),
        ("model.layers[1].units=24", ["wider"]),
        ("layers.1.units != 24", ["digits", "numbers", "tune-sweep/trial-0003"]),
        ("optimizer.name=adam", ["digits", "numbers", "tune-sweep/trial-0003", "wider"]),
        ("training.epochs<3", ["numbers", "wider"]),
        ("epochs >= 3", ["digits", "tune-sweep/trial-0003"]),
        ("loss=mean_squared_error", []),
        ("training.loss=mean_squared_error", ["numbers"]),
        ("val_accuracy>2", []),
        ("run=wider", ["wider"]),
        ("run == wider", ["wider"]),
        ('run>"tz"', ["wider"]),
        ("run>2026", ["digits", "numbers", "tune-sweep/trial-0003", "wider"]),
        ("started>=2020", ["digits", "numbers", "tune-sweep/trial-0003", "wider"]),
        ("started>2020-01-01", ["digits", "numbers", "tune-sweep/trial-0003", "wider"]),
        ("started<2020-01-01", []),
        ("state=finished", ["digits", "numbers", "tune-sweep/trial-0003", "wider"]),
        ("learning_rate=cosine", ["digits", "tune-sweep/trial-0003", "wider"]),
        ("training.monitor=none", ["digits", "numbers", "tune-sweep/trial-0003", "wider"]),
    ],
)
def test_conditions(folder, text, names):
    assert [run.name for run in Condition(text).chosen(find_runs(folder)[0])] == names


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("layers", "where: expected KEY OPERATOR VALUE"),
        ("untis=3", "no run has 'untis'; did you mean 'model.layers.*.units'"),
        ("name=dense", "'name' matches several keys; use one of model.layers.0.name, "),
        ("epochs>many", "compares 3 with 'many'"),
        ("learning_rate>0.001", "compares 'cosine' with 0.001"),
    ],
)
def test_impossible_conditions(folder, text, problem):
    with pytest.raises(ArgumentError) as raised:
        Condition(text).chosen(find_runs(folder)[0])
    start, _, end = problem.partition("*")
    assert start in str(raised.value)
    assert end in str(raised.value)


def test_a_name_that_looks_like_a_number(folder):
    (folder / "digits").rename(folder / "1e3")
    runs, _ = find_runs(folder)
    assert [run.name for run in Condition("run=1e3").chosen(runs)] == ["1e3"]


def test_an_end_of_several_paths_means_the_one_that_differs(folder):
    shutil.rmtree(folder / "numbers")
    runs, _ = find_runs(folder)
    assert [run.name for run in Condition("units=24").chosen(runs)] == ["wider"]


def test_sorting(folder):
    history(folder / "digits", [0.5])
    history(folder / "wider", [0.25])
    runs = [run for run in find_runs(folder)[0] if run.name in ("digits", "wider", "numbers")]

    def names(key, reverse=False):
        return [run.name for run in ordered(runs, None, key, reverse)]

    assert names("run") == ["digits", "numbers", "wider"]
    assert names("run", reverse=True) == ["wider", "numbers", "digits"]
    assert names("val_accuracy") == ["digits", "wider", "numbers"]  # the largest first
    assert names("val_accuracy", reverse=True) == ["wider", "digits", "numbers"]
    assert names("training.epochs")[0] != "digits"
    assert names(None) == ["digits", "numbers", "wider"]


def test_what_differs(folder):
    runs = [run for run in find_runs(folder)[0] if run.name in ("digits", "wider")]
    assert settings_that_differ(runs) == [
        ("model.layers.1.units", [16, 24]),
        ("training.epochs", [3, 2]),
    ]
    with edited(folder / "wider" / CONFIG) as config:
        config["training"]["optimizer"] = {"name": "sgd", "learning_rate": 0.5, "momentum": 0.5}
        config["model"]["layers"].pop(2)
    differing = dict(settings_that_differ([runs[0], find_runs(folder / "wider")[0][0]]))
    assert differing["training.optimizer.name"] == ["adam", "sgd"]
    assert differing["training.optimizer.learning_rate"][1] == 0.5
    assert "training.optimizer.momentum" not in differing
    assert list(map(len, differing["model.layers"])) == [4, 3]
    assert ABSENT not in differing.values()
