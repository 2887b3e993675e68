"""What `gpunn train` prints while it trains."""

from collections.abc import Iterator, Mapping

from gpunn.cli.text import epoch_text, say
from gpunn.config import TableFile
from gpunn.experiment import Experiment
from gpunn.experiment.split_report import described_split
from gpunn.experiment.targets import are_labels
from gpunn.meaning import plural
from gpunn.training import Trainer
from gpunn.training.callbacks import Callback

CLASS_WEIGHTS = (
    "class weights change the network's probabilities: mean probabilities differ from the class "
    "frequencies in the data"
)
INSTEAD = "; to detect more rows of a rare class and keep the probabilities, use --threshold-for"


class TrainOutput(Callback):
    def __init__(self, experiment: Experiment, note: str, *, epochs: bool) -> None:
        self.experiment, self.note, self.epochs = experiment, note, epochs

    def on_train_begin(self, trainer: Trainer) -> None:
        say(trainer.model.summary())
        say(f"backend: {', '.join(trainer.model.backend.describe().values())}")
        for line in self._table():
            say(line)
        if self.experiment.config.training.class_weight is not None:
            say(CLASS_WEIGHTS + INSTEAD * (trainer.model.output_shape[0] <= 2))
        splits = self.experiment.splits.by_name
        say(f"rows: {', '.join(f'{split.rows:,} {name}' for name, split in splits.items())}")
        if described := described_split(self.experiment.splits, trainer.model.schema):
            say(described)
        if self.experiment.start is not None:
            say(f"initial weights from {self.experiment.config.model.start_from}:")
            for line in str(self.experiment.start).splitlines():
                say(f"  {line}")
        if self.note:
            say(self.note)
        say()

    def _table(self) -> Iterator[str]:
        data, model = self.experiment.config.data, self.experiment.trainer.model
        if model.schema is None or not isinstance(data, TableFile):
            return
        used = sum(not column.dropped for column in model.schema.columns)
        numbers = plural(len(model.schema.numbers), "number")
        categories = plural(len(model.schema.categories), "category")
        yield f"columns: {used}, encoded as {numbers} and {categories}"
        kind = f"{len(model.classes)} classes" if model.classes else self._kind_of_numbers()
        yield f"target: {', '.join(data.targets)} ({kind})"

    def _kind_of_numbers(self) -> str:
        y = self.experiment.splits.training.source_targets
        if y.ndim == 1 or y.shape[1] == 1:
            return "numbers"
        if self.experiment.trainer.loss.output_activation == "sigmoid":
            return (
                f"{y.shape[1]} labels, with binary cross-entropy; to predict numbers, use "
                "--set training.loss=mean_squared_error"
            )
        labels = are_labels(y)
        if labels.all():
            return "numbers; to predict labels, use --set training.loss=binary_cross_entropy"
        if not labels.any():
            return "numbers"
        names = self.experiment.splits.metadata["targets"]
        other = names[int(labels.argmin())]
        return f"numbers, because {other!r} is not 0 or 1 in every row"

    def on_epoch_end(self, trainer: Trainer, logs: Mapping[str, float]) -> None:
        if self.epochs:
            say(epoch_text(logs, self.experiment.config.training.epochs))
