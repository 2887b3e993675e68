"""Callbacks that log each epoch to an experiment tracker: MLflow, Weights & Biases."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpunn.configurable import check_choice
from gpunn.differences import leaves
from gpunn.errors import ArgumentTypeError, TrackerError
from gpunn.optional import install_command, require
from gpunn.training.callbacks.base import Callback, check_path
from gpunn.training.trainer_protocol import TrainerProtocol

__all__ = ["MLflow", "Tracker", "WandB"]

LOG = logging.getLogger("gpunn")

FAILED = re.compile(r"\w*(Error|Exception): ")
"""How a trainer's `stop_reason` begins if training failed."""

LONGEST, LONGEST_NAME = 500, 250
"""Characters of a setting, and of its name; MLflow takes no longer ones everywhere."""

REFUSED = re.compile(r"[^\w.\- ]")
"""What MLflow takes in no name of a parameter, or not everywhere."""


class Tracker(Callback):
    """Base of callbacks that log each epoch as a run of an experiment tracker.

    Each call of `fit` is a run. It begins before the first update, so that what is wrong with the
    tracker is told before anything is trained. A later error is told once by a warning, and
    training goes on without the tracker. A resumed training goes on with the same run, and logs the
    epochs after its checkpoint once more.

    Attributes
    ----------
    settings : mapping
        What the run is described by; `gpunn train` sets it to the configuration. By default it is
        the network, the loss and the optimizer.

    Raises
    ------
    MissingPackageError
        When training begins: if the tracker's package is not installed.
    TrackerError
        When training begins: if no run can be begun, or the one to go on with is gone.
    """

    extra_attributes = frozenset(("settings",))

    def __init__(self) -> None:
        self.settings: Mapping[str, Any] = {}
        self._run: Any = None
        self._id = ""
        self._lost = False

    def on_train_begin(self, trainer: TrainerProtocol) -> None:
        self._run, self._id, self._lost = None, "", False
        self.require()
        if not trainer.resumed:
            self._begin(trainer)

    def restore(self, state: Mapping[str, Any], trainer: TrainerProtocol) -> None:
        self._id = str(state.get("run_id", ""))
        self._begin(trainer)

    def state(self, trainer: TrainerProtocol) -> dict[str, Any]:
        return {"run_id": self._id} if self._id else {}

    def on_epoch_end(self, trainer: TrainerProtocol, logs: Mapping[str, float]) -> None:
        finite = {name: float(x) for name, x in logs.items() if math.isfinite(x)}
        self._try(self.log, int(logs["epoch"]), finite)

    def on_train_end(self, trainer: TrainerProtocol) -> None:
        reason = trainer.stop_reason
        ending = "failed" if FAILED.match(reason) else "finished"
        if reason.startswith(("interrupted", "ended by")):
            ending = "interrupted"
        if self._run is not None:
            self._try(self.end, ending)
        self._run = None

    def _begin(self, trainer: TrainerProtocol) -> None:
        described = dict(self.settings) or {
            "model": trainer.model.config(),
            "loss": trainer.loss.config(),
            "optimizer": trainer.optimizer.config(),
        }
        settings = {path: value for path, value in leaves(described) if value is not None}
        try:
            self._run, self._id = self.begin(self._id, settings)
        except Exception as error:
            raise TrackerError(
                f"{self.name}: no run can be begun or gone on with ({type(error).__name__}: "
                f"{error}); see to that, or leave the callback out"
            ) from error

    def _try(self, function: Any, *arguments: Any) -> None:
        """Tell the tracker something; what goes wrong there ends no training."""
        if self._lost:
            return
        try:
            function(*arguments)
        except Exception as error:
            self._lost = True
            LOG.warning(
                "%s: can't be told of the training (%s: %s); training goes on without it. The "
                "history, and a run's history.jsonl, have every epoch",
                self.name,
                type(error).__name__,
                error,
            )

    # ------------------------------------------------------------------------- of each tracker

    def require(self) -> None:
        """Raise a MissingPackageError unless its package is there."""

    def begin(self, run_id: str, settings: Mapping[str, Any]) -> tuple[Any, str]:
        """Begin a run, or go on with one.

        Parameters
        ----------
        run_id : str
            The run to go on with; empty for a new one.
        settings : mapping of str to value
            What the run is described by, by paths such as "optimizer.learning_rate".

        Returns
        -------
        run : object
            For `log` and `end`.
        run_id : str
            By which the run can be gone on with.
        """
        raise NotImplementedError

    def log(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Log an epoch.

        Parameters
        ----------
        epoch : int
            Its number, from 1.
        logs : mapping of str to float
            Its row of the history; all numbers are finite.
        """
        raise NotImplementedError

    def end(self, ending: str) -> None:
        """End the run.

        Parameters
        ----------
        ending : {"finished", "failed", "interrupted"}
            How training ended.
        """
        raise NotImplementedError


def package(tracker: str, module: str = "") -> Any:
    """Return a tracker's package, or a module of it, such as ".entities"."""
    return require(f"{tracker}{module}", f"the callback {tracker}", install_command(tracker))


def check_text(argument: str, value: Any) -> None:
    """Raise an error unless a value is text."""
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{argument}: expected text; got {value!r}")


@dataclass(eq=False)
class MLflow(Tracker):
    """Log each epoch to MLflow; needs the extra `mlflow`.

    Loss, metrics, learning rate and times are its metrics by epoch, and the settings its
    parameters, with "_" for what MLflow takes in no name. Training begins a run of its own,
    whatever run is active.

    Parameters
    ----------
    experiment : str
        Made if there is none of this name.
    run_name : str
        Empty for one that MLflow makes up.
    tracking_uri : str
        Where runs are kept, such as "sqlite:///mlflow.db" for a file, or a server's address. Empty
        is what MLflow itself takes: the variable MLFLOW_TRACKING_URI, or its default.

    Examples
    --------
    >>> import gpunn
    >>> gpunn.callbacks.MLflow("digits", tracking_uri="sqlite:///mlflow.db")
    MLflow(experiment='digits', run_name='', tracking_uri='sqlite:///mlflow.db')
    """

    experiment: str = "gpunn"
    run_name: str = ""
    tracking_uri: str = ""

    name = "mlflow"

    def __post_init__(self) -> None:
        super().__init__()
        for argument in ("experiment", "run_name", "tracking_uri"):
            check_text(argument, getattr(self, argument))

    def require(self) -> None:
        package("mlflow")

    def begin(self, run_id: str, settings: Mapping[str, Any]) -> tuple[Any, str]:
        tracking = package("mlflow", ".tracking")
        client = tracking.MlflowClient(tracking_uri=self.tracking_uri or None)
        if run_id:
            client.update_run(run_id, status="RUNNING")
            return client, run_id
        found = client.get_experiment_by_name(self.experiment)
        place = found.experiment_id if found else client.create_experiment(self.experiment)
        run_id = client.create_run(place, run_name=self.run_name or None).info.run_id
        entities = package("mlflow", ".entities")
        parameters = [
            entities.Param(name, str(value)[:LONGEST])
            for name, value in parameter_names(settings).items()
        ]
        for start in range(0, len(parameters), 100):  # as many as a request may have
            client.log_batch(run_id, params=parameters[start : start + 100])
        return client, run_id

    def log(self, epoch: int, logs: Mapping[str, float]) -> None:
        entities = package("mlflow", ".entities")
        now = int(1000 * time.time())
        metrics = [
            entities.Metric(name, value, now, epoch)
            for name, value in logs.items()
            if name != "epoch"
        ]
        self._run.log_batch(self._id, metrics=metrics)

    def end(self, ending: str) -> None:
        status = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}[ending]
        self._run.set_terminated(self._id, status)


def parameter_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by names that MLflow takes: a table's columns may be called anything.

    Examples
    --------
    >>> parameter_names(
    ...     {"seed": 1, "data.columns.price (€)": "number", "data.columns.price [€]": 2}
    ... )
    {'seed': 1, 'data.columns.price ___': 'number', 'data.columns.price ___2': 2}
    """
    found: dict[str, Any] = {}
    for path, value in settings.items():
        plain = name = REFUSED.sub("_", path)[:LONGEST_NAME]
        number = 1
        while name in found:
            number += 1
            name = f"{plain[: LONGEST_NAME - 5]}{number}"
        found[name] = value
    return found


@dataclass(eq=False)
class WandB(Tracker):
    """Log each epoch to Weights & Biases; needs the extra `wandb`.

    Loss, metrics, learning rate and times are logged by epoch, and the settings are the run's
    config. Training begins a run of its own, whatever run is active. A run that was resumed offline
    has two folders with the same id; `wandb sync` puts them together.

    Parameters
    ----------
    project : str
        Made if there is none of this name.
    run_name : str
        Empty for one that Weights & Biases makes up.
    mode : {"", "online", "offline", "disabled"}
        "offline" keeps everything in a folder; `wandb sync` sends it. Empty is what Weights &
        Biases itself takes: the variable WANDB_MODE, or "online".
    path : str or Path
        Folder in which it makes its folder "wandb"; in a run's configuration, within the run's.

    Examples
    --------
    >>> import gpunn
    >>> gpunn.callbacks.WandB("digits", mode="offline")
    WandB(project='digits', run_name='', mode='offline', path='.')
    """

    project: str = "gpunn"
    run_name: str = ""
    mode: str = ""
    path: str | Path = "."

    name = "wandb"

    def __post_init__(self) -> None:
        super().__init__()
        for argument in ("project", "run_name"):
            check_text(argument, getattr(self, argument))
        check_choice("mode", self.mode, ("", "online", "offline", "disabled"))
        check_path(self.path)

    def require(self) -> None:
        package("wandb")

    def begin(self, run_id: str, settings: Mapping[str, Any]) -> tuple[Any, str]:
        wandb = package("wandb")
        run = wandb.init(
            project=self.project,
            name=self.run_name or None,
            id=run_id or None,
            resume="allow",
            reinit="create_new",
            mode=self.mode or None,
            dir=str(self.path),
            config=dict(settings),
        )
        # So that an epoch that is logged once more, after a resumption, takes the place of itself.
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
        return run, str(run.id)

    def log(self, epoch: int, logs: Mapping[str, float]) -> None:
        self._run.log({**logs, "epoch": epoch})

    def end(self, ending: str) -> None:
        self._run.finish(exit_code=0 if ending == "finished" else 1)
