"""Load saved networks."""

from __future__ import annotations

from pathlib import Path

from gpunn.backends import Backend, get_backend
from gpunn.custom_classes import require_classes
from gpunn.errors import ArgumentError, ArgumentTypeError, ModelFileError
from gpunn.network import Sequential, schema_of
from gpunn.neural_network import NeuralNetwork
from gpunn.storage.models import check_arrays, final_model, read_model
from gpunn.storage.reading import checked_path

KINDS = {each.file_kind: each for each in (Sequential, NeuralNetwork)}


def load_model(
    path: str | Path, backend: str | Backend | None = None, *, allow_imports: bool = False
) -> Sequential:
    """Load a network from a file that `Sequential.save` wrote, or from a checkpoint.

    Before the call, define or import custom layers, activations and initializers.

    Parameters
    ----------
    path : str or Path
        A file, or the folder of a run. For a folder, the final network of the run is loaded.
    backend : str, Backend or None
        The backend that computes; see `gpunn.get_backend`.
    allow_imports : bool
        Whether to import the modules of custom classes that the file names. Importing a module runs
        its code, so set this only if you trust the file and the modules.

    Returns
    -------
    Sequential
        The network. A custom subclass is loaded as its base class `Sequential` or `NeuralNetwork`.

    Raises
    ------
    ModelFileError
        If the file does not exist, is damaged, is not a model file, or is from a newer gpunn. The
        error is also raised if the folder has no final network, or if a class that the file needs
        is not defined or can't be imported.

    Examples
    --------
    >>> gpunn.Sequential([gpunn.layers.Dense(2)], 3, backend="numpy").save("model.safetensors")
    >>> model = gpunn.load_model("model.safetensors", backend="numpy")
    >>> model.predict([[1.0, 2.0, 3.0]]).shape
    (1, 2)
    """
    device = get_backend(backend)
    path = Path(checked_path(path))
    if path.is_dir():
        path = final_model(path)
    description, values, _ = read_model(path)
    # Skip the constructor of the class, which may have other parameters.
    model: Sequential = object.__new__(KINDS[description.kind])
    try:
        require_classes(description.custom, allow_imports=allow_imports)
        Sequential.__init__(
            model,
            description.layers,
            tuple(description.input_shape),
            device,
            description.seed,
            description.dtype,
            values,
        )
        check_arrays(values, description.dtype)
        model.metadata, model.adapted = description.metadata, description.inputs_fitted
        model.started = description.inputs_fitted
        if (schema := schema_of(description)) is not None:
            model.schema = schema
    except (ArgumentError, ArgumentTypeError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{path}: can't rebuild the network: {error}") from error
    return model
