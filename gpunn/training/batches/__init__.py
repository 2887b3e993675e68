"""Rows of each update: checked data, weights, shuffling, augmentation, streams of batches."""
