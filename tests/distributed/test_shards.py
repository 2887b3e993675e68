"""With a fixed number of shards, any number of ranks is bitwise identical."""

from functools import partial

import pytest
from calls import Calls
from kills import Kill, Killed
from worlds import WEIGHTS, blocks, history, normed, trained, values, with_dropout

from gpunn.callbacks import EarlyStopping, ModelCheckpoint
from gpunn.distributed import run_threads
from gpunn.errors import ArgumentError, DistributedError
from gpunn.optimizers import SGD, Adam, Lamb


def run(communicator=None, callbacks=(), **options):
    return trained(
        communicator,
        "float32",
        with_dropout,
        lambda: Adam(0.01, max_norm=0.5, l2_penalty=0.01),
        **{"shards": 4, "epochs": 4, "sample_weight": WEIGHTS, **options},
        callbacks=[EarlyStopping(patience=2), *callbacks],
    )


def result(this):
    state = {name: array.tobytes() for name, array in this.state().items()}
    return values(this).tobytes(), history(this), state


def with_local_batch_norm(communicator):
    options = {"batch_norm": "local", "shards": 4, "validation_split": 0.12}
    return trained(communicator, "float32", normed, lambda: SGD(0.05), **options)


def with_blocks(communicator):
    options = {"batch_norm": "local", "shards": 4, "epochs": 2, "drop_last": True}
    return trained(communicator, "float32", blocks, lambda: SGD(0.05), **options)


def with_norms(communicator):
    optimizer = partial(Lamb, 0.05, weight_decay=0.1, max_norm=0.5, l2_penalty=0.01)
    return trained(communicator, "float32", with_dropout, optimizer, shards=4, epochs=2)


@pytest.mark.parametrize(
    "train",
    [run, partial(run, gradient_accumulation=2), with_local_batch_norm, with_blocks, with_norms],
    ids=["plain", "accumulated", "local batch norm", "blocks", "norms"],
)
def test_the_number_of_ranks_changes_no_bit(train):
    def go(communicator):
        return result(train(communicator))

    (one,) = run_threads(1, go)
    for size in (2, 4):
        assert run_threads(size, go) == [one] * size


def test_a_checkpoint_within_an_epoch_does_not_show_the_number_of_ranks():
    def go(communicator):
        kept = []

        def keep(trainer):
            if trainer.updates == 8:
                kept.append({name: array.tobytes() for name, array in trainer.state().items()})

        run(communicator, [Calls(every_updates=1, on_updates_end=keep)])
        return kept

    (one,) = run_threads(1, go)
    assert "statistics.vector" in one[0]
    for size in (2, 4):
        assert run_threads(size, go) == [one, *[[]] * (size - 1)]


def test_synchronised_batch_norm_has_no_shards():
    with pytest.raises(ArgumentError, match=r"shards: the layer 'batch_norm' .* shards=0"):
        trained(layers=normed, shards=2)


def test_a_checkpoint_goes_on_with_any_number_of_ranks(tmp_path):
    path = tmp_path / "{updates}.gpunn"

    def part(size, at, source=None):
        def go(communicator):
            written = ModelCheckpoint(path, resumable=True, every_updates=1)
            with pytest.raises((Killed, DistributedError)) as error:
                run(communicator, [written, Kill(at)], resume_from=source)
            return error.type

        kinds = run_threads(size, go)
        assert kinds == [Killed, *[DistributedError] * (size - 1)]

    part(4, 8)
    part(2, 17, tmp_path / "8.gpunn")
    (resumed,) = run_threads(
        1, lambda communicator: result(run(communicator, resume_from=tmp_path / "17.gpunn"))
    )
    (whole,) = run_threads(1, lambda communicator: result(run(communicator)))
    assert resumed == whole
