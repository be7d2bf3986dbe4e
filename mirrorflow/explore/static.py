"""Static page of the explorer: one HTML file with the states of a grid of settings in it."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace

import numpy as np
from bokeh.embed import file_html
from bokeh.models import CustomJS
from bokeh.resources import INLINE

from mirrorflow.checks import Array
from mirrorflow.explore.page import GRID, Page
from mirrorflow.explore.state import SCHEDULES, Settings, outside, state

__all__ = ["html", "settings_of_grid"]

LARGEST, STEPS = 10.0, 2**15 - 1  # numbers are whole steps of LARGEST/STEPS, NaN is one below
# the index of the controls in the grid; then every array and sentence at that index
SCRIPT = """
let at = 0;
for (const control of controls) {
  const values = control.categories ?? control.options;
  at = at * values.length + values.indexOf(control.value);
}
const width = columns.length + texts.length, data = {};
const plain = new Int16Array(values.buffer, values.byteOffset, values.length);  // can be cut
columns.forEach(([source, column], i) => {
  const part = row[at * width + i];
  const numbers = Float64Array.from(plain.subarray(first[part], first[part + 1]),
    (value) => value < -STEPS ? NaN : value * LARGEST / STEPS);
  (data[source] ??= {})[column] = numbers;
});
for (const source of sources) source.data = {...source.data, ...data[source.name]};
texts.forEach((text, i) => {
  text.text = `<p role="status">${sentences[row[at * width + columns.length + i]]}</p>`;
});
"""


def settings_of_grid() -> list[Settings]:
    """The grid's settings, in the order in which the page counts them."""
    values = [
        SCHEDULES if one.name == "schedule" else GRID[one.name][2] for one in fields(Settings)
    ]
    return [Settings(*some) for some in itertools.product(*values)]  # type: ignore[arg-type]


def _alike(settings: Settings) -> Settings:
    """A setting of the grid that has the same arrays, and other remarks at most."""
    if settings.total == 0.0:
        settings = replace(settings, schedule=SCHEDULES[0])
    return settings if settings.descends else replace(settings, step=0.0, momentum=0.0)


def html(grid: list[Settings] | None = None) -> str:
    """The page; a `grid` other than the whole is for trials: settings without a state are empty.

    Returns
    -------
    str
        HTML of some 4 MB.
    """
    asked = settings_of_grid() if grid is None else grid
    states = {settings: state(settings) for settings in dict.fromkeys(map(_alike, asked))}
    page = Page(coarse=True)
    arrays = state(Settings()).arrays  # `at` is the same in all
    columns = [(name, column) for name, part in arrays.items() for column in part if column != "at"]
    parts: dict[bytes, int] = {b"": 0}
    sentences: dict[str, int] = {"": 0}
    everything = settings_of_grid()
    width = len(columns) + len(page.texts)
    rows = np.zeros((len(everything), width), np.int32)
    known = set(asked)
    for i, settings in enumerate(everything):
        if settings not in known:
            continue
        state_of = states[_alike(settings)]
        texts = state_of.texts | {"remarks": outside(settings)}
        packed = [_packed(state_of.arrays[name][column]) for name, column in columns]
        rows[i] = [
            *(parts.setdefault(part, len(parts)) for part in packed),
            *(sentences.setdefault(texts[name], len(sentences)) for name in page.texts),
        ]
    values = np.frombuffer(b"".join(parts), np.int16)
    first = np.concatenate([[0], np.cumsum([len(part) // 2 for part in parts])]).astype(np.int32)
    script = CustomJS(
        code=SCRIPT.replace("STEPS", str(STEPS)).replace("LARGEST", str(LARGEST)),
        args={
            "controls": list(page.controls.values()),
            "values": values,
            "first": first,
            "row": rows.ravel(),
            "columns": columns,
            "sources": list(page.sources.values()),
            "texts": list(page.texts.values()),
            "sentences": list(sentences),
        },
    )
    for control in page.controls.values():
        control.js_on_change("value", script)
    return file_html(page.layout, INLINE, "mirrorflow explorer")


def _packed(numbers: Array) -> bytes:
    whole = np.round(np.clip(numbers, -LARGEST, LARGEST) * (STEPS / LARGEST))
    return np.where(np.isnan(numbers), -STEPS - 1.0, whole).astype(np.int16).tobytes()
