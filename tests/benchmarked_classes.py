"""The custom classes of scripts/benchmarks/custom_classes.py."""

import importlib.util
import sys
from pathlib import Path

PATH = Path(__file__).parents[1] / "scripts" / "benchmarks" / "custom_classes.py"
SPEC = importlib.util.spec_from_file_location("custom_classes", PATH)
MODULE = importlib.util.module_from_spec(SPEC)
sys.modules["custom_classes"] = MODULE
SPEC.loader.exec_module(MODULE)
CLASSES, targets_for = MODULE.CLASSES, MODULE.targets_for
