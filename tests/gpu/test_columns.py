"""How kernels that sum over rows divide a matrix among blocks.

    GPUNN_TEST_DEVICE=emulated PYTHONPATH=tests python -m gpu.test_columns

writes the table in tests/kernels/README.md.
"""

import itertools
import re

import documented
import numpy as np
import pytest

pytestmark = [pytest.mark.emulated, pytest.mark.tier(5)]

ROWS, COLUMNS = (32, 128, 1024, 8192), (32, 512, 4096)
BYTES = 4  # of a float32


def row(rows: int, columns: int) -> str:
    """Return a row of the table, for ReLU's gradient with its sums."""
    from gpunn.backends.cupy.kernels.columns import EACH, LANES, STACK, column_grid

    groups, shares, share = column_grid(rows, columns)
    moved = 3 * rows * columns * BYTES  # the output and the gradient are read, and one is written
    parts = 2 * shares * groups * LANES * BYTES if shares > 1 else 0
    held = min(EACH, -(-rows // STACK))
    waits = -(-min(share, rows) // (STACK * EACH)) + (-(-shares // STACK) if shares > 1 else 0)
    grid = f"{groups} x {shares} | {groups * shares * LANES * STACK} | {held} | {waits}"
    return f"| {rows} | {columns} | {grid} | {moved / 1e6:.3g} | {parts / 1e3:.3g} |"


def table() -> str:
    head = (
        "| rows | columns | blocks | threads | rows in registers | waits | MB of matrices "
        "| KB of parts |\n" + "|---:" * 8 + "|"
    )
    return "\n".join([head, *itertools.starmap(row, itertools.product(ROWS, COLUMNS))])


def test_the_documented_grids_are_current():
    assert documented.table_in(documented.KERNELS, "columns") == table()


def test_every_row_is_in_one_share_and_none_is_empty():
    from gpunn.backends.cupy.kernels.columns import BLOCKS, column_grid

    many = (0, 1, 128, 256, 257, 1037, 100_003, 10**7)
    for rows, columns in itertools.product(many, (1, 32, 33, 4096, 10**6)):
        groups, shares, share = column_grid(rows, columns)
        assert 32 * (groups - 1) < columns <= 32 * groups
        assert share * (shares - 1) < max(rows, 1) <= share * shares
        assert shares <= BLOCKS  # CUDA takes up to 65535 in a grid's second dimension
        assert rows > 256 or shares == 1


@pytest.fixture(scope="module")
def compiled():
    import cupy

    from gpunn.activations import ReLU
    from gpunn.backends.cupy.kernels.activations import FORMULAS, gradient_and_sums
    from gpunn.backends.cupy.kernels.raw import raw_kernel

    kernel = gradient_and_sums("relu", FORMULAS[ReLU], None, False)
    source = raw_kernel(*kernel, T=np.dtype(np.float32)).code
    program = cupy.cuda.compiler._NVRTCProgram(source, "kernel.cu", method="ptx")
    return program.compile(("-arch=compute_75",))[0].decode()


def test_all_rows_are_loaded_before_one_is_stored(compiled):
    """The compiler chooses the order of loads and stores, so this test reads its output."""
    from gpunn.backends.cupy.kernels.columns import EACH

    order = re.findall(r"\b(ld|st)\.global", compiled)
    assert order[: 3 * EACH] == ["ld"] * 2 * EACH + ["st"] * EACH


def test_the_compiler_knows_how_many_threads_share_the_registers(compiled):
    from gpunn.backends.cupy.kernels.columns import LANES, STACK

    assert re.search(rf"\.maxntid {LANES * STACK}\b", compiled)


if __name__ == "__main__":
    documented.write(documented.KERNELS, "columns", table())
