"""Errors for attributes that can't be set; the messages say what to do instead."""

from collections.abc import Iterable
from typing import Any

from gpunn.errors import SettingError
from gpunn.hints import advice

FREEZING = "to freeze a layer, set layer.trainable = False"

HINTS = {
    "trainable": FREEZING,
    "requires_grad": FREEZING,
    "lr": "set learning_rate of the optimizer",
    "learning_rate": "set trainer.optimizer.learning_rate",
    **dict.fromkeys(
        ("batch_size", "epochs", "shuffle", "class_weight", "sample_weight", "validation_split"),
        "pass it to fit",
    ),
}

NEW = "the layers of a network can't be changed later; build a new gpunn.Sequential"

CHANGES = ("append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort")


def unknown_attribute(owner: object, name: str, valid: Iterable[str]) -> SettingError:
    public = [each for each in valid if each[0] != "_"]
    hint = HINTS.get(name) or advice("parameter", name, public)
    return SettingError(f"{type(owner).__name__} has no attribute {name!r}: {hint}")


def fixed_attribute(owner: object, name: str) -> SettingError:
    return SettingError(f"{type(owner).__name__}.{name} can't be set: {NEW}")


class Fixed(tuple[Any, ...]):
    """A tuple that raises an explanatory error if code tries to change it like a list."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name in CHANGES:
            raise SettingError(f"layers.{name}: {NEW}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __iadd__(self, others: Any) -> Any:  # type: ignore[misc]
        raise SettingError(f"layers += ...: {NEW}")

    def __setitem__(self, index: Any, value: Any) -> None:
        raise SettingError(f"layers[{index!r}] can't be set: {NEW}")

    def __delitem__(self, index: Any) -> None:
        raise SettingError(f"layers[{index!r}] can't be deleted: {NEW}")
