"""Datasets as they lie in the data store: rows and images in tar files that are named by their content."""
