import json
import re
import sys
from pathlib import Path

import pytest

from gpunn.cli.sweep_output import short_names, table
from gpunn.sweep import Trial, Trials

pytest.importorskip("optuna")

SWEEP = """
[sweep]
trials = 3
[sweep.parameters]
training.optimizer.learning_rate.rate = { low = 0.001, high = 0.1, log = true }
model.layers.1.units = { choices = [4, 8] }
"""


@pytest.fixture
def sweep(digits):
    digits.write_text(digits.read_text().replace("epochs = 4", "epochs = 2") + SWEEP)
    return digits


def test_a_sweep(gpunn, sweep):
    printed = gpunn("sweep", "digits.toml", "--trials", "2").stdout
    folder = Path("runs/digits-sweep")
    found = json.loads((folder / "trials.json").read_text())
    best = found["trials"][found["best"]]
    lines = printed.splitlines()
    assert re.match(r"trial 0: training\.optimizer\.learning_rate\.rate 0\.\d+, model\.l", lines[0])
    assert re.match(
        r"trial 0: complete after 2 epochs, val_accuracy .*, the best so far$", lines[1]
    )
    header = ["trial", "rate", "units", "val_accuracy", "epochs", "state"]
    (place,) = (index for index, line in enumerate(lines) if line.split() == header)
    first, second = (line.split() for line in lines[place + 1 : place + 3])
    assert (first[0], first[3:]) == (
        str(best["number"]),
        [f"{best['value']:.6g}", "2", "complete,", "best"],
    )
    assert second[-1] == "complete"
    assert "2 trials (2 complete)." in printed
    assert f"Best by validation: {folder}/trial-{found['best']:04d}, val_accuracy" in printed
    assert "Test" not in printed
    went_on = gpunn("sweep", "digits.toml", "--quiet").stdout
    assert "3 trials (3 complete)." in went_on
    assert "learning_rate" not in went_on


def test_trials_on_other_data_are_not_compared(gpunn, flowers):
    settings = "[sweep.parameters]\ntraining.batch_size = { choices = [8, 16] }\n"
    config = flowers.read_text().replace("[model]", "validation_fraction = 0.2\n[model]")
    flowers.write_text(config + settings)
    sweep = "sweep", flowers, "--trials"
    gpunn(*sweep, 1)
    table, unchanged = Path("flowers.csv"), Path("flowers.csv").read_text()
    table.write_text(unchanged + unchanged.splitlines()[1] + "\n")
    problem = "the sweep in runs/flowers-sweep was trained on other data: its rows were 53 training"
    assert problem in gpunn(*sweep, 2, status=2).stderr
    table.write_text(unchanged)
    assert "2 trials (2 complete)" in gpunn(*sweep, 2).stdout


def test_a_trial_is_a_run_like_others(gpunn, sweep):
    gpunn("sweep", sweep, "--trials", "1", "--output", "found", "--set", "training.epochs=1")
    gpunn("evaluate", "found/trial-0000", "--best")
    assert (
        "resuming after epoch 1"
        in gpunn("train", "found/trial-0000", "--resume", "--set", "training.epochs=2").stdout
    )
    gpunn("sweep", sweep, "--output", "found", status=2)


def test_training_ignores_the_table(gpunn, sweep):
    gpunn("train", sweep, "--output", "run")
    gpunn("train", "run/config.json", "--output", "again")
    recorded = [json.loads(Path(run, "config.json").read_text()) for run in ("run", "again")]
    assert recorded[0] == recorded[1]
    assert recorded[0]["sweep"]["parameters"]["model.layers.1.units"] == {"choices": [4, 8]}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["none.toml"], "none.toml: "),
        (["digits.toml", "--trials", "0"], "--trials"),
        (["digits.toml", "--set", "sweep.trails=3"], "sweep.trails: unknown key; did you mean"),
        (["digits.toml", "--set", "sweep.pruner=mean"], "sweep.pruner: there is no pruner"),
        (["digits.toml", "--set", "sweep.parameters={}"], "sweep.parameters: expected at least"),
        (["digits.toml", "--output", "digits.toml"], "digits.toml"),
    ],
)
def test_what_cannot_be_swept(gpunn, sweep, arguments, problem):
    assert problem in gpunn("sweep", *arguments, status=2).stderr
    assert not Path("runs").exists()


def test_without_optuna(gpunn, sweep, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    problem = gpunn("sweep", sweep, status=2).stderr
    assert "a sweep needs the package 'optuna'" in problem
    assert "pip install '.[tune]'" in problem
    assert not Path("runs").exists()


def test_each_process_of_a_launcher_takes_its_share(gpunn, sweep, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("GPUNN_THREADS", "")  # so that it is restored
    monkeypatch.setenv("MPI_LOCALRANKID", "1")
    monkeypatch.setenv("MPI_LOCALNRANKS", "4")
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr("gpunn.distributed.launch.usable_cores", lambda: 8)
    gpunn("sweep", sweep, "--trials", "1", "--output", "found")
    environment = json.loads(Path("found/trial-0000/environment.json").read_text())
    assert environment["backend"]["threads"] == "2"


def test_no_trial_is_complete(gpunn, sweep):
    values = "sweep.parameters={'training.optimizer.learning_rate'={low=1e30, high=1e31}}"
    printed = gpunn(
        "sweep", sweep, "--set", values, "--trials", "2", "--set", "training.optimizer=sgd"
    ).stdout
    assert "2 trials (2 diverged); no trial is complete." in printed


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        ([], []),
        (["seed"], ["seed"]),
        (
            ["training.optimizer", "training.optimizer.learning_rate"],
            ["optimizer", "learning_rate"],
        ),
        (["model.layers.1.units", "model.layers.2.units"], ["layers.1.units", "layers.2.units"]),
        (["a.rate", "b.rate", "c.a.rate"], ["a.rate", "b.rate", "c.a.rate"]),
        (["model.layers.1"], ["layers.1"]),
    ],
)
def test_short_names(paths, names):
    assert short_names(paths) == names


def test_a_table_of_many_trials_is_sorted_a_few_times(monkeypatch):
    """And not once for each of its lines."""
    trials = [
        Trial(number=each, folder=f"trial-{each:04d}", state="complete", value=float(-each))
        for each in range(2000)
    ]
    found = Trials(metric="val_loss", direction="min", trials=trials)
    ranked, asked = Trials.ranked.fget, []
    monkeypatch.setattr(Trials, "ranked", property(lambda self: asked.append(1) or ranked(self)))
    lines = table(found).splitlines()
    assert lines[1].split()[0] == "1999"
    assert "best" in lines[1]
    assert len(lines) == 2001
    assert len(asked) < 5
