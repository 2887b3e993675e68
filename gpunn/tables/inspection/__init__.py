"""The report of `gpunn inspect` on a table. Each check returns the findings in a `Sample`."""

from gpunn.tables.inspection.finding import ROWS, Finding
from gpunn.tables.inspection.report import Inspection, findings, inspect
from gpunn.tables.inspection.targets import DATES, MAX_CLASSES, class_names, why_no_classes

__all__ = [
    "DATES",
    "MAX_CLASSES",
    "ROWS",
    "Finding",
    "Inspection",
    "class_names",
    "findings",
    "inspect",
    "why_no_classes",
]
