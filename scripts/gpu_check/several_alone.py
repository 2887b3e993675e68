"""Train with one or several ranks, each on a CUDA device: several_alone.py COMMUNICATOR FILE.

Rank 0 writes its results to the file: losses of the digits, and rows a second of a network of
MNIST's size. Batches have 1024 rows a device, then 1024 rows in total.
"""

import json
import sys
from pathlib import Path

import device

device.prepare()

import training  # noqa: E402

from gpunn.distributed import communicator  # noqa: E402

EPOCHS, BATCH = (1, 16) if device.REHEARSAL else (3, 1024)
HIDDEN = (16,) if device.REHEARSAL else (512, 512)

world = communicator(sys.argv[1], timeout=60)
backend = f"cupy:{world.local_rank}"


def trained(data, sizes, batch):
    trainer = training.trainer(sizes, backend, metrics=("accuracy",), communicator=world)
    return trainer.fit(data.X, data.y, epochs=EPOCHS, batch_size=batch, progress=False)


def speed(batch):
    data = training.mnist_or_synthetic()
    sizes = (training.FEATURES, *HIDDEN, training.CLASSES)
    return trained(data, sizes, batch).rows[-1]["samples_per_second"]


digits = training.digits()
losses = trained(digits, (digits.X.shape[1], *HIDDEN, training.CLASSES), 128)["loss"]
seen = {
    "exchange": world.name,
    "losses": [float(loss) for loss in losses],
    "rows a second": {batch: speed(batch) for batch in dict.fromkeys((BATCH, world.size * BATCH))},
}
if world.rank == 0:
    Path(sys.argv[2]).write_text(json.dumps(seen))
