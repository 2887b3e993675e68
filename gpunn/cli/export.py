"""`gpunn export`."""

from __future__ import annotations

from pathlib import Path

import click

from gpunn.cli.options import best_option, imports_option, load_run, run_argument

__all__ = ["export"]


@click.command(short_help="Write a trained network in another program's format.")
@run_argument
@click.option("--onnx", type=click.Path(path_type=Path), required=True, help="ONNX file to write.")
@click.option(
    "--input-dtype",
    metavar="TYPE",
    help="Type of the input: uint8, int8, uint16 or int16 for a network that begins with "
    "rescaling.  [default: the network's own]",
)
@click.option(
    "--probabilities", is_flag=True, help="Add an output with the classes' probabilities."
)
@best_option
@imports_option
def export(
    run_dir: Path,
    onnx: Path,
    input_dtype: str | None,
    probabilities: bool,
    best: bool,
    allow_imports: bool,
) -> None:
    """Write a trained network, with its preprocessing, in another program's format.

    RUN_DIR is the folder that `gpunn train` wrote.
    """
    from gpunn.errors import ArgumentError
    from gpunn.interchange import save_onnx
    from gpunn.losses import BinaryCrossEntropy, SoftmaxCrossEntropy

    model, objects, _ = load_run(run_dir, best, "numpy", allow_imports)
    functions = {SoftmaxCrossEntropy: "softmax", BinaryCrossEntropy: "sigmoid"}
    function = functions.get(type(objects.loss))
    if probabilities and function is None:
        raise ArgumentError(
            f"--probabilities: a network trained with {objects.loss.name!r} gives no probabilities"
        )
    save_onnx(
        model, onnx, input_dtype=input_dtype, probabilities=function if probabilities else None
    )
    click.echo(f"{onnx}: {model.parameters.count:,} parameters")
    if model.schema is not None:
        click.echo(
            f"It takes rows of {model.schema.width} numbers, as model.schema.encode returns them "
            "in Python, not those of the table.",
            err=True,
        )
