"""Explorer: sliders for the bias of one start, answered by the solvers of this package.

`state` is all that it computes, arrays and sentences from settings. `page` draws them with Bokeh,
`server` answers a browser on this machine, `static` writes one HTML file that needs no server.
"""

from mirrorflow.explore.state import Settings, state

__all__ = ["Settings", "state"]
