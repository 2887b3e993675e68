"""Curves by epoch of histories that no run of the other tests has."""

from types import SimpleNamespace

from gpunn.reporting.curves import learning_curves


def test_metrics_that_only_validation_rows_have():
    history = [
        {"epoch": float(epoch), "loss": 1 / epoch, "val_loss": 1.0, "val_auc": 0.5 + epoch / 10}
        for epoch in (1, 2)
    ]
    record = SimpleNamespace(history=history, best=history[1], monitor="val_auc")
    loss, auc = learning_curves(record, "a")
    assert [line.name for line in loss.legend] == ["training", "validation"]
    assert [line.name for line in auc.legend] == ["validation"]
    assert auc.description.endswith("Marked: best epoch: 2.")


def test_a_metric_may_be_called_as_another_chart_is():
    history = [{"epoch": 1.0, "roc": 1.0, "calibration": 1.0}]
    record = SimpleNamespace(history=history, best=None, monitor=None)
    assert [chart.key for chart in learning_curves(record, "a")] == ["a-metric-1", "a-metric-2"]
