"""How a page looks: light, dark, narrow and on paper."""

from __future__ import annotations

SHEET = """\
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1b1f24; --muted: #5c6570; --grid: #dfe3e8; --warn: #b3261e;
  --good: #0b7a4b; --bad: #b3261e;
  --series-0: #0b62a8; --series-1: #c04f00; --series-2: #0b7a4b; --series-3: #8a3ffc;
  --series-4: #9f1853; --series-5: #6b5900; --series-6: #00788a; --series-7: #57606a;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --ink: #e6e9ed; --muted: #9aa4af; --grid: #2d333b; --warn: #ff8a80;
    --good: #4ccb8f; --bad: #ff8a80;
    --series-0: #6cb6ff; --series-1: #ffa057; --series-2: #4ccb8f; --series-3: #c8a5ff;
    --series-4: #ff8fc0; --series-5: #dcc64a; --series-6: #4fd1e0; --series-7: #adb5bf;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif;
}
h1 { font-size: 1.5rem; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid var(--grid); }
p.invalid { color: var(--warn); font-weight: 600; }
figure { margin: 1.5rem 0; }
figure .scroll { margin: 0; }
figure h3 { font-size: 1rem; margin: 0 0 .25rem; }
figcaption { color: var(--muted); font-size: .85rem; }
svg { display: block; width: 100%; min-width: 34rem; height: auto; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
svg text { font-family: system-ui, "Segoe UI", "DejaVu Sans", sans-serif !important; }
.scroll { overflow-x: auto; margin: 1rem 0; }
.scroll:focus-visible { outline: 2px solid var(--series-0); }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); padding-bottom: .25rem; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid var(--grid); text-align: right;
  vertical-align: top; white-space: nowrap; }
th { font-weight: 600; }
td.word, th.word { text-align: left; }
td.word { white-space: normal; overflow-wrap: break-word; max-width: 38rem; }
pre { overflow-x: auto; font-size: .8rem; }
@media print {
  body { max-width: none; padding: 0; font-size: 9pt; }
  figure, tr { break-inside: avoid; }
  h2, h3, caption { break-after: avoid; }
  .scroll { overflow: visible; }
  svg { min-width: 0; }
  table { font-size: 6.5pt; }
  th, td { padding: .1rem .25rem; }
}
"""
