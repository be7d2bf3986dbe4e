"""How the page looks: light or dark as the reader's system, and on paper."""

__all__ = ["STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1c1c1e; --soft: #5f6368; --line: #d5d7db; --paper: #fff; --tint: #f5f6f8;
  --good: #00664a; --bad: #b3261e; --warn: #fdf1ef;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e6e8; --soft: #a2a6ad; --line: #3c3f44; --paper: #17181a; --tint: #212327;
    --good: #5fd3a8; --bad: #ff9c92; --warn: #3a2220;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 70rem;
  background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
header { border-bottom: 2px solid var(--ink); padding-bottom: 1rem; margin-bottom: 1.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .7rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .5rem 0; max-width: 46rem; overflow-wrap: anywhere; }
ul { margin: .5rem 0; padding-left: 1.2rem; max-width: 46rem; overflow-wrap: anywhere; }
.soft, figcaption, small { color: var(--soft); }
header p { max-width: none; }
thead small { display: block; font-weight: normal; }
nav a { margin-right: 1.1rem; color: inherit; }
nav { margin-top: .8rem; font-size: .9rem; }
pre {
  background: var(--tint); padding: .7rem .9rem; border-radius: 5px; overflow-x: auto;
  font: .82rem/1.45 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
}
code { font-family: inherit; }
.wide { overflow-x: auto; margin: .8rem 0; }
.rows .wide { overflow: auto; max-height: 36rem; }
table { border-collapse: collapse; font-size: .88rem; line-height: 1.35;
  border-top: 2px solid var(--ink); border-bottom: 2px solid var(--ink); }
th, td { padding: .28rem .8rem .28rem 0; text-align: left; vertical-align: top;
  font-weight: normal; }
th + th, td, th + td { padding-left: .4rem; }
thead th { position: sticky; top: 0; background: var(--paper); font-weight: 600;
  border-bottom: 1px solid var(--ink); vertical-align: bottom; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.rows table { font-size: .78rem; }
.rows td, .rows th { white-space: nowrap; }
.good { color: var(--good); white-space: nowrap; }
.bad { color: var(--bad); font-weight: 600; }
.failed { background: var(--warn); border-left: 4px solid var(--bad); padding: .6rem 1rem;
  margin: 1rem 0; }
.failed h2 { margin-top: .2rem; color: var(--bad); }
figure { margin: 1.4rem 0; }
img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
figcaption { font-size: .85rem; margin-top: .4rem; overflow-wrap: anywhere; }
summary { cursor: pointer; }
.digest { font: .78rem ui-monospace, Menlo, Consolas, monospace; overflow-wrap: anywhere; }
@media print {
  :root { --ink: #000; --soft: #444; --line: #bbb; --paper: #fff; --tint: #f4f4f4;
    --good: #000; --bad: #000; --warn: #f4f4f4; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  nav { display: none; }
  .wide, .rows .wide { overflow: visible; max-height: none; }
  pre { white-space: pre-wrap; }
  figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
}
"""
