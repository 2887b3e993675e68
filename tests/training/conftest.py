"""What tests of training share."""

import pytest


@pytest.fixture
def path(tmp_path):
    """Where a test may write a checkpoint."""
    return tmp_path / "checkpoint.safetensors"
