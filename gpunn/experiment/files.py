"""The files of a run folder: the run's own files, and the files that callbacks write."""

import shutil
from functools import partial
from pathlib import Path

from gpunn.errors import ConfigError
from gpunn.storage.checkpoint_folder import FOLDER
from gpunn.storage.models import FINAL
from gpunn.training import Trainer
from gpunn.training.callbacks import Callback, ModelCheckpoint
from gpunn.training.callbacks.epoch_logs import CSVLog, JSONLinesLog, TensorBoard, csv_line
from gpunn.training.callbacks.experiment_trackers import WandB
from gpunn.training.callbacks.norm_log import NormLog

CONFIG = "config.json"
ENVIRONMENT = "environment.json"
HISTORY = "history.jsonl"
TABLE = "history.csv"
NORMS = "norms.jsonl"
CHECKPOINTS = FOLDER
BEST = "best.safetensors"
EVALUATION = "evaluation.json"
LEADERBOARD = "leaderboard.csv"
CANDIDATES = "candidates"

FILES = {
    CONFIG: "the full configuration, including defaults; gpunn train can use it again",
    ENVIRONMENT: "backend, device, versions, BLAS and machine",
    HISTORY: "the loss and metrics of each epoch, as JSON lines",
    TABLE: "the loss and metrics of each epoch, as CSV",
    NORMS: "norms of each layer's parameters and gradients after each epoch, as JSON lines",
    CHECKPOINTS: "the latest checkpoints, for --resume",
    BEST: "the network of the best epoch, with the optimizer's state",
    FINAL: "the trained network",
    EVALUATION: "how training ended, and the loss and metrics on the test split",
    LEADERBOARD: "with --time: each candidate's score, seconds, and weight in the ensemble",
    CANDIDATES: "the finished candidates, for --resume",
}

FILE_CALLBACKS = (CSVLog, JSONLinesLog, ModelCheckpoint, NormLog, TensorBoard, WandB)


def require_run(folder: Path, alternative: str = "") -> None:
    if not (folder / CONFIG).is_file():
        problem = f"it contains no {CONFIG}" if folder.is_dir() else "there is no such folder"
        problem = "this is a file" if folder.is_file() else problem
        raise ConfigError(
            f"{folder}: expected a folder that gpunn train wrote{alternative}; {problem}. Check "
            "the path, or list the runs with gpunn runs"
        )


def remove_candidates(folder: Path) -> None:
    (folder / LEADERBOARD).unlink(missing_ok=True)
    candidates = folder / CANDIDATES
    if candidates.is_symlink():  # the link's files may belong to another run
        candidates.unlink()
    elif candidates.is_dir():
        shutil.rmtree(candidates)


def listing(folder: Path) -> str:
    written = {name: text for name, text in FILES.items() if (folder / name).exists()}
    width = len(str(folder / max(written, key=len, default="")))
    return "\n".join(f"{folder / name!s:<{width}}  {text}" for name, text in written.items())


def place_callback_files(folder: Path, callbacks: list[Callback]) -> list[Path]:
    logs = []
    for index, callback in enumerate(callbacks):
        if not isinstance(callback, FILE_CALLBACKS):
            continue
        check = partial(_check_path, folder, f"training.callbacks[{index}].path")
        callback.path = folder / callback.path
        check(callback.path)
        if isinstance(callback, ModelCheckpoint):
            # Each file is checked again once the value of {epoch} is known.
            callback.check_place = check
        elif isinstance(callback, WandB):
            pass  # its files belong to another program, and have new names each time
        elif (path := callback.path.resolve()).is_relative_to(folder.resolve()):
            logs.append(path)
    return logs


def _check_path(run: Path, key: str, path: Path) -> None:
    folder, path = run.resolve(), path.resolve()
    if not path.is_relative_to(folder):
        raise ConfigError(
            f"{key}: {str(path)!r} is outside the run folder {run}; choose a path inside it"
        )
    if path.is_relative_to((folder / CHECKPOINTS).resolve()) or (
        path.parent == folder and path.name in FILES
    ):
        raise ConfigError(f"{key}: the run itself writes {path.name} in {run}; choose another name")


class Removal(Callback):
    """Renames an earlier run's logs when training begins.

    `settle` deletes the renamed logs. If training ends before `settle` is called, the logs get
    their old names again.
    """

    def __init__(self, paths: list[Path]) -> None:
        self.paths = paths
        self._aside: dict[Path, Path] = {}

    def on_train_begin(self, trainer: Trainer) -> None:
        for path in self.paths:
            for file in path.glob("events.out.tfevents.*") if path.is_dir() else [path]:
                if file.exists():
                    aside = file.with_name(f".{file.name}.overwritten")
                    file.replace(aside)
                    self._aside[file] = aside

    def settle(self) -> None:
        for aside in self._aside.values():
            aside.unlink(missing_ok=True)
        self._aside.clear()

    def on_train_end(self, trainer: Trainer) -> None:
        for file, aside in self._aside.items():
            aside.replace(file)
        self._aside.clear()


def csv_table(names: list[str], rows: list[dict[str, float]]) -> str:
    columns = list(dict.fromkeys([*(name for row in rows for name in row), *names]))
    header = dict(zip(columns, columns, strict=True))
    return "".join([csv_line(columns, header), *(csv_line(columns, row) for row in rows)])
