"""Measurements against other tools: `python -m benchmarks.run` and the scripts beside it."""
