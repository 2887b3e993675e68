"""Writes the report: one self-contained HTML file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from gpunn.backends import Backend
from gpunn.differences import varying
from gpunn.display import SYMBOLS, title_of
from gpunn.errors import ArgumentError, ConfigError, DataError
from gpunn.experiment.objects import trained_network
from gpunn.monitor import VALIDATION
from gpunn.network import Sequential
from gpunn.optional import install_command, require
from gpunn.reporting.charts import Chart
from gpunn.reporting.columns import column_charts
from gpunn.reporting.curves import comparison, learning_curves, measured, norm_charts, speed_charts
from gpunn.reporting.findings import Findings, examine
from gpunn.reporting.leaderboard import leaderboard_of
from gpunn.reporting.ranking import Ranking, rank
from gpunn.reporting.records import Record, read_run
from gpunn.reporting.results import Results, Table, results
from gpunn.reporting.sweeps import SweepView, is_sweep, view_sweep
from gpunn.reporting.text import duration, number_text, setting_text
from gpunn.reporting.weights import WeightImages, first_layer
from gpunn.storage.files import write_output
from gpunn.version import __version__


@dataclass
class Run:
    """The content of the page for one run; `key` identifies the run within the page."""

    key: str
    name: str
    record: Record
    best: bool = False
    tiles: list[tuple[str, str, str]] = field(default_factory=list)
    setup: list[tuple[str, str]] = field(default_factory=list)
    machine: list[tuple[str, str]] = field(default_factory=list)
    network: Table | None = None
    final: Table | None = None
    leaderboard: Table | None = None
    curves: list[Chart] = field(default_factory=list)
    speed: list[Chart] = field(default_factory=list)
    norms: list[Chart] = field(default_factory=list)
    results: Results | None = None
    columns: list[Chart] = field(default_factory=list)
    weights: WeightImages | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def configuration(self) -> str:
        return json.dumps(self.record.description, indent=2, ensure_ascii=False)


def write_report(
    runs: Sequence[str | Path],
    path: str | Path,
    backend: str | Backend | None = None,
    *,
    allow_imports: bool = False,
) -> None:
    """Write a report on runs to an HTML file; after an error, no file is written.

    Parameters
    ----------
    runs : sequence of str or Path
        Folders that `gpunn train` wrote, or one sweep folder. The report compares the runs, or the
        trials of the sweep. For a sweep, the report shows the best trial in detail.
    path : str or Path
        The file to write.
    backend : str, Backend or None
        The backend that computes the predictions; see `gpunn.get_backend`.
    allow_imports : bool
        Whether configurations may import custom classes. Importing a class runs the code of its
        module.

    Raises
    ------
    ArgumentError
        If there are no runs, or a sweep folder is combined with other folders.
    ConfigError
        If a folder is not a run folder, or its configuration imports a class without permission.
    InvalidFileError
        If a file in a folder is damaged.
    MissingPackageError
        If the packages of the `report` extra are not installed.
    OSError
        If the file cannot be written; an existing file is then unchanged.

    Examples
    --------
    >>> gpunn.reporting.write_report([], "report.html")
    Traceback (most recent call last):
        ...
    gpunn.errors.ArgumentError: runs: expected the folder of at least one run; got none
    """
    page = report_html(runs, backend, allow_imports=allow_imports)
    # The name of a folder may not be valid Unicode.
    write_output(path, page.encode(errors="replace"))


def report_html(
    runs: Sequence[str | Path], backend: str | Backend | None = None, *, allow_imports: bool = False
) -> str:
    # Reads the data again to compute predictions; if it is missing, a notice replaces them.
    if not runs:
        raise ArgumentError("runs: expected the folder of at least one run; got none")
    require("jinja2", "a report", install_command("report"))
    require("matplotlib", "a report", install_command("report"))
    folders = [Path(folder) for folder in runs]
    sweep = sweep_among(folders)
    if sweep is not None:
        folders = [] if sweep.best is None else [sweep.best]
    records = [read_run(folder) for folder in folders]
    names = [record.name for record in records]
    if len(set(names)) < len(names):
        names = [str(record.path) for record in records]
    views = [
        view(record, name, f"run-{number}", backend, allow_imports)
        for number, (record, name) in enumerate(zip(records, names, strict=True), start=1)
    ]
    ranking = rank(records) if sweep is None and len(records) > 1 else None
    for index, run in enumerate(views):
        run.best = sweep is not None or (ranking is not None and index == ranking.best)
    template, style = template_and_style()
    return str(
        template.render(
            title=", ".join(names) if sweep is None else sweep.name,
            style=style,
            runs=views,
            **comparative(views, sweep, ranking),
            version=__version__,
            written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        )
    )


def sweep_among(folders: Sequence[Path]) -> SweepView | None:
    for folder in folders:
        if is_sweep(folder):
            if len(folders) > 1:
                raise ArgumentError(
                    f"runs: {folder} is a sweep folder, which needs a separate report; to compare "
                    "its trials with other runs, give the folders of the trials"
                )
            return view_sweep(folder)
    return None


def comparative(
    views: Sequence[Run], sweep: SweepView | None, ranking: Ranking | None
) -> dict[str, Any]:
    if sweep is not None:
        return {"overview": sweep.overview, "differences": None, "comparison": sweep.charts}
    if len(views) < 2:
        return {"overview": None, "differences": None, "comparison": []}
    records = [run.record for run in views]
    names = [f"{run.name}, best" if run.best else run.name for run in views]
    return {
        "overview": overview(views, ranking),
        "differences": differences(records, names),
        "comparison": comparison(records, names),
    }


@cache
def template_and_style() -> tuple[Any, str]:
    jinja2 = require("jinja2", "a report", install_command("report"))
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"number": number_text, "title": title_of}
    files = resources.files(__package__)
    template = environment.from_string((files / "template.html").read_text(encoding="utf-8"))
    return template, (files / "style.css").read_text(encoding="utf-8")


def view(
    record: Record, name: str, key: str, backend: str | Backend | None, allow_imports: bool
) -> Run:
    run = Run(key, name, record)
    if not record.automatic:
        run.curves = learning_curves(record, key)
        run.speed = speed_charts(record, key)
        run.norms = norm_charts(record, key)
    if record.running:
        run.problems.append("The run is still running.")
    elif record.ending is None:
        run.problems.append("The run has not ended: it is still running, or was interrupted.")
    elif record.ending.epochs < len(record.history):
        run.problems.append(
            f"The trained network and its test metrics are from epoch {record.ending.epochs}. "
            "Training was resumed after this epoch, and has not ended."
        )
    elif record.ending.stopped:
        run.problems.append(f"Training ended early: {record.ending.stopped}")
    model, findings = examined(run, backend, allow_imports)
    if model is not None:
        run.leaderboard = leaderboard_of(model, record)
        header, *layers = model.summary_rows()
        note = f"The input is rows of shape {model.input_shape}."
        run.network = Table("Network", header, layers, note)
        run.weights = first_layer(model, findings.pixels if findings else None)
    if findings is not None:
        run.results = results(findings, key)
        if findings.columns is not None:
            run.columns = column_charts(findings.columns, key)
    run.final = final_metrics(record, findings)
    run.setup = setup(record, findings)
    run.machine = machine(record)
    run.tiles = tiles(record, model)
    return run


def examined(
    run: Run, backend: str | Backend | None, allow_imports: bool
) -> tuple[Sequential | None, Findings | None]:
    record = run.record
    if record.model_file is None:
        run.problems.append("The folder contains no network.")
        return None, None
    model, objects = trained_network(record.config, record.model_file, backend, allow_imports)
    try:
        return model, examine(record.path, model, objects, record.config)
    except (ConfigError, DataError, OSError) as error:
        run.problems.append(f"Predictions are missing, because the data cannot be used: {error}")
        return model, None


def tiles(record: Record, model: Sequential | None) -> list[tuple[str, str, str]]:
    shown = []
    test = dict(record.ending.test or {}) if record.ending else {}
    rows = test.pop("rows", None)
    for name in sorted(test, key=lambda name: name == "loss"):  # metrics first
        remark = f"on {number_text(int(rows))} rows" if rows else ""
        shown.append((f"Test {lower(title_of(name))}", number_text(test[name], name), remark))
    best, monitor = record.best, record.monitor
    if best is not None and monitor is not None:
        score = number_text(best[monitor], monitor)
        if record.automatic:
            title = f"Validation {lower(title_of(monitor.removeprefix(VALIDATION)))}"
            shown.append((title, score, ""))
            shown.append(("Time in training", duration(record.seconds), ""))
        else:
            shown.append(("Best epoch", number_text(int(best["epoch"] or 0)), f"{monitor} {score}"))
    if not record.automatic:
        done, planned = len(record.history), record.config.training.epochs
        remark = "" if done == planned else f"of {planned} planned"
        shown.append(("Epochs", number_text(done), remark))
    speeds = [speed for row in record.history if (speed := row.get("samples_per_second"))]
    if speeds:
        median = number_text(round(sorted(speeds)[len(speeds) // 2]))
        shown.append(("Time in training", duration(record.seconds), f"{median} samples per second"))
    if model is not None:
        shown.append(("Parameters", number_text(model.parameters.count), f"in {model.dtype}"))
    return shown


def lower(title: str) -> str:
    return title if title in SYMBOLS.values() else title[:1].lower() + title[1:]


def final_metrics(record: Record, findings: Findings | None) -> Table | None:
    if not record.history:
        return None
    tested = record.ending.test if record.ending is not None else None
    names, notes = measured(record.history[-1:]), list[str]()
    sources: list[tuple[str, Any, str]] = [("validation", record.history[-1], VALIDATION)]
    if record.automatic:
        names = list(dict.fromkeys([*names, *(name for name in tested or () if name != "rows")]))
    else:
        sources = epochs_shown(record)
        notes.append("Training metrics are computed while the network changes, and with dropout.")
    if tested is not None:
        sources.append(("test, trained network", tested, ""))
    if findings is not None:
        what, metrics = findings.baseline
        sources.append((f"{findings.split}, baseline: {what}", metrics, ""))
        notes.append(
            "The baseline predicts one value, learned from the training rows, for every row."
        )
    rows = [
        (label, *(number_text(row.get(prefix + name), name) for name in names))
        for label, row, prefix in sources
    ]
    return Table("Final metrics", ("", *(title_of(name) for name in names)), rows, " ".join(notes))


def epochs_shown(record: Record) -> list[tuple[str, Any, str]]:
    last, best = record.history[-1], record.best
    epochs = [(f"epoch {last['epoch']:.0f}", last)]
    if best is not None and best is not last:
        epochs.append((f"best epoch {best['epoch']:.0f}", best))
    sources: list[tuple[str, Any, str]] = [(f"training, {name}", row, "") for name, row in epochs]
    if any(name.startswith(VALIDATION) for name in last):
        sources += [(f"validation, {name}", row, VALIDATION) for name, row in epochs]
    return sources


def setup(record: Record, findings: Findings | None) -> list[tuple[str, str]]:
    description, training = record.description, record.description["training"]
    rows = findings.rows if findings else {}
    split = ", ".join(f"{count:,} {name}" for name, count in rows.items())
    named = training["optimizer"]
    optimizer = {"name": named} if isinstance(named, str) else dict(named)
    limit = description["model"]["parameters"].get("time_limit")
    rate = optimizer.pop("learning_rate", None)
    target = description["data"].get("target")
    facts = [
        ("Data", described(description["data"], ("dataset", "path"))),
        ("Target", ", ".join(target) if isinstance(target, list) else described(target)),
        ("Network", described(description["model"].get("name"))),
        ("Rows", split),
        ("Loss", described(training["loss"])),
        *(
            [("Time limit", f"{number_text(limit)} s")]
            if record.automatic
            else [
                ("Optimizer", described(optimizer)),
                ("Learning rate", described(rate)),
                ("Epochs", number_text(training["epochs"])),
                ("Batch size", number_text(training["batch_size"])),
            ]
        ),
        ("Seed", str(description["seed"])),
        ("Type", description["dtype"]),
    ]
    return [(name, text) for name, text in facts if text]


def described(value: Any, only: Sequence[str] = ()) -> str:
    if not isinstance(value, dict):
        return "" if value is None else number_text(value)
    kept = {key: item for key, item in value.items() if item is not None}
    if only:
        return ", ".join(str(kept[key]) for key in only if key in kept)
    name = kept.pop("name", "")
    rest = ", ".join(f"{key} {described(item)}" for key, item in kept.items())
    if name == "constant":
        return number_text(kept.get("rate"))
    return f"{name} ({rest})" if rest else str(name)


def machine(record: Record) -> list[tuple[str, str]]:
    environment = record.environment
    packages = environment.packages.items()
    facts = [
        ("Started", environment.started),
        ("Backend", ", ".join(environment.backend.values())),
        ("Processor", environment.processor),
        ("Cores", environment.cores),
        ("System", environment.platform),
        ("Python", environment.python),
        ("gpunn", environment.gpunn),
        ("Packages", ", ".join(f"{name} {version}" for name, version in packages)),
        ("BLAS", f"{environment.blas.name} {environment.blas.version}".strip()),
        ("Folder", record.path.resolve()),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def overview(runs: Sequence[Run], ranking: Ranking | None) -> Table:
    labels = dict.fromkeys(label for run in runs for label, _, _ in run.tiles)
    columns, order, note = ["run", "state"], list(range(len(runs))), ""
    if ranking is not None:
        name = ranking.metric.removeprefix(VALIDATION)
        columns.append(f"{title_of(name)} (validation)")
        order, note = ranking.order, ranking_note(ranking)
    rows = []
    for run in (runs[index] for index in order):
        cells = [f"{run.name}, best" if run.best else run.name, run.record.state]
        if ranking is not None:
            cells.append(number_text(ranking.value(run.record), ranking.metric))
        numbers = {label: number for label, number, _ in run.tiles}
        rows.append((*cells, *(numbers.get(label, "–") for label in labels)))
    return Table("Runs", (*columns, *labels), rows, note)


def ranking_note(ranking: Ranking) -> str:
    order = f"Ranked by the validation metric {ranking.metric} at each run's best epoch."
    return " ".join((order, "The test split does not affect the order.", *ranking.warnings()))


def differences(records: Sequence[Record], names: Sequence[str]) -> Table:
    rows = [
        (path, *map(setting_text, values))
        for path, values in varying([record.description for record in records])
    ]
    return Table("What differs", ("setting", *names), rows)
