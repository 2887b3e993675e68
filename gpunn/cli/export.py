"""`gpunn export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gpunn.cli.closed_output import FileCommand
from gpunn.cli.options import (
    PATH,
    best_option,
    check_probabilities,
    imports_option,
    load_run,
    load_trained,
)
from gpunn.cli.text import metrics_text, say

if TYPE_CHECKING:
    from gpunn.config import Config
    from gpunn.experiment.objects import Objects
    from gpunn.interchange import Int8Network
    from gpunn.network import Sequential


@click.command(cls=FileCommand, short_help="Export a trained network to ONNX, Python or C.")
@click.argument("model_path", type=PATH, metavar="MODEL")
@click.option("--onnx", type=PATH, help="ONNX file to write.")
@click.option(
    "--python", "python_path", type=PATH, help="Python file to write; it needs only NumPy."
)
@click.option(
    "--pure", is_flag=True, help="Write a Python file that needs only the standard library."
)
@click.option(
    "--c",
    "c_path",
    type=PATH,
    help="C99 header to write; it needs only math.h. The functions are named after the file.",
)
@click.option(
    "--int8", is_flag=True, help="For --c: compute with 8-bit integers, for small computers."
)
@click.option(
    "--input-dtype",
    metavar="TYPE",
    help="Input type of the ONNX file: uint8, int8, uint16 or int16, for a network that begins "
    "with rescaling.  [default: the network's dtype]",
)
@click.option(
    "--probabilities",
    is_flag=True,
    help="Add an output with the class probabilities to the ONNX file.",
)
@click.option(
    "--labels", is_flag=True, help="Add an output with the predicted class to the ONNX file."
)
@click.option(
    "--encoded",
    is_flag=True,
    help="For a network trained on a table: the ONNX file accepts the numbers that "
    "Schema.encode returns in Python, instead of the table's columns.",
)
@best_option
@imports_option
def export(
    model_path: Path,
    onnx: Path | None,
    python_path: Path | None,
    pure: bool,
    c_path: Path | None,
    int8: bool,
    best: bool,
    allow_imports: bool,
    **of_onnx: Any,
) -> None:
    """Export a trained network, with its preprocessing, to ONNX, Python or C.

    MODEL is a folder that `gpunn train` wrote, or a model file (.safetensors).
    """
    if onnx is None and python_path is None and c_path is None:
        raise click.UsageError("name the file to write: use --onnx, --python or --c")
    if pure and python_path is None:
        raise click.UsageError("--pure: works only with --python; add --python PATH")
    if int8 and c_path is None:
        raise click.UsageError("--int8: works only with --c; add --c PATH")
    for option, value in of_onnx.items():
        if value and onnx is None:
            name = option.replace("_", "-")
            raise click.UsageError(f"--{name}: works only with --onnx; add --onnx PATH")
    if int8 and model_path.is_file():
        raise click.UsageError(
            f"--int8: needs training rows, so name a run's folder, not the file {model_path}"
        )
    model, function, loss, _ = load_trained(model_path, best, "numpy", allow_imports)
    if model.output_activation is None:  # in a file of an earlier release
        model.output_activation = function
    if onnx is not None:
        from gpunn.interchange import save_onnx

        if of_onnx["encoded"] and model.schema is None:
            raise click.UsageError("--encoded: needs a network for a table; remove this option")
        if of_onnx["probabilities"]:
            check_probabilities(function, loss)
        given = function if of_onnx["probabilities"] else None
        save_onnx(model, onnx, **of_onnx | {"probabilities": given})
        say(summary(onnx, model))
    if python_path is not None:
        from gpunn.interchange import save_python

        save_python(model, python_path, pure=pure)
        say(summary(python_path, model))
    if c_path is not None:
        from gpunn.interchange import save_c

        run = load_run(model_path, best, "numpy", allow_imports) if int8 else None
        save_c(of_integers(model_path, *run) if run else model, c_path, prefix=c_path.stem)
        say(summary(c_path, model))


def of_integers(folder: Path, model: Sequential, objects: Objects, config: Config) -> Int8Network:
    import numpy as np

    from gpunn.experiment.build import make_trainer
    from gpunn.experiment.resume_checks import data_of_run
    from gpunn.interchange import Int8Network
    from gpunn.layers import Dropout
    from gpunn.network import Sequential
    from gpunn.training import Trainer

    trainer = make_trainer(model, objects, config)
    splits = data_of_run(folder, config, trainer.loss, model.output_shape[0])
    rows = np.linspace(0, splits.training.rows - 1, min(splits.training.rows, 1000)).astype(
        np.int64
    )
    network = Int8Network(model, splits.training.take(rows).inputs())
    split = splits.validation or splits.test or splits.training
    unchanged = Sequential([Dropout(0.0)], model.output_shape, "numpy", dtype=model.dtype)
    judge = Trainer(unchanged, trainer.loss, metrics=trainer.every_metric)
    X, y = split.inputs(), split.targets()
    before, after = (judge.evaluate(each.predict(X), y) for each in (model, network))
    name = next(name for name, each in splits.by_name.items() if each is split)
    say(f"{name} rows: {metrics_text(before)}; with 8-bit integers: {metrics_text(after)}")
    return network


def summary(path: Path, model: Sequential) -> str:
    return f"{path}: {model.parameters.count:,} parameters"
