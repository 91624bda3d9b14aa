"""Our own training loop on torch and transformers: the child process of the transformers engine."""
