"""Train on the bundled digits, or on MNIST, with gpunn's Python interface.

The command `gpunn train scripts/configs/digits.toml` does the same from a configuration,
keeps the run in a folder and can resume the run.

    python scripts/train.py --backend numpy --epochs 30
    python scripts/train.py --mnist path/to/folder --units 512 --epochs 20 --batch-size 128
"""

from pathlib import Path

import click

import gpunn
from gpunn.layers import Dense, Dropout, Rescaling


@click.command()
@click.option(
    "--mnist", type=click.Path(path_type=Path), help="Folder with MNIST's four IDX files."
)
@click.option("--backend", default=None, help="numpy, cupy or auto.")
@click.option("--units", default=256, show_default=True, help="Units of each hidden layer.")
@click.option("--learning-rate", default=0.002, show_default=True, help="Adam's learning rate.")
@click.option("--epochs", default=30, show_default=True)
@click.option("--batch-size", default=32, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="File to save the model to.")
def main(
    mnist: Path | None,
    backend: str | None,
    units: int,
    learning_rate: float,
    epochs: int,
    batch_size: int,
    seed: int,
    output: Path | None,
) -> None:
    """Train a network with two hidden layers and print its test accuracy."""
    X, y, X_test, y_test = gpunn.data.load_mnist(mnist) if mnist else gpunn.data.load_digits()
    layers = [
        Rescaling(1 / int(X.max())),
        Dense(units, activation="relu"),
        Dropout(0.3),
        Dense(units, activation="relu"),
        Dropout(0.3),
        Dense(10),
    ]
    model = gpunn.Sequential(layers, input_shape=X.shape[1:], backend=backend, seed=seed)
    rate = gpunn.schedules.Cosine(learning_rate)
    trainer = gpunn.Trainer(
        model, "softmax_cross_entropy", gpunn.optimizers.Adam(rate), metrics=["accuracy"]
    )
    trainer.fit(X, y, epochs=epochs, batch_size=batch_size)
    metrics = trainer.evaluate(X_test, y_test)
    click.echo(f"Test: loss {metrics['loss']:.4f}, accuracy {metrics['accuracy']:.4f}")
    if output is not None:
        model.save(output)
        click.echo(f"Saved to {output}")


if __name__ == "__main__":
    main()
