"""How figures are written on the terminal."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["epoch_text", "figures_text"]

BESIDE = ("epoch", "learning_rate", "seconds", "samples_per_second")


def figures_text(figures: Mapping[str, float]) -> str:
    """Return "loss 0.0123, accuracy 0.9876"."""
    return ", ".join(f"{name} {figure:.4g}" for name, figure in figures.items())


def epoch_text(logs: Mapping[str, float], epochs: int) -> str:
    """Return one line on an epoch."""
    figures = {name: figure for name, figure in logs.items() if name not in BESIDE}
    return (
        f"epoch {logs['epoch']:.0f}/{epochs}: {figures_text(figures)}, "
        f"learning rate {logs['learning_rate']:.3g}, {logs['seconds']:.2f} s"
    )
