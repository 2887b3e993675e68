"""Fixtures that tests of training share."""

import pytest

from gpunn.training import epoch_blocks


@pytest.fixture
def path(tmp_path):
    """A path for a checkpoint of a test."""
    return tmp_path / "checkpoint.safetensors"


@pytest.fixture
def unhurried_blocks(monkeypatch):
    """Let blocks of epochs take as long as they need, on any machine."""
    monkeypatch.setattr(epoch_blocks, "SECONDS", 1e9)
    monkeypatch.setattr(epoch_blocks, "MAX_SECONDS", 1e9)
