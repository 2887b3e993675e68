"""The report of `gpunn inspect` on a table. Each check returns the findings in a `Sample`."""

from gpunn.tables.inspection.finding import ROWS, Finding
from gpunn.tables.inspection.report import Inspection, findings, inspect
from gpunn.tables.inspection.targets import MAX_CLASSES, class_names, refuse_dates, why_no_classes

__all__ = [
    "MAX_CLASSES",
    "ROWS",
    "Finding",
    "Inspection",
    "class_names",
    "findings",
    "inspect",
    "refuse_dates",
    "why_no_classes",
]
