"""Damaged files for every reader; what all tests share can be imported, by the command too."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
