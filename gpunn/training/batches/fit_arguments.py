"""Turn the arguments of `Trainer.fit` and `evaluate` into data sets and streams of batches."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gpunn.configurable import check_integer
from gpunn.errors import ArgumentError
from gpunn.training.batches.batch_stream import (
    BatchStream,
    is_batches,
    number_of_batches,
    refuse_iterator,
)
from gpunn.training.batches.dataset import DatasetBuilder, Subset


@dataclass(frozen=True)
class FitArguments:
    builder: DatasetBuilder
    epoch: Callable[[], int]
    prefetch: int = 0

    def training_and_validation(
        self,
        X: Any,
        y: Any,
        validation_data: Any,
        *,
        validation_split: float,
        rows: Any,
        validation_rows: Any,
        sample_weight: Any,
        class_weight: Mapping[int, float] | str | None,
        steps_per_epoch: int | None,
        batch_size: int,
        for_arrays: Mapping[str, object],
    ) -> tuple[Subset | BatchStream, Subset | BatchStream | None]:
        builder, streamed = self.builder, None
        by_number = {"rows": rows, "validation_rows": validation_rows}
        chosen = [name for name, value in by_number.items() if value is not None]
        if chosen and (validation_data is not None or validation_split):
            other = "validation_split" if validation_data is None else "validation_data"
            raise ArgumentError(
                f"{other}: can't be combined with {chosen[0]}; use validation_rows instead"
            )
        if validation_data is not None and validation_split:
            raise ArgumentError(
                "validation_split: can't be combined with validation_data; give one of them"
            )
        if is_batches(validation_data):
            streamed, validation_data = self._stream(validation_data, "validation_data"), None
        if y is not None:
            if steps_per_epoch is not None:
                raise ArgumentError(
                    "steps_per_epoch: works only with batches; for arrays, leave it out"
                )
            refuse_batches(X)
            data = builder.check(X, y, sample_weight)
            if chosen:
                held_out = builder.held_out_by_number(data, rows, validation_rows)
            else:
                held_out = builder.held_out(data, validation_data, validation_split)
            training, validation = builder.split(data, held_out, class_weight)
            return training, streamed or validation
        require_batches(X)
        only_arrays = {
            "validation_split": validation_split,
            "sample_weight": sample_weight,
            "class_weight": class_weight,
            **by_number,
            **for_arrays,
        }
        for name, value in only_arrays.items():
            if value is not None and not (isinstance(value, int | float) and not value):
                raise ArgumentError(
                    f"{name}: works only with arrays, since it needs all rows; leave it out for "
                    "batches, which contain their own rows and weights"
                )
        steps = number_of_batches(X) if steps_per_epoch is None else steps_per_epoch
        if steps is None:
            raise ArgumentError(
                "steps_per_epoch: give the number of batches per epoch, which is unknown for a "
                "function or an iterable without a length"
            )
        steps = check_integer("steps_per_epoch", steps)
        stream = self._stream(X, "X", steps=steps, batch_size=batch_size)
        if validation_data is not None:
            rows = builder.held_out_rows(validation_data)
            stream.validation_names = rows.names
            return stream, builder.subset(rows)
        return stream, streamed

    def evaluated(self, X: Any, y: Any, sample_weight: Any) -> Subset | BatchStream:
        if y is not None:
            refuse_batches(X)
            return self.builder.subset(self.builder.check(X, y, sample_weight))
        require_batches(X)
        if sample_weight is not None:
            raise ArgumentError(
                "sample_weight: works only with arrays; put weights into the batches instead"
            )
        return self._stream(X, "X")

    def _stream(
        self, source: Any, argument: str, steps: int | None = None, batch_size: int | None = None
    ) -> BatchStream:
        return BatchStream(
            self.builder,
            source,
            self.epoch,
            steps=steps,
            batch_size=batch_size,
            ahead=self.prefetch,
            argument=argument,
        )


def refuse_batches(X: Any) -> None:
    if callable(X) or isinstance(X, Iterator):
        raise ArgumentError(
            "y: can't be combined with batches, whose tuples (X, y) already contain the targets; "
            "leave y out"
        )


def require_batches(X: Any) -> None:
    refuse_iterator(X, "X")
    if not is_batches(X):
        raise ArgumentError(
            "y: give the targets. Or give batches as X: a list of tuples (X, y), or a function "
            "that takes the epoch's number and returns such a list or another iterable"
        )
