"""A sweep's study: its trials, the values of the next trial, and how each trial ended."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gpunn.config import Config, Sweep, with_current_names
from gpunn.configurable import check_number
from gpunn.differences import differences
from gpunn.errors import ArgumentError, ArgumentTypeError, ConfigError, DataFileError, GpunnError
from gpunn.experiment.files import CONFIG
from gpunn.experiment.resume_checks import check_same_data
from gpunn.monitor import Best
from gpunn.schema import typed
from gpunn.storage.files import make_folder
from gpunn.sweep.journal import JOURNAL, TURN, open_journal, optuna, turn
from gpunn.sweep.process import is_gone, this_process
from gpunn.sweep.space import labeled, next_of_grid, suggested
from gpunn.sweep.trials import (
    COMPLETE,
    COUNTED,
    Trial,
    Trials,
    check_count,
    check_value,
    write_trials,
)

NAME = "sweep"

CONFIGURATION, DATA = "configuration", "data"

BEGUN, ENDED = "begun", "ended"
"""Names of a trial's attributes: its process and values, and how it ended."""

COMPARED = ("data", "model", "training", "seed", "dtype", "sweep")
"""Tables and keys of a configuration that must be the same in all processes of a sweep."""


class Claim:
    def __init__(self, trial: Any, values: dict[str, Any]) -> None:
        self.number: int = trial.number
        self.trial, self.values = trial, values
        self.ended = False  # whether the end has been recorded

    @property
    def folder(self) -> str:
        return folder_of(self.number)


def folder_of(number: int) -> str:
    return f"trial-{number:04d}"


class Study:
    def __init__(
        self, folder: Path, config: Config, sweep: Sweep, rule: Best, data: dict[str, list[int]]
    ) -> None:
        self.folder, self.sweep, self.rule = folder, sweep, rule
        self._path = path = folder / JOURNAL
        self._finished: dict[int, Trial] = {}
        if not path.exists() and folder.is_dir():
            _check_empty(folder)
        package = optuna()
        make_folder(folder)
        with self._turn():
            self._study = package.create_study(
                storage=open_journal(path),
                study_name=NAME,
                direction="minimize" if rule.direction == "min" else "maximize",
                load_if_exists=True,
                pruner=self._pruner(package),
            )
            known = self._study.user_attrs.get(CONFIGURATION)
            self._check_journal()
            if known is None:
                self._study.set_user_attr(DATA, data)
                self._study.set_user_attr(CONFIGURATION, _comparable(config))
            else:
                self._check_same(known, config)
                advice = "Restore the data, or start a new sweep in another folder with --output"
                earlier = self._study.user_attrs.get(DATA, data)
                check_same_data(f"the sweep in {folder}", earlier, data, advice)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with turn(self.folder):
            try:
                yield
            except (ArgumentError, ArgumentTypeError) as error:
                raise DataFileError(f"{self._path}: damaged: {error}") from error
            except (OSError, GpunnError, MemoryError):
                raise
            except Exception as error:  # Optuna raises any error on lines that it has not written
                raise DataFileError(
                    f"{self._path}: this file is damaged, or is not a study ({error!r:.200}); "
                    "choose another folder with --output"
                ) from error

    def _check_journal(self) -> None:
        if self._study.direction.name != f"{self.rule.direction.upper()}IMIZE":
            raise ValueError(f"its direction is {self._study.direction.name.lower()}")
        complete = optuna().trial.TrialState.COMPLETE
        for each in self._trials():
            for epoch, value in each.intermediate_values.items():
                check_count(f"trial {each.number}: epoch", typed(int, epoch))
                typed(float, value, f"trial {each.number}: value in epoch {epoch}")
            for name, value in each.params.items():
                check_value(f"trial {each.number}: {name}", value)
            if each.state == complete:
                check_number(f"trial {each.number}: value", each.value)
            self._described(each)

    def _check_same(self, known: Any, config: Config) -> None:
        current = _comparable(config)
        known = with_current_names(known) if isinstance(known, dict) else {}
        for key in COMPARED:
            for path, old, new in differences(known.get(key), current[key], key):
                if not path.endswith("path"):  # the files may be elsewhere on another machine
                    raise ConfigError(
                        f"{path}: the sweep in {self.folder} has {old!r} and cannot continue with "
                        f"{new!r}; restore the old value, or start a new sweep in another folder "
                        "with --output"
                    )

    def _pruner(self, package: Any) -> Any:
        epochs = self.sweep.min_epochs
        if self.sweep.pruner == "median":
            return package.pruners.MedianPruner(n_warmup_steps=epochs)
        if self.sweep.pruner == "halving":
            return package.pruners.SuccessiveHalvingPruner(min_resource=epochs)
        return package.pruners.NopPruner()

    def _prepare(self, trials: Trials) -> bool:
        self._study.sampler = self._sampler(len(trials.trials))
        if self.sweep.sampler != "grid":
            return True
        used = [each.parameters for each in trials.trials if each.state in COUNTED]
        values = next_of_grid(self.sweep.space, used)
        if values is not None:
            self._study.enqueue_trial(labeled(values, self.sweep.space))
        return values is not None

    def _sampler(self, number: int) -> Any:
        """Return a sampler whose values depend on seed, `number` and, for TPE, earlier trials."""
        samplers = optuna().samplers
        seed = int(np.random.SeedSequence([self.sweep.seed, number]).generate_state(1)[0])
        if self.sweep.sampler != "tpe":
            return samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():  # that options are experimental
            warnings.simplefilter("ignore")
            return samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)

    def claim(self, maximum: int, *, reclaim: bool = False) -> Claim | None:
        # Trials that other processes are training count toward the maximum, but trials of killed
        # processes do not. With `reclaim`, all unfinished trials of other processes are marked as
        # lost; a lost trial that is still training ends after its current epoch.
        with self._turn():
            self._end_lost(reclaim)
            trials = self._summary()
            if trials.counted >= maximum or not self._prepare(trials):
                return None
            trial = self._study.ask()
            try:
                values = suggested(trial, self.sweep.space)
                trial.set_user_attr(BEGUN, {"process": this_process(), "parameters": values})
            except BaseException:
                self._study.tell(trial, state=optuna().trial.TrialState.FAIL)
                raise
            return Claim(trial, values)

    def end(
        self,
        claim: Claim,
        state: str,
        row: Mapping[str, float] | None = None,
        epochs: int | None = None,
        reason: str = "",
    ) -> None:
        """Record how a trial ended, unless this or another process has recorded it before."""
        if claim.ended:
            return
        value = None if row is None else _finite(row.get(self.rule.monitor))
        if state == COMPLETE and value is None:
            state, reason = "failed", f"{self.rule.monitor} was never a finite number"
        ended: dict[str, Any] = {"state": state, "reason": reason}
        if epochs is not None:
            epoch = None if row is None or value is None else int(row["epoch"])
            ended |= {"value": value, "epoch": epoch, "epochs": epochs}
        states = optuna().trial.TrialState
        with self._turn():
            if not self._trials()[claim.number].state.is_finished():
                claim.trial.set_user_attr(ENDED, ended)
                if state == COMPLETE:
                    self._study.tell(claim.trial, value)
                else:
                    # A diverged trial counts as pruned, so that the sampler avoids its values.
                    pruned = state in ("pruned", "diverged")
                    self._study.tell(claim.trial, state=states.PRUNED if pruned else states.FAIL)
            claim.ended = True
            write_trials(self.folder, self._summary())

    def summary(self) -> Trials:
        with self._turn():
            trials = self._summary()
            write_trials(self.folder, trials)
        return trials

    def _end_lost(self, reclaim: bool) -> None:
        states = optuna().trial.TrialState
        for each in self._trials():
            process = each.user_attrs.get(BEGUN, {}).get("process")
            is_own = process == this_process()
            if each.state == states.RUNNING and (is_gone(process) or (reclaim and not is_own)):
                self._study.tell(each.number, state=states.FAIL, skip_if_finished=True)

    def _trials(self) -> list[Any]:
        trials: list[Any] = self._study.get_trials(deepcopy=False)
        return trials

    def _summary(self) -> Trials:
        trials = [self._described(each) for each in self._trials()]
        direction: Literal["min", "max"] = "min" if self.rule.direction == "min" else "max"
        space = dict(self.sweep.space)
        return Trials(metric=self.rule.monitor, direction=direction, trials=trials, space=space)

    def _described(self, trial: Any) -> Trial:
        if trial.number in self._finished:
            return self._finished[trial.number]
        state = "running" if trial.state == optuna().trial.TrialState.RUNNING else "lost"
        reported = trial.intermediate_values
        best = self.rule.find(
            {"epoch": epoch, self.rule.monitor: value} for epoch, value in sorted(reported.items())
        )
        so_far = {
            "state": state,
            "value": None if best is None else best[self.rule.monitor],
            "epoch": None if best is None else best["epoch"],
            "epochs": max(reported, default=0),
        }
        plain = {
            "number": trial.number,
            "folder": folder_of(trial.number),
            "parameters": trial.user_attrs.get(BEGUN, {}).get("parameters", {}),
            **so_far,
            **trial.user_attrs.get(ENDED, {}),
        }
        described: Trial = typed(Trial, plain, f"trial {trial.number}", ignore_unknown=True)
        if trial.state.is_finished():  # a finished trial cannot change
            self._finished[trial.number] = described
        return described


def _check_empty(folder: Path) -> None:
    names = [path.name for path in folder.iterdir() if not path.name.startswith(TURN)]
    if names and not (folder / JOURNAL).exists():  # or another process made it just now
        what = "a run" if CONFIG in names else "other files"
        raise ConfigError(
            f"{folder}: expected a new folder or a sweep folder; got a folder with {what}. "
            "Choose another folder with --output"
        )


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _comparable(config: Config) -> dict[str, Any]:
    plain = config.plain()
    sweep = {key: value for key, value in plain["sweep"].items() if key != "trials"}
    return {**{key: plain[key] for key in COMPARED}, "sweep": sweep}
