"""Charts of training by epoch: metrics, learning rate, speed and norms."""

import math
import re
from collections.abc import Mapping, Sequence

from gpunn.display import title_of
from gpunn.monitor import NOT_METRICS, TIMINGS, VALIDATION
from gpunn.reporting.charts import Chart, Line, evenly, lines
from gpunn.reporting.records import NormRow, Record

RESERVED = ("calibration", "confusion", "importance", "roc", *TIMINGS)

LAYERS = 48
"""Maximum number of layers whose norms are drawn: twice the number of distinct line styles."""

DASH = ("solid", "dashed", "dotted")


def measured(rows: Sequence[Mapping[str, float | None]]) -> list[str]:
    names = dict.fromkeys(name.removeprefix(VALIDATION) for row in rows for name in row)
    return [name for name in names if name not in NOT_METRICS]


def column(rows: Sequence[Mapping[str, float | None]], name: str) -> list[float]:
    return [math.nan if (value := row.get(name)) is None else value for row in rows]


def epochs(record: Record) -> list[float]:
    return column(record.history, "epoch")


def learning_curves(record: Record, key: str) -> list[Chart]:
    best, charts = record.best, []
    for number, name in enumerate(measured(record.history), start=1):
        series = []
        if any(name in row for row in record.history):
            series.append(Line("training", epochs(record), column(record.history, name)))
        if any(f"val_{name}" in row for row in record.history):
            validation = column(record.history, f"val_{name}")
            series.append(Line("validation", epochs(record), validation, 1, "dashed"))
        marks = []
        shown = f"val_{name}" if series[-1].name == "validation" else name
        if best is not None and (height := best.get(shown)) is not None:
            epoch = best["epoch"] or 0.0
            marks.append((epoch, height, f"best epoch: {epoch:.0f}", series[-1].color))
        note = f"The best epoch is selected by {record.monitor}." if marks else ""
        charts.append(
            lines(chart_key(key, name, number), title_of(name), series, marks=marks, note=note)
        )
    return charts


def chart_key(prefix: str, name: str, number: int) -> str:
    plain = re.fullmatch(r"[a-z][a-z0-9_]*", name) and name not in RESERVED
    return f"{prefix}-{name if plain else f'metric-{number}'}"


def speed_charts(record: Record, key: str) -> list[Chart]:
    pairs = (("learning_rate", "Learning rate"), ("samples_per_second", "Samples per second"))
    return [
        lines(
            f"{key}-{name}",
            title,
            [Line(title.lower(), epochs(record), column(record.history, name), number + 2)],
            note="Rates at the last update of each epoch." if name == "learning_rate" else "",
        )
        for number, (name, title) in enumerate(pairs)
        if any(row.get(name) is not None for row in record.history)
    ]


def norm_charts(record: Record, key: str) -> list[Chart]:
    if not record.norms:
        return []
    charts = []
    for kind, title, note in (
        ("parameters", "Norms of the weights", "Norms at the end of each epoch, by layer."),
        ("gradients", "Norms of the gradients", "Norms at each epoch's last update, by layer."),
    ):
        series = by_layer(record.norms, kind)
        shown = [series[index] for index in evenly(len(series), LAYERS)]
        if len(shown) < len(series):
            note += f" {len(shown)} of {len(series):,} layers are shown."
        charts.append(lines(f"{key}-{kind}-norms", title, shown, logarithmic=True, note=note))
    return charts


def by_layer(rows: Sequence[NormRow], kind: str) -> list[Line]:
    x = [float(row.epoch) for row in rows]
    heights: dict[str, list[float]] = {}
    for index, row in enumerate(rows):
        norms: dict[str, list[float]] = {}
        for name, norm in getattr(row, kind).items():
            norms.setdefault(name.rpartition(".")[0], []).append(math.nan if norm is None else norm)
        for layer, values in norms.items():
            heights.setdefault(layer, [math.nan] * len(rows))[index] = math.hypot(*values)
    return [
        Line(layer, x, y, number % 8, DASH[number // 8 % 3])
        for number, (layer, y) in enumerate(heights.items())
    ]


def comparison(records: Sequence[Record], names: Sequence[str]) -> list[Chart]:
    charts = []
    metrics = dict.fromkeys(name for record in records for name in measured(record.history))
    for index, metric in enumerate(metrics, start=1):
        series = []
        for number, (record, run) in enumerate(zip(records, names, strict=True)):
            validated = any(f"val_{metric}" in row for row in record.history)
            y = column(record.history, f"val_{metric}" if validated else metric)
            if any(map(math.isfinite, y)):
                label = f"{run}, {'validation' if validated else 'training'}"
                series.append(Line(label, epochs(record), y, number % 8, DASH[number // 8 % 3]))
        charts.append(lines(chart_key("compare", metric, index), title_of(metric), series))
    return charts
