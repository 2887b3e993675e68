"""`gpunn train` with the model "auto": trains in a given time, and prints the candidates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gpunn.cli.text import aligned, evaluation_text, say

if TYPE_CHECKING:
    from gpunn.experiment.automatic import Automatic
    from gpunn.experiment.automatic_folder import AutomaticFolder


def automatic_settings(
    time_limit: float | None, compare: str | None, distill: bool
) -> dict[str, str]:
    settings = {}
    if time_limit is not None:
        settings["--time"] = f"model.parameters.time_limit={time_limit!r}"
    if compare is not None:
        names = [name.strip() for name in compare.split(",")]
        settings["--compare"] = f"model.parameters.compare={json.dumps(names)}"
    if distill:
        settings["--distill"] = "model.parameters.distill=true"
    return settings


def train_automatically(run: Automatic, folder: AutomaticFolder, quiet: bool) -> str:
    from gpunn.experiment.files import CANDIDATES, listing
    from gpunn.experiment.inspection import warn_of_findings
    from gpunn.reporting.leaderboard import leaderboard_text
    from gpunn.sklearn.automatic.leaderboard import line_of

    resumed = folder.resume and (folder.path / CANDIDATES).is_dir()
    folder.begin(run)
    if not resumed:
        warn_of_findings(run.config, run.schema, run.splits)
    metric = (run.config.training.monitor or "").removeprefix("val_")

    def tell(text: str) -> None:
        if not quiet:
            say(text)

    def ended(row: Mapping[str, Any]) -> None:
        tell(line_of(row, metric))

    for line in summary(run):
        tell(line)
    try:
        stopped = run.fit(folder.path / CANDIDATES, ended)
    except (KeyboardInterrupt, SystemExit):
        if (folder.path / CANDIDATES).is_dir():
            tell(f"To continue: gpunn train {folder.path} --resume")
        raise
    folder.save(run)  # first, so that no later failure can lose the trained network
    metrics = run.evaluate()
    folder.finish(run, stopped, metrics)
    table = leaderboard_text(run.estimator.leaderboard_, metric)
    tell("\n" + "\n".join(aligned(table, {0, len(table[0]) - 1})) + "\n")
    if stopped:
        tell(f"Training ended early: {stopped}")
    no_test = "The data has no test split."
    tell(no_test if metrics is None else f"Test: {evaluation_text(metrics)}")
    tell(f"\n{listing(folder.path)}")
    if stopped:
        tell(f"\nTo continue: gpunn train {folder.path} --resume")
    return stopped


def summary(run: Automatic) -> list[str]:
    from gpunn.experiment.split_report import described_split
    from gpunn.reporting.text import duration

    splits, schema, limit = run.splits, run.schema, run.estimator.time_limit
    used = sum(not column.dropped for column in schema.columns)
    classes = len(splits.metadata.get("classes", ()))
    kind = f"{classes} classes" if classes else "numbers"
    lines = [
        f"backend: {', '.join(run.backend.describe().values())}",
        f"columns: {used}, target: {', '.join(run.targets)} ({kind})",
        f"rows: {', '.join(f'{split.rows:,} {name}' for name, split in splits.by_name.items())}",
    ]
    if described := described_split(splits, schema):
        lines.append(described)
    time = "without a time limit" if limit is None else f"for {duration(limit)}"
    return [*lines, f"training {time}; to stop earlier, press Ctrl-C", ""]
