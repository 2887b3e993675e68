"""One training step: forward, loss, backward, clipping and update, on one or several ranks."""
