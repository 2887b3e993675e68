"""Workers in this process, and several in separate processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from click.testing import CliRunner
from run_folders import assert_same_run, evaluation, history

from gpunn.cli import main
from gpunn.sweep import Events, Source, read_trials, run_worker
from gpunn.sweep.checks import check_sweep
from gpunn.sweep.study import Study
from gpunn.training.evaluation import Evaluator

pytest.importorskip("optuna")

REPOSITORY = Path(__file__).parents[2]

# The second trial to begin, of whichever worker, is killed after its first epoch.
SABOTEUR = """\
import os, signal
from pathlib import Path
from gpunn.callbacks import Callback

class Saboteur(Callback):
    name = "saboteur"

    def on_train_begin(self, trainer):
        count = len(list(Path("sweep").glob("trial-*")))
        self.kills = count == 1 and not Path("killed").exists()

    def on_epoch_end(self, trainer, logs):
        if self.kills:
            Path("killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
"""


def states(folder="sweep"):
    return [trial.state for trial in read_trials(Path(folder)).trials]


def command(config, *arguments):
    return [
        *(sys.executable, "-m", "gpunn", "sweep", str(config), "--output", "sweep"),
        *map(str, arguments),
    ]


@pytest.fixture
def environment():
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "GPUNN_THREADS": "1"}


def test_each_trial_is_a_run(config):
    found = run_worker(Source(config), Path("sweep"))
    assert [trial.state for trial in found.trials] == ["complete"] * 3
    assert read_trials(Path("sweep")) == found
    for trial in found.trials:
        run = Path("sweep", trial.folder)
        recorded = json.loads((run / "config.json").read_text())
        values = trial.parameters
        schedule = recorded["training"]["optimizer"]["learning_rate"]
        assert schedule["rate"] == values["training.optimizer.learning_rate"]
        assert recorded["model"]["layers"][1]["units"] == values["model.layers.1.units"]
        assert recorded["sweep"] is None
        accuracies = [row["val_accuracy"] for row in history(run)]
        assert trial.value == max(accuracies)
        assert trial.epoch == accuracies.index(max(accuracies)) + 1
        assert trial.epochs == 2
    assert found.best.value == max(trial.value for trial in found.trials)


def test_the_test_part_is_left_alone(config, monkeypatch):
    monkeypatch.setattr("gpunn.experiment.Experiment.evaluate", None)
    run_worker(Source(config), Path("sweep"), 1)
    assert evaluation(Path("sweep/trial-0000"))["test"] is None


def test_processes_that_mpiexec_starts_train_each_for_itself(config, monkeypatch):
    for name in ("OMPI_COMM_WORLD", "PMI", "MV2_COMM_WORLD"):
        monkeypatch.setenv(f"{name}_SIZE", "2")
        monkeypatch.setenv(f"{name}_RANK", "1")
    found = run_worker(Source(config), Path("sweep"), 1)
    assert [trial.state for trial in found.trials] == ["complete"]


def test_a_sweep_goes_on(config):
    source = Source(config, ("sweep.trials=2", "training.epochs=1"))
    run_worker(source, Path("sweep"), 1)
    went_on = run_worker(source, Path("sweep"))
    at_once = run_worker(source, Path("other"))
    assert went_on == at_once
    assert run_worker(source, Path("sweep"), 1) == went_on


def test_a_metric_beside_that_of_the_best_epoch(config):
    settings = ("sweep.metric=val_loss", "training.monitor=epoch", "training.monitor_mode=min")
    found = run_worker(Source(config, settings), Path("sweep"), 1)
    (trial,) = found.trials
    assert trial.epoch == 1
    assert trial.value == history(Path("sweep/trial-0000"))[0]["val_loss"]
    assert found.direction == "min"


def test_hopeless_trials_are_pruned(config):
    settings = (
        "sweep.parameters={'training.optimizer.learning_rate'={choices=[0.03, 1e-9]}}",
        "sweep.sampler=random",
    )
    found = run_worker(Source(config, settings), Path("sweep"), 9)
    pruned = [trial for trial in found.trials if trial.state == "pruned"]
    assert pruned
    for trial in pruned:
        assert trial.parameters["training.optimizer.learning_rate"] == 1e-9
        assert trial.epochs == 1
        assert trial.reason.startswith("pruned: val_accuracy")
        run = Path("sweep", trial.folder)
        assert evaluation(run)["stopped"] == trial.reason
        assert (run / "final.safetensors").exists()


@pytest.mark.parametrize(
    ("key", "values", "bad", "state", "reason"),
    [
        ("training.optimizer.learning_rate", "[0.01, 1e30]", 1e30, "diverged", "finite"),
        # Only the data show that a network for nine classes is wrong.
        ("model.layers.2.units", "[10, 9, 12]", 9, "failed", "labels must be from 0 to 8"),
    ],
)
def test_a_trial_that_fails_is_not_the_end(config, key, values, bad, state, reason):
    settings = (
        f"sweep.parameters={{'{key}'={{choices={values}}}}}",
        "training.optimizer=sgd",
        "sweep.sampler=random",
    )
    found = run_worker(Source(config, settings), Path("sweep"), 6)
    assert {trial.state for trial in found.trials} == {"complete", state}
    assert found.counted == 6
    for trial in found.trials:
        assert (trial.state == state) == (trial.parameters[key] == bad)
        assert (reason in trial.reason) == (trial.state == state)
        if trial.state == "diverged":
            assert evaluation(Path("sweep", trial.folder))["stopped"] == trial.reason


@pytest.mark.parametrize(
    ("number", "error", "moment"),
    [(signal.SIGINT, KeyboardInterrupt, "training"), (signal.SIGTERM, SystemExit, "building")],
)
def test_a_signal_ends_the_worker(config, monkeypatch, number, error, moment):
    place = (Source, "build") if moment == "building" else (Evaluator, "evaluate")
    original = getattr(*place)

    def killed(*arguments):
        os.kill(os.getpid(), number)
        return original(*arguments)

    class Killer(Events):
        def ended(self, trial, trials):
            if trial.number == 0:
                patch.setattr(*place, killed)

    before = signal.getsignal(number)
    with monkeypatch.context() as patch, pytest.raises(error):
        run_worker(Source(config), Path("sweep"), events=Killer())
    assert signal.getsignal(number) is before
    assert states() == ["complete", "interrupted"]
    found = run_worker(Source(config), Path("sweep"))
    assert [trial.state for trial in found.trials] == [
        *("complete", "interrupted", "complete", "complete"),
    ]


def test_a_trial_that_was_taken_for_lost_is_left(config, monkeypatch):
    """As by --reclaim, while its worker is at work after all."""

    class Reclaiming(Events):
        def began(self, trial, experiment):
            if trial.number == 0:
                found, sweep = Source(config).read()
                other = Study(Path("sweep"), found, sweep, *check_sweep(Source(config), sweep))
                with monkeypatch.context() as patch:
                    patch.setattr("gpunn.sweep.study.this_process", lambda: ["elsewhere", 1])
                    other.claim(9, reclaim=True)

    found = run_worker(Source(config), Path("sweep"), events=Reclaiming())
    assert [trial.state for trial in found.trials] == ["lost", "running", "complete", "complete"]
    ended = evaluation(Path("sweep/trial-0000"))
    assert ended["stopped"] == "another process has marked this trial as lost"
    assert len(history(Path("sweep/trial-0000"))) == 1


def test_only_what_was_there_before_is_reclaimed(config, monkeypatch):
    asked = []
    original = Study.claim

    def noted(self, most, *, reclaim):
        asked.append(reclaim)
        return original(self, most, reclaim=reclaim)

    monkeypatch.setattr(Study, "claim", noted)
    run_worker(Source(config), Path("sweep"), 2, reclaim=True)
    assert asked == [True, False, False]


def test_an_error_that_is_no_trial_s_ends_the_worker(config, monkeypatch):
    full = Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr("gpunn.experiment.RunFolder.save_model", full)
    with pytest.raises(OSError, match="No space left"):
        run_worker(Source(config), Path("sweep"))
    (trial,) = read_trials(Path("sweep")).trials
    assert trial.state == "interrupted"
    assert "No space left" in trial.reason


GRID = (
    *("sweep.sampler=grid", "sweep.pruner=none"),
    "sweep.parameters={'seed'={low=0, high=3}, 'model.layers.1.units'={choices=[4, 8]}}",
)


def test_trials_that_train_together_are_those_of_one_after_another(config, monkeypatch):
    source = Source(config, GRID)
    monkeypatch.setenv("GPUNN_THREADS", "1")
    expected = run_worker(source, Path("other"))
    monkeypatch.setenv("GPUNN_THREADS", "2")
    found = run_worker(source, Path("sweep"), together=2)
    assert found == expected
    for trial in found.trials:
        assert_same_run(Path("sweep", trial.folder), Path("other", trial.folder))


@pytest.mark.parametrize(
    ("number", "error", "reason"),
    [
        (signal.SIGINT, KeyboardInterrupt, "interrupted by Ctrl-C"),
        (signal.SIGTERM, SystemExit, "ended by SIGTERM"),
    ],
)
def test_a_signal_ends_all_trials(config, number, error, reason):
    class Killer(Events):
        def began(self, trial, experiment):
            if trial.number == 1:
                os.kill(os.getpid(), number)

    source = Source(config, (*GRID, "training.epochs=1000"))
    with pytest.raises(error):
        run_worker(source, Path("sweep"), events=Killer(), together=2)
    found = read_trials(Path("sweep")).trials
    assert [(trial.state, trial.reason) for trial in found] == [("interrupted", reason)] * 2
    assert signal.getsignal(number) in (signal.default_int_handler, signal.SIG_DFL)


def test_an_error_that_is_no_trial_s_ends_all_trials(config):
    class Failing(Events):
        def began(self, trial, experiment):
            if trial.number == 1:
                raise OSError(28, "No space left on device")

    source = Source(config, (*GRID, "training.epochs=1000"))
    with pytest.raises(OSError, match="No space left"):
        run_worker(source, Path("sweep"), events=Failing(), together=2)
    found = read_trials(Path("sweep")).trials
    assert [trial.state for trial in found] == ["interrupted"] * 2
    assert found[0].reason == "ended by the error of another network"


def test_two_workers_at_once(config, environment):
    words = command(config, "--trials", 2)
    other = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    first = other.stdout.readline()
    said = [CliRunner().invoke(main, words[3:]).stdout, first + other.communicate()[0]]
    assert other.returncode == 0
    found = read_trials(Path("sweep"))
    assert [trial.number for trial in found.trials] == [0, 1]
    assert {trial.state for trial in found.trials} <= {"complete", "pruned"}
    began = [line for text in said for line in text.splitlines() if ": training.opt" in line]
    assert len(began) == 2  # each by one of them
    assert len(list(Path("sweep").glob("trial-*/config.json"))) == 2


def test_a_killed_worker(config, environment):
    Path("saboteur.py").write_text(SABOTEUR)
    callback = "training.callbacks=['saboteur:Saboteur']"
    sweep = command(config, "--set", callback, "--allow-imports")
    worker = subprocess.run(sweep, env=environment, capture_output=True, check=False)
    assert worker.returncode == -signal.SIGKILL
    assert len(list(Path("sweep").glob("trial-*/config.json"))) == 2
    again = CliRunner().invoke(main, sweep[3:])
    sys.modules.pop("saboteur")
    assert states() == ["complete", "lost", "complete", "complete"]
    assert "1 lost" in again.stdout
