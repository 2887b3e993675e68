"""Prepare the rows of each update: checks, weights, shuffling, augmentation, streams of batches."""
