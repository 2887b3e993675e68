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

LOG = logging.getLogger("gpunn")

FAILED = re.compile(r"\w*(Error|Exception): ")
"""Matches the beginning of a trainer's `stop_reason` if training failed."""

MAX_LENGTH, MAX_NAME_LENGTH = 500, 250
"""Maximum lengths of a setting and of a setting's name, which every store of MLflow accepts."""

REFUSED = re.compile(r"[^\w.\- ]")
"""Matches characters that some stores of MLflow refuse in the name of a parameter."""


class Tracker(Callback):
    """Base of callbacks that log each epoch to an experiment tracker.

    Each call of `fit` is logged as a run. A missing package (MissingPackageError) or a wrong
    setting (TrackerError) stops `fit` before training. After a later error, gpunn logs one warning,
    and trains without the tracker. A resumed training continues its run, and logs the epochs after
    the checkpoint again.

    `settings` are logged with the run. `gpunn train` sets `settings` to the configuration. If
    `settings` is empty, the run gets the settings of the network, the loss and the optimizer.
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
                f"{self.name}: cannot start or resume a run ({type(error).__name__}: {error}). "
                "Correct the cause, or leave the callback out"
            ) from error

    def _try(self, function: Any, *arguments: Any) -> None:
        if self._lost:
            return
        try:
            function(*arguments)
        except Exception as error:
            self._lost = True
            LOG.warning(
                "%s: logging failed (%s: %s); training continues without this tracker. The "
                "history and a run's history.jsonl contain every epoch",
                self.name,
                type(error).__name__,
                error,
            )

    def require(self) -> None:
        """Raise a MissingPackageError unless the tracker's package is installed."""

    def begin(self, run_id: str, settings: Mapping[str, Any]) -> tuple[Any, str]:
        """Start or resume a run.

        Parameters
        ----------
        run_id : str
            The run to resume; empty for a new run.
        settings : mapping of str to value
            The settings to log, by paths such as "optimizer.learning_rate".

        Returns
        -------
        run : object
            The run that `log` and `end` use.
        run_id : str
            The id with which the run can be resumed.
        """
        raise NotImplementedError

    def log(self, epoch: int, logs: Mapping[str, float]) -> None:
        """Log an epoch.

        Parameters
        ----------
        epoch : int
            Number of the epoch, counted from 1.
        logs : mapping of str to float
            The finite numbers in the epoch's row of the history.
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
    return require(f"{tracker}{module}", f"the callback {tracker}", install_command(tracker))


def check_text(argument: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{argument}: expected a string; got {value!r}")


@dataclass(eq=False)
class MLflow(Tracker):
    """Log each epoch to MLflow; needs the `mlflow` extra.

    Loss, metrics, learning rate and times become metrics by epoch, and the settings become
    parameters. In the names of parameters, "_" replaces characters that MLflow refuses. Each
    training that is not resumed starts a new run, even if another run is active.

    Parameters
    ----------
    experiment : str
        Name of the experiment, which is created if it does not exist.
    run_name : str
        Name of the run; if empty, MLflow chooses a name.
    tracking_uri : str
        Where MLflow stores runs: a server's address, or a file, such as "sqlite:///mlflow.db". If
        empty, MLflow uses the environment variable MLFLOW_TRACKING_URI, or its own default.

    Examples
    --------
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
        known = client.get_experiment_by_name(self.experiment)
        experiment = known.experiment_id if known else client.create_experiment(self.experiment)
        run_id = client.create_run(experiment, run_name=self.run_name or None).info.run_id
        entities = package("mlflow", ".entities")
        parameters = [
            entities.Param(name, str(value)[:MAX_LENGTH])
            for name, value in parameter_names(settings).items()
        ]
        for start in range(0, len(parameters), 100):  # the maximum of a request
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
    """Return the settings, renamed if MLflow does not accept their names.

    >>> parameter_names(
    ...     {"seed": 1, "data.columns.price (€)": "number", "data.columns.price [€]": 2}
    ... )
    {'seed': 1, 'data.columns.price ___': 'number', 'data.columns.price ___2': 2}
    """
    renamed: dict[str, Any] = {}
    for path, value in settings.items():
        plain = name = REFUSED.sub("_", path)[:MAX_NAME_LENGTH]
        number = 1
        while name in renamed:
            number += 1
            name = f"{plain[: MAX_NAME_LENGTH - 5]}{number}"
        renamed[name] = value
    return renamed


@dataclass(eq=False)
class WandB(Tracker):
    """Log each epoch to Weights & Biases; needs the `wandb` extra.

    Loss, metrics, learning rate and times are logged by epoch, and the settings become the run's
    config. Each training that is not resumed starts a new run, even if another run is active. A run
    that was resumed offline has two folders with the same id; `wandb sync` joins the two folders.

    Parameters
    ----------
    project : str
        Name of the project, which is created if necessary.
    run_name : str
        Name of the run; if empty, Weights & Biases chooses a name.
    mode : {"", "online", "offline", "disabled"}
        "offline" stores everything in a folder, which `wandb sync` uploads. If the string is empty,
        Weights & Biases uses the environment variable WANDB_MODE, or "online" if it is not set.
    path : str or Path
        Folder in which Weights & Biases creates its folder "wandb". In a configuration, this path
        is relative to the run's folder.

    Examples
    --------
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
        # Index metrics by epoch, so that an epoch logged again after resuming replaces itself.
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
        return run, str(run.id)

    def log(self, epoch: int, logs: Mapping[str, float]) -> None:
        self._run.log({**logs, "epoch": epoch})

    def end(self, ending: str) -> None:
        self._run.finish(exit_code=0 if ending == "finished" else 1)
