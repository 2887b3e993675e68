import pytest

import gpunn as package

COMMANDS = ["train", "evaluate", "predict", "doctor"]


def test_help(gpunn):
    text = gpunn("--help").stdout
    for command in COMMANDS:
        assert command in text
    assert gpunn("-h").stdout == text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(gpunn, command):
    assert "Usage: " in gpunn(command, "--help").stdout


def test_version(gpunn):
    assert gpunn("--version").stdout == f"gpunn, version {package.__version__}\n"


def test_an_error_of_the_system_is_said_in_words(gpunn, tmp_path):
    (tmp_path / "file").touch()
    said = gpunn("train", "none.toml", status=2).stderr
    assert "none.toml: there is no such file in " in said
    (tmp_path / "a.toml").write_text(
        '[data]\ndataset="digits"\n[model]\nlayers=[{name="dense", units=10}]\n'
        '[training]\nloss="softmax_cross_entropy"\nepochs=1\n'
    )
    # Of what is not gpunn's own way of opening files: making a run's folder.
    inside = gpunn("train", "a.toml", "--backend=numpy", "--output", "file/run", status=2).stderr
    assert "file/run: Not a directory" in inside
    assert "Errno" not in said + inside


def test_a_lack_of_memory_is_one_line(gpunn, digits, monkeypatch):
    def refuse():
        raise MemoryError("Unable to allocate 3 TiB")

    monkeypatch.setattr("gpunn.experiment.data.load_digits", refuse)
    said = gpunn("train", digits, status=2).stderr
    assert said.startswith("Error: out of memory (Unable to allocate 3 TiB); data as large as that")
    assert len(said.splitlines()) == 1
