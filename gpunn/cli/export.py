"""`gpunn export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from gpunn.cli.closed_output import FileCommand
from gpunn.cli.options import best_option, imports_option, load_run, run_argument
from gpunn.cli.text import say

if TYPE_CHECKING:
    from gpunn.network import Sequential

__all__ = ["export"]


@click.command(cls=FileCommand, short_help="Write a trained network in another program's format.")
@run_argument
@click.option("--onnx", type=click.Path(path_type=Path), help="ONNX file to write.")
@click.option(
    "--python",
    "python_path",
    type=click.Path(path_type=Path),
    help="Python file to write, which predicts with NumPy alone.",
)
@click.option(
    "--pure", is_flag=True, help="Let the Python file need only the standard library, not NumPy."
)
@click.option(
    "--c",
    "c_path",
    type=click.Path(path_type=Path),
    help="C99 header to write, which predicts with math.h alone. Its functions have the file's "
    "name.",
)
@click.option(
    "--input-dtype",
    metavar="TYPE",
    help="Type of the ONNX file's input: uint8, int8, uint16 or int16 for a network that begins "
    "with rescaling.  [default: the network's own]",
)
@click.option(
    "--probabilities",
    is_flag=True,
    help="Add an output with the classes' probabilities to the ONNX file.",
)
@click.option(
    "--labels", is_flag=True, help="Add an output with the predicted class to the ONNX file."
)
@click.option(
    "--encoded",
    is_flag=True,
    help="Let the ONNX file of a network for a table take numbers, as the schema's encode returns "
    "them in Python, not the table's columns.",
)
@best_option
@imports_option
def export(
    run_dir: Path,
    onnx: Path | None,
    python_path: Path | None,
    pure: bool,
    c_path: Path | None,
    input_dtype: str | None,
    probabilities: bool,
    labels: bool,
    encoded: bool,
    best: bool,
    allow_imports: bool,
) -> None:
    """Write a trained network, with its preprocessing, in another program's format.

    RUN_DIR is the folder that `gpunn train` wrote.
    """
    if onnx is None and python_path is None and c_path is None:
        raise click.UsageError("--onnx, --python or --c: a file to write is needed")
    if pure and python_path is None:
        raise click.UsageError("--pure: only for --python")
    for option, given in (
        ("--input-dtype", input_dtype),
        ("--probabilities", probabilities),
        ("--labels", labels),
        ("--encoded", encoded),
    ):
        if given and onnx is None:
            raise click.UsageError(f"{option}: only for --onnx")
    model, objects, _ = load_run(run_dir, best, "numpy", allow_imports)
    if model.output_activation is None:  # as in files of earlier releases
        model.output_activation = objects.loss.output_activation
    if onnx is not None:
        from gpunn.interchange import save_onnx

        if encoded and model.schema is None:
            raise click.UsageError("--encoded: only for a network for a table, with a schema")
        function = model.output_activation
        if probabilities and function not in ("softmax", "sigmoid"):
            raise click.UsageError(
                f"--probabilities: a network trained with {objects.loss.name!r} gives no "
                "probabilities"
            )
        save_onnx(
            model,
            onnx,
            encoded=encoded,
            input_dtype=input_dtype,
            probabilities=function if probabilities else None,
            labels=labels,
        )
        say(said(onnx, model))
    if python_path is not None:
        from gpunn.interchange import save_python

        save_python(model, python_path, pure=pure)
        say(said(python_path, model))
    if c_path is not None:
        from gpunn.interchange import save_c

        save_c(model, c_path, prefix=c_path.stem)
        say(said(c_path, model))


def said(path: Path, model: Sequential) -> str:
    """Return what is printed of a file that was written."""
    return f"{path}: {model.parameters.count:,} parameters"
