"""Opening saved networks."""

from __future__ import annotations

from pathlib import Path

from gpunn.backends import Backend, get_backend
from gpunn.errors import ArgumentError, ArgumentTypeError, ModelFileError
from gpunn.network import Sequential
from gpunn.neural_network import NeuralNetwork
from gpunn.storage.models import check_arrays, final_model, read_model
from gpunn.storage.reading import checked_path

__all__ = ["load_model"]

KINDS = {each.file_kind: each for each in (Sequential, NeuralNetwork)}


def load_model(path: str | Path, backend: str | Backend | None = None) -> Sequential:
    """Read a network from a file that `Sequential.save` wrote, or from a checkpoint.

    No code is run that is not already imported: a layer or activation of your own must have been
    defined before.

    Parameters
    ----------
    path : str or Path
        A file, or the folder of a run, whose final network is meant.
    backend : str, Backend or None
        Where to put it, whatever it was trained on; see `gpunn.get_backend`.

    Returns
    -------
    Sequential
        A `NeuralNetwork` if it was one that was saved. A class of your own comes back as the one
        of these two that it derives from.

    Raises
    ------
    ModelFileError
        If the file is damaged, is not such a file, was written by a newer gpunn, names a layer
        that is not defined, or its arrays don't fit its architecture or are not finite; or if
        there is no such file, or no final network in the folder.
    """
    place = get_backend(backend)
    path = Path(checked_path(path))
    if path.is_dir():
        path = final_model(path)
    description, values, _ = read_model(path)
    # Of its class without its own constructor, which takes other arguments.
    model: Sequential = object.__new__(KINDS[description.kind])
    try:
        Sequential.__init__(
            model,
            description.layers,
            tuple(description.input_shape),
            place,
            description.seed,
            description.dtype,
            values,
        )
        check_arrays(values, description.dtype)
    except (ArgumentError, ArgumentTypeError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{path}: can't rebuild the network: {error}") from error
    model.metadata, model.adapted = description.metadata, description.inputs_fitted
    return model
