"""scripts/scaling.py on a tiny network."""

from pathlib import Path

from mpi import needs_mpi, run

SCRIPT = Path(__file__).parents[2] / "scripts" / "scaling.py"


@needs_mpi
def test_two_ranks_are_measured_and_more_are_computed():
    tiny = ("--sizes", "8-4-3", "--batches", "6,40", "--repeats", 1, "--seconds", 0.01)
    status, said = run(2, SCRIPT, *tiny)
    assert status == 0, said
    assert said.startswith("2 ranks, 8-4-3, 1 threads each: row ")
    measured, computed = (part for part in said.split("\n\n") if part.startswith("|"))
    assert [line.split()[1] for line in measured.splitlines()[2:]] == ["6", "40"]
    ranks = [line.split()[1] for line in computed.splitlines()[2:]]
    assert ranks == ["1", "2", "4", "8", "16", "64", "256", "1024"]
    assert "not measured" in said
