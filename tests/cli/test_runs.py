import json
import shutil

import pytest
from run_folders import edited


@pytest.fixture
def folder(trained, tmp_path):
    """Three runs that differ in a setting, of which one has failed."""
    for place, (name, units) in enumerate((("a", 16), ("b\x1b[2J", 32), ("c", 64))):
        run = shutil.copytree(trained, tmp_path / "runs" / name)
        with edited(run / "config.json") as config, edited(run / "history.jsonl") as rows:
            config["model"]["layers"][1]["units"] = units
            rows[1]["val_accuracy"] = 0.97 + 0.01 * place
    (run / "final.safetensors").unlink()
    return tmp_path / "runs"


def test_a_table(gpunn, folder):
    lines = gpunn("runs").stdout.splitlines()
    assert lines[0].split() == [
        *("run", "state", "val_accuracy", "val_loss", "epoch", "time", "units")
    ]
    assert [line.split()[0] for line in lines[1:4]] == ["c", r"b\x1b[2J", "a"]
    assert lines[1].split()[1:4] == ["*", "failed", "0.99"]
    assert [line.split()[-1] for line in lines[1:4]] == ["64", "32", "16"]
    assert "  2 of 4  " in lines[1]
    assert lines[5] == "3 runs (1 failed, 2 finished)."
    assert lines[6] == "Best by validation (*): runs/c, val_accuracy 0.99 in epoch 2."


def test_choosing_and_sorting(gpunn, folder):
    shown = gpunn("runs", folder, "--where", "units<64", "--sort", "units").stdout.splitlines()
    assert [line.split()[0] for line in shown[1:3]] == ["a", r"b\x1b[2J"]
    assert shown[4] == "2 of 3 runs (2 finished)."
    assert r"runs/b\x1b[2J, val_accuracy 0.98" in shown[5]
    shown = gpunn("runs", "--where", "units<64", "--where", "run=a", "--reverse").stdout
    assert shown.startswith("run  ")
    assert "1 of 3 runs" in shown
    assert gpunn("runs", "--where", "units=1").stdout == "0 of 3 runs.\n"


def test_wide_letters_take_two_columns_of_a_terminal(gpunn, folder):
    (folder / "a").rename(folder / "宽的网络")
    (folder / "c").rename(folder / ("宽" * 40))
    shown = [line.partition("fi")[0] for line in gpunn("runs").stdout.splitlines()[2:4]]
    assert shown == [rf"b\x1b[2J{' ' * 25}", f"宽的网络{' ' * 25}"]
    lines = gpunn("runs").stdout.splitlines()
    assert lines[1].startswith(f"…{'宽' * 14} *  failed")


def test_json(gpunn, folder):
    found = json.loads(gpunn("runs", "--json").stdout)
    assert (found["metric"], found["direction"], found["best"]) == ("val_accuracy", "max", "c")
    run = found["runs"][0]
    assert (run["run"], run["state"], run["epoch"], run["epochs"]) == ("c", "failed", 2, 4)
    assert run["metrics"]["val_accuracy"] == 0.99
    assert run["settings"] == {"model.layers.1.units": 64}
    assert run["path"] == "runs/c"


def test_what_can_not_be_read_is_told_beside(gpunn, folder):
    for number in range(12):
        (folder / f"torn-{number:02}").mkdir()
        (folder / f"torn-{number:02}" / "config.json").write_text("{")
    result = gpunn("runs", "--json")
    assert len(json.loads(result.stdout)["left_out"]) == 12
    assert len(json.loads(result.stdout)["runs"]) == 3
    told = result.stderr.splitlines()
    assert told[0].startswith("Skipped: runs/torn-00/config.json: ")
    assert told[-1] == "Skipped: 2 more folders that cannot be read"
    assert len(told) == 11


def test_nothing_there(gpunn, tmp_path):
    (tmp_path / "empty").mkdir()
    said = gpunn("runs", "empty").stdout
    assert said == "empty: there are no runs in this folder; gpunn train adds one.\n"
    assert json.loads(gpunn("runs", "empty", "--json", "--sort", "loss").stdout)["runs"] == []
    assert "there is no such folder" in gpunn("runs", status=2).stderr


@pytest.mark.parametrize("option", ["--sort", "--where"])
def test_an_unknown_key(gpunn, folder, option):
    problem = gpunn("runs", option, "val_acc=1" if option == "--where" else "val_acc", status=2)
    assert "did you mean 'val_accuracy'" in problem.stderr


def test_settings_without_room_are_named(gpunn, folder):
    from gpunn.cli.runs import table_of_runs
    from gpunn.reporting.runs import find_runs

    found, _ = find_runs(folder)
    wide, narrow = (table_of_runs(found, None, None, width) for width in (80, 60))
    assert wide[0].endswith("units")
    assert narrow[0].endswith("time")
    assert (
        narrow[-2]
        == "The terminal is too narrow for: model.layers.1.units; widen it, or use --json"
    )
    assert max(map(len, narrow[:-2])) <= 60
