"""Custom classes in model files: errors name the module, and nothing is imported by default."""

import gc
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import gpunn
from gpunn.activations import Softplus
from gpunn.cli import main
from gpunn.config import parse_config
from gpunn.configurable import known
from gpunn.errors import ArgumentError, ModelFileError
from gpunn.experiment import RunFolder, build
from gpunn.layers import Chain, ColumnGroups, Dense, Dropout, Layer
from gpunn.storage.models import read_model
from tests.model_files import rewritten

MODULE = """
from dataclasses import dataclass

import numpy as np

from gpunn.activations import Identity
from gpunn.initializers import Initializer
from gpunn.layers import Chain, Dense, Dropout, Layer, operations_only

open("imported", "w").close()


class Inner(Dropout):  # Outer creates it, so no file names it
    pass


@dataclass(eq=False)
class Outer(Layer):
    units: int
    name = "mine_outer"

    def __post_init__(self):
        super().__post_init__()
        self.body = Chain([Dense(self.units), Inner(0.5)])

    def children(self):
        return {"body": self.body}

    def output_shape(self, input_shape):
        return self.body.output_shape(input_shape)

    @operations_only
    def forward(self, x, workspace):
        return self.body.forward(x, workspace)

    @operations_only
    def backward(self, x, y, gradient, workspace, wants_input_gradient):
        return self.body.backward(x, y, gradient, workspace, wants_input_gradient)


class Double(Identity):
    name = "mine_double"

    def value(self, xp, z):
        return 2 * z


class Renamed(Identity):
    name = "mine_renamed"


class Nameless(Identity):
    pass


class Heir(Double):
    pass


@dataclass(frozen=True)
class Half(Initializer):
    name = "mine_half"

    def sample(self, generator, shape):
        return np.full(shape, 0.5)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    if "mine" in sys.modules:
        forget()


def saved(layers):
    names = {"gpunn": gpunn, "Chain": Chain, "ColumnGroups": ColumnGroups, "Dense": Dense}
    exec("from mine import *", names)
    model = gpunn.Sequential(eval(layers, names), 2, backend="numpy")
    model.save("model.safetensors")
    np.save("expected.npy", model.predict(np.ones((3, 2))))
    del model
    names.clear()
    Path("imported").unlink()
    forget()
    return read_model("model.safetensors")[0].custom


def forget():
    del sys.modules["mine"]
    gc.collect()
    assert "mine_outer" not in known(Layer)


@pytest.mark.parametrize(
    ("layers", "kind", "name", "path"),
    [
        ("[Outer(2)]", "layer", "mine_outer", "mine:Outer"),
        ("[Chain([Chain([Outer(2)])])]", "layer", "mine_outer", "mine:Outer"),
        (
            "[ColumnGroups([{'columns': [0, 2], 'layers': [Dense(1, Double())]}])]",
            *("activation", "mine_double", "mine:Double"),
        ),
        ("[Dense(2, initializer=Half())]", "initializer", "mine_half", "mine:Half"),
    ],
)
def test_the_error_names_the_module(module, layers, kind, name, path):
    assert saved(layers) == {kind: {name: path}}
    said = rf"can't rebuild the network: {kind} '{name}' is defined in module 'mine': import it .*"
    for _ in range(2):
        with pytest.raises(ModelFileError, match=said + "--allow-imports .*allow_imports=True"):
            gpunn.load_model("model.safetensors", "numpy")
        assert "mine" not in sys.modules
        assert not (module / "imported").exists()
    for allow in (True, False):  # after an import, allow_imports is not needed
        model = gpunn.load_model("model.safetensors", "numpy", allow_imports=allow)
        assert (model.predict(np.ones((3, 2))) == np.load("expected.npy")).all()
    del model


def test_a_file_without_custom_classes_is_as_it_was(tmp_path):
    model = gpunn.Sequential([Chain([Dense(2, "tanh"), Dropout(0.5)])], 2, backend="numpy")
    assert "custom" not in model.file_description()


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ("[Dense(2, Nameless())]", "the activation class 'mine:Nameless' does not define `name`"),
        ("[Dense(2, Heir())]", "the activation class 'mine:Heir' does not define `name`, so a"),
    ],
)
def test_a_class_without_a_name_is_not_loaded_as_its_base(module, layers, said):
    saved(layers)
    for allow in (False, True):
        with pytest.raises(ModelFileError, match=said):
            gpunn.load_model("model.safetensors", "numpy", allow_imports=allow)
    model = gpunn.Sequential([Dense(2)], 2, backend="numpy")
    model.load_weights("model.safetensors")


@pytest.mark.parametrize(
    ("custom", "said"),
    [
        ({"layer": {"a": "not_there_at_all:A"}}, "'not_there_at_all', which can't be imported"),
        ({"layer": {"a": "broken:A"}}, "'broken', which can't be imported: ZeroDivisionError: "),
        ({"layer": {"a": "mine:A"}}, "the class 'A' of module 'mine', which can't be imported"),
        ({"layer": {"a": "json:JSONEncoder"}}, "'json:JSONEncoder' is not a subclass of Layer"),
        ({"layer": {"a": "mine:Double"}}, "'mine:Double' is not a subclass of Layer"),
        ({"activation": {"a": "mine:Renamed"}}, "has `name` = 'mine_renamed'; in the class, set"),
        ({"layer": {"a": "__main__:A"}}, "was defined in a script or notebook. First define"),
        ({"layer": {"a": "mine:f.<locals>.A"}}, "was defined in a function of 'mine'"),
        ({"layer": {"a": "..mine:A"}}, 'custom: expected "package.module:Class"'),
        ({"layer": {"a": "mine"}}, 'custom: expected "package.module:Class"'),
        ({"thing": {"a": "mine:A"}}, "custom: unknown kind of class 'thing'"),
        ("mine:A", "the description is damaged: custom"),
        ({"layer": "mine:A"}, "the description is damaged: custom"),
        ({"layer": {"a": 1}}, "the description is damaged: custom"),
    ],
)
def test_records_that_lead_nowhere(module, custom, said):
    gpunn.Sequential([Dense(2)], 2, backend="numpy").save("model.safetensors")
    rewritten("model.safetensors", custom=custom)
    with pytest.raises(ModelFileError, match=said):
        gpunn.load_model("model.safetensors", "numpy", allow_imports=True)


def test_a_module_that_is_imported_is_not_searched(module, tmp_path, monkeypatch):
    (module / "lazy.py").write_text("def __getattr__(name):\n    raise SystemExit(name)\n")
    monkeypatch.delitem(sys.modules, "lazy", raising=False)
    import lazy  # noqa: F401

    gpunn.Sequential([Dense(2)], 2, backend="numpy").save("model.safetensors")
    rewritten("model.safetensors", custom={"layer": {"a": "lazy:A"}})
    said = "layer 'a' is not defined in the imported module 'lazy'; the class A"
    with pytest.raises(ModelFileError, match=said):
        gpunn.load_model("model.safetensors", "numpy")


def test_a_class_that_has_moved_serves(tmp_path):
    @dataclass(frozen=True)
    class Moved(Softplus):
        name = "test_moved"

    path = tmp_path / "model.safetensors"
    gpunn.Sequential([Dense(2, Moved())], 2, backend="numpy").save(path)
    rewritten(path, custom={"activation": {"test_moved": "earlier_module:Moved"}})
    loaded = gpunn.load_model(path, "numpy")
    assert type(loaded.layers[0].activation) is Moved


def test_a_custom_class_with_the_name_of_a_built_in_one(tmp_path):
    plain = gpunn.Sequential([Dense(2, "softplus")], 2, backend="numpy")
    plain.save(tmp_path / "plain.safetensors")
    softplus = type("Other", (Softplus,), {"name": "softplus"})
    try:
        with pytest.raises(
            ArgumentError, match=r"gpunn's Softplus and of the custom class .*Other"
        ):
            Dense(2, "softplus")
        with pytest.raises(ModelFileError, match="rename the custom class"):
            gpunn.load_model(tmp_path / "plain.safetensors", "numpy")
        assert Dense(2, softplus()).activation.name == "softplus"
    finally:
        del softplus
        gc.collect()
    assert type(Dense(2, "softplus").activation) is Softplus


def test_the_command_predicts_where_imports_are_allowed(module):
    saved("[Outer(2), Dense(2, Double())]")
    np.save("rows.npy", np.ones((3, 2)))
    arguments = ["predict", "model.safetensors", "rows.npy", "--backend", "numpy"]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2
    assert "layer 'mine_outer' is defined in module 'mine'" in refused.stderr
    assert not (module / "imported").exists()
    done = CliRunner().invoke(main, [*arguments, "--allow-imports"])
    rows = [[float(cell) for cell in line.split(",")] for line in done.stdout.splitlines()[1:]]
    np.testing.assert_allclose(rows, np.load("expected.npy"), rtol=1e-6)


def test_a_run_that_was_built_in_python(module):
    """The configuration contains only the names."""
    raw = {
        "data": {"dataset": "digits", "validation_fraction": 0.1},
        "model": {"layers": [{"name": "mine_outer", "units": 4}, {"name": "dense", "units": 10}]},
        "training": {"loss": "softmax_cross_entropy", "epochs": 1},
        "backend": "numpy",
    }
    exec("import mine", {})
    experiment = build(parse_config(raw, Path()), "numpy")
    with RunFolder(Path("run")) as folder:
        folder.attach(experiment)
        experiment.run(folder, progress=False)
        folder.save_model()
        folder.finish("", None)
    del experiment, folder
    Path("imported").unlink()
    forget()
    for command in (["evaluate", "run"], ["predict", "run", "X.npy"]):
        refused = CliRunner().invoke(main, command)
        assert refused.exit_code == 2
        assert "layer 'mine_outer' is defined in module 'mine'" in refused.stderr
    assert not Path("imported").exists()
    done = CliRunner().invoke(main, ["evaluate", "run", "--allow-imports", "--backend", "numpy"])
    assert done.exit_code == 0, done.stderr
