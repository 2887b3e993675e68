"""The bar of networks that train together."""

from training.test_progress_bar import Terminal
from training.together.fits import fit, trainer

import gpunn
from gpunn.training.together import networks_bar


def test_networks_and_best_values(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    monkeypatch.setattr(networks_bar, "SECONDS", 0.001)
    fits = [fit(trainer(seed=seed), epochs=3) for seed in range(2)]
    best = max(max(each.history["val_accuracy"]) for each in gpunn.train_together(fits, 1))
    text = shown.getvalue()
    assert "Networks: 100%" in text
    assert "2.00/2.00" in text
    assert f"best val_accuracy={best:.3g}" in text
    assert "epochs/s=" in text
    assert "Epoch" not in text


def test_not_shown(monkeypatch):
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    gpunn.train_together([fit(trainer(), epochs=1)], progress=False)
    assert shown.getvalue() == ""
