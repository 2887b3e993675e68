"""Networks with a schema: training, prediction, files, copies."""

import copy
import json
import pickle

import numpy as np
import pandas as pd
import pytest
from model_files import contents, rewritten

import gpunn
from gpunn.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    ModelFileError,
    UnknownCategoryWarning,
)
from gpunn.tables import Schema

RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "age": np.where(RANDOM.random(60) < 0.2, np.nan, RANDOM.normal(40, 9, 60)),
        "city": RANDOM.choice(["Oslo", "Rome", "Bern"], 60),
        "ones": 1,
    }
)
TARGET = (FRAME["city"] == "Rome").astype(float)


def network(scaling="robust", **options):
    schema = Schema.fit(FRAME, scaling=scaling)
    model = gpunn.Sequential(
        [gpunn.layers.Dense(4, "tanh"), gpunn.layers.Dense(1)], schema.width, "numpy", **options
    )
    model.schema = schema
    return model


def trained(**options):
    trainer = gpunn.Trainer(network(**options), "binary_cross_entropy", "adam")
    trainer.fit(FRAME, TARGET, epochs=2, validation_split=0.2, progress=False)
    return trainer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_of_a_table_are_encoded(dtype):
    trainer = trained(dtype=dtype)
    model = trainer.model
    plain = gpunn.Sequential(
        [gpunn.layers.Dense(4, "tanh"), gpunn.layers.Dense(1)],
        model.input_shape,
        "numpy",
        dtype=dtype,
    )
    other = gpunn.Trainer(plain, "binary_cross_entropy", "adam")
    matrix = model.schema.encode(FRAME, dtype)
    other.fit(matrix, TARGET, epochs=2, validation_split=0.2, progress=False)
    shuffled = FRAME[["ones", "city", "age"]].assign(more="x")
    assert np.array_equal(model.predict(shuffled), plain.predict(matrix))
    assert np.array_equal(model.predict_proba(FRAME), plain.predict_proba(matrix))
    assert trainer.evaluate(FRAME, TARGET) == other.evaluate(matrix, TARGET)
    assert model.feature_names == ["age", "age (missing)", "city"]


def test_validation_data_are_encoded():
    trainer = gpunn.Trainer(network(), "binary_cross_entropy", "adam")
    records = FRAME.head(9).to_dict("records")
    history = trainer.fit(
        FRAME, TARGET, epochs=1, validation_data=(records, TARGET[:9]), progress=False
    )
    assert "val_loss" in history.rows[0]
    with pytest.raises(DataError, match=r"^validation X: the column 'city' is missing"):
        trainer.fit(FRAME, TARGET, epochs=1, validation_data=(FRAME[["age"]], TARGET))


def test_layers_that_learn_from_inputs_see_encoded_ones():
    schema = Schema.fit(FRAME, scaling="none")
    model = gpunn.Sequential(
        [gpunn.layers.Standardization(), gpunn.layers.Dense(1)], schema.width, "numpy"
    )
    model.schema = schema
    model.adapt(FRAME)
    mean = schema.encode(FRAME, "float64").mean(axis=0)
    np.testing.assert_allclose(model.parameters["standardization_1.mean"], mean, rtol=1e-6)


@pytest.mark.parametrize("scaling", ["robust", "quantile", "standard", "none"])
def test_a_file_has_the_schema(scaling, tmp_path):
    model = network(scaling)
    model.save(tmp_path / "model.safetensors")
    loaded = gpunn.load_model(tmp_path / "model.safetensors", "numpy")
    assert loaded.schema == model.schema
    assert loaded.metadata == model.metadata
    row = {"city": "Rome", "age": None}
    assert np.array_equal(loaded.predict([row]), model.predict([row]))
    with pytest.warns(UnknownCategoryWarning, match="column 'city': 1 row with 'Paris'"):
        loaded.predict([{"city": "Paris", "age": 3}])


@pytest.mark.parametrize(
    "copied",
    [
        copy.deepcopy,
        copy.copy,
        lambda model: model.to("numpy"),
        lambda model: pickle.loads(pickle.dumps(model)),
    ],
)
def test_a_copy_has_the_schema(copied):
    model = network()
    assert copied(model).schema == model.schema
    assert np.array_equal(copied(model).predict(FRAME), model.predict(FRAME))


def test_training_resumes_from_a_checkpoint(tmp_path):
    trainer = trained()
    trainer.save_checkpoint(tmp_path / "checkpoint.safetensors")
    path = tmp_path / "checkpoint.safetensors"
    assert gpunn.load_model(path, "numpy").schema == trainer.model.schema
    options = {"epochs": 3, "validation_split": 0.2, "progress": False}
    again = gpunn.Trainer(network(), "binary_cross_entropy", "adam")
    again.fit(FRAME, TARGET, resume_from=path, **options)
    trainer.fit(FRAME, TARGET, **(options | {"epochs": 1}))
    other = gpunn.Trainer(network("standard"), "binary_cross_entropy", "adam")
    with pytest.raises(ModelFileError, match=r"the file's network has a different schema\. Set"):
        other.fit(FRAME, TARGET, resume_from=path, **options)
    bare = network()
    bare.schema = None
    with pytest.raises(ModelFileError, match=r"the file's network has a different schema\. Set"):
        gpunn.Trainer(bare, "binary_cross_entropy", "adam").fit(
            trainer.model.schema.encode(FRAME), TARGET, resume_from=path, **options
        )


@pytest.mark.parametrize(
    ("arrays", "change", "problem"),
    [
        ({}, {"schema": 3}, "schema: expected a table"),
        ({}, {"schema": {}}, "schema.*this key is needed"),
        ({}, {"schema": None}, "schema: the file has arrays of a schema, but no description"),
        ({".schema.factor": None}, {}, "robust scaling has"),
        ({".schema.factor": np.array([np.nan])}, {}, "'factor' contains NaN or infinity"),
        ({".schema.more": np.ones(3)}, {}, "robust scaling has"),
    ],
    ids=str,
)
def test_a_damaged_schema(arrays, change, problem, tmp_path):
    path = tmp_path / "model.safetensors"
    network().save(path)
    rewritten(path, arrays, **change)
    with pytest.raises(ModelFileError, match=problem):
        gpunn.load_model(path, "numpy")


def test_a_schema_of_another_width(tmp_path):
    path = tmp_path / "model.safetensors"
    network().save(path)
    _, description = contents(path)
    schema = json.loads(json.dumps(description["schema"]))
    schema["columns"][0]["missing"] = 0
    rewritten(path, schema=schema)
    with pytest.raises(ModelFileError, match="encodes a row as 2 numbers, but this network has"):
        gpunn.load_model(path, "numpy")


def test_invalid_schemas():
    model = network()
    with pytest.raises(ArgumentTypeError, match=r"schema: expected a gpunn\.tables\.Schema"):
        model.schema = {"columns": []}
    model.schema = None
    assert model.feature_names is None
    with pytest.raises(ArgumentError, match=r"as 1 numbers, .*\(3,\); make the network with"):
        model.schema = Schema.fit({"x": [1, 2]})
