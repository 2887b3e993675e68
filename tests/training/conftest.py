"""Fixtures that tests of training share."""

import pytest


@pytest.fixture
def path(tmp_path):
    """A path for a checkpoint of a test."""
    return tmp_path / "checkpoint.safetensors"
