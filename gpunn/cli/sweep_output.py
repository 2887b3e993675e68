"""What `gpunn sweep` prints."""

from collections import Counter
from pathlib import Path
from typing import Any

from gpunn.cli.text import aligned, say, short_names
from gpunn.experiment import Experiment
from gpunn.meaning import plural
from gpunn.reporting.text import setting_text
from gpunn.sweep import Events, Trial, Trials


class SweepOutput(Events):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def began(self, trial: Trial, experiment: Experiment) -> None:
        values = ", ".join(f"{path} {_text(value)}" for path, value in trial.parameters.items())
        say(f"trial {trial.number}: {values}")

    def ended(self, trial: Trial, trials: Trials) -> None:
        value = "" if trial.value is None else f", {trials.metric} {trial.value:.4g}"
        at = "" if trial.epoch is None else f" in epoch {trial.epoch}"
        first = trials.best
        best = ", the best so far" if first is not None and first.number == trial.number else ""
        reason = f" ({trial.reason})" if trial.reason and trial.state != "pruned" else ""
        epochs = f" after {trial.epochs} epoch{'' if trial.epochs == 1 else 's'}"
        say(f"trial {trial.number}: {trial.state}{epochs}{value}{at}{best}{reason}")


def table(trials: Trials) -> str:
    paths = list(dict.fromkeys(path for trial in trials.trials for path in trial.parameters))
    header = ["trial", *short_names(paths), trials.metric, "epochs", "state"]
    lines = [header]
    first = trials.best
    for trial in trials.ranked:
        best = first is not None and trial.number == first.number
        values = [_text(trial.parameters[p]) if p in trial.parameters else "" for p in paths]
        metric = "" if trial.value is None else f"{trial.value:.6g}"
        state = f"{trial.state}, best" if best else trial.state
        lines.append([str(trial.number), *values, metric, str(trial.epochs), state])
    return "\n".join(aligned(lines, {len(header) - 1}))


def conclusion(trials: Trials, folder: Path) -> str:
    states = Counter(trial.state for trial in trials.trials)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    title, best = f"{plural(len(trials.trials), 'trial')} ({counts})", trials.best
    if best is None:
        return f"{title}; no trial is complete."
    run = folder / best.folder
    return (
        f"{title}.\n"
        f"Best by validation: {run}, {trials.metric} {best.value:.6g} in epoch {best.epoch}.\n"
        f"To evaluate the best trial on the test split, if any: gpunn evaluate {run} --best\n"
        f"To compare the trials: gpunn report {folder}"
    )


def _text(value: Any) -> str:
    return setting_text(value, "{:.4g}".format)
