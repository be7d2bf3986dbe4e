"""Results on disk: the rows, paths and manifest of a study's folder, as `mirrorflow.runs.store`."""

from mirrorflow.runs.store import *  # noqa: F403
from mirrorflow.runs.store import __all__ as __all__
