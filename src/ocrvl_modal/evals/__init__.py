"""Scores: how well a model reads."""
