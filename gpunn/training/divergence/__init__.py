"""Detect losses and states that are not finite, find the first affected layer, and recover."""
