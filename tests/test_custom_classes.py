"""Custom classes in model files: the error names their module, and nothing is imported unasked."""

import gc
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import gpunn
from gpunn.activations import Softplus
from gpunn.errors import ArgumentError, ModelFileError
from gpunn.layers import Chain, Dense, Dropout
from gpunn.storage.models import read_model
from tests.model_files import rewritten

MODULE = """
from dataclasses import dataclass

import numpy as np

from gpunn.activations import Identity
from gpunn.initializers import Initializer
from gpunn.layers import Chain, Dense, Dropout, Layer, operations_only

open("imported", "w").close()


class Inner(Dropout):  # made by Outer itself, so that no file names it
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

SAVE = """
import numpy as np
import gpunn
from gpunn.layers import Chain, ColumnGroups, Dense
from mine import *
layers = {layers}
model = gpunn.Sequential(layers, 2, backend="numpy")
model.save("model.safetensors")
np.save("expected.npy", model.predict(np.ones((3, 2))))
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The module in a folder where Python finds it, which leaves a file when it is imported."""
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("mine", None)
    gc.collect()  # the classes of one test are not those of the next


def saved(layers):
    """Save a network in another process, and return what its file says of custom classes."""
    code = SAVE.format(layers=layers)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    Path("imported").unlink()
    return read_model("model.safetensors")[0].custom


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
    model = gpunn.load_model("model.safetensors", "numpy", allow_imports=True)
    assert (model.predict(np.ones((3, 2))) == np.load("expected.npy")).all()
    assert (gpunn.load_model("model.safetensors", "numpy").predict(np.ones((3, 2)))).shape[0] == 3


def test_a_file_without_custom_classes_is_as_it_was(tmp_path):
    model = gpunn.Sequential([Chain([Dense(2, "tanh"), Dropout(0.5)])], 2, backend="numpy")
    assert "custom" not in model.file_description()


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ("[Dense(2, Nameless())]", "the activation class 'mine:Nameless' has no attribute `name`"),
        ("[Dense(2, Heir())]", "the activation class 'mine:Heir' has no attribute `name` of its"),
    ],
)
def test_a_class_without_a_name_is_not_taken_for_its_base(module, layers, said):
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
        ({"layer": {"a": "mine:A"}}, "'mine', which can't be imported or has no class 'A'"),
        ({"layer": {"a": "json:JSONEncoder"}}, "'json:JSONEncoder' is not a subclass of Layer"),
        ({"layer": {"a": "mine:Double"}}, "'mine:Double' is not a subclass of Layer"),
        ({"activation": {"a": "mine:Renamed"}}, "has another `name`: 'mine_renamed'"),
        ({"layer": {"a": "__main__:A"}}, "was defined in a script or notebook; define it here"),
        ({"layer": {"a": "mine:f.<locals>.A"}}, "was defined in a function of 'mine'"),
        ({"layer": {"a": "..mine:A"}}, 'custom: expected "package.module:Class"'),
        ({"layer": {"a": "mine"}}, 'custom: expected "package.module:Class"'),
        ({"thing": {"a": "mine:A"}}, "custom: there is no 'thing'"),
    ],
)
def test_records_that_lead_nowhere(module, custom, said):
    gpunn.Sequential([Dense(2)], 2, backend="numpy").save("model.safetensors")
    rewritten("model.safetensors", custom=custom)
    with pytest.raises(ModelFileError, match=said):
        gpunn.load_model("model.safetensors", "numpy", allow_imports=True)


def test_a_damaged_record(tmp_path):
    path = tmp_path / "model.safetensors"
    gpunn.Sequential([Dense(2)], 2, backend="numpy").save(path)
    for custom in ("mine:A", {"layer": "mine:A"}, {"layer": {"a": 1}}):
        rewritten(path, custom=custom)
        with pytest.raises(ModelFileError, match="has a damaged description: custom"):
            gpunn.load_model(path, "numpy", allow_imports=True)


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
        with pytest.raises(ModelFileError, match="give the custom class another"):
            gpunn.load_model(tmp_path / "plain.safetensors", "numpy")
        assert Dense(2, softplus()).activation.name == "softplus"
    finally:
        del softplus
        gc.collect()
    assert type(Dense(2, "softplus").activation) is Softplus


def test_the_command_predicts_where_imports_are_allowed(module):
    saved("[Outer(2), Dense(2, Double())]")
    np.save("rows.npy", np.ones((3, 2)))
    command = [sys.executable, "-m", "gpunn", "predict", "model.safetensors", "rows.npy"]
    (module / "elsewhere").mkdir()

    def run(*options, cwd=module):
        options = [*command[:4], module / command[4], module / command[5], *options]
        return subprocess.run(options, cwd=cwd, capture_output=True, text=True, check=False)

    refused = run()
    assert refused.returncode == 2
    assert "layer 'mine_outer' is defined in module 'mine'" in refused.stderr
    assert not (module / "imported").exists()
    done = run("--allow-imports")
    assert done.returncode == 0, done.stderr
    rows = [[float(cell) for cell in line.split(",")] for line in done.stdout.splitlines()[1:]]
    np.testing.assert_allclose(rows, np.load("expected.npy"), rtol=1e-6)
    lost = run("--allow-imports", cwd=module / "elsewhere")
    assert lost.returncode == 2
    assert "which can't be imported" in lost.stderr
    assert "Traceback" not in lost.stderr
