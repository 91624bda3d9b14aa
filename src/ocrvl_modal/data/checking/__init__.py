"""What is wrong with a dataset: found by reading it, before a GPU does."""
