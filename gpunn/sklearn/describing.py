"""What a network for a table says of itself while it is trained, on rows that are encoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpunn.training.callbacks import Callback

__all__ = ["Describing"]


class Describing(Callback):
    """Describes the network once `Trainer.fit` has its rows, so that files of it take raw ones.

    Parameters
    ----------
    describe : function
        Gives the network its schema and the names of its classes.
    """

    beside_fields = frozenset(("describe",))

    def __init__(self, describe: Callable[[], None]) -> None:
        self.describe = describe

    def on_train_begin(self, trainer: Any) -> None:
        self.describe()
