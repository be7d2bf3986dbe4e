"""Compiled loops beneath the flows: options, vectors, schedule tables, layout of a run's arrays."""
