"""Warns of a table's problems before training."""

from __future__ import annotations

import logging

from gpunn.config import TableFile
from gpunn.experiment.build import Experiment
from gpunn.rows.cells import Markers
from gpunn.tables import Table
from gpunn.tables.inspection import ROWS, findings

__all__ = ["warn_of_findings"]

LOG = logging.getLogger("gpunn")


def warn_of_findings(experiment: Experiment) -> None:
    """Log a line for each finding of `gpunn inspect` in the table of an experiment.

    Nothing is logged if the network starts from another one, whose schema may be that of another
    table.
    """
    config, schema = experiment.config, experiment.trainer.model.schema
    table, data = experiment.parts.training.source_inputs, config.data
    if schema is None or config.model.start_from is not None or not isinstance(data, TableFile):
        return
    assert isinstance(table, Table)
    markers = Markers.of(data.missing_values)
    kinds = () if data.columns == "auto" else data.columns
    draws = bool(data.validation_fraction or data.test_fraction)
    for finding in findings(table, data.targets, schema.columns, markers, data.split, kinds):
        if finding.subject != ROWS or draws:
            LOG.warning("%s: %s", data.path, finding.brief)
