"""Ways to break a file: of bytes, of text, of JSON."""

import copy
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

NUMBERS = (0, 1, 2, 3, 7, 8, 63, 64, 65, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**16, 2**31 - 1)
NUMBERS += (2**31, 2**32 - 1, 2**32, 2**40, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1)

VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 1.5, 1e308, -1e308, 5e-324, float("nan"), float("inf")),
    *(2**31, 2**53 + 1, 2**63, 10**30),
    *("", "\0", "dense", "relu", "os:system", "../../etc/passwd", "x" * 1000, "ü🙂", "\ud800"),
    *("\u202e", "=cmd|' /C calc'!A0", "-1+1"),
    *([1] * 65, [], {}, [[[[]]]], [0] * 100),
    *({"name": "dense", "units": 10**12}, {"name": "flatten"}),
)

TEXTS = (
    "<script>",
    '"><meta http-equiv=refresh content="0;url=//x">',
    "'><img src=x onerror=x>",
    '" onload="x',
    "</title></style></svg><base href=//x>",
    "--><form action=//x>",
    "]]>",
    "{{ 7 }}",
    "$x_{1$",
    "=1+1",
    "\u202e",
    "\0",
)
"""Texts that must stay text, whatever shows or writes them."""


def flip_bit(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def set_byte(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((0, 1, 10, 32, 34, 44, 127, 128, 254, 255))


def truncate(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    del data[rng.randrange(len(data) + 1) :]


def cut_out(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    start = rng.randrange(len(data) + 1)
    del data[start : start + rng.randrange(1, 65)]


def insert(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    start = rng.randrange(len(data) + 1)
    data[start:start] = rng.randbytes(rng.randrange(1, 17))


def repeat(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    start = rng.randrange(len(data) + 1)
    piece = data[start : start + rng.randrange(1, 65)]
    data[start:start] = piece * rng.choice((1, 2, 8, 64))


def zero(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    """What a crash of the machine may leave: a block that was never written."""
    start = rng.randrange(len(data) + 1)
    length = min(rng.choice((16, 512, 4096)), len(data) - start)
    data[start : start + length] = bytes(length)


def number(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    width = rng.choice((1, 2, 4, 8))
    if len(data) >= width:
        start = rng.randrange(min(len(data) - width + 1, 128) if rng.random() < 0.7 else len(data))
        value = rng.choice(NUMBERS) % 2 ** (8 * width)
        data[start : start + width] = value.to_bytes(width, rng.choice(("little", "big")))


def digits(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    places = [i for i, byte in enumerate(data[:4096]) if 48 <= byte <= 57]
    if places:
        place = rng.choice(places)
        data[place : place + 1] = str(rng.choice(NUMBERS)).encode()


def splice(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
    other = rng.choice(others)
    cut, from_ = rng.randrange(len(data) + 1), rng.randrange(len(other) + 1)
    data[cut:] = other[from_:]


def token(tokens: Sequence[bytes]) -> Callable[[bytearray, random.Random, Sequence[bytes]], None]:
    """Return a mutation that writes one of a format's own words somewhere."""

    def write(data: bytearray, rng: random.Random, others: Sequence[bytes]) -> None:
        start = rng.randrange(len(data) + 1)
        word = rng.choice(tokens) * rng.choice((1, 1, 1, 50))
        data[start : start + rng.choice((0, len(word)))] = word

    return write


MUTATIONS = (flip_bit, set_byte, truncate, cut_out, insert, repeat, zero, number, digits, splice)


def mutated(
    data: bytes, rng: random.Random, others: Sequence[bytes], tokens: Sequence[bytes] = ()
) -> bytes:
    """Return a broken copy of `data`; `others` are further files of the format."""
    result = bytearray(data)
    ways = (*MUTATIONS, token(tokens)) if tokens else MUTATIONS
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        rng.choice(ways)(result, rng, others)
    return bytes(result)


def mutated_json(value: Any, rng: random.Random) -> Any:
    result = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = list(containers(result))
        if not places:
            return copy.deepcopy(rng.choice(VALUES))
        container = rng.choice(places)
        keys = list(container) if isinstance(container, dict) else list(range(len(container)))
        if not keys:
            continue
        key = rng.choice(keys)
        way = rng.randrange(5)
        if way == 0:
            del container[key]
        elif way == 1 and isinstance(container, dict):
            added = rng.choice(("", "x", "name", "units", "path", "\0"))
            container[added] = copy.deepcopy(rng.choice(VALUES))
        elif way == 2 and isinstance(container, list):
            container[key:key] = container * rng.choice((1, 10))
        elif way == 3:
            container[key] = [container[key]]
        else:
            container[key] = copy.deepcopy(rng.choice(VALUES))
    return result


def containers(value: Any) -> list[Any]:
    found, waiting = [], [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, (dict, list)):
            found.append(item)
            waiting += item.values() if isinstance(item, dict) else item
    return found


def dump(value: Any) -> bytes:
    return json.dumps(value).encode()
