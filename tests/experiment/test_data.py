"""The splits of a data set, above all of one in memory-mapped files."""

from functools import partial

import numpy as np
import pytest
from memory import peak_below

from gpunn.config import parse_config
from gpunn.data import batches, column_statistics, load_npy
from gpunn.experiment.build import build
from gpunn.experiment.data import load
from gpunn.experiment.objects import Objects
from gpunn.losses import SoftmaxCrossEntropy
from gpunn.reporting.findings import examine

ROWS, COLUMNS = 10_000, 512
FRACTIONS = {"test_fraction": 0.2, "validation_fraction": 0.25}


def config(tmp_path, **data):
    files = {"dataset": "npy", "path": "X.npy", "target_path": "y.npy", **data}
    training = {"loss": "softmax_cross_entropy", "epochs": 1, "batch_size": 500}
    layers = [{"name": "dense", "units": 2}]
    raw = {"data": files, "model": {"layers": layers}, "training": training, "backend": "numpy"}
    return parse_config(raw, tmp_path)


@pytest.fixture
def mapped(tmp_path, monkeypatch):
    """Inputs of 20 MB and integer labels in files that are memory-mapped, however small."""
    monkeypatch.setattr("gpunn.experiment.data.load_npy", partial(load_npy, map_above=0))
    monkeypatch.setattr(batches, "STREAM_BYTES", 2**18)
    monkeypatch.setattr(column_statistics, "_CHUNK_ITEMS", 2**16)
    monkeypatch.setattr("gpunn.reporting.findings.CHUNK_ROWS", 512)
    X = np.random.default_rng(0).random((ROWS, COLUMNS), np.float32)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", np.arange(ROWS) % 2)
    return X


def test_rows_set_aside_stay_in_the_file(tmp_path, mapped):
    described = config(tmp_path, **FRACTIONS)
    splits = load(described).split(described.data, SoftmaxCrossEntropy(), 2)
    found = (splits.training, splits.validation, splits.test)
    assert [split.rows for split in found] == [6_000, 2_000, 2_000]
    for split in found:
        assert isinstance(split.source_inputs, np.memmap)
        assert split.source_inputs is splits.training.source_inputs
        np.testing.assert_array_equal(split.inputs(), mapped[split.indices])
        np.testing.assert_array_equal(split.inputs(7, 9), mapped[split.indices[7:9]])
        np.testing.assert_array_equal(split.targets(), split.indices % 2)
    together = np.concatenate([split.indices for split in found])
    np.testing.assert_array_equal(np.sort(together), np.arange(ROWS))


def test_a_run_on_parts_of_a_file_takes_no_copy_of_it(tmp_path, mapped):
    def run(described):
        experiment = build(described, "numpy")
        history = experiment.run(progress=False)
        findings = examine(tmp_path, experiment.trainer.model, Objects(described), described)
        figures = history.rows[0]["loss"], history.rows[0]["val_loss"], experiment.evaluate()
        return experiment.splits, figures, findings.outcome.confusion

    np.save(tmp_path / "few.npy", mapped[:600])
    np.save(tmp_path / "few_y.npy", np.arange(600) % 2)
    few = {"path": "few.npy", "target_path": "few_y.npy"}
    run(config(tmp_path, standardize=True, **FRACTIONS, **few))  # which imports and compiles
    described = config(tmp_path, standardize=True, **FRACTIONS)
    with peak_below(mapped.nbytes / 2):
        splits, figures, confusion = run(described)

    # Copies of the same rows, in files of their own, give the same indices.
    files = {}
    for name, prefix in (("training", ""), ("validation", "validation_"), ("test", "test_")):
        split = getattr(splits, name)
        np.save(tmp_path / f"X_{name}.npy", split.inputs())
        np.save(tmp_path / f"y_{name}.npy", split.targets())
        files |= {f"{prefix}path": f"X_{name}.npy", f"{prefix}target_path": f"y_{name}.npy"}
    copies, *of_copies = run(config(tmp_path, standardize=True, **files))
    assert copies.training.fingerprint() == splits.training.fingerprint()
    assert of_copies[0] == figures
    np.testing.assert_array_equal(of_copies[1], confusion)


@pytest.mark.parametrize("fractions", [{}, {"validation_fraction": 0.5}, {"test_fraction": 0.5}])
def test_integer_labels_in_a_map_are_shuffled_with_the_inputs(
    tmp_path, mapped, monkeypatch, fractions
):
    described = config(tmp_path, **fractions)
    history = build(described, "numpy").run(progress=False)
    monkeypatch.setattr("gpunn.experiment.data.load_npy", load_npy)
    in_memory = build(described, "numpy")
    assert not isinstance(in_memory.splits.training.source_targets, np.memmap)
    assert history.rows[0]["loss"] == in_memory.run(progress=False).rows[0]["loss"]
