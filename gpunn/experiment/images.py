"""Image folders of a configuration, and predictions for image files."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gpunn.config import Config, Images
from gpunn.data.image_files import read_images
from gpunn.data.images import check_name, class_names, files_by_class, image_files, split_folders
from gpunn.errors import ArgumentError, ArgumentTypeError, ConfigError, DataError
from gpunn.experiment.predict_in_blocks import BLOCK
from gpunn.experiment.predictions import Predictions
from gpunn.experiment.splits import Split, Splits
from gpunn.network import Sequential

LOG = logging.getLogger("gpunn")


def load_folder(data: Images) -> Splits:
    folders = split_folders(Path(data.path))
    for name in ("test", "validation"):
        if name in folders and getattr(data, f"{name}_fraction"):
            raise ConfigError(
                f"data.{name}_fraction: {data.path} has a folder {folders[name].name!r} for this "
                "split; set the key to 0"
            )
    paths, y, classes = files_by_class(folders["training"])
    with ConfigError.instead_of(ArgumentError, ArgumentTypeError, prefix="data."):
        X, color = read_images(paths, data.size, data.color)
    settled: dict[str, Any] = {"size": list(X.shape[1:3]), "color": color}
    data = replace(data, **settled)
    validation, test = (
        labeled_images(folders[name], data, classes) if name in folders else None
        for name in ("validation", "test")
    )
    return Splits(Split(X, y), validation, test, {"classes": classes, "color": color})


def with_format(config: Config, splits: Splits) -> Config:
    data, X = config.data, splits.training.source_inputs
    if isinstance(data, Images) and isinstance(X, np.ndarray):
        data = replace(data, size=list(X.shape[1:3]), color=splits.metadata["color"])
    return replace(config, data=data)


def labeled_images(folder: Path, data: Images, classes: Sequence[str]) -> Split:
    paths, y, _ = files_by_class(split_folders(folder).get("test", folder), classes)
    return Split(read_images(paths, data.size, data.color)[0], y)


def default_configuration(folder: Path, fraction: float) -> dict[str, Any]:
    folders = split_folders(folder)
    data: dict[str, Any] = {"dataset": "images", "path": str(folder.absolute())}
    data |= {f"{each}_fraction": fraction for each in ("test", "validation") if each not in folders}
    layers: list[Any] = ["rescaling"]
    for filters in (32, 64, 128):
        convolution = {"name": "conv_2d", "filters": filters, "kernel_size": 3, "padding": "same"}
        pool = {"name": "max_pool_2d", "padding": "same"}
        layers += [{**convolution, "bias": False}, "batch_norm", "activation", pool]
    units = len(class_names(folders["training"]))
    layers += ["global_average_pool_2d", {"name": "dropout", "rate": 0.3}]
    layers.append({"name": "dense", "units": units})
    training = {
        "loss": "softmax_cross_entropy",
        "optimizer": {"name": "adamw", "learning_rate": {"name": "one_cycle", "rate": 0.003}},
        "epochs": 30,
        "metrics": ["accuracy"],
        "augment": ["shift", "rotate"],  # not flipped: mirrored letters are wrong
    }
    return {"data": data, "model": {"layers": layers}, "training": training}


def predicted_images(
    model: Sequential, paths: Sequence[Path], meaning: Callable[[np.ndarray], Predictions]
) -> Iterator[Predictions]:
    shape = model.input_shape
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise DataError(
            f"{paths[0]}: the network expects rows of shape {shape}; give a file of such rows, not "
            "images"
        )
    if "color" not in model.metadata:
        LOG.warning("the network was not trained on image files; gpunn uses pixels from 0 to 255")
    color = model.metadata.get("color", "gray" if shape[2] == 1 else "rgb")
    files = [file for path in paths for file in (image_files(path) if path.is_dir() else [path])]
    for file in files:
        check_name(file)
    size = min(BLOCK, max(1, model.rows_per_pass // 8))  # the same for all files
    for start in range(0, len(files), size):
        block = files[start : start + size]
        X, _ = read_images(block, shape[:2], color)
        padding = np.zeros((size - len(X), *shape), np.uint8)
        outputs = model.predict_encoded(np.concatenate([X, padding]), size)[: len(X)]
        yield replace(meaning(outputs), files=[str(file) for file in block])
