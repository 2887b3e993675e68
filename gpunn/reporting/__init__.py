"""Reports: charts of runs in one HTML file.

The extra `report` installs the required packages, which are imported when a report is written.
"""

from gpunn.reporting.page import write_report

__all__ = ["write_report"]
