"""Checkpoints of a training: their contents, and the checks before resuming from one."""
