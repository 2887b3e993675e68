"""`python -m gpunn.sklearn`: a script runs unchanged, also in its child processes."""

import sys
import traceback

import pytest
from processes import run_python

from gpunn.backends.thread_count import usable_cores
from gpunn.sklearn import uninstall
from gpunn.sklearn.__main__ import main

SCRIPT = """\
import sys

from joblib import Parallel, delayed
from sklearn.datasets import load_iris
from sklearn.neural_network import MLPClassifier

import beside


def trained(estimator, X, y):
    estimator.fit(X, y)
    acceleration = sys.modules.get("gpunn.sklearn.acceleration")
    return dict(acceleration.INSTALLED[0].fits) if acceleration else None


if __name__ == "__main__":
    X, y = load_iris(return_X_y=True)
    estimator = MLPClassifier((8,), max_iter=1, random_state=0)
    print(sys.argv[1:], beside.VALUE, __file__ == sys.argv[0])
    print(Parallel(n_jobs=2)([delayed(trained)(estimator, X, y)]))
    print(type(estimator.fit(X, y)).__module__)
    sys.modules["gpunn.sklearn"].uninstall()
    print(Parallel(n_jobs=2)([delayed(trained)(estimator, X, y)]))
    sys.exit(3)
"""

PRINTED = """\
['a', '--count', '-m'] 7 True
[{'gpunn': 1}]
sklearn.neural_network._multilayer_perceptron
[None]
"""


@pytest.mark.full
def test_a_script_and_its_processes(tmp_path):
    (tmp_path / "beside.py").write_text("VALUE = 7\n")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = ["-W", "ignore", "-m", "gpunn.sklearn", "--backend", "numpy"]
    ran = run_python(*command, "--count", script, "a", "--count", "-m", status=3)
    assert ran.stdout == PRINTED
    last = ran.stderr.splitlines()[-1]
    assert last == "gpunn trained 1 time, scikit-learn 0 times (in this process)"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield tmp_path
    uninstall()


def test_a_script(folder, capsys):
    (folder / "scripts").mkdir()
    (folder / "scripts/next_to_it.py").write_text("VALUE = 7\n")
    (folder / "scripts/script.py").write_text(
        "import os, sys, numpy as np, next_to_it\nfrom sklearn.neural_network import MLPRegressor\n"
        "MLPRegressor(max_iter=900, tol=9).fit(np.eye(9), np.ones(9))\nos.chdir('..')\n"
        "print(__name__, os.path.isfile(__file__), sys.argv[1:], next_to_it.VALUE)\nsys.exit(3)\n"
    )
    with pytest.raises(SystemExit) as end:
        main(["--backend", "numpy", "--count", "scripts/script.py", "a", "--count", "-m"])
    assert end.value.code == 3
    printed = capsys.readouterr()
    assert printed.out == "__main__ True ['a', '--count', '-m'] 7\n"
    assert printed.err == "gpunn trained 1 time, scikit-learn 0 times (in this process)\n"


def test_a_module(folder, capsys):
    (folder / "program").mkdir()
    (folder / "program/__init__.py").touch()
    (folder / "program/value.py").write_text("VALUE = 7\n")
    (folder / "program/__main__.py").write_text(
        "import sys\nfrom sklearn.neural_network import MLPRegressor\nfrom .value import VALUE\n"
        "print(sys.argv[1:], VALUE, MLPRegressor._fit.__code__.co_filename[-15:])\n"
    )
    main(["-m", "program", "--backend", "b"])
    assert capsys.readouterr().out == "['--backend', 'b'] 7 acceleration.py\n"


def test_together(folder, capsys):
    (folder / "script.py").write_text(
        "import gpunn, joblib, numpy as np\nfrom sklearn.ensemble import BaggingRegressor\n"
        "from sklearn.neural_network import MLPRegressor\n"
        "BaggingRegressor(MLPRegressor(max_iter=900, tol=9), 3).fit(np.eye(9), np.ones(9))\n"
        "print(gpunn.get_backend('numpy').threads, joblib.effective_n_jobs())\n"
    )
    main(["--backend", "numpy", "--together", "--count", "script.py"])
    printed = capsys.readouterr()
    assert printed.out == f"1 {usable_cores()}\n"
    assert printed.err == "gpunn trained 3 times, scikit-learn 0 times (in this process)\n"


ERRORS = {
    "def f():\n    raise KeyError('mine')\nf()\n": ["<module>", "f"],
    "x = = 1\n": [],
}


@pytest.mark.parametrize("text", ERRORS)
def test_an_error_is_shown_as_python_shows_that_of_a_script(folder, capsys, monkeypatch, text):
    (folder / "a.py").write_text(text)
    shown = []
    monkeypatch.setattr(sys, "excepthook", lambda *error: shown.append(error))
    with pytest.raises(SystemExit) as end:
        main(["a.py"])
    assert end.value.code == 1
    ((_, error, frames),) = shown
    assert [frame.name for frame in traceback.extract_tb(frames)] == ERRORS[text]
    assert error.__traceback__ is frames


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "expected a script, or -m and a module"),
        (["none.py"], "none.py: this file does not exist"),
        (["--backend", "abacus", "a.py"], "--backend: "),
    ],
)
def test_invalid_arguments(capsys, tmp_path, monkeypatch, arguments, problem):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").touch()
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert problem in capsys.readouterr().err
