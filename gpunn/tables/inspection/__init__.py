"""The content of a table, and possible mistakes in it: the report of `gpunn inspect`.

Each kind of check has a module with a function from a `Sample` to findings.
"""

from gpunn.tables.inspection.finding import ROWS, Finding
from gpunn.tables.inspection.report import Inspection, findings, inspect
from gpunn.tables.inspection.targets import MAX_CLASSES, class_names

__all__ = ["MAX_CLASSES", "ROWS", "Finding", "Inspection", "class_names", "findings", "inspect"]
