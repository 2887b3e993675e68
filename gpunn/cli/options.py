"""Options that commands share."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from gpunn.config import Config, DataSet
    from gpunn.experiment.objects import Objects
    from gpunn.network import Sequential

PATH = click.Path(path_type=Path)

TABLE_SUFFIXES = frozenset((".csv", ".tsv", ".tab", ".txt", ".parquet"))


def check_settings(
    context: click.Context, parameter: click.Parameter, settings: tuple[str, ...]
) -> tuple[str, ...]:
    for setting in settings:
        if "=" not in setting:
            raise click.UsageError(
                f"--set {setting}: expected key=value without spaces, such as training.epochs=3"
            )
    return settings


SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


def seconds_of(context: click.Context, parameter: click.Parameter, text: str | None) -> Any:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+) *(s|m|min|h|)", text.strip())
    if match is not None and float(match[1]) > 0:
        return float(match[1]) * SECONDS[match[2]]
    raise click.UsageError(f"--time: expected a time such as 90s, 10m or 2h; got {text!r}")


backend_option = click.option(
    "--backend",
    metavar="NAME",
    help="numpy, cupy, cupy:1 or auto. Overrides GPUNN_BACKEND and the configuration.",
)

run_argument = click.argument("run_dir", type=PATH)

best_option = click.option(
    "--best", is_flag=True, help="Use the network of the best epoch, not the final network."
)

threshold_option = click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Minimum probability at which the second of two classes is predicted.  [default: the "
    "model's threshold, or 0.5]",
)

settings_option = click.option(
    "--set",
    "settings",
    callback=check_settings,
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a configuration value, such as training.epochs=3 or model.layers.1.rate=0.3. "
    "Can be repeated.",
)

imports_option = click.option(
    "--allow-imports",
    is_flag=True,
    help='Allow imports of custom classes that a configuration names as "package.module:Class", '
    "and of custom layers that a model file names. Importing runs code.",
)

targets_option = click.option(
    "--target",
    "targets",
    metavar="NAME",
    multiple=True,
    help="Column of a table to predict. Can be repeated, to predict several numbers or labels.",
)

DELIMITER_OPTION = click.option(
    "--delimiter", metavar="CHARACTER", help="Field delimiter; detected by default."
)

DECIMAL_OPTION = click.option(
    "--decimal", type=click.Choice([".", ","]), help="Decimal separator; detected by default."
)

TABLE_OPTIONS = (
    click.option(
        "--drop", metavar="NAME", multiple=True, help="Table column to leave out. Can be repeated."
    ),
    click.option(
        "--column",
        "columns",
        metavar="NAME=KIND",
        multiple=True,
        help="Kind of a column: number, category, boolean or datetime. For ambiguous dates such as "
        "10/11/2014, write day/month/year or month/day/year; for times of day, hour:minute. "
        "Can be repeated.",
    ),
    click.option(
        "--missing",
        "missing_values",
        metavar="TEXT",
        multiple=True,
        help='Text that marks a missing value, such as -999, in addition to "", "?", "NA" and '
        "similar text. Can be repeated.",
    ),
    click.option(
        "--split",
        metavar="KIND=COLUMN",
        help="How to hold out validation and test rows: time=COLUMN holds out the latest rows, "
        "group=COLUMN holds out whole groups of rows with equal values in the column.  "
        "[default: random rows]",
    ),
    DELIMITER_OPTION,
    DECIMAL_OPTION,
    click.option(
        "--header/--no-header",
        default=None,
        help="Whether the first row contains column names. By default, the first row is a header "
        "unless all its cells are numbers. Without a header, columns are numbered from 0.",
    ),
)

TABLE_KEYS = ("drop", "columns", "missing_values", "split", "delimiter", "decimal", "header")


def table_options(command: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(command)
    def reading_as_one(**arguments: Any) -> None:
        chosen = {
            key: value for key in TABLE_KEYS if (value := arguments.pop(key)) not in (None, ())
        }
        if "columns" in chosen:
            chosen["columns"] = column_kinds(chosen["columns"])
        plain = {key: list(it) if isinstance(it, tuple) else it for key, it in chosen.items()}
        command(**arguments, reading=plain)

    decorated: Callable[..., None] = reading_as_one
    for option in reversed(TABLE_OPTIONS):
        decorated = option(decorated)
    return decorated


def column_kinds(options: Sequence[str]) -> dict[str, str]:
    kinds = {}
    for text in options:
        name, mark, kind = text.rpartition("=")
        if not mark:
            raise click.UsageError(
                f"--column: expected NAME=KIND, such as Zip=category; got {text!r}"
            )
        kinds[name] = kind
    return kinds


def load_run(
    run_dir: Path, best: bool, backend: str | None, allow_imports: bool = False
) -> tuple[Sequential, Objects, Config]:
    from gpunn.config import load_config
    from gpunn.errors import ModelFileError
    from gpunn.experiment.files import BEST, CHECKPOINTS, CONFIG, require_run
    from gpunn.experiment.objects import trained_network
    from gpunn.storage.models import FINAL

    require_run(run_dir)
    config = load_config(run_dir / CONFIG)
    path = run_dir / (BEST if best else FINAL)
    if not path.exists():
        others = [name for name in (FINAL, BEST, CHECKPOINTS) if (run_dir / name).exists()]
        if best and FINAL in others:
            hint = (
                "the run had no validation rows or trained an ensemble, so no epoch is the best; "
                "remove --best"
            )
        else:
            hint = f"the run did not finish; continue it with gpunn train {run_dir} --resume"
            if BEST in others:
                hint += ", or use the network of its best epoch with --best"
        content = f" (the folder has: {', '.join(others)})" if others else ""
        raise ModelFileError(f"{path}: this file does not exist, because {hint}{content}")
    model, objects = trained_network(config, path, backend, allow_imports)
    return model, objects, config


def load_trained(
    path: Path, best: bool, backend: str | None, allow_imports: bool
) -> tuple[Sequential, str | None, str | None, DataSet | None]:
    if path.is_dir() or path.suffix != ".safetensors":
        model, objects, config = load_run(path, best, backend, allow_imports)
        return model, objects.loss.output_activation, objects.loss.name, config.data
    from gpunn.load import load_model

    if best:
        raise click.UsageError(f"--best: needs a run folder; {path} is a file")
    model = load_model(path, backend, allow_imports=allow_imports)
    return model, model.output_activation, None, None


def only_one(argument: Path | None, option: Path | None, name: str, flag: str) -> Path | None:
    if argument is not None and option is not None:
        raise click.UsageError(f"{flag}: cannot be combined with {name}; remove one of them")
    return option if argument is None else argument


def check_probabilities(activation: str | None, loss: str | None) -> None:
    if activation not in ("softmax", "sigmoid"):
        trained = f" trained with {loss!r}" if loss else ""
        raise click.UsageError(
            f"--probabilities: a network{trained} predicts no probabilities; remove the option"
        )


def set_threshold(model: Sequential, activation: str | None, threshold: float | None) -> None:
    from gpunn.errors import ArgumentError
    from gpunn.thresholds import TWO_CLASSES

    if threshold is None:
        return
    if (activation, model.output_shape) not in TWO_CLASSES:
        raise ArgumentError("--threshold: needs a network with two classes; remove --threshold")
    model.threshold = threshold
