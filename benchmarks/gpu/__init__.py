"""Measurements of one GPU and the comparison grid on it, in short sessions; docs/gpu.md."""
