"""Losses and states that are not finite: detection, recovery, and the first layer affected."""
