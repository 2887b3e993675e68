"""`gpunn predict` and the exported Python files on streams: the same rows, the same predictions."""

import gzip
import json
import os
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from click.testing import CliRunner
from exported_files import run_file

from gpunn import load_model
from gpunn.cli import main
from gpunn.cli.predict import Sink
from gpunn.experiment.predict_in_blocks import answers
from gpunn.experiment.predictions import interpret
from gpunn.interchange import save_python
from gpunn.interchange.predictor.command_line import write_file
from gpunn.interchange.predictor.description import layout_of
from gpunn.storage.files import write_output

SETTINGS = ["model.parameters.hidden_layer_sizes=[4]", "training.epochs=1", "dtype='float64'"]


def train(gpunn, text: str, *settings: str) -> None:
    Path("people.csv").write_text(text)
    options = [f"--set={setting}" for setting in (*SETTINGS, *settings)]
    gpunn("train", "people.csv", "--target=y", *options, "--output", "run")
    gpunn("export", "run", "--python", "with_numpy.py")
    gpunn("export", "run", "--python", "pure.py", "--pure")


def outcomes(given: bytes, *options: str) -> list[tuple[int, str, str]]:
    result = CliRunner().invoke(main, ["predict", "run", "-", *options], input=given)
    found = [(result.exit_code, result.stdout, result.stderr)]
    return found + [run_file(name, *options, given=given) for name in ("with_numpy.py", "pure.py")]


def same(given: bytes, *options: str) -> tuple[int, list[str], list[str]]:
    """Return status, output and messages, the same of each program, numbers up to rounding."""
    first, *others = outcomes(given, *options)
    for status, output, said in others:
        assert status == first[0], said
        assert said.splitlines() == first[2].splitlines()
        assert len(output) > 0
        for ours, theirs in zip(output.splitlines(), first[1].splitlines(), strict=True):
            if ours != theirs:
                pairs = zip(ours.split(","), theirs.split(","), strict=True)
                assert all(abs(float(a) - float(b)) < 1e-9 for a, b in pairs if a != b)
    return first[0], first[1].splitlines(), first[2].splitlines()


ROW = ",".join(["1"] * 64) + "\n"
"""A line of pixels."""

PEOPLE = "code;age;drop;y\n" + "".join(
    f"{['2', '02', 'x'][row % 3]};{row % 7},{row % 5};1;{'no' if row % 2 else 'yes'}\n"
    for row in range(42)
)

MARKED = "column 'code': 1 row has a category or unit unseen in training, which counts as missing"


def test_the_same_of_each_program(gpunn):
    train(gpunn, PEOPLE)
    status, output, said = same(b"age;code\n3,5;02\n3,5;2\n1;2\n1;Rome\n")
    assert status == 0
    assert output[0] == "prediction"
    assert len(output) == 5
    assert said == [f"standard input: {MARKED}: 'Rome'"]
    lines = [{"code": code, "age": 3.5} for code in ("02", 2, None)]
    text = "\n".join(map(json.dumps, lines)).encode()
    status, output, _ = same(text, "--probabilities", "--to", "csv")
    assert output[0] == "prediction,probability_no,probability_yes"
    given = b"code,age\n02,3.5\n2,3.5\n,3.5\n"
    assert same(given, "--probabilities", "--from", "csv")[1] == output
    assert same(gzip.compress(given), "--probabilities")[1] == output
    bare = b"02;3,5\n2;3,5\n;3,5\n"
    assert same(bare, "--probabilities", "--no-header", "--decimal", ",")[1] == output


@pytest.mark.skipif(os.name != "posix", reason="a shell of POSIX closes its standard input")
def test_a_closed_standard_input_is_told_of(gpunn):
    train(gpunn, PEOPLE)
    command = "-c 'from gpunn.cli import main; main()' predict run -"
    for arguments, said in (
        (command, "INPUT: standard input is closed; give a file"),
        ("pure.py", "standard input is closed; name a file with rows"),
    ):
        ran = subprocess.run(
            f"{sys.executable} {arguments} <&-", shell=True, capture_output=True, text=True
        )
        assert ran.returncode == 2
        assert said in " ".join(ran.stderr.replace("│", "").split())
        assert "Traceback" not in ran.stderr


def test_probabilities_in_float32_as_json(gpunn):
    train(gpunn, PEOPLE, "dtype='float32'")
    rows = b"age;code\n3,5;02\n1;2\n"
    for status, output, said in outcomes(rows, "--probabilities", "--to", "jsonl"):
        assert status == 0, said
        for line in map(json.loads, output.splitlines()):
            assert line["prediction"] in ("no", "yes")
            assert line["probability_no"] + line["probability_yes"] == pytest.approx(1)


def test_broken_rows(gpunn):
    train(gpunn, PEOPLE)
    given = b"age;code\n1;2\n1;2;3\nold;x\n7;x\n\xe9;x\n8;02\n"
    status, output, said = same(given)
    assert (status, len(output)) == (2, 2)
    assert said == [
        "Error: standard input: line 3: expected 2 cells, as in the first row; got 3; is ';' the "
        "right delimiter?"
    ]
    status, output, said = [*zip(*outcomes(given, "--skip-broken"), strict=True)]
    assert set(status) == {0}
    assert {len(text.splitlines()) for text in output} == {4}
    for text in said:
        lines = text.splitlines()
        assert lines[1].startswith("standard input: line 4, column 'age': expected a")
        assert lines[2].startswith("standard input: line 6: expected text in UTF-8; got the byte")
        assert lines[3:] == ["standard input: skipped 3 malformed rows"]


def test_how_rows_are_written_is_remembered(gpunn):
    """A file without header, with points and a comma's place taken: as the configuration says."""
    Path("a.toml").write_text(
        "data = {dataset='table', path='people.csv', target='2', header=false, delimiter=';', "
        "decimal=','}\nmodel.layers = [{name='dense', units=1}]\n"
        "training = {loss='mean_squared_error', epochs=1}\ndtype='float64'\n"
    )
    Path("people.csv").write_text("".join(f"{row},5;{row % 3};{row}\n" for row in range(20)))
    gpunn("train", "a.toml", "--output", "run")
    model = load_model("run/final.safetensors", "numpy")
    reading = {"header": False, "delimiter": ";", "decimal": ","}
    assert model.metadata["reading"] == reading
    save_python(model, "with_numpy.py")
    save_python(model, "pure.py", pure=True)
    status, output, said = same(b"1,5;2\n2,5;1\n")
    assert (status, len(output), said) == (0, 3, [])
    del model.metadata["reading"]  # as in files of earlier releases
    model.save("run/final.safetensors")
    assert same(b"1,5;2\n2,5;1\n")[1] == output


def test_a_model_file_instead_of_a_run(gpunn, flowers):
    gpunn("train", flowers, "--output", "run")
    expected = gpunn("predict", "run", "flowers.csv", "--probabilities").stdout
    model = Path("run/final.safetensors").rename("iris.safetensors")
    assert gpunn("predict", model, "flowers.csv", "--probabilities").stdout == expected
    gpunn("predict", model, "flowers.csv", "--output", "y.jsonl")
    first = json.loads(Path("y.jsonl").read_text().splitlines()[0])
    assert first == {"prediction": expected.splitlines()[1].split(",")[0]}
    np.save("rows.npy", np.array([[-5, 0], [104, 0]], dtype="float32"))
    assert gpunn("predict", model, "rows.npy").stdout.splitlines() == ["prediction", "iris", "lily"]
    refused = gpunn("predict", model, "flowers.csv", "--best", status=2).stderr
    assert "--best: needs a run folder" in refused
    assert "no such file" in gpunn("predict", "none.safetensors", "-", status=2).stderr


def test_predictions_are_in_utf_8_whatever_the_terminal_has():
    with CliRunner(charset="latin-1").isolation() as (output, *_):
        Sink(None, None, False).begin("csv")(interpret(np.eye(2), "softmax", ["ü", "花"]))
        assert output.getvalue().decode() == "prediction\nü\n花\n"


NAMED_PIPES = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")


def by_predictor(path: Path, content: bytes) -> None:
    write_file(path, lambda file: file.write(content))


WRITERS = pytest.mark.parametrize("write", [by_predictor, write_output])
"""What writes `--output` of an exported file, and of `gpunn predict`."""


@NAMED_PIPES
@WRITERS
def test_pipes_and_links_stay_what_they_are(tmp_path, write):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to_pipe").symlink_to("pipe")
    for name in ("pipe", "to_pipe"):
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit((tmp_path / name).read_bytes)
            write(tmp_path / name, b"prediction\n")
            assert reading.result() == b"prediction\n"
    assert (tmp_path / "pipe").is_fifo()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").touch()
    links = {"link": "folder/old", "again": "link", "new": tmp_path / "folder" / "new"}
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
        write(tmp_path / name, name.encode())
        assert (tmp_path / name).readlink() == Path(target)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "old": "again",
        "new": "new",
    }
    assert len([*tmp_path.iterdir()]) == 6
    write(Path(os.devnull), b"prediction\n")
    assert Path(os.devnull).is_char_device()


@WRITERS
def test_files_beside_the_output_are_not_touched(tmp_path, write):
    """Nor what a link of such a name leads to."""
    for name in ("mine", "y.csv.part"):
        (tmp_path / name).write_text("mine")
    for name in ("x.csv.part", ".x.csv.part", "x.csv.tmp"):
        (tmp_path / name).symlink_to("mine")
    before = {path.name: path.is_symlink() for path in tmp_path.iterdir()}
    for name in ("x.csv", "y.csv"):
        write(tmp_path / name, b"prediction\n")
        assert (tmp_path / name).read_bytes() == b"prediction\n"
    after = {path.name: path.is_symlink() for path in tmp_path.iterdir()}
    assert after == before | {"x.csv": False, "y.csv": False}
    for name in before:
        assert (tmp_path / name).read_text() == "mine"


@pytest.mark.skipif(os.name != "posix", reason="there are no such permissions here")
@WRITERS
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_permissions_are_kept(tmp_path, write, mode):
    (tmp_path / "y.csv").touch(mode)
    (tmp_path / "y.csv").chmod(mode)
    (tmp_path / "link").symlink_to("y.csv")
    for name in ("y.csv", "link"):
        write(tmp_path / name, name.encode())
        assert (tmp_path / "y.csv").read_text() == name
        assert stat.S_IMODE((tmp_path / "y.csv").stat().st_mode) == mode
    (tmp_path / "plain").touch()
    write(tmp_path / "new", b"")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode


@WRITERS
def test_an_output_that_cannot_be_written(tmp_path, write):
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "nowhere").symlink_to("none/y.csv")
    (tmp_path / "file").touch()
    before = sorted(tmp_path.iterdir())
    for name in ("folder", "circle", "nowhere", "none/y.csv", "file/y.csv"):
        with pytest.raises(OSError, match=rf"{name[:2]}\w+") as raised:
            write(tmp_path / name, b"prediction\n")
        assert ".part" not in str(raised.value)
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "circle").is_symlink()


@pytest.mark.parametrize("at", ["open", "write"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit, ValueError])
def test_an_interrupted_predictor_leaves_nothing(tmp_path, monkeypatch, error, at):
    """Also if the signal comes when the file is open, before `open` returns."""
    (tmp_path / "y.csv").write_text("old")

    def interrupted(file: BinaryIO) -> None:
        file.write(b"prediction\n")
        raise error

    def open_interrupted(path: Path, mode: str) -> BinaryIO:
        path.touch()
        raise error

    if at == "open":
        monkeypatch.setattr(Path, "open", open_interrupted)
    with pytest.raises(error):
        write_file(tmp_path / "y.csv", interrupted)
    monkeypatch.undo()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


@pytest.mark.skipif(os.name != "posix", reason="there is no such signal here")
def test_output_of_a_predictor_as_a_process(run):
    """Ended by a signal; to standard output by its name; over its own input; without an output."""
    save_python(load_model("run/final.safetensors", "numpy"), "a.py", pure=True)
    command = [sys.executable, "-I", "-S", "a.py"]
    Path("y.csv").write_text(ROW)
    before = sorted(Path().iterdir())
    with subprocess.Popen([*command, "--output", "y.csv"], 0, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(ROW.encode() * 100)
        while sorted(Path().iterdir()) == before:
            assert process.poll() is None
            time.sleep(0.01)
        process.terminate()
        # Python handles a signal that comes just before it waits for bytes when some have come.
        with suppress(BrokenPipeError):
            process.stdin.write(ROW.encode())
        assert process.wait() == 143
    assert sorted(Path().iterdir()) == before
    Path("log").write_text("before\n")
    with open("log", "ab") as log:
        subprocess.run([*command, "y.csv", "--output", "/dev/stdout"], stdout=log, check=True)
    assert Path("log").read_text().startswith("before\nprediction\n")
    subprocess.run([*command, "y.csv", "--output", "y.csv"], check=True)
    assert Path("y.csv").read_text() == Path("log").read_text().removeprefix("before\n")


@NAMED_PIPES
def test_a_named_pipe(gpunn, run):
    os.mkfifo("rows")
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(Path("rows").write_text, ROW * 2)
        assert len(gpunn("predict", "run", "rows").stdout.split()) == 3
        assert writing.result() == len(ROW) * 2


def test_a_prediction_does_not_depend_on_the_rows_that_come_with_it(run):
    model = load_model("run/final.safetensors", "numpy")
    answer = answers(model, layout_of(model))
    rows = np.random.default_rng(0).integers(0, 17, (100, 64)).astype(str).tolist()
    together, _ = answer(rows)
    for start, stop in ((0, 1), (1, 70), (70, 100)):
        np.testing.assert_array_equal(answer(rows[start:stop])[0], together[start:stop])


COMMANDS = {"gpunn": ["-m", "gpunn", "predict", "run"], "numpy": ["a.py"], "pure": ["a.py"]}


@pytest.mark.parametrize("name", COMMANDS)
def test_pipes(run, name):
    """A row is answered before the next one comes, and a reader that has enough ends it quietly."""
    save_python(load_model("run/final.safetensors", "numpy"), "a.py", pure=name == "pure")
    command = [sys.executable, *COMMANDS[name]]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, bufsize=1, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(ROW)
        assert process.stdout.readline() == "prediction\n"
        assert process.stdout.readline().strip().isdigit()
        process.stdin.write(ROW)
        assert process.stdout.readline().strip().isdigit()
        process.stdout.close()
        process.stdin.write(ROW)
        process.stdin.close()
        assert process.wait(60) == 1
        assert process.stderr.read() == ""
