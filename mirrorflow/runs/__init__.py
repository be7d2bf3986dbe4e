"""Runs: studies, the command line, executors, results on disk, reports. No mathematics."""
