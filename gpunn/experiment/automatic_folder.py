"""Saves a run of the model "auto" in a folder, with the same files as other runs."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from gpunn.experiment.automatic import Automatic
from gpunn.experiment.files import (
    BEST,
    CANDIDATES,
    CONFIG,
    EVALUATION,
    HISTORY,
    LEADERBOARD,
    NORMS,
    TABLE,
    csv_table,
    remove_candidates,
)
from gpunn.experiment.locked_folder import LockedFolder
from gpunn.experiment.resume_checks import check_resumable
from gpunn.storage.checkpoint_folder import FOLDER, CheckpointFolder
from gpunn.storage.files import Replacement
from gpunn.storage.models import FINAL
from gpunn.tabular.selection import FREE_PARAMETERS
from gpunn.training.callbacks.epoch_logs import log_line

FREE = frozenset(f"model.parameters.{name}" for name in FREE_PARAMETERS)

COLUMNS = ("name", "score", "standard_error", "weight", "seconds", "prediction_ms", "size", "note")


class AutomaticFolder(LockedFolder):
    def begin(self, run: Automatic) -> None:
        if self.path.is_dir():
            self._take_lock()
        if self.resume and (self.path / CONFIG).exists():
            check_resumable(self.path, run.description, FREE)
        self._check_link(CANDIDATES)
        self._prepare()
        if self.overwrite:
            CheckpointFolder(self.path / FOLDER, 1).clear()
            for name in (FINAL, BEST, EVALUATION, HISTORY, TABLE, NORMS):
                (self.path / name).unlink(missing_ok=True)
            remove_candidates(self.path)
        with Replacement() as new:
            self._describe(new, run.description, run.backend)
            new.commit()

    def save(self, run: Automatic) -> dict[str, float]:
        rows = run.estimator.leaderboard_
        seconds = sum(row["seconds"] for row in rows if row["kind"] in ("ensemble", "distilled"))
        row = {"epoch": 1, str(run.config.training.monitor): rows[0]["score"], "seconds": seconds}
        run.estimator.save(self.path / FINAL)
        with Replacement() as new:
            new.add(self.path / HISTORY, log_line(row).encode())
            new.add(self.path / TABLE, csv_table(list(row), [row]).encode())
            new.add(self.path / LEADERBOARD, csv_of(rows).encode())
            (self.path / EVALUATION).unlink(missing_ok=True)
            new.commit()
        return row

    def finish(self, run: Automatic, stopped: str, metrics: Mapping[str, float] | None) -> None:
        self._write_evaluation(1, stopped, run.splits, metrics)


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    settings = dict.fromkeys(name for row in rows for name in row["settings"])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *settings])
    for row in rows:
        values = [row[name] for name in COLUMNS]
        writer.writerow([*values, *(row["settings"].get(name) for name in settings)])
    return text.getvalue()
