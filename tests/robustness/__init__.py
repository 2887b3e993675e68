"""Hunts for what breaks; what all tests share can be imported, by their commands too."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
