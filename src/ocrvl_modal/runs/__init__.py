"""A run on disk: where its files lie, its record, its metrics and its checkpoints."""
