"""When to train, when to prune: one file per protocol."""
