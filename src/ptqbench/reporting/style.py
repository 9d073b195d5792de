"""The style of the pages: light and dark, wide and narrow, screen and paper."""

STYLE = """
:root { color-scheme: light dark; --ink: #1a1c20; --soft: #5b6270; --paper: #fff; --tint: #f3f5f8; --line: #d8dce3;
  --accent: #1459b3; --good: #12703a; --bad: #a8261c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --soft: #a3abb8; --paper: #14161a; --tint: #1f2329;
  --line: #39404a; --accent: #7db4ff; --good: #6fd598; --bad: #ff9388; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 78rem;
  margin: 0 auto; padding: 1rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 1rem 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .4rem; } h4 { font-size: 1rem; margin: 1rem 0 .3rem; }
p, li { max-width: 48rem; } h1, h2, h3, h4, p, li { overflow-wrap: anywhere; }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
a { color: var(--accent); } code, pre { font: .85em/1.45 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: var(--tint); padding: .6rem .8rem; border-radius: .4rem; white-space: pre-wrap; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1rem; font-size: .9rem; margin: .5rem 0 1rem; }
.answer { background: var(--tint); border-left: .3rem solid var(--accent); border-radius: .4rem;
  padding: .8rem 1rem; margin: .8rem 0; }
.answer p { margin: .3rem 0; } .answer .deploy { font-size: 1.15rem; }
.wide { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; margin: .4rem 0; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
td.gt_right, td.gt_center, .number { text-align: right; } thead th { background: var(--tint); vertical-align: bottom; }
thead th[data-sort] { cursor: pointer; } thead th[aria-sort=ascending]::after { content: " \\25B2"; }
thead th[aria-sort=descending]::after { content: " \\25BC"; } tbody th { font-weight: 600; }
.wide th:first-child, .wide td:first-child { position: sticky; left: 0; background: var(--paper); }
.wide thead th:first-child { background: var(--tint); }
[id^=limits] td:last-child { white-space: normal; min-width: 16rem; }
.delta { color: var(--soft); } .worse { color: var(--bad); } .better { color: var(--good); }
figure { margin: 1rem 0; } .flow { display: flex; flex-wrap: wrap; gap: 0 1.5rem; } .flow figure { max-width: 36rem; }
.panels { display: flex; flex-wrap: wrap; gap: 1rem; }
figure svg { max-width: 100%; height: auto; }
figure svg text { fill: var(--ink); } figure svg .mark-text.role-mark text { fill: var(--ink); }
form { display: flex; flex-wrap: wrap; gap: .6rem 1rem; align-items: end; margin: .6rem 0; }
label { display: flex; flex-direction: column; font-size: .85rem; color: var(--soft); }
input, select { font: inherit; color: var(--ink); background: var(--paper); border: 1px solid var(--line);
  border-radius: .3rem; padding: .3rem .5rem; min-width: 8rem; }
details { border: 1px solid var(--line); border-radius: .4rem; padding: .4rem .8rem; margin: .4rem 0; }
details:target { border-color: var(--accent); } summary { cursor: pointer; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .4rem 0; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
[hidden] { display: none !important; }
@media (max-width: 40rem) { body { padding: .5rem .75rem 3rem; } th, td { padding: .25rem .4rem; }
  dl { grid-template-columns: 1fr; } dt { margin-top: .3rem; } input, select { width: 100%; } label { flex: 1 1 45%; } }
@media print { :root { --ink: #000; --soft: #444; --paper: #fff; --tint: #f3f3f3; --line: #bbb; --accent: #000; }
  body { max-width: none; font-size: 10pt; } form, nav, .screen { display: none; } .wide { overflow: visible; }
  table { font-size: 8pt; } figure, tr, .answer { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""
