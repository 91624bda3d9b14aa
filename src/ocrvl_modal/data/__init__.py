"""Datasets: their rows, the checks without which training must not start, and made-up ones to try things with."""
