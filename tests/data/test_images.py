"""Folders of images by class: what is read, in which order, and each kind of bad file."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpunn.data import load_images
from gpunn.data.image_files import FORMATS, read_images
from gpunn.data.images import files_by_class, split_folders
from gpunn.errors import ArgumentError, DataFileError, GpunnError

Image = pytest.importorskip("PIL.Image", reason="the extra images is not installed")

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
GRAY = PIXELS[..., 0]


@pytest.fixture
def save(tmp_path):
    def saved(name, pixels=PIXELS, **options):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
        image.save(path, **options)
        return path

    return saved


@pytest.fixture
def photos(save, tmp_path):
    for name in ("b/2.png", "b/10.png", "a/deeper/1.png", "a/3.png"):
        save(name, PIXELS + np.uint8(len(name)))
    return tmp_path / "photos"


def test_classes_order_and_files(photos, caplog):
    (photos / "a" / ".hidden.png").write_text("hidden")
    (photos / ".cache").mkdir()
    (photos / "b" / "notes.txt").write_text("not an image")
    (photos / "b" / "0.png").symlink_to("2.png")
    (photos / "runs" / "photos").mkdir(parents=True)
    (photos / "runs" / "photos" / "config.json").write_text("a run of gpunn train")
    (photos / "list.csv").write_text("outside of the classes")
    (photos / "loose.png").write_text("outside of the classes")
    X, y, classes, paths = load_images(photos)
    names = [path.relative_to(photos).as_posix() for path in paths]
    assert names == ["a/3.png", "a/deeper/1.png", "b/0.png", "b/10.png", "b/2.png"]
    assert (classes, y.tolist()) == (["a", "b"], [0, 0, 1, 1, 1])
    assert (X.dtype, y.dtype) == (np.uint8, np.int64)
    np.testing.assert_array_equal(X[0], PIXELS + np.uint8(len("a/3.png")))
    assert "b: ignored 1 non-image file, such as" in caplog.text
    assert "photos: ignored 1 image outside of the subfolders, such as" in caplog.text


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        ("a b", {"training": ""}),
        ("car train", {"training": ""}),
        ("Test Train", {"training": "Train", "test": "Test"}),
        ("testing training valid", {"training": "training", "validation": "valid"}),
        ("train", {"training": "train"}),
        ("test val", None),
        ("test", None),
        ("train val valid", None),
        ("extra test train", None),
    ],
)
def test_folders_of_splits(tmp_path, names, splits):
    """They are not taken for classes, since a network would learn which split an image is in."""
    for name in names.split():
        (tmp_path / name).mkdir()
    if splits is None:
        with pytest.raises(DataFileError, match=r"expected one folder for each split: .*got '"):
            split_folders(tmp_path)
    else:
        found = split_folders(tmp_path)
        assert {name: found[name] for name in splits} == {
            name: tmp_path / folder for name, folder in splits.items()
        }


def test_classes_that_are_known(photos, save):
    _, y, classes = files_by_class(photos, ["c", "b", "a"])
    assert (classes, y.tolist()) == (["c", "b", "a"], [2, 2, 1, 1])
    with pytest.raises(DataFileError, match=r"photos.b: 'b' is not a class of the training data"):
        files_by_class(photos, ["a", "c"])
    with pytest.raises(DataFileError, match=r"a.deeper: expected at least 1 subfolder .* got none"):
        files_by_class(photos / "a" / "deeper", ["a"])


@pytest.mark.parametrize(
    ("pixels", "color", "expected"),
    [
        ([GRAY, GRAY], "auto", "gray"),
        ([GRAY, PIXELS], "auto", "rgb"),
        ([PIXELS, PIXELS], "auto", "color"),
        ([GRAY, PIXELS], "gray", "gray"),
        ([GRAY, GRAY], "rgb", "rgb"),
    ],
)
def test_colors(save, pixels, color, expected):
    X, found = read_images([save(f"{i}.png", each) for i, each in enumerate(pixels)], None, color)
    assert found == expected
    first = pixels[0] if pixels[0].ndim == 3 else GRAY[..., None]
    np.testing.assert_array_equal(
        X[0], first if expected == "gray" else first + np.zeros_like(PIXELS)
    )


def test_gray_files_where_colors_were_learned(save):
    with pytest.raises(DataFileError, match=r"1\.png: the image is gray, but the network was"):
        read_images([save("1.png", GRAY)], color="color")


def test_a_damaged_gray_file_among_colors_is_damaged(photos, save):
    path = save("a/gray.png", GRAY)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataFileError, match=r"gray\.png: the image is damaged"):
        load_images(photos)


@pytest.mark.parametrize(
    ("sizes", "size", "expected"),
    [
        ([(8, 6), (8, 6), (99, 2)], None, (8, 6)),
        ([(128, 96), (128, 96), (8, 6)], None, (64, 48)),
        ([(300, 1), (300, 1)], None, (64, 1)),
        ([(8, 6), (4, 6)], 5, (5, 5)),
        ([(8, 6), (4, 6)], [3, 7], (3, 7)),
    ],
)
def test_sizes(save, sizes, size, expected):
    paths = [save(f"{i}.png", np.full(each, 9, np.uint8)) for i, each in enumerate(sizes)]
    X, _ = read_images(paths, size)
    assert X.shape == (len(sizes), *expected, 1)
    assert (X == 9).all()


def exif(orientation):
    described = Image.Exif()
    described[0x0112] = orientation
    return described


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [(1, GRAY), (3, np.rot90(GRAY, 2)), (6, np.rot90(GRAY, -1)), (8, np.rot90(GRAY))],
)
def test_orientation(save, orientation, expected):
    X, _ = read_images([save("1.png", GRAY, exif=exif(orientation))])
    np.testing.assert_array_equal(X[0, ..., 0], expected)


def test_kinds_of_pixels(save):
    alpha = np.dstack([PIXELS, np.where(GRAY > 99, 255, 0).astype(np.uint8)])
    palette = Image.fromarray(PIXELS).quantize(200)
    frames = [Image.fromarray(each) for each in (GRAY, GRAY[::-1])]
    cases = [
        ("1.png", GRAY.astype(np.uint16) * 257, {}, GRAY),
        ("1.tif", GRAY.astype(np.uint16) * 257, {}, GRAY),
        ("1.pgm", Image.fromarray(GRAY.astype(np.int32) * 257), {}, GRAY),
        ("2.png", GRAY > 99, {}, np.where(GRAY > 99, 255, 0)),
        ("3.png", alpha, {}, np.where(GRAY[..., None] > 99, PIXELS, 255)),
        ("4.png", palette, {}, np.asarray(palette.convert("RGB"))),
        ("1.gif", frames[0], {"save_all": True, "append_images": frames[1:]}, None),
        ("1.bmp", PIXELS, {}, PIXELS),
        ("1.webp", PIXELS, {"lossless": True}, PIXELS),
    ]
    for name, pixels, options, expected in cases:
        X, _ = read_images([save(name, pixels, **options)])
        expected = np.stack([GRAY] * 3, -1) if expected is None else expected
        np.testing.assert_array_equal(X[0], expected.reshape(X[0].shape), err_msg=name)


def test_large_jpegs_are_reduced(save):
    path = save("1.jpg", Image.linear_gradient("L").resize((400, 200)), quality=95)
    X, _ = read_images([path], (5, 10))
    assert X[0, 0].mean() < 40 < 210 < X[0, -1].mean()
    assert np.ptp(X, axis=2).max() <= 2


def test_every_damaged_file_is_listed(photos, save):
    content = save("a/0.png").read_bytes()
    for number in range(12):
        (photos / "a" / f"x{number:02}.png").write_bytes(content[: 3 * number])
    (photos / "b" / "gone.png").symlink_to("nothing.png")
    (photos / "b" / "zz.png").write_bytes(b"GIF89a is no image")
    os.mkfifo(photos / "b" / "pipe.png")
    with pytest.raises(DataFileError) as raised:
        load_images(photos)
    lines = str(raised.value).split("\n  ")
    assert [Path(line.partition(": ")[0]).name for line in lines[:10]] == [
        f"x{number:02}.png" for number in range(10)
    ]
    assert lines[10:] == ["and 5 more files"]
    for name, message in (("gone", "link to a file that does"), ("pipe", "got a pipe")):
        with pytest.raises((DataFileError), match=f"{name}.png: .*{message}"):
            read_images([photos / "b" / f"{name}.png"])


def png(width, height, bits=1, kind=0, chunks=()):
    """Return a PNG file of a kind (0 is gray, 2 is RGB), with chunks after its header."""
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )


@pytest.mark.parametrize(
    ("bits", "kind", "pixels", "transparent", "expected"),
    [
        (1, 0, [0b10000000], [1], [255, 0]),
        (2, 0, [0b10010000], [2], [255, 85]),
        (4, 0, [0x57], [5], [255, 7 * 17]),
        (8, 0, [5, 7], [5], [255, 7]),
        (16, 0, [2, 7, 2, 8], [0x207], [255, 2]),
        (16, 2, [2, 7] * 3 + [3, 7] * 3, [0x207] * 3, [255, 3]),
    ],
)
def test_a_transparent_color_of_any_size(tmp_path, bits, kind, pixels, transparent, expected):
    color = struct.pack(f">{len(transparent)}H", *transparent)
    chunks = [(b"tRNS", color), (b"IDAT", zlib.compress(bytes([0, *pixels]))), (b"IEND", b"")]
    (tmp_path / "1.png").write_bytes(png(2, 1, bits, kind, chunks))
    X, _ = read_images([tmp_path / "1.png"], (1, 2), "gray")
    assert X.ravel().tolist() == expected


@pytest.mark.parametrize("sides", [(10_001, 10_000), (2**31 - 1, 2**31 - 1)])
def test_huge_images_are_refused(tmp_path, sides):
    (tmp_path / "bomb.png").write_bytes(png(*sides) + struct.pack(">I4sI", 0, b"IDAT", 0))
    with pytest.raises(DataFileError, match=r"bomb\.png: has more than 100,000,000 pixels; make"):
        read_images([tmp_path / "bomb.png"])


def test_images_with_32_bits(save):
    with pytest.raises(DataFileError, match=r"1\.tif: has 32 bits per pixel"):
        read_images([save("1.tif", GRAY.astype(np.float32))])


SPLIT = [("a", "train"), ("b", "val")]


def link(target):
    return lambda photos: (photos / "a" / "link.png").symlink_to(target)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (link("../../outside.png"), r"a.link\.png: is a symbolic link out of .*photos; copy"),
        (link("/etc"), r"a.link\.png: is a symbolic link to a folder"),
        (link("."), r"a.link\.png: is a symbolic link to a folder"),
        (link("link.png"), r"a.link\.png: is a link that leads back to itself"),
        (lambda photos: (photos / "c").mkdir(), r"photos.c: contains no images; gpunn reads \.bmp"),
        (
            lambda photos: (photos / "b").rename(photos.parent / "b"),
            r"photos: expected at least 2 subfolders of .*; got only 'a'",
        ),
        (
            lambda photos: [(photos / a).rename(photos / b) for a, b in SPLIT],
            r"photos: has a folder for each split; load one of them, such as .*train",
        ),
        (lambda photos: photos.rename(photos.parent / "x"), r"photos: expected a folder of images"),
    ],
)
def test_folders_that_cannot_be_read(photos, spoil, message):
    (photos.parent / "outside.png").write_bytes(b"")
    spoil(photos)
    with pytest.raises(DataFileError, match=message):
        load_images(photos)


@pytest.mark.skipif(os.sep != "/", reason="names are always UTF-16")
def test_names_that_are_not_utf_8(photos):
    Path(os.fsdecode(bytes(photos) + b"/a/\xff.png")).write_bytes(b"")
    with pytest.raises(DataFileError, match="the name is not UTF-8; rename it"):
        load_images(photos)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, r"size\[0\]: expected an integer >= 1"),
        ({"size": 2**28}, r"size: 4 images of 268,435,456 by 268,435,456 pixels do not fit into"),
        ({"size": 2**40}, r"size: .* do not fit into memory; use a smaller size"),
        ({"size": (1, 2, 3)}, r"size: expected an integer or \(height, width\)"),
        ({"color": "gry"}, "color: there is no color 'gry'; did you mean 'gray'"),
    ],
)
def test_arguments(photos, options, message):
    with pytest.raises(ArgumentError, match=message):
        load_images(photos, **options)


def test_without_pillow(photos, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    with pytest.raises(GpunnError, match=r"reading image files needs .* pip install"):
        load_images(photos)


def encoded(format):
    content = io.BytesIO()
    Image.fromarray(PIXELS).save(content, format)
    return content.getvalue()


FILES = {format: encoded(format) for format in FORMATS}


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), format=st.sampled_from(FORMATS))
def test_files_of_any_bytes(tmp_path, data, format):
    content = bytearray(FILES[format])
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    path = tmp_path / "file.png"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for size in (None, 3):
        try:
            X, _ = read_images([path], size)
        except DataFileError as error:
            problem = str(error)
        else:
            problem = f"{path}: "
            assert (X.dtype, X.ndim) == (np.uint8, 4)
        assert problem.startswith(f"{path}: ")
