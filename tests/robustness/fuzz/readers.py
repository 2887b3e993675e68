"""Every reader of files, with good files to break and files made to take much from little."""

import gzip
import hashlib
import io
import json
import logging
import random
import tempfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from array_files import idx_bytes, idx_header, npy_bytes, npy_header
from people import PEOPLE
from reporting.pages import check_page
from training_steps import recipe_of

import gpunn
from gpunn import layers
from gpunn.callbacks import EarlyStopping, ModelCheckpoint
from gpunn.config import load_config, parse_config
from gpunn.data import load_csv, load_npy, load_npz, read_idx
from gpunn.errors import InvalidFileError
from gpunn.experiment.metadata import check_metadata
from gpunn.experiment.predict_in_blocks import answers
from gpunn.experiment.predictions import interpret
from gpunn.interchange import load_state_dict
from gpunn.interchange.predictor.description import layout_of
from gpunn.optimizers import Adam
from gpunn.reporting import charts, page, records
from gpunn.reporting.records import NormRow, lines
from gpunn.reporting.sweeps import view_sweep
from gpunn.rows.csv_rows import refused
from gpunn.rows.lines import Lines
from gpunn.rows.predict_stream import cells_of_csv
from gpunn.schedules import ReduceOnPlateau
from gpunn.storage.checksums import checksummed
from gpunn.storage.models import model_content
from gpunn.sweep import TRIALS
from gpunn.tables import Schema, read_table
from gpunn.training.checkpoints.checkpoint import newest_checkpoint
from gpunn.training.checkpoints.restore import CallbackStates, restore_checkpoint

from . import mutate

logging.getLogger("gpunn").addHandler(logging.NullHandler())
logging.getLogger("gpunn").propagate = False

Broken = Callable[[random.Random], bytes]


@dataclass(frozen=True)
class Reader:
    """A reader of files.

    Attributes
    ----------
    read : callable
        Takes a path; returns an object or raises InvalidFileError.
    suffix : str
        Of the files.
    good : list of bytes
        Files that it reads.
    broken : callable
        Makes a file that is broken, most likely, from a source of random numbers.
    greedy : dict of str to bytes
        Files that ask for far more memory than they have bytes, by what they are.
    floor : int
        Bytes of memory that are not counted, since using what is read takes them anyway.
    """

    read: Callable[[Path], Any]
    suffix: str
    good: Sequence[bytes]
    broken: Broken
    greedy: dict[str, bytes] = field(default_factory=dict)
    floor: int = 2**20


def verdict(reader: Reader, path: Path) -> str:
    """Return "valid" or "invalid", or raise what is no acceptable answer."""
    try:
        reader.read(path)
    except InvalidFileError as error:
        if str(path) not in str(error):
            raise AssertionError(f"does not name the file: {error}") from error
        return "invalid"
    return "valid"


def measured(reader: Reader, path: Path) -> tuple[str, int]:
    tracemalloc.start()
    try:
        return verdict(reader, path), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def from_bytes(good: Sequence[bytes], tokens: Sequence[bytes] = ()) -> Broken:
    return lambda rng: mutate.mutated(rng.choice(good), rng, good, tokens)


def partly(share: float, inside: Broken, otherwise: Broken) -> Broken:
    """Return what makes a share of the files whole outside, with something wrong inside."""
    return lambda rng: inside(rng) if rng.random() < share else otherwise(rng)


JSON_TOKENS = (
    *(b"[", b"]", b"{", b"}", b'"', b":", b",", b"\n", b"NaN", b"1e999", b"1e308", b"-1", b"null"),
    *(b"\\u0000", b"\xff", b"9" * 400),
)


def json_reader(
    read: Callable[[Path], Any],
    value: Any,
    greedy: dict[str, bytes],
    *more: bytes,
    dump: Callable[[Any], bytes] = mutate.dump,
    suffix: str = ".json",
) -> Reader:
    """Return the reader of a file of JSON, or of lines of it; `more` are further good files."""
    good = [dump(value), *more]
    broken = partly(
        0.5, lambda rng: dump(mutate.mutated_json(value, rng)), from_bytes(good, JSON_TOKENS)
    )
    return Reader(read, suffix, good, broken, greedy)


def json_lines(rows: Any) -> bytes:
    return b"".join(
        mutate.dump(row) + b"\n" for row in (rows if isinstance(rows, list) else [rows])
    )


# ------------------------------------------------------------------------------------------ IDX


def idx() -> Reader:
    arrays = [
        np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5),
        np.arange(200, dtype=np.uint8),
        np.arange(-3, 3, dtype=np.int16),
        np.linspace(0, 1, 12).reshape(3, 4),
        np.zeros((0, 3), np.float32),
    ]
    raw = [idx_bytes(array) for array in arrays]
    packed = [gzip.compress(data, mtime=0) for data in raw]

    def inside(rng: random.Random) -> bytes:
        inner = mutate.mutated(rng.choice(raw), rng, raw)
        return inner if rng.random() < 0.5 else gzip.compress(inner, 1, mtime=0)

    def zeros(count: int, claimed: int) -> bytes:
        return gzip.compress(idx_header(8, claimed) + bytes(count), mtime=0)

    greedy = {
        "a header of 32 GiB": idx_header(0x0E, 2**32 - 1),
        "a header of 2**1024 bytes": idx_header(0x0E, *[2**32 - 1] * 32),
        "gzip, a header of 32 GiB": gzip.compress(idx_header(0x0E, 2**32 - 1), mtime=0),
        "gzip, 30 MB of zeros": zeros(3 * 10**7, 3 * 10**7),
        "gzip, 16 MB of zeros": zeros(2**24, 2**24),
        "gzip, more than the header says": zeros(3 * 10**7, 1),
    }
    broken = partly(0.5, inside, from_bytes(packed))
    return Reader(read_idx, "", [*raw, *packed], broken, greedy)


# ------------------------------------------------------------------------------------ NPY and NPZ


ARRAYS = (
    np.arange(12, dtype=np.float32).reshape(3, 4),
    np.asfortranarray(np.arange(12, dtype=">f8").reshape(3, 4)),
    np.arange(5),
    np.array(3.0),
    np.zeros((0, 7), np.uint8),
    np.array(["a", "bc"]),
)
NPY_TOKENS = (
    *(b"True,", b"'descr'", b"'|O'", b"'<f8'", b"'fortran_order'", b"'shape'"),
    *(b"(", b"[", b"-", b"9"),
)


def npy() -> Reader:
    good = [npy_bytes(array) for array in ARRAYS] + [npy_bytes(ARRAYS[0], (2, 0))]
    head = "{{'descr': '{}', 'fortran_order': False, 'shape': ({},)}}\n"
    greedy = {
        "a header of 8 EiB": npy_header(head.format("<f8", 2**60)),
        "items of 2 GiB": npy_header(head.format("|V2147483647", 1)),
        "a header of parentheses": npy_header("(" * 60000),
        "a header that says it has 4 GiB": b"\x93NUMPY\x02\x00" + b"\xff" * 4 + b" " * 100,
    }
    return Reader(load_npy, ".npy", good, from_bytes(good, NPY_TOKENS), greedy)


def npz_bytes(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return content.getvalue()


def npz() -> Reader:
    pairs = [(ARRAYS[0], ARRAYS[2][:3]), (ARRAYS[1], ARRAYS[4])]
    members = [{"X.npy": npy_bytes(X), "y.npy": npy_bytes(y)} for X, y in pairs]
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    good = [npz_bytes(each, method) for each in members for method in methods]
    inner = [data for each in members for data in each.values()]

    def inside(rng: random.Random) -> bytes:
        each = dict(rng.choice(members))
        name = rng.choice(sorted(each))
        each[name] = mutate.mutated(each[name], rng, inner, NPY_TOKENS)
        return npz_bytes(each, rng.choice(methods))

    zeros = npy_bytes(np.zeros(3 * 10**7, np.uint8))
    one = npy_bytes(np.zeros(1, np.uint8))
    lying = npy_header("{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296,)}\n")
    greedy = {
        "deflated, 30 MB of zeros": npz_bytes({"X.npy": zeros, "y.npy": one}, 8),
        "bzip2, 30 MB of zeros": npz_bytes({"X.npy": zeros, "y.npy": one}, zipfile.ZIP_BZIP2),
        "LZMA, 30 MB of zeros": npz_bytes({"X.npy": zeros, "y.npy": one}, zipfile.ZIP_LZMA),
        "a header of 4 GiB": npz_bytes({"X.npy": lying, "y.npy": one}, 8),
        "10,000 members": npz_bytes({f"{i}.npy": b"" for i in range(10**4)}),
        "a member outside": npz_bytes({"../../X.npy": one, "y.npy": one}),
    }
    return Reader(load_npz, ".npz", good, partly(0.4, inside, from_bytes(good)), greedy)


# ------------------------------------------------------------------------------------------- CSV


CSV_TOKENS = (b",", b"\n", b'"', b"\0", b"nan", b"1e999", b"1_0", b"\xff", b"\r", b"-inf", b"x,y\n")

CSV_GREEDY = {
    "a million cells in a row": b"1," * 10**6 + b"1\n",
    "a header of 100,000 names": b"a," * 10**5 + b"a\n1\n",
    "a header of 100,000 different names": (
        ",".join(f"c{i}" for i in range(10**5)) + "\n" + ",".join("1" * 10**5) + "\n"
    ).encode(),
    "a million rows": b"1,2\n" * 10**6,
    "a million missing values": b"1,\n" * 10**6,
    "100,000 classes": "".join(f"1,c{i}\n" for i in range(10**5)).encode(),
    "a quote that is never closed": b'"' + b"a" * 10**6,
    "empty lines": b"\n" * 10**6,
    "a row of 17 MB": b"1," * 8_500_000,
    "a row of 17 MB in as many lines": b'"' + b'","\n' * 4_500_000,
    "a class's name of 100 kB": b"1,x\n1," + b"y" * 10**5 + b"\n",
}


def csv() -> Reader:
    good = [
        b"a,b,c\n1,2,x\n3,4,y\n5.5,-6e3,x\n",
        b'a;"b ""b""";c\r\n1;2;3\r\n4;5;6\r\n'.replace(b";", b","),
        b"1,2,3\n4,5,6\n",
        "größe,b,c\n1,2,ü\n3,4,é\n".encode(),
        b"\xef\xbb\xbfa,b,c\n1,NA,3\n",
    ]
    read = partial(load_csv, target=-1)
    return Reader(read, ".csv", good, from_bytes(good, CSV_TOKENS), CSV_GREEDY)


def table() -> Reader:
    good = [
        b"a,b,c\n1,2,x\n3,4,y\n5.5,-6e3,x\n",
        b'a;"b ""b""";c\r\n1,5;x;3\r\n4;?;6\r\n',
        b"a\tb\n2026-01-31\t\n2026-02-28\ttrue\n",
        gzip.compress(b"a|b\n1|x\n2|y\n"),
    ]

    def read(path: Path) -> list[Any]:
        found = read_table(path)
        return [found.column(name) for name in found.names]

    return Reader(read, ".csv", good, from_bytes(good, CSV_TOKENS), CSV_GREEDY)


# --------------------------------------------------------------------------------- configurations

CONFIG: dict[str, Any] = {
    "backend": "numpy",
    "seed": 0,
    "data": {"dataset": "csv", "path": "a.csv", "target": "y", "features": ["a", 1]},
    "model": {
        "layers": [
            "flatten",
            {"name": "dense", "units": 8, "activation": {"name": "leaky_relu", "slope": 0.1}},
            {"name": "dense", "units": 3},
        ]
    },
    "training": {
        "loss": "softmax_cross_entropy",
        "optimizer": {"name": "adam", "learning_rate": {"name": "cosine", "rate": 0.01}},
        "epochs": 3,
        "class_weight": {"a": 1.0},
        "metrics": ["accuracy"],
        "callbacks": [{"name": "csv_log", "path": "log.csv"}],
    },
}
TOML = b"""\
backend = "numpy"
[data]
dataset = "npz"
path = "a/b.npz"
validation_fraction = 0.1
[model]
layers = [{ name = "dense", units = 8 }, "batch_norm", { name = "dense", units = 10 }]
[training]
loss = "softmax_cross_entropy"
epochs = 3
optimizer.name = "adam"
"""


def toml() -> Reader:
    good = [TOML, TOML.replace(b'"npz"', b'"digits"').replace(b'path = "a/b.npz"\n', b"")]
    tokens = (b"[", b"]", b"=", b'"', b"'''", b".", b"[[data]]", b"{", b"inf", b"#", b"a.", b"\\u")
    greedy = {
        "a name of 60,000 parts": b"a." * 60000 + b"a = 1\n",
        "a name of 24,000 parts in quotes": b'a."=".' * 12000 + b"a = 1\n",
        "a table's name of 24,000 parts": b"[" + b"""'#'."]".""" * 12000 + b"a]\n",
        "names of 32 parts": b"".join(b"a." * 31 + b"b%d=1\n" % i for i in range(3000)),
        "different names of 32 parts": b"".join(
            b"a%d" % i + b".a" * 31 + b"=1\n" for i in range(3000)
        ),
        "50,000 lists in one another": b"a = " + b"[" * 50000,
        "a gigabyte's first 300 kB": b"#" * 300_000,
        "20,000 tables": b"".join(b"[a%d]\n" % i for i in range(20000)),
        "20,000 names": b"".join(b"a%d=1\n" % i for i in range(20000)),
        "empty lists": b"a = [" + b"[]," * 80000 + b"]\n",
    }
    return Reader(load_config, ".toml", good, from_bytes(good, tokens), greedy)


def json_() -> Reader:
    greedy = {
        "100,000 lists in one another": b"[" * 100000,
        "empty lists": b"[" + b"[]," * 80000 + b"0]",
        "empty tables": b'{"data": [' + b"{}," * 80000 + b"0]}",
    }
    other = mutate.dump({**CONFIG, "data": {"dataset": "digits"}})
    return json_reader(load_config, CONFIG, greedy, other)


NORMS = [
    {"epoch": 1, "parameters": {"dense_1.weights": 2.5}, "gradients": {"dense_1.weights": None}},
    {"epoch": 2, "parameters": {"dense_1.weights": 1e-3}, "gradients": {"dense_1.weights": 3.0}},
]


def log() -> Reader:
    row = b'{"epoch":1,"parameters":{},"gradients":{}}\n'
    many = b",".join(b'"%d":1' % i for i in range(20000))
    greedy = {
        "10,000 epochs": row * 10000,
        "empty lines": b"\n" * 400_000,
        "20,000 arrays": row.replace(b"{},", b"{" + many + b"},"),
        "100,000 lists in one another": b"[" * 100_000 + b"\n",
    }
    torn = json_lines(NORMS) + b'{"epoch": 3, "para'
    read = partial(lines, kind=NormRow)
    return json_reader(read, NORMS, greedy, torn, dump=json_lines, suffix=".jsonl")


# ------------------------------------------------------------------------- models and checkpoints


def network() -> gpunn.Sequential:
    return gpunn.Sequential(
        [
            layers.Standardization(),
            layers.Dense(4, {"name": "leaky_relu", "slope": 0.2}, label="first"),
            layers.BatchNorm(),
            layers.Dropout(0.3),
            layers.Dense(3),
        ],
        (5,),
        "numpy",
        seed=1,
    )


def trainer() -> gpunn.Trainer:
    optimizer = Adam(ReduceOnPlateau(0.01, "loss"))
    return gpunn.Trainer(network(), "softmax_cross_entropy", optimizer, ["accuracy"])


@cache
def saved() -> tuple[bytes, bytes, bytes]:
    random_ = np.random.default_rng(0)
    X, y = random_.normal(size=(24, 5)), random_.integers(0, 3, 24)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        this = trainer()
        path = place / "{updates}.safetensors"
        writing = ModelCheckpoint(path, resumable=True, every_updates=2)
        stopping = EarlyStopping("loss")
        options: dict[str, Any] = {"batch_size": 8, "epochs": 2, "progress": False}
        this.fit(X, y, callbacks=[stopping, writing], **options)
        this.model.save(place / "model.safetensors")
        names = ("model", "3", "2")
        model, between, within = ((place / f"{name}.safetensors").read_bytes() for name in names)
        return model, between, within


def unpacked(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the header of a safetensors file, its description read, and the rest."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    if "__metadata__" in header:
        header["__metadata__"]["gpunn"] = json.loads(header["__metadata__"]["gpunn"])
    return header, content[end:]


def repacked(header: Any, data: bytes) -> bytes:
    """Return a safetensors file with the right checksum, however wrong the rest may be."""
    if isinstance(header, dict) and isinstance(header.get("__metadata__"), dict):
        metadata = dict(header["__metadata__"])
        if not isinstance(metadata.get("gpunn"), (str, type(None))):
            metadata["gpunn"] = json.dumps(metadata["gpunn"])
        header = {**header, "__metadata__": {**metadata, "sha256": "0" * 64}}
    text = json.dumps(header, separators=(",", ":")).encode()
    content = len(text).to_bytes(8, "little") + text + data
    digest = hashlib.sha256(content).hexdigest().encode()
    return content.replace(b'"sha256":"' + b"0" * 64, b'"sha256":"' + digest, 1)


HUGE = {"dtype": "F32", "shape": [2**61], "data_offsets": [0, 2**63]}


def safetensors_reader(read: Callable[[Path], Any], good: Sequence[bytes]) -> Reader:
    opened = [unpacked(content) for content in good]

    def inside(rng: random.Random) -> bytes:
        header, data = rng.choice(opened)
        way = rng.random()
        if way < 0.6:  # the description is wrong
            described = mutate.mutated_json(header["__metadata__"]["gpunn"], rng)
            header = {**header, "__metadata__": {"gpunn": described}}
        elif way < 0.9:  # or what the header says of the arrays
            header = mutate.mutated_json(header, rng)
        else:  # or the numbers
            data = mutate.mutated(data, rng, [data])
        return repacked(header, data)

    header, data = opened[0]

    def described(**changes: Any) -> bytes:
        text = {**header["__metadata__"]["gpunn"], **changes}
        return repacked({**header, "__metadata__": {"gpunn": text}}, data)

    nested = "[" * 50000 + "]" * 50000
    greedy = {
        "a layer of 12 TB": described(layers=[{"name": "dense", "units": 10**12}]),
        "an input of 10**18": described(layers=["flatten"], input_shape=[10**18]),
        "20,000 layers": described(layers=["flatten"] * 20000),
        "20,000 layers with state": described(layers=["layer_norm"] * 20000),
        "an array of 8 EiB": repacked({**header, "x": HUGE}, data),
        "a header of 2**64 bytes": b"\xff" * 8 + b"{}",
        "10,000 empty arrays": b"".join(
            checksummed({f"{i}": np.zeros(0, np.float32) for i in range(10**4)}, {"gpunn": "{}"})
        ),
        "50,000 lists in one another": repacked(
            {**header, "__metadata__": {"gpunn": nested}}, data
        ),
        "empty lists": described(metadata={"x": [[]] * 10**5}),
        "empty tables": described(metadata={"x": [{}] * 10**5}),
    }
    return Reader(read, ".safetensors", good, partly(0.7, inside, from_bytes(good)), greedy)


def model() -> Reader:
    return safetensors_reader(lambda path: gpunn.load_model(path, "numpy"), saved()[:2])


def schema() -> Reader:
    good = []
    for scaling in ("robust", "quantile"):
        learned = Schema.fit(PEOPLE, scaling=scaling)
        this = gpunn.Sequential([layers.Dense(1)], learned.width, "numpy")
        this.schema = learned
        content = model_content(this.file_description(), this.file_arrays())
        good.append(b"".join(content.chunks))
    return safetensors_reader(lambda path: gpunn.load_model(path, "numpy"), good)


def checkpoint() -> Reader:
    this = trainer()
    stopping = EarlyStopping("loss")

    def read(path: Path) -> gpunn.Trainer:
        found = newest_checkpoint(path)
        restore_checkpoint(this, found)
        this.device_state.prepare(recipe_of(this), this.cursor is not None)
        states = dict(found.callback_states())
        own = [(stopping.name, states.get(stopping.name, {}))]
        CallbackStates(path, own).restore(stopping, this)
        return this

    return safetensors_reader(read, saved()[1:])


def state_dict() -> Reader:
    from safetensors.numpy import save

    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    good = [save({"0.weight": weights, "0.bias": weights[:, 0].copy()})]
    header, data = unpacked(good[0])

    def headed(header: Any) -> bytes:
        return repacked(header, data)

    broken = partly(0.6, lambda rng: headed(mutate.mutated_json(header, rng)), from_bytes(good))
    greedy = {
        "an array of 8 EiB": headed({**header, "x": HUGE}),
        "a header of 2**64 bytes": b"\xff" * 8 + b"{}",
        "10,000 empty arrays": save({f"{i}": np.zeros(0, np.float32) for i in range(10**4)}),
        "a number of 5,000 digits": save({f"{'9' * 5000}.weight": weights}),
        "65 dimensions": headed({"0.weight": {**header["0.weight"], "shape": [1] * 64 + [6]}}),
        "10,000 modules": save({f"{i}.weight": weights[:1, :1] for i in range(10**4)}),
    }
    network = gpunn.Sequential([layers.Dense(2)], 3, "numpy")
    return Reader(lambda path: load_state_dict(network, path), ".safetensors", good, broken, greedy)


# ---------------------------------------------------------------------------------- a run's folder

ROWS = [
    {
        "epoch": epoch,
        "loss": 1.0 / epoch,
        "accuracy": 0.5,
        "val_loss": None if epoch == 2 else 1.5,
        "val_accuracy": 0.25,
        "learning_rate": 0.01,
        "seconds": 0.5,
        "samples_per_second": 100.0,
    }
    for epoch in (1, 2, 3)
]
ENVIRONMENT = {
    "started": "2026-01-01T00:00:00+00:00",
    "backend": {"name": "numpy"},
    "gpunn": "0.1.0",
    "cores": 2,
    "packages": {"numpy": "2.0", "cupy": None},
    "blas": {"name": "openblas", "version": "0.3", "pools": [{"threads": 2}]},
}
ENDING = {"epochs": 3, "stopped": "", "test": {"rows": 8, "loss": 0.5, "accuracy": None}}


def history_() -> Reader:
    many = mutate.dump({"epoch": 1, **{f"figure {number}": 1.0 for number in range(1000)}})
    greedy = {
        "a thousand figures": many + b"\n",
        "a thousand figures in as many lines": b"".join(
            b'{"epoch":1,"figure %d":1}\n' % number for number in range(1000)
        ),
        "100,000 epochs": b'{"epoch":1}\n' * 100_000,
        "a line of 17 MB": b'{"epoch":' + b" " * 17_000_000 + b"1}\n",
        "empty lines": b"\n" * 400_000,
    }
    return json_reader(records.history, ROWS, greedy, dump=json_lines, suffix=".jsonl")


def environment() -> Reader:
    tables = b",".join(b'"%d":"1"' % number for number in range(20_000))
    greedy = {
        "20,000 packages": b'{"packages":{' + tables + b"}}",
        "2 MB of blanks": b"{" + b" " * 2_000_000 + b"}",
        "100,000 lists in one another": b'{"x":' + b"[" * 100_000,
    }
    return json_reader(partial(records.whole, kind=records.Environment), ENVIRONMENT, greedy)


def evaluation() -> Reader:
    figures = b",".join(b'"%d":1' % number for number in range(20_000))
    greedy = {
        "20,000 figures": b'{"epochs":1,"stopped":"","test":{' + figures + b"}}",
        "2 MB of blanks": b"{" + b" " * 2_000_000 + b"}",
    }
    return json_reader(partial(records.whole, kind=records.Ending), ENDING, greedy)


TABLE = "a,b,kind\n" + "".join(f"{x},{x * x % 7},{'xyz'[x % 3]}\n" for x in range(12))
CONFIG_OF_RUN: dict[str, Any] = {
    "backend": "numpy",
    "data": {"dataset": "csv", "path": "table.csv", "target": "kind"},
    "model": {"layers": [{"name": "dense", "units": 3}]},
    "training": {"loss": "softmax_cross_entropy", "epochs": 3, "metrics": ["accuracy"]},
}
METADATA = {"header": True, "features": ["a", "b"], "classes": ["x", "y", "z"]}


@cache
def model_of_run() -> tuple[dict[str, Any], bytes]:
    """Return a trained network's header and numbers; what it remembers of its data is METADATA."""
    network = gpunn.Sequential([layers.Dense(3)], (2,), "numpy")
    network.metadata = dict(METADATA)
    with tempfile.TemporaryDirectory() as folder:
        network.save(Path(folder, "model.safetensors"))
        return unpacked(Path(folder, "model.safetensors").read_bytes())


def with_metadata(metadata: Any) -> bytes:
    header, data = model_of_run()
    described = {**header["__metadata__"]["gpunn"], "metadata": metadata}
    return repacked({**header, "__metadata__": {"gpunn": described}}, data)


TRIALS_FOUND = {
    "metric": "val_accuracy",
    "direction": "max",
    "best": 0,
    "trials": [
        {
            "number": number,
            "folder": f"trial-{number:04d}",
            "state": state,
            "parameters": {"training.batch_size": 32, "training.optimizer": {"name": "adam"}},
            "value": value,
            "epoch": 2,
            "epochs": 3,
            "reason": "",
        }
        for number, state, value in [(0, "complete", 0.5), (1, "pruned", None), (2, "lost", 1)]
    ],
}


def undrawn() -> AbstractContextManager[Any]:
    """Have charts without what Matplotlib draws."""
    return patch.object(charts, "drawn", lambda *_, **__: '<svg viewBox="0 0 1 1"></svg>')


def trials() -> Reader:
    """What a sweep has found, as `gpunn report` shows it; of its runs none is there."""

    def read(path: Path) -> Any:
        folder = path.with_name(f"{path.name}.sweep")
        folder.mkdir(exist_ok=True)
        (folder / TRIALS).write_bytes(path.read_bytes())
        with undrawn():
            return view_sweep(folder)

    names = b",".join(b'"%d":1' % number for number in range(20_000))
    trial = b'{"number":0,"folder":"trial-0000","state":"complete","parameters":{'
    begin = b'{"metric":"a","direction":"min","trials":['
    greedy = {
        "20,000 parameters": begin + trial + names + b"}}]}",
        "100,000 lists in one another": begin + b"[" * 100_000,
        "empty trials": begin + b"{}," * 80_000 + b"{}]}",
    }
    return json_reader(read, TRIALS_FOUND, greedy)


def metadata() -> Reader:
    def read(path: Path) -> str:
        network = gpunn.load_model(path, "numpy")
        config = parse_config(CONFIG_OF_RUN, path.parent)
        check_metadata(path, network.metadata, config.data)
        try:
            layout = layout_of(network)
            lines = Lines([TABLE.encode()])
            rows = [cells for _, cells in cells_of_csv(lines, layout | {"delimiter": ","}, refused)]
            outputs, _ = answers(network, layout)(rows)
            found = interpret(outputs, "softmax", network.classes)
        except ValueError as error:  # good metadata, of other data
            raise InvalidFileError(f"{path}: {error}") from error
        return f"{found.names(True)} {list(found.rows(True))}"

    def broken(rng: random.Random) -> bytes:
        changed = mutate.mutated_json(METADATA, rng)
        if isinstance(changed, dict) and rng.random() < 0.3:
            changed |= {"classes": [rng.choice(mutate.TEXTS) + str(place) for place in range(3)]}
        return with_metadata(changed)

    greedy = {
        "a class's name of 100 kB": with_metadata({**METADATA, "classes": ["x" * 10**5, "y", "z"]}),
        "100,000 classes": with_metadata({**METADATA, "classes": [str(i) for i in range(10**5)]}),
        "100,000 columns": with_metadata({**METADATA, "features": [str(i) for i in range(10**5)]}),
    }
    return Reader(read, ".safetensors", [with_metadata(METADATA)], broken, greedy)


DRAWN_OF = 200
"""Of so many reports one is drawn by Matplotlib, which takes some thousand times as long as the
rest of a page."""


def report() -> Reader:
    """A whole run's folder, packed into one file of JSON, as `gpunn report` shows it."""
    parts = {
        "history.jsonl": ROWS,
        "norms.jsonl": NORMS,
        "environment.json": ENVIRONMENT,
        "evaluation.json": ENDING,
        "metadata": METADATA,
    }

    def read(path: Path) -> str:
        packed = path.read_bytes()
        run = path.with_name(f"{path.name}.run")
        run.mkdir(exist_ok=True)
        (run / "table.csv").write_text(TABLE)
        (run / "config.json").write_bytes(mutate.dump(CONFIG_OF_RUN))
        try:
            content = json.loads(packed)
            values = {name: content[name] for name in parts}
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise InvalidFileError(f"{path}: not a packed run") from error
        for name, value in values.items():
            if name == "metadata":
                (run / "final.safetensors").write_bytes(with_metadata(value))
            else:
                dump = json_lines if name.endswith("l") else mutate.dump
                (run / name).write_bytes(dump(value))
        with undrawn() if zlib.crc32(packed) % DRAWN_OF else nullcontext():
            text = page.report_html([run], "numpy")
        check_page(text)
        return text

    def broken(rng: random.Random) -> bytes:
        content = dict(parts)
        for name in rng.sample(sorted(content), rng.choice((1, 1, 2))):
            value = mutate.mutated_json(content[name], rng)
            if isinstance(value, dict) and rng.random() < 0.3:
                value[rng.choice(mutate.TEXTS)] = rng.choice(mutate.TEXTS)
            elif isinstance(value, list) and rng.random() < 0.3:
                text, figure = rng.choice(mutate.TEXTS), rng.choice((0.5, 1e308, -1e308, 5e-324))
                value = [
                    {**row, text: figure, f"val_{text}": figure} if isinstance(row, dict) else row
                    for row in value
                ]
            content[name] = value
        return mutate.dump(content)

    return Reader(read, ".packed", [mutate.dump(parts)], broken, floor=2**26)


READERS: dict[str, Callable[[], Reader]] = {
    reader.__name__.removesuffix("_"): reader
    for reader in (
        *(idx, npy, npz, csv, table, toml, json_, model, schema, checkpoint, log, state_dict),
        *(history_, environment, evaluation, metadata, report, trials),
    )
}
"""Every reader, by the name it has on the command line."""
