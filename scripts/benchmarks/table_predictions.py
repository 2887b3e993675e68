"""Measure the processor time of predictions for raw rows of published tables."""

import time
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.figures import table
from benchmarks.published_tables import TABLES, read, tables_in
from benchmarks.tables import in_a_process

ROWS, FOLDS, EPOCHS = 1000, 5, 2

KINDS = {"TabM": ("TabM",), "RealMLP": ("RealMLP",), "ensemble": ("TabM", "RealMLP")}


def milliseconds(function: Any, *arguments: Any, turns: int) -> float:
    times = []
    for _ in range(turns + 1):
        began = time.process_time()
        function(*arguments)
        times.append(time.process_time() - began)
    return 1000 * min(times)


def main(name: str, path: str, model: str, training_rows: int, turns: int) -> dict[str, float]:
    import gpunn.sklearn
    from gpunn.tabular import combined

    warnings.simplefilter("ignore")
    frame, y = read(name, Path(path))
    rows = frame.sample(ROWS, replace=len(frame) < ROWS, random_state=0)
    chosen = np.random.default_rng(0).permutation(len(frame))[:training_rows]
    X, y = frame.iloc[chosen], y[chosen]
    kind = "Classifier" if TABLES[name].classes else "Regressor"
    fitted = [
        getattr(gpunn.sklearn, family + kind)(
            epochs=EPOCHS, backend="numpy", random_state=0, n_cv=FOLDS if model == "ensemble" else 1
        ).fit(X, y)
        for family in KINDS[model]
    ]
    if model == "ensemble":
        network = combined([each for one in fitted for each in one.estimators_])
        predict = network.predict
    else:
        network = fitted[0].network_
        predict = getattr(fitted[0], "predict_proba", fitted[0].predict)
    encoded = network.encoded(rows)
    return {
        "ms": milliseconds(predict, rows, turns=turns),
        "encoding": milliseconds(network.encoded, rows, turns=turns),
        "network": milliseconds(network.predict_encoded, encoded, turns=turns),
    }


@click.command("table-predictions", context_settings={"show_default": True})
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--only", default="credit risk,Ames,bike sharing,dry beans", help="Tables.")
@click.option("--models", default=",".join(KINDS), help="Models, separated by commas.")
@click.option("--rows", type=click.IntRange(100), default=5000, help="Training rows.")
@click.option("--turns", type=click.IntRange(1), default=30, help="Number of calls.")
def command(folder: Path, only: str, models: str, rows: int, turns: int) -> None:
    """Measure the processor time of predictions for 1,000 raw rows, on one thread.

    Models are trained for two epochs, since time does not depend on parameters. The ensemble has
    the networks of five folds of TabM and RealMLP.
    """
    lines = []
    for name, file in tables_in(folder, only.split(",")):
        for model in models.split(","):
            arguments = name, str(file), model, rows, turns
            result = in_a_process("table_predictions", arguments, 1)
            lines.append([name, model, *(f"{each:.2f}" for each in result.values())])
            click.echo(" | ".join(lines[-1]), err=True)
    click.echo(table(["table", "model", "ms", "of it encoding", "network"], lines))
