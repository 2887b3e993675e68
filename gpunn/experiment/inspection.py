"""Warns of a table's problems before training."""

import logging

from gpunn.config import Config, TableFile
from gpunn.experiment.splits import Splits
from gpunn.rows.cells import Markers
from gpunn.tables import Schema, Table
from gpunn.tables.inspection import ROWS, findings

LOG = logging.getLogger("gpunn")


def warn_of_findings(config: Config, schema: Schema | None, splits: Splits) -> None:
    # Nothing is logged if the schema may be from another table (model.start_from).
    table, data = splits.training.source_inputs, config.data
    if schema is None or config.model.start_from is not None or not isinstance(data, TableFile):
        return
    assert isinstance(table, Table)
    markers = Markers.of(data.missing_values)
    draws = bool(data.validation_fraction or data.test_fraction)
    for finding in findings(table, data.targets, schema.columns, markers, data.split, data.kinds):
        if finding.subject != ROWS or draws:
            LOG.warning("%s: %s", data.path, finding.brief)
