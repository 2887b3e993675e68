"""Reports: charts of runs in one HTML file; they need the packages of the `report` extra."""

from gpunn.reporting.page import write_report

__all__ = ["write_report"]
