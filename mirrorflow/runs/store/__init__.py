"""Runs on disk: one shard per finished run, consolidated into rows, paths and a manifest.

A folder holds

    shards/KEY.run           one finished run: its row, its paths
    shards/KEY.failed.json   a run that raised: its configuration, message, number of attempts
    rows.parquet             the rows of the last command
    paths.npz                its paths, named KEY/NAME
    manifest.json            command, configuration, versions, hashes; claims, remarks, figures
    .lock                    held by the command that writes

Every file appears by an atomic rename, so that whatever is there is whole. KEY is a hash of the
run's configuration and of the code that computes it (`closure`): finished runs are found again, a
changed configuration or a changed code is a new run.

Folders may come from strangers: nothing here unpickles, sizes are checked before memory is asked
for, and what is damaged is refused by name.
"""

from mirrorflow.runs.store.atomic import atomic_write
from mirrorflow.runs.store.closure import code_digest
from mirrorflow.runs.store.environment import command_line, environment
from mirrorflow.runs.store.folder import Folder
from mirrorflow.runs.store.load import load, load_paths, read_manifest
from mirrorflow.runs.store.run import Row, Run
from mirrorflow.runs.store.table import split

__all__ = [
    "Folder",
    "Row",
    "Run",
    "atomic_write",
    "code_digest",
    "command_line",
    "environment",
    "load",
    "load_paths",
    "read_manifest",
    "split",
]
