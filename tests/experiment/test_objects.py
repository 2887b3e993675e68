from pathlib import Path

import pytest

from gpunn.config import parse_config
from gpunn.errors import ConfigError
from gpunn.experiment.objects import Objects


def test_what_is_nested_too_deeply():
    units: object = 1
    for _ in range(5000):
        units = [units]
    raw = {
        "data": {"dataset": "digits"},
        "model": {"layers": [{"name": "dense", "units": units}]},
        "training": {"loss": "softmax_cross_entropy", "epochs": 1},
    }
    with pytest.raises(ConfigError, match=r"^model\.layers\[0\]: nested too deeply$"):
        Objects(parse_config(raw, Path("/configs")))
