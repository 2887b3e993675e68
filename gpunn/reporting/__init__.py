"""Pictures of runs: a report as one HTML file.

The packages for it come with the extra `report`, and are imported when a picture is asked for.
"""

from gpunn.reporting.page import write_report

__all__ = ["write_report"]
