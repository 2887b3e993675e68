import csv
import errno
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from kills import Killed
from model_files import contents, rewritten
from processes import run, run_python
from run_folders import (
    assert_same_run,
    checkpoints,
    evaluation,
    everything,
    history,
    same_weights,
    weights,
)

from gpunn.load import load_model
from gpunn.reporting.records import read_run

FILES = [
    "best.safetensors",
    "checkpoints",
    "config.json",
    "environment.json",
    "evaluation.json",
    "final.safetensors",
    "history.csv",
    "history.jsonl",
    "norms.jsonl",
]


def test_a_run(gpunn, digits, tmp_path):
    result = gpunn("train", "digits.toml")
    run = tmp_path / "runs" / "digits"
    assert sorted(path.name for path in run.iterdir()) == FILES
    rows = history(run)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert rows[-1]["val_accuracy"] > 0.85
    assert "Test: loss " in result.stdout
    assert "epoch 4/4: loss " in result.stdout
    for name in FILES:
        assert f"runs/digits/{name}" in result.stdout
    ended = evaluation(run)
    assert ended["test"]["rows"] == 360
    assert ended["test"]["accuracy"] > 0.85
    assert (ended["epochs"], ended["stopped"]) == (4, "")
    environment = json.loads((run / "environment.json").read_text())
    assert environment["backend"]["backend"] == "numpy"
    assert environment["packages"]["numpy"] == np.__version__
    assert environment["blas"]["name"]
    # The table at the end:
    lines = result.stdout.splitlines()
    (top,) = (number for number, line in enumerate(lines) if line.split() == ["loss", "accuracy"])
    end = next(number for number in range(top, len(lines)) if lines[number].startswith("test "))
    titles = [line.rsplit(maxsplit=2)[0] for line in lines[top + 1 : end]]
    assert [title.partition(", ")[0] for title in titles[:2]] == ["training", "validation"]
    assert titles[-1].startswith("validation, epoch 4")
    assert sum("(best)" in title for title in titles) == 2
    assert any("4 epochs in " in line and "samples/s" in line for line in lines)


BRANCHES = """\
model.layers=[
    { name = "residual", layers = [{ name = "dense", units = 64 }] },
    { name = "dense", units = 16 },
    { name = "concatenate", branches = [["layer_norm"], [], [{ name = "dense", units = 4 }]] },
    { name = "dense", units = 10 },
]"""


def test_the_recorded_configuration_trains_the_same_again(gpunn, digits, tmp_path):
    options = ("--set", "training.epochs=2", "--set", "seed=5", "--set", BRANCHES)
    gpunn("train", digits, "--output", "a", *options)
    recorded = json.loads((tmp_path / "a" / "config.json").read_text())
    assert recorded["seed"] == 5
    assert recorded["training"]["epochs"] == 2
    assert recorded["training"]["optimizer"]["epsilon"] == 1e-8
    assert recorded["training"]["shuffle"] is True
    residual, dense, concatenated, _ = recorded["model"]["layers"]
    assert residual["layers"][0] | {"units": 16} == dense
    assert dense["initializer"]["name"] == "fan_in"
    assert concatenated["branches"][1] == []
    gpunn("train", "a/config.json", "--output", "b")
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert json.loads((tmp_path / "b" / "config.json").read_text()) == recorded


def test_the_best_epoch_is_kept(gpunn, digits, tmp_path):
    gpunn("train", digits, "--set", "training.monitor=val_loss", "--output", "a")
    rows = history(tmp_path / "a")
    best = min(rows, key=lambda row: row["val_loss"])["epoch"]
    assert kept_epoch(tmp_path / "a") == best
    gpunn("train", digits, "--set", "training.monitor=learning_rate", "--output", "b")
    assert kept_epoch(tmp_path / "b") == 4  # not larger, so smaller, is better: it falls
    gpunn("train", digits, "--set", "data.validation_fraction=0", "--output", "c")
    assert not (tmp_path / "c" / "best.safetensors").exists()


def test_the_best_epoch_is_found_without_looking_back(gpunn, digits, monkeypatch):
    """Each epoch is read only once, or long runs would slow down."""
    from gpunn.experiment import folder

    watched = Mock(wraps=folder.monitored)
    monkeypatch.setattr(folder, "monitored", watched)
    gpunn("train", digits, "--output", "run")
    assert [call.args[0]["epoch"] for call in watched.call_args_list] == [1, 2, 3, 4]


def kept_epoch(run: Path) -> int:
    return contents(run / "best.safetensors")[1]["training"]["epoch"]


def test_files_of_callbacks_are_in_the_folder(gpunn, digits, tmp_path):
    log = "{name='csv_log', path='log.csv'}"
    models = "{name='model_checkpoint', path='epochs/{epoch}.safetensors'}"
    setting = f"--set=training.callbacks=[{log}, {models}]"
    gpunn("train", digits, setting, "--output", "run")
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 5
    assert len(list((tmp_path / "run" / "epochs").iterdir())) == 4
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())
    assert recorded["training"]["callbacks"][0] == {"name": "csv_log", "path": "log.csv"}


@pytest.mark.parametrize(
    ("option", "variable", "configured", "expected"),
    [
        ("numpy", "nonsense", "cupy", None),
        (None, "numpy", "cupy", None),
        (None, "nonsens", "numpy", "GPUNN_BACKEND: there is no backend 'nonsens'"),
        (None, None, "nump", "backend: there is no backend 'nump'; did you mean 'numpy'?"),
    ],
)
def test_precedence_of_the_backend(
    gpunn, digits, monkeypatch, option, variable, configured, expected
):
    monkeypatch.delenv("GPUNN_BACKEND")
    if variable:
        monkeypatch.setenv("GPUNN_BACKEND", variable)
    options = ["--backend", option] if option else []
    arguments = ["--set", "training.epochs=1", "--set", f"backend={configured}", *options]
    result = gpunn("train", digits, *arguments, status=2 if expected else 0)
    if expected:
        assert expected in result.stderr


@pytest.mark.filterwarnings("always")
def test_a_warning_is_one_line(gpunn, digits):
    settings = ["model.layers.4.activation=relu", "training.epochs=1"]
    options = [word for setting in settings for word in ("--set", setting)]
    (line,) = gpunn("train", digits, "--quiet", *options).stderr.splitlines()
    said = "layer 'dense_2': with its activation 'relu', outputs are at least 0, but"
    assert line.startswith(said)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("sed=1", "sed: unknown key; did you mean 'seed'?"),
        (
            "training.callbacks=[{name='early_stopping', monitor='val_acuracy'}]",
            "training.callbacks[0].monitor: the logs have no value 'val_acuracy'; did you mean "
            "'val_accuracy'?",
        ),
        (
            "training.optimizer.learning_rate={name='reduce_on_plateau', monitor='val_lss'}",
            "training.optimizer.learning_rate.monitor: the logs have no value 'val_lss'",
        ),
        ("training.class_weight={x=1}", "training.class_weight.x: there is no such class"),
        (
            "training.callbacks=[{name='json_lines_log', path='./history.jsonl'}]",
            "training.callbacks[0].path: the run itself writes history.jsonl",
        ),
        (
            "data.validation_fraction=0 training.callbacks=['early_stopping']",
            "no value 'val_loss' without validation rows (set data.validation_fraction)",
        ),
        ("training.monitor=loss training.callbacks=['early_stopping']", "training.monitor: cannot"),
        # What only the data shows.
        ("model.layers.4.units=1", "needs a network with at least 2 outputs"),
        ("data.validation_fraction=0.9999", "data.validation_fraction: 0.9999 of 1437 rows"),
        ("training.loss=mean_squared_error", "targets must have shape (rows, 10)"),
    ],
)
def test_a_wrong_setting_is_one_line_and_leaves_no_folder(
    gpunn, digits, tmp_path, settings, problem
):
    before = sorted(tmp_path.iterdir())
    options = [f"--set={setting}" for setting in re.split(" (?=training)", settings)]
    result = gpunn("train", digits, *options, status=2)
    message, *picture_of_shapes = result.stderr.splitlines()
    assert problem in message
    assert all(line.startswith("    ") for line in picture_of_shapes)
    assert result.stdout == ""
    assert sorted(tmp_path.iterdir()) == before


OWN_METRIC = """
import gpunn


class Separation(gpunn.metrics.Accuracy):
    name = "separation"


class Silent(gpunn.metrics.Accuracy):
    name = "silent"
    larger_is_better = None
"""


def test_metrics_of_ones_own_tell_the_best_epoch(gpunn, digits):
    Path("own_metric.py").write_text(OWN_METRIC)
    own = ["--set", "training.metrics=['own_metric:Separation','own_metric:Silent']"]
    own += ["--allow-imports", "--set", "training.epochs=3"]
    settings = ["--set", "training.monitor=val_separation"]
    gpunn("train", digits, *own, *settings, "--output", "a")
    rows = [json.loads(line) for line in Path("a/history.jsonl").read_text().splitlines()]
    figures = [row["val_separation"] for row in rows]
    config = json.loads(Path("a/config.json").read_text())
    assert config["training"]["monitor_mode"] == "max"
    assert read_run(Path("a")).best["epoch"] == figures.index(max(figures)) + 1
    assert figures.index(max(figures)) != figures.index(min(figures))
    stopping = ["--set", "training.callbacks=[{name='early_stopping', monitor='val_silent'}]"]
    result = gpunn("train", digits, *own, *stopping, "--output", "b", status=2)
    assert "training.callbacks[0].mode: can't decide whether a larger or a smaller" in result.stderr
    settings = ["--set", "training.monitor=val_silent"]
    result = gpunn("train", digits, *own, *settings, "--output", "b", status=2)
    assert "training.monitor_mode: can't decide whether" in result.stderr
    gpunn("train", digits, *own, *settings, "--set", "training.monitor_mode=min", "--output", "b")
    assert read_run(Path("b")).best["epoch"] == figures.index(min(figures)) + 1
    result = gpunn("train", digits, "--set", "training.monitor_mode=min", "--output", "c", status=2)
    assert "training.monitor_mode: also set training.monitor" in result.stderr


def test_a_folder_in_use_is_refused(gpunn, digits, tmp_path):
    (tmp_path / "run").mkdir()
    gpunn("train", digits, "--output", "run")
    first = (tmp_path / "run" / "history.jsonl").read_text()
    result = gpunn("train", digits, "--output", "run", status=2)
    for option in ("--resume", "--overwrite", "--output"):
        assert option in result.stderr
    assert (tmp_path / "run" / "history.jsonl").read_text() == first


def test_overwrite_replaces_a_run_and_its_logs_and_nothing_else(gpunn, digits, tmp_path):
    run, log = tmp_path / "run", "training.callbacks=[{name='csv_log', path='logs/log.csv'}]"
    gpunn("train", digits, "--output", "run", "--set", log)
    (run / "notes.txt").write_text("mine")
    settings = [log, "training.epochs=1", "data.validation_fraction=0", "seed=3"]  # other columns
    gpunn("train", digits, "--output", "run", "--overwrite", *(f"--set={s}" for s in settings))
    assert len(history(run)) == 1
    assert len((run / "logs" / "log.csv").read_text().splitlines()) == 2
    assert not (run / "best.safetensors").exists()
    assert (run / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("lost", [["seconds"], ["samples_per_second"], ["accuracy", "seconds"]])
def test_a_resumed_history_without_some_columns(gpunn, run, tmp_path, lost):
    path = max((tmp_path / "run" / "checkpoints").iterdir())
    training = contents(path)[1]["training"]
    for name in lost:
        del training["history"][0][name]
    rewritten(path, training=training)
    result = gpunn("train", "run", "--resume")
    assert "training, epoch" in result.stdout
    assert f"{len(training['history'])} epochs in " in result.stdout


def test_overwrite_with_a_wrong_configuration_keeps_the_run(gpunn, run, digits, tmp_path):
    wrong = "--set=model.layers.4.units=9"
    gpunn("train", digits, "--output", "run", "--overwrite", wrong, status=2)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == FILES


PLATEAU = "training.optimizer.learning_rate={name='reduce_on_plateau', rate=0.01, patience=1}"
STOPPING = "training.callbacks=[{name='early_stopping', monitor='val_loss', patience=2}]"


def do_before(patch, name, action):
    from gpunn.experiment import RunFolder

    original = getattr(RunFolder, name)

    def changed(self, *arguments):
        action(*arguments)
        original(self, *arguments)

    patch.setattr(RunFolder, name, changed)


@pytest.fixture
def killed_after(gpunn, monkeypatch):
    """Runs a command whose process dies after an epoch or update, with its checkpoint written."""
    from gpunn.experiment import RunFolder

    def run(number: int, *arguments: object, unit: str = "epoch") -> None:
        hook = {"epoch": "on_epoch_end", "updates": "on_updates_end"}[unit]
        original = getattr(RunFolder, hook)

        def dying(self, trainer, *logs):
            original(self, trainer, *logs)
            if getattr(trainer, unit) == number:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(RunFolder, hook, dying)
            patch.setattr(RunFolder, "on_train_end", lambda self, trainer: None)
            with pytest.raises(Killed):
                gpunn(*arguments)

    return run


@pytest.mark.parametrize(
    ("settings", "killed_in"), [([], 1), ([PLATEAU], 3), (["training.optimizer=sgd"], 1)]
)
def test_a_resumed_run_is_the_uninterrupted_one(
    gpunn, killed_after, digits, tmp_path, killed_in, settings
):
    options = [f"--set={setting}" for setting in settings]
    gpunn("train", digits, *options, "--output", "whole")
    killed_after(killed_in, "train", digits, *options, "--output", "parts")
    assert not (tmp_path / "parts" / "final.safetensors").exists()
    result = gpunn("train", digits, *options, "--output", "parts", "--resume")
    assert f"resuming after epoch {killed_in}" in result.stdout
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_early_stopping_goes_on_counting_to_the_best_epoch(gpunn, killed_after, digits, tmp_path):
    # At this learning rate the loss on the validation rows is best early and then rises.
    settings = [
        STOPPING,
        "training.epochs=12",
        "training.optimizer={name='sgd', learning_rate=2.0}",
    ]
    options = [f"--set={setting}" for setting in settings]
    gpunn("train", digits, *options, "--output", "whole")
    rows = history(tmp_path / "whole")
    assert 3 <= len(rows) < 12
    final, best = weights(tmp_path / "whole"), weights(tmp_path / "whole", "best")
    assert all(np.array_equal(final[name], best[name]) for name in final)
    assert "val_loss has not improved since epoch" in evaluation(tmp_path / "whole")["stopped"]
    for killed_in in (1, len(rows) - 1, len(rows)):
        parts = tmp_path / f"killed in {killed_in}"
        killed_after(killed_in, "train", digits, *options, "--output", parts)
        gpunn("train", digits, *options, "--output", parts, "--resume")
        assert_same_run(tmp_path / "whole", parts)


def test_resuming_what_has_ended_changes_nothing(gpunn, run_before, tmp_path):
    run_before("whole")
    run_before("run")
    gpunn("train", "run", "--resume")
    assert_same_run(tmp_path / "whole", tmp_path / "run")


LONGER = ["train", "run", "--resume", "--set", "training.epochs=5"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("seed=1", "seed: the run in run has 0"),
        ("model.layers.2.rate=0.5", "model.layers[2].rate: the run in run has 0.1"),
        ("dtype=float64", "dtype: the run in run has 'float32'"),
        ("training.optimizer=sgd", "the optimizer 'adam', but the trainer has 'sgd'; use 'adam'"),
        ("training.callbacks=[{name='csv_log', path='../a'}]", "is outside the run folder"),
        ("training.callbacks=[{name='csv_log', path='other.csv'}]", "other.csv"),
        (
            "training.callbacks=['early_stopping', {name='early_stopping', patience=3}]",
            "at most one",
        ),
    ],
)
def test_a_refused_resumption_changes_nothing(gpunn, run, digits, tmp_path, setting, said):
    (tmp_path / "run" / "other.csv").write_text("other,columns\n")
    before = everything(tmp_path / "run")
    for command in (["train", digits, "--output", "run", "--resume"], LONGER):
        assert said in gpunn(*command, "--set", setting, status=2).stderr
        assert everything(tmp_path / "run") == before
    gpunn("evaluate", "run")
    gpunn(*LONGER)
    assert len(history(tmp_path / "run")) == 5


@pytest.mark.parametrize(
    ("before", "metrics"),
    [
        ("['accuracy']", "[]"),
        ("['accuracy']", "['top_k_accuracy']"),
        ("['accuracy']", "['accuracy', 'top_k_accuracy']"),
        ("[]", "['accuracy']"),  # by default, the best epoch is then chosen by it
    ],
)
def test_other_metrics_from_now_on(gpunn, digits, tmp_path, before, metrics):
    """An epoch's line has the figures that it had, and the table has all that there were."""
    gpunn("train", digits, "--output", "run", "--set", f"training.metrics={before}")
    gpunn(*LONGER, "--set", f"training.metrics={metrics}")
    rows = history(tmp_path / "run")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    with open(tmp_path / "run" / "history.csv", newline="") as file:
        table = list(csv.DictReader(file))
    names = dict.fromkeys(name for row in rows for name in row)
    assert set(table[0]) == set(names)
    for line, row in zip(table, rows, strict=True):
        assert line == {name: str(row.get(name, "")) for name in names}
    gpunn("train", "run", "--resume")
    gpunn("evaluate", "run")
    gpunn("report", "run")


@pytest.mark.parametrize("kind", ["beginning", "epoch", "end"])
def test_a_full_disk_while_a_finished_run_goes_on(
    gpunn, run_before, digits, tmp_path, monkeypatch, kind
):
    """The network and its evaluation stay until there are others."""
    run_before("whole")
    gpunn("train", "whole", "--resume", "--set", "training.epochs=5")
    run_before()
    before, run = everything(tmp_path / "run"), tmp_path / "run"
    name = {"beginning": "on_train_begin", "epoch": "on_epoch_end", "end": "save_model"}[kind]
    full = Full(monkeypatch, errno.ENOSPC)
    with monkeypatch.context() as patch:
        do_before(patch, name, lambda *arguments: setattr(full, "now", True))
        assert "the disk is full" in gpunn(*LONGER, status=2).stderr
    full.now = False
    for path, content in before.items():
        if kind == "beginning" or path.name in ("final.safetensors", "evaluation.json"):
            assert path.read_bytes() == content
    gpunn("evaluate", "run")
    gpunn(*LONGER)
    assert_same_run(tmp_path / "whole", run)


def test_divergence_of_a_finished_run_that_goes_on(gpunn, digits, tmp_path):
    gpunn("train", digits, "--output", "run", "--set=training.optimizer={name='sgd'}")
    kept = {
        name: (tmp_path / "run" / name).read_bytes()
        for name in ("final.safetensors", "evaluation.json")
    }
    gpunn(*LONGER, "--set", "training.optimizer={name='sgd', learning_rate=1e38}", status=1)
    for name, content in kept.items():
        assert (tmp_path / "run" / name).read_bytes() == content
    gpunn("evaluate", "run")


def test_a_finished_run_that_is_killed_when_it_goes_on(gpunn, run, killed_after, digits, tmp_path):
    before = weights(tmp_path / "run")
    killed_after(5, "train", "run", "--resume", "--set", "training.epochs=6")
    after = weights(tmp_path / "run")
    assert all(np.array_equal(before[name], after[name]) for name in before)
    gpunn("report", "run")
    page = (tmp_path / "report.html").read_text()
    assert "The trained network and its test metrics are from epoch 4. Training was resumed" in page
    gpunn("train", "run", "--resume")
    assert evaluation(tmp_path / "run")["epochs"] == 6


def test_an_evaluation_that_fails(gpunn, run, digits, tmp_path, monkeypatch):
    """The network is kept; the evaluation of another network goes with it."""
    from gpunn.experiment import Experiment

    monkeypatch.setattr(Experiment, "evaluate", Mock(side_effect=OSError("no memory left")))
    gpunn("train", digits, "--set", "training.epochs=1", "--output", "new", status=2)
    assert weights(tmp_path / "new")
    gpunn("train", "run", "--resume", status=2)
    assert evaluation(tmp_path / "run")["epochs"] == 4, "it is the same network"
    gpunn(*LONGER, status=2)
    assert not (tmp_path / "run" / "evaluation.json").exists()


def test_resuming_nothing_begins(gpunn, digits, tmp_path):
    result = gpunn("train", digits, "--output", "run", "--resume")
    assert "no earlier run in run; starting a new one" in result.stdout
    assert len(history(tmp_path / "run")) == 4


def test_damaged_checkpoints_are_skipped_and_named(gpunn, run_before, tmp_path, caplog):
    run, whole = run_before(), run_before("whole")
    for newest in checkpoints(run)[:2]:
        newest.write_bytes(b"damaged")
    assert "resuming after epoch 2" in gpunn("train", "run", "--resume").stdout
    assert_same_run(whole, run)
    skipped = [record.getMessage() for record in caplog.records]
    assert len(skipped) == 3
    assert skipped[0].startswith("Skipped a checkpoint: run/checkpoints/0000000")
    assert "not a readable safetensors file" in skipped[0]
    assert skipped[2].startswith("Resuming from run/checkpoints/0000000")
    for file in checkpoints(run):
        file.write_bytes(b"damaged")
    result = gpunn("train", "run", "--resume", status=2)
    assert "run/checkpoints: all checkpoints in this folder are damaged" in result.stderr
    assert (run / "best.safetensors").exists()


def test_killed_within_an_epoch(gpunn, killed_after, digits, tmp_path):
    setting = "--set=training.checkpoint_every_updates=3"
    gpunn("train", digits, setting, "--output", "whole")
    killed_after(24, "train", digits, setting, "--output", "parts", unit="updates")
    (tmp_path / "parts" / "checkpoints" / ".0000000027.safetensors.0123abcd.part").touch()
    result = gpunn("train", "parts", "--resume")
    assert "resuming after epoch 1 and 6 updates of the next epoch" in result.stdout
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert not list((tmp_path / "parts").rglob("*.part"))


class Full:
    def __init__(self, monkeypatch, number):
        self.now = False
        opened = open

        def guarded(path, mode="r", *arguments, **options):
            if self.now and mode == "xb":
                raise OSError(number, os.strerror(number), str(path))
            return opened(path, mode, *arguments, **options)

        monkeypatch.setattr("gpunn.storage.files.open", guarded, raising=False)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "cannot be written: the disk is full ("),
        (errno.EDQUOT, "cannot be written: the disk is full ("),
        (errno.EROFS, "cannot be written: the folder is read-only for this process"),
        (errno.EACCES, "cannot be written: the folder is read-only for this process"),
        (errno.EIO, "cannot be written: Input/output error; an existing file is unchanged"),
    ],
)
def test_a_disk_that_fails(gpunn, run_before, digits, tmp_path, monkeypatch, number, said):
    full = Full(monkeypatch, number)

    def fill(trainer, logs):
        full.now = trainer.epoch == 3

    run_before("whole")
    with monkeypatch.context() as patch:
        do_before(patch, "on_epoch_end", fill)
        result = gpunn("train", digits, "--output", "parts", status=2)
    full.now = False
    assert said in result.stderr
    assert "parts/" in result.stderr
    assert not list((tmp_path / "parts").rglob("*.part"))
    assert "resuming after epoch 2" in gpunn("train", "parts", "--resume").stdout
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


def test_a_folder_that_vanishes(gpunn, digits, tmp_path, monkeypatch):
    def vanish(trainer, logs):
        if trainer.epoch == 2:
            shutil.rmtree(tmp_path / "run" / "checkpoints")

    do_before(monkeypatch, "on_epoch_end", vanish)
    result = gpunn("train", digits, "--output", "run", status=2)
    assert "run/checkpoints: there is no such folder" in result.stderr
    assert (tmp_path / "run" / "best.safetensors").exists()


DIVERGING = [
    "--set=training.optimizer={name='sgd', learning_rate=1e30}",
    "--set=model.layers=[{name='dense', units=8}, {name='dense', units=10}]",
]


def test_a_diverged_run_goes_on_with_a_smaller_rate(gpunn, digits, tmp_path):
    result = gpunn("train", digits, *DIVERGING, "--output", "run", status=1)
    assert "Error: loss: not a finite number at step 2 of epoch 1. The activations" in result.stderr
    assert "config.json" in result.stdout
    run = tmp_path / "run"
    assert "not a finite number" in evaluation(run)["stopped"]
    assert not (run / "final.safetensors").exists()
    assert history(run) == []
    for best in ([], ["--best"]):
        error = gpunn("evaluate", "run", *best, status=2).stderr
        assert "the run did not finish; continue it with gpunn train run --resume" in error
        assert "--best" not in error
    smaller = "training.optimizer.learning_rate=0.001"
    gpunn("train", "run", "--resume", "--set", smaller)
    assert len(history(run)) == 4
    assert (run / "final.safetensors").exists()


def test_a_sentinel_whose_square_overflows(gpunn, tmp_path):
    """The loss stays finite, but not the running variance of the batch normalization."""
    rows = [f"{i % 7},{1e20 if i == 50 else i % 5},{i % 2}" for i in range(64)]
    (tmp_path / "table.csv").write_text("\n".join(["age,income,y", *rows]))
    config = {
        "data": {"dataset": "csv", "path": "table.csv", "target": "y"},
        "model": {"layers": [{"name": "batch_norm"}, {"name": "dense", "units": 2}]},
        "training": {
            "loss": "softmax_cross_entropy",
            "optimizer": "adam",
            "epochs": 2,
            "checkpoint_every_updates": 1,
        },
    }
    (tmp_path / "run.json").write_text(json.dumps(config))
    result = gpunn("train", "run.json", "--output", "run", status=1)
    assert "Error: buffers: 'batch_norm_1.running_variance' is not finite after" in result.stderr
    assert "in column 'income'" in result.stderr
    for path in (tmp_path / "run").glob("**/*.safetensors"):
        load_model(path, "numpy")
    skip = "training.on_divergence='skip'"
    gpunn("train", "run.json", "--output", "run", "--resume", "--set", skip)
    load_model(tmp_path / "run", "numpy")


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        (signal.SIGINT, 130, "interrupted by Ctrl-C"),
        (signal.SIGTERM, 143, "ended by SIGTERM; to continue: gpunn train run --resume"),
    ],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_signal_keeps_what_was_trained(gpunn, digits, monkeypatch, number, status, said):
    def send(trainer, logs):
        if trainer.epoch == 2:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        do_before(patch, "on_epoch_end", send)
        ended = gpunn("train", digits, "--output", "run", status=status)
    run = Path("run")
    assert said in ended.stdout
    if number == signal.SIGINT:
        assert "Interrupted." in ended.stderr
        assert "run/final.safetensors" in ended.stdout
        assert ended.stdout.endswith("\nTo continue: gpunn train run --resume\n")
        assert sorted(path.name for path in run.iterdir()) == FILES
        gpunn("evaluate", "run")
    assert len(history(run)) == 2
    assert "resuming after epoch 2" in gpunn("train", "run", "--resume").stdout
    assert len(history(run)) == 4


OWN = """\
from dataclasses import dataclass
from gpunn.activations import Activation
from gpunn.layers import Dropout

@dataclass(frozen=True)
class Double(Activation):
    factor: float = 2.0
    name = "own_double"

    def value(self, xp, z):
        return self.factor * z

    def derivative(self, xp, z, a):
        return self.factor + 0 * z

@dataclass(eq=False)
class Noise(Dropout):
    name = "own_noise"
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    (tmp_path / "own_module.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("own_module", None)


def test_your_own_classes(gpunn, digits, own_module, tmp_path):
    settings = [
        "model.layers.1.activation={name='own_module:Double', factor=3.0}",
        "model.layers.2=own_module:Noise",
    ]
    options = [f"--set={setting}" for setting in settings]
    gpunn("train", digits, *options, "--output", "run", "--allow-imports")
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())
    assert recorded["model"]["layers"][1]["activation"] == {
        "name": "own_module:Double",
        "factor": 3.0,
    }
    assert recorded["model"]["layers"][2]["name"] == "own_module:Noise"
    gpunn("train", "run/config.json", "--output", "again", "--allow-imports")
    assert same_weights(tmp_path / "run", tmp_path / "again")
    for command in (["evaluate", "run"], ["train", "run/config.json", "--output", "third"]):
        refused = gpunn(*command, status=2)
        assert "model.layers[1].activation: importing 'own_module:Double' runs" in refused.stderr
        assert "--allow-imports" in refused.stderr


def test_a_configuration_runs_no_code(gpunn, digits, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for key in (
        "model.layers.2",
        "training.loss",
        "training.optimizer",
        "model.layers.1.activation",
    ):
        gpunn("train", digits, "--set", f"{key}=evil:Evil", status=2)
    assert "evil" not in sys.modules


def test_as_a_process(digits, tmp_path):
    """By the name of the command; `python -m gpunn` is below."""
    (tmp_path / "own_module.py").write_text(OWN)
    arguments = ["train", "digits.toml", "--set", "training.epochs=1"]
    arguments += ["--set", "model.layers.2=own_module:Noise", "--allow-imports"]
    result = run(Path(sys.executable).with_name("gpunn"), *arguments, cwd=tmp_path)
    assert result.stderr == ""
    assert "Test: loss" in result.stdout


def test_the_digits_configuration_reaches_its_accuracy(gpunn, tmp_path):
    config = Path(__file__).parents[2] / "scripts" / "configs" / "digits.toml"
    assert gpunn("train", config, "--output", "run", "--quiet").output == ""
    assert evaluation(tmp_path / "run")["test"]["accuracy"] >= 0.975


def test_importing_the_command_is_light():
    code = "import sys, gpunn.cli; print(*({'numpy', 'safetensors'} & set(sys.modules)))"
    assert run_python("-c", code).stdout.strip() == ""


def test_live_without_a_terminal(gpunn, digits):
    result = gpunn("train", digits, "--live", "--output", "run", "--set", "training.epochs=1")
    assert result.stderr == ("--live: standard error is not a terminal that can show curves\n")
    assert Path("run/final.safetensors").exists()
    refused = gpunn("train", digits, "--live", "--quiet", "--output", "other", status=2)
    assert "--live and --quiet cannot be combined" in refused.stderr
    assert not Path("other").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_live_on_a_terminal(digits):
    """The whole command, on a terminal of 40 lines and 100 columns, with its progress bars.

    The configuration asks for curves, too, which are shown once.
    """
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-m", "gpunn", "train", str(digits), "--live", "--output", "run"]
    command += ["--set", 'training.callbacks=["live_plot"]']
    environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # which is how Linux says that nobody writes any more
            while chunk := os.read(ours, 65536):
                shown += chunk
    os.close(ours)
    assert process.returncode == 0
    text = shown.decode()
    begin, end = text.index("\x1b[1;27r"), text.index("\x1b[r")
    assert "Loss:" in text[begin:end]
    assert "Epoch 1/4" in text[:begin]
    kept = text[end:]
    assert kept.index("Accuracy:") < kept.index("validation, epoch")  # above the final table
    assert kept.count("Accuracy:") == 1
    assert "Test: " in kept
