import itertools

import numpy as np
import pytest

import gpunn
from gpunn import augmentations
from gpunn.augmentations import BatchRandom
from gpunn.configurable import resolve
from gpunn.errors import ArgumentError

HOST = gpunn.get_backend("numpy")
IMAGES = np.random.default_rng(0).uniform(1, 9, (64, 5, 6, 2)).astype(np.float32)
EACH = [
    "flip",
    {"name": "flip", "vertical": True},
    "shift",
    {"name": "shift", "pixels": 9},
    "crop",
    "rotate",
    {"name": "rotate", "degrees": 90},
    "erase",
    {"name": "erase", "largest": 1},
]


def changed(described, X, ops=HOST, seed=3, numbers=None):
    host = np.random.default_rng(seed)
    if numbers is not None:
        host = type(
            "Fixed", (), {"uniform": lambda self, low, high, shape: np.full(shape, numbers)}
        )()
    augmentation = resolve(augmentations.Augmentation, described, "augment")
    random = BatchRandom(host, ops, "float32")
    return ops.to_host(augmentation(ops.from_host(X), None, random))


@pytest.mark.parametrize(
    ("described", "dtype"), list(zip(EACH, itertools.cycle(["float32", "uint8"]))), ids=str
)
def test_every_backend_has_the_same_images(backend, described, dtype):
    X = IMAGES.astype(dtype)
    given = X.copy()
    found = changed(described, X, backend)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, changed(described, X))
    np.testing.assert_array_equal(X, given)
    assert not np.array_equal(found, X)


@pytest.mark.parametrize("described", EACH[:7], ids=str)
def test_one_color_stays(described):
    X = np.full((9, 4, 5, 1), 7, np.float32)
    np.testing.assert_allclose(changed(described, X), X, rtol=1e-6)


@pytest.mark.parametrize(("vertical", "axis"), [(False, 2), (True, 1)])
def test_flip(vertical, axis):
    found = changed({"name": "flip", "vertical": vertical}, IMAGES)
    mirrored = np.flip(IMAGES, axis)
    is_flipped = (found == mirrored).all(axis=(1, 2, 3))
    assert 16 < is_flipped.sum() < 48
    np.testing.assert_array_equal(found[~is_flipped], IMAGES[~is_flipped])


def test_shift_repeats_the_edges():
    padded = np.pad(IMAGES, ((0, 0), (2, 2), (2, 2), (0, 0)), "edge")
    places = [(i, j) for i in range(5) for j in range(5)]
    seen = set()
    for image, around in zip(changed("shift", IMAGES), padded, strict=True):
        (place,) = (p for p in places if (around[p[0] :][:5, p[1] :][:, :6] == image).all())
        seen.add(place)
    assert {i for i, _ in seen} == {j for _, j in seen} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("quarters", [0, 1, -1])
def test_rotate_by_right_angles(quarters):
    X = IMAGES[:3, :, :5]
    found = changed("rotate", X, numbers=quarters)  # tan(angle / 2)
    np.testing.assert_allclose(found, np.rot90(X, -quarters, (1, 2)), rtol=1e-5)


def test_crop_enlarges():
    ramp = np.broadcast_to(np.arange(9, dtype=np.float32)[:, None, None], (64, 9, 4, 1))
    found = changed({"name": "crop", "smallest": 0.5}, ramp)
    steps = np.diff(found, axis=1)
    assert 0.5 - 1e-5 < steps.min() < 0.6 < 0.9 < steps.max() < 1 + 1e-5
    assert np.ptp(steps, axis=(1, 2)).max() < 1e-5
    assert found.min() >= 0
    assert found.max() <= 8


def test_erase_rectangles():
    found = changed({"name": "erase", "largest": 0.5}, np.ones((64, 20, 20, 1), np.float32))
    for image in found[..., 0] == 0:
        rows, columns = image.any(axis=1), image.any(axis=0)
        assert image.sum() == rows.sum() * columns.sum()
        assert max(rows.sum(), columns.sum()) <= 10
    assert (found == 0).any(axis=0).mean() > 0.7


def test_rows_that_are_not_images():
    with pytest.raises(ArgumentError, match=r"augment: 'flip' expects rows of shape .*\(4,\)"):
        changed("flip", np.ones((3, 4)))


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ("flop", r"augment: .* 'flop'; did you mean 'flip'"),
        ({"name": "shift", "pixels": 0}, r"augment\.pixels: expected an integer >= 1"),
        ({"name": "crop", "smallest": 0}, r"augment\.smallest: expected a number > 0 and <= 1"),
        ({"name": "rotate", "degrees": 91}, r"augment\.degrees: expected a number >= 0 and <="),
        ({"name": "erase", "larges": 0.1}, r"augment\.larges: .* 'largest'"),
    ],
)
def test_mistakes(described, message):
    with pytest.raises(ArgumentError, match=message):
        resolve(augmentations.Augmentation, described, "augment")
