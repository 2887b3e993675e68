"""Makes the objects that a configuration names: layers, loss, optimizer, metrics, callbacks."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

# A class is found by name once it is defined, so all built-in classes must be imported.
from gpunn import activations, callbacks, initializers, metrics, optimizers, schedules  # noqa: F401
from gpunn.augmentations import Augmentation
from gpunn.backends import Backend
from gpunn.config import Config, TableFile
from gpunn.configurable import Configurable, imported, resolve
from gpunn.custom_classes import require_classes
from gpunn.errors import ArgumentError, ArgumentTypeError, ConfigError, ModelFileError
from gpunn.experiment.metadata import check_metadata, reading_of
from gpunn.layers import Layer
from gpunn.load import load_model
from gpunn.losses import Loss
from gpunn.metrics import Metric
from gpunn.network import Sequential
from gpunn.optimizers import Optimizer
from gpunn.storage.models import read_model
from gpunn.training.callbacks import Callback

Kind = TypeVar("Kind", bound=Configurable)

IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class ImportRefusedError(ConfigError):
    pass


class Objects:
    """The objects that a configuration names. With `allow_imports`, custom classes are imported."""

    def __init__(self, config: Config, allow_imports: bool = False) -> None:
        self.config, self.allow_imports, self.imported = config, allow_imports, dict[str, str]()
        model, training = config.model, config.training
        self.layers = self._make_all(Layer, model.layers or [], "model.layers")
        self.loss = self._make(Loss, training.loss, "training.loss")
        self.optimizer = self._make(Optimizer, training.optimizer, "training.optimizer")
        self.metrics = self._make_all(Metric, training.metrics, "training.metrics")
        values = training.validation_metrics
        self.validation_metrics = self._make_all(Metric, values, "training.validation_metrics")
        self.callbacks = self._make_all(Callback, training.callbacks, "training.callbacks")
        self.augment = self._make_all(Augmentation, training.augment, "training.augment")

    def _make(self, base: type[Kind], value: Any, path: str) -> Kind:
        try:
            return resolve(base, self._import_classes(value, path), path)
        except ConfigError:
            raise
        except (ArgumentError, ArgumentTypeError) as error:
            raise ConfigError(str(error)) from error
        except RecursionError as error:
            raise ConfigError(f"{path}: nested too deeply") from error
        # Raised by a class that does not check its parameters.
        except (AttributeError, TypeError, ValueError) as error:
            raise ConfigError(f"{path}: {error}; got {value!r}") from error

    def _make_all(self, base: type[Kind], values: list[Any], path: str) -> list[Kind]:
        return [self._make(base, value, f"{path}[{index}]") for index, value in enumerate(values)]

    def _import_classes(self, value: Any, path: str) -> Any:
        if isinstance(value, Mapping):
            return {
                key: self._import_classes(item, path if key == "name" else f"{path}.{key}")
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [
                self._import_classes(item, f"{path}[{index}]") for index, item in enumerate(value)
            ]
        if isinstance(value, str) and IMPORT_PATH.fullmatch(value):
            if not self.allow_imports:
                raise ImportRefusedError(
                    f"{path}: importing {value!r} runs its module's code; if you trust the "
                    "configuration and the module, add --allow-imports (in Python: "
                    "allow_imports=True)"
                )
            cls = imported(value, path)
            if "name" not in vars(cls) or not cls.name:
                raise ConfigError(
                    f"{path}: {value!r} needs its own class attribute `name`, because model files "
                    "refer to a class by its name"
                )
            self.imported[cls.name] = value
            return cls.name
        return value

    def described(self) -> dict[str, Any]:
        described: dict[str, Any] = self.config.plain()
        if self.config.model.name is None:
            described["model"]["layers"] = [self._description(layer) for layer in self.layers]
        training = described["training"]
        training["loss"] = self._description(self.loss)
        training["optimizer"] = self._description(self.optimizer)
        training["metrics"] = [self._description(metric) for metric in self.metrics]
        further = [self._description(metric) for metric in self.validation_metrics]
        training["validation_metrics"] = further
        training["callbacks"] = [self._description(callback) for callback in self.callbacks]
        training["augment"] = [self._description(each) for each in self.augment]
        return described

    def _description(self, item: Configurable) -> Any:
        return self._with_import_paths(item.config())

    def _with_import_paths(self, value: Any) -> Any:
        if isinstance(value, dict):
            described = {key: self._with_import_paths(item) for key, item in value.items()}
            name = described.get("name")
            if isinstance(name, str) and name in self.imported:
                described["name"] = self.imported[name]
            return described
        return (
            [self._with_import_paths(item) for item in value] if isinstance(value, list) else value
        )


def trained_network(
    config: Config, model_file: Path, backend: str | Backend | None, allow_imports: bool
) -> tuple[Sequential, Objects]:
    # First, because it imports the classes that the model file refers to.
    objects = objects_of_run(config, model_file, allow_imports)
    model = load_model(model_file, config.get_backend(backend), allow_imports=allow_imports)
    check_metadata(model_file, model.metadata, config.data)
    if isinstance(config.data, TableFile) and model.schema is None:
        raise ModelFileError(
            f"{model_file}: the schema of the table's columns is missing; train the network again"
        )
    model.metadata |= reading_of(config.data).metadata()  # missing in files of earlier releases
    return model, objects


def objects_of_run(config: Config, model_file: Path, allow_imports: bool) -> Objects:
    # If a run was started from Python code, its configuration has only the names of custom layers,
    # but the model file also names their modules.
    try:
        return Objects(config, allow_imports)
    except ImportRefusedError:
        raise
    except ConfigError:
        recorded = read_model(model_file)[0].custom
        with ModelFileError.instead_of(ArgumentError, prefix=f"{model_file}: "):
            require_classes(recorded, allow_imports=allow_imports)
    return Objects(config, allow_imports)
