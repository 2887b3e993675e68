"""`python -m gpunn.sklearn`: a script runs as it is, in its processes, too."""

import subprocess
import sys

import pytest

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


def test_a_script_and_its_processes(tmp_path):
    (tmp_path / "beside.py").write_text("VALUE = 7\n")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-W", "ignore", "-m", "gpunn.sklearn", "--backend", "numpy"]
    command += ["--count", str(script), "a", "--count", "-m"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (3, PRINTED), ran.stderr
    last = ran.stderr.splitlines()[-1]
    assert last == "gpunn trained 1 time, scikit-learn 0 times (in this process)"


def test_a_module(tmp_path):
    (tmp_path / "program.py").write_text(
        "import sys\nfrom sklearn.neural_network import MLPRegressor\n"
        "print(sys.argv[1:], MLPRegressor._fit.__code__.co_filename[-15:])\n"
    )
    command = [sys.executable, "-m", "gpunn.sklearn", "-m", "program", "--backend", "b"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert ran.stdout == "['--backend', 'b'] acceleration.py\n"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "expected a script, or -m and a module"),
        (["none.py"], "none.py: there is no such file"),
        (["--backend", "abacus", "a.py"], "--backend: "),
    ],
)
def test_what_cannot_be_run(capsys, tmp_path, monkeypatch, arguments, problem):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.py").touch()
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert problem in capsys.readouterr().err
