"""Datasets cut to shape: divided, mixed, sampled and measured, row by row, in memory that does not grow with them."""
