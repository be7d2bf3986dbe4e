"""Result folders as one HTML page that needs no network: python -m mirrorflow.sweep report.

The page holds what each folder says of itself and nothing else: verdicts, figures, rows,
configuration, environment. A folder may be a stranger's. Everything is escaped, the page has no
script and forbids its own with a Content-Security-Policy, and of files only those figures are
taken whose SHA-256 the manifest names.
"""

from mirrorflow.runs.report.contents import Contents
from mirrorflow.runs.report.page import page

__all__ = ["Contents", "page"]
