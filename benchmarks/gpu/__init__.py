"""One sitting on a GPU: what it can do, what the trainer makes of it, and the comparison grid.

    python -m benchmarks.gpu --device cuda --data-root data --minutes 25
    python -m benchmarks.gpu report --publish

docs/gpu.md says what each stage measures and how a sitting is planned.
"""
