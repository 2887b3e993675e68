"""Standard streams that are closed, missing or full, and what files may not do to a terminal."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exported_files import run_file

from gpunn import Sequential, Trainer
from gpunn.callbacks import LivePlot
from gpunn.cli.predict import Sink
from gpunn.experiment.predictions import interpret
from gpunn.layers import Dense

pytestmark = pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="a shell of POSIX, and a device that is full"
)

COMMAND = f"{sys.executable} -c 'from gpunn.cli import main; main()'"

CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")


def ran(command: str) -> tuple[int, str, str]:
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    "streams",
    [
        *(">&- 2>&- <&-", "2>/dev/full | true"),
        *(
            pytest.param(each, marks=pytest.mark.full)
            for each in (">/dev/full 2>/dev/full", ">/dev/full 2>&-", ">&-")
        ),
    ],
)
def test_training_ends_and_keeps_its_files(digits, streams):
    status, _, _ = ran(f"{COMMAND} train {digits} --output run {streams}")
    assert status == 0
    names = {path.name for path in Path("run").iterdir()}
    assert {"final.safetensors", "evaluation.json", "history.jsonl"} <= names


@pytest.mark.parametrize(
    "command",
    ["predict run x.csv", pytest.param("runs .", marks=pytest.mark.full), "--help"],
)
def test_an_answer_that_cant_be_written_is_an_error(run, command):
    Path("x.csv").write_text(f"{','.join('1' * 64)}\n")
    status, _, said = ran(f"{COMMAND} {command} >/dev/full")
    assert status == 2
    assert said.splitlines()[-1].endswith("output: cannot be written: No space left on device")


def test_messages_may_be_lost():
    status, answer, _ = ran(f"{COMMAND} --help 2>/dev/full")
    assert (status, "Usage: " in answer) == (0, True)


def test_an_answer_without_an_output_is_an_error():
    status, _, said = ran(f"{COMMAND} --help >&-")
    assert status == 2
    assert said.splitlines()[-1] == "Error: standard output: cannot be written: it is closed"
    assert ran(f"{COMMAND} --help >&- 2>&-")[0] == 2


def test_streams_of_an_exported_predictor(gpunn, run):
    gpunn("export", "run", "--python", "predictor.py", "--pure")
    row = ",".join("1" * 64)
    Path("x.csv").write_text(f"{row}\n{row}\n1\n")
    command = f"{sys.executable} -W error predictor.py x.csv --skip-broken"
    status, answer, said = ran(command)
    assert (status, len(answer.splitlines())) == (0, 3)
    assert said.splitlines()[-1] == "x.csv: skipped 1 malformed row"
    for stream in ("2>&-", "2>/dev/full"):
        assert ran(f"{command} {stream}")[:2] == (0, answer)
    status, _, said = ran(f"{command} >&-")
    assert status == 2
    assert "standard output is closed; name a file with --output" in said
    status, _, said = ran(f"{command} >/dev/full")
    assert status == 2
    assert said.splitlines()[-1] == "Error: [Errno 28] No space left on device"
    assert said.count("Error") == 1
    assert ran(f"{command} --output y.csv >&- 2>&-")[0] == 0
    assert Path("y.csv").read_text() == answer


def test_python_without_standard_streams_trains(monkeypatch):
    model = Sequential([Dense(1)], 1, backend="numpy")
    trainer = Trainer(model, "mean_squared_error")
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, None)
    trainer.fit([[1.0]], [1.0], epochs=1, callbacks=[LivePlot()], progress=True)
    assert len(trainer.history["loss"]) == 1


def test_no_text_of_a_file_commands_a_terminal(gpunn):
    rows = "".join(f'{row},"r\x1b[31m{row % 3}",c\x1b[1m{row % 2}\n' for row in range(60))
    path = Path("n\x1b[7m.csv")
    path.write_text(f'a\x1b[2J,"b\x07\u202e\nc",y\n{rows}')
    Path("other.csv").write_text(path.read_text().replace("r\x1b", "q\x1b"))
    Path("short.csv").write_text("a,y\n1,2\n")
    said = [
        gpunn("inspect", path, "--target", "y"),
        gpunn("train", path, "--target", "y", "--set=training.epochs=1", "--output", "run\x1b[1m"),
        gpunn("train", path, "--target", "z", status=2),
        gpunn("train", path, "--target", "y\x1b", status=2),
        gpunn("runs", "."),
        gpunn("predict", "run\x1b[1m", "short.csv", status=2),
        gpunn("predict", "run\x1b[1m", "other.csv", "--output", "predictions.csv"),
        gpunn("export", "run\x1b[1m", "--python", "predictor.py"),
        gpunn("predict", "none\x1b[1m", path, status=2),
    ]
    for result in said:
        assert not CONTROLS.search(result.output), result.output
    assert r"a\x1b[2J" in said[0].stdout
    assert r"b\x07\u202e\nc" in said[0].stdout
    for rows in ("short.csv", "other.csv"):
        _, _, told = run_file("predictor.py", rows, "--output", "predictions.csv")
        assert r"a\x1b[2J" in told or r"q\x1b[31m" in told
        assert not CONTROLS.search(told), told


@pytest.mark.parametrize("looked_at", [False, True])
def test_classes_are_escaped_on_a_terminal_alone(monkeypatch, capfdbinary, looked_at):
    monkeypatch.setattr(sys.modules["gpunn.cli.predict"], "is_terminal", lambda stream: looked_at)
    write = Sink(None, None, False).begin("csv")
    write(interpret(np.array([[1.0, 0.0]]), "softmax", ["\x1b[31m", "b"]))
    shown = capfdbinary.readouterr().out
    assert shown == (b"prediction\n\\x1b[31m\n" if looked_at else b"prediction\n\x1b[31m\n")
