"""Try a newcomer's first steps with an installed gpunn: python ci/try_wheel.py, in an empty folder.

Prints the steps. A step that needs a missing optional package is left out.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import gpunn

CONFIGURATION = """
[data]
dataset = "digits"

[model]
layers = [{ name = "dense", units = 64, activation = "relu" }, { name = "dense", units = 10 }]

[training]
loss = "softmax_cross_entropy"
optimizer = "adam"
metrics = ["accuracy"]
epochs = 3
"""


def run(*command: str) -> str:
    """Return the output of a command; if it fails, end the script with its message."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def command(*arguments: str) -> str:
    """Return the output of this environment's `gpunn`."""
    return run(str(Path(sys.executable).with_name("gpunn")), *arguments)


def digits() -> str:
    Path("digits.toml").write_text(CONFIGURATION)
    command("train", "digits.toml", "--output", "digits")
    command("train", "digits.toml", "--output", "digits", "--resume", "--set", "training.epochs=4")
    command("evaluate", "digits")
    return "digits"


def table() -> str:
    command("example", "loans.csv")
    command("inspect", "loans.csv")
    briefly = ("--set", "training.epochs=2")
    command("train", "loans.csv", "--target", "loan_status", "--output", "loans", *briefly)
    command("predict", "loans", "loans.csv", "--output", "predictions.csv")
    command("export", "loans", "--python", "predictor.py")
    alone = run(sys.executable, "predictor.py", "loans.csv")
    if alone != Path("predictions.csv").read_text():
        sys.exit("the exported predictor and gpunn predict differently")
    command("export", "loans", "--c", "predictor.h")
    return "a table, exported"


def estimators() -> str:
    import gpunn.sklearn

    X, y, X_test, y_test = gpunn.data.load_digits()
    classifier = gpunn.sklearn.MLPClassifier(early_stopping=True, random_state=0, backend="numpy")
    if (score := classifier.fit(X, y).score(X_test, y_test)) < 0.9:
        sys.exit(f"the classifier's score is {score}")
    return "estimators"


def onnx() -> str:
    command("export", "digits", "--onnx", "digits.onnx")
    return "ONNX"


def report() -> str:
    command("report", "digits", "--output", "report.html")
    return "a report"


STEPS = {
    digits: (),
    table: (),
    estimators: ("sklearn",),
    onnx: ("onnx",),
    report: ("jinja2", "matplotlib"),
}
"""The steps, and the packages that they need."""


def main() -> None:
    if not Path(gpunn.__file__).is_relative_to(Path(sys.prefix).resolve()):
        sys.exit(f"not the installed gpunn: {gpunn.__file__}")
    if command("--version") != run(sys.executable, "-m", "gpunn", "--version"):
        sys.exit("`gpunn` and `python -m gpunn` differ")
    kernels = next(line for line in command("doctor").splitlines() if "compiled kernels" in line)
    print(" ".join(kernels.split()))
    for name in gpunn.__all__:
        getattr(gpunn, name)
    found = importlib.util.find_spec
    print(", ".join(step() for step, needed in STEPS.items() if all(map(found, needed))))


if __name__ == "__main__":
    main()
