"""Programs of several processes, started by mpiexec."""

import json

import pytest
from click.testing import CliRunner
from digits import DENSE, configuration, dropout
from mpi import needs_mpi, run
from run_folders import history, without_times

from gpunn.cli import main

TRAINING = {"optimizer": "adam", "epochs": 2, "batch_size": 37, "callbacks": ["early_stopping"]}
CONFIG = f"""\
backend = "numpy"
seed = 3
dtype = "float64"
{configuration(DENSE, dropout(0.2), **TRAINING)}"""


def rows(folder):
    return without_times(history(folder))


def train(folder, ranks, *options, output=None):
    config = folder / "config.toml"
    config.write_text(CONFIG)
    output = output or folder / f"of {ranks}"
    command = ["train", str(config), "--output", str(output), *options]
    if ranks == 1:
        done = CliRunner(env={"GPUNN_THREADS": "1"}).invoke(main, command)
        status, said = done.exit_code, done.output
    else:
        status, said = run(ranks, "-m", "gpunn", *command)
    assert status == 0, said
    return output, said


@pytest.fixture(scope="module")
def of_one(tmp_path_factory):
    return train(tmp_path_factory.mktemp("alone"), 1)


@needs_mpi
@pytest.mark.full  # the next test has two ranks
@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_a_run_is_that_of_one_process(of_one, ranks, tmp_path):
    alone, said_alone = of_one
    together, said = train(tmp_path, ranks)
    for ours, theirs in zip(rows(together), rows(alone), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-10)
    evaluations = [json.loads((run / "evaluation.json").read_text()) for run in (alone, together)]
    assert evaluations[0]["test"] == pytest.approx(evaluations[1]["test"], rel=1e-10)
    assert len(said.splitlines()) == len(said_alone.splitlines())


@needs_mpi
def test_a_run_goes_on_with_other_ranks_and_has_the_same_bits(tmp_path):
    shards = ("--set", "distributed.shards=2")
    part, said = train(tmp_path, 2, *shards, "--set", "training.epochs=1")
    assert said.count("Test: ") == 1
    train(tmp_path, 1, *shards, "--resume", output=part)
    whole, _ = train(tmp_path, 1, *shards)
    assert rows(part) == rows(whole)
    assert (part / "final.safetensors").read_bytes() == (whole / "final.safetensors").read_bytes()


@needs_mpi
@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("distributed.shards=3", "shards"),
        pytest.param("model.layers.1.activation=rellu", "rellu", marks=pytest.mark.full),
    ],
)
def test_an_error_is_said_once(tmp_path, setting, reason):
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    folder = tmp_path / "run"
    status, said = run(
        *(2, "-m", "gpunn", "train", config, "--output", folder, "--set", setting),
    )
    assert status != 0
    assert said.count("Error") == 1, said
    assert reason in said


def test_other_commands_refuse_several_processes(tmp_path):
    command = ["predict", str(tmp_path), str(tmp_path)]
    done = CliRunner(env={"PMI_SIZE": "2"}).invoke(main, command)
    assert done.exit_code
    assert "gpunn predict: MPICH's or Slurm's launcher (PMI_SIZE) has started 2" in done.output
