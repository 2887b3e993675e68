"""Checkpoints of a training: their contents, and checks before training resumes."""
