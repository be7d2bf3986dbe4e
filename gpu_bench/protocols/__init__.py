"""Protocols: when to train, when to prune; one file for each."""
