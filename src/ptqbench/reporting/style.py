"""The style of the pages: light and dark, wide and narrow, screen and paper."""

STYLE = """
:root { color-scheme: light dark; --ink: #1a1c20; --soft: #5b6270; --paper: #fff; --tint: #f3f5f8; --line: #d8dce3;
  --accent: #1459b3; --good: #12703a; --bad: #a8261c; --note: #fff4d6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ec; --soft: #a3abb8; --paper: #14161a; --tint: #1f2329;
  --line: #39404a; --accent: #7db4ff; --good: #6fd598; --bad: #ff9388; --note: #3a3216; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 5rem; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 78rem;
  margin: 0 auto; padding: 1rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 1rem 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2rem 0 .5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
h2 small { font-weight: 400; font-size: .9rem; color: var(--soft); } #answer { border: 0; margin-top: .5rem; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .4rem; } h4 { font-size: 1rem; margin: 1rem 0 .3rem; }
p, li { max-width: 60rem; } h1, h2, h3, h4, p, li { overflow-wrap: anywhere; }
.soft, figcaption { color: var(--soft); font-size: .9em; } small { color: var(--soft); }
a { color: var(--accent); } code, pre { font: .85em/1.45 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: var(--tint); padding: .6rem .8rem; border-radius: .4rem; white-space: pre-wrap; margin: .4rem 0; }
.banner { background: var(--note); border-radius: .4rem; padding: .5rem .8rem; }
.badge { background: var(--note); border-radius: .3rem; padding: .1rem .4rem; font-size: .75rem; font-weight: 400; }
#problem { color: var(--bad); } #command { max-height: 11rem; overflow-y: auto; }
.answer { background: var(--tint); border-left: .3rem solid var(--accent); border-radius: .4rem;
  padding: .5rem 1rem; margin: .6rem 0; }
.answer p, .answer ul { margin: .2rem 0; } .answer .deploy { font-size: 1.1rem; }
.answer pre { background: var(--paper); }
.wide { overflow-x: auto; max-width: 100%; }
.wide > div { overflow: visible !important; padding: 0 !important; }
.wide.more { mask-image: linear-gradient(to left, transparent, #000 2.5rem); }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; margin: .4rem 0; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
td.gt_right, td.gt_center, .number { text-align: right; } thead th { background: var(--tint); vertical-align: bottom; }
thead th[data-sort] { cursor: pointer; } thead th[aria-sort=ascending]::after { content: " \\25B2"; }
thead th[aria-sort=descending]::after { content: " \\25BC"; } tbody th { font-weight: 600; }
.wide th:first-child, .wide td:first-child { position: sticky; left: 0; background: var(--paper); }
.wide thead th:first-child { background: var(--tint); }
#summary small { display: block; }
.copy { display: flex; flex-wrap: wrap; gap: .3rem; margin: 0 0 .6rem; font-size: .8rem; color: var(--soft); }
.copy textarea { flex: 1 1 100%; font: .8rem/1.4 ui-monospace, monospace; color: var(--ink); background: var(--tint);
  border: 1px solid var(--line); border-radius: .3rem; }
button { font: inherit; font-size: .8rem; color: var(--soft); background: var(--paper); border: 1px solid var(--line);
  border-radius: .3rem; padding: .1rem .5rem; cursor: pointer; }
.wide.more + .copy::before { content: "more columns to the right \\2192"; flex: 1 1 100%; }
.delta { color: var(--soft); } .worse { color: var(--bad); } .better { color: var(--good); }
td.out, th.out { opacity: .3; } .out-column, svg a.out, details.out { display: none; }
figure { margin: .8rem 0; } .panels { display: flex; flex-wrap: wrap; gap: 1rem; }
figure svg { max-width: 100%; height: auto; }
figure svg text { fill: var(--ink); } figure svg .mark-text.role-mark text { fill: var(--ink); }
.chart { display: block; color: var(--ink); } .chart.narrow { display: none; }
.chart text { font: 12px system-ui, sans-serif; } .chart .title { fill: var(--soft); }
.chart .grid { stroke: var(--line); } .chart .zero { stroke: var(--soft); stroke-dasharray: 4 4; }
.chart .frontier { fill: none; stroke: var(--soft); stroke-opacity: .6; stroke-width: 1.5; }
.chart .leader { stroke: var(--ink); stroke-width: .7; }
.chart .label { paint-order: stroke; stroke: var(--paper); stroke-width: 3px; }
.chart a:hover :is(circle, path), .chart a:focus :is(circle, path) { stroke: var(--ink); stroke-width: 3; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1rem; font-size: .85em; margin: .2rem 0; max-width: none; }
.legend span { display: inline-flex; align-items: center; gap: .3rem; }
#tip { position: absolute; z-index: 4; max-width: 24rem; background: var(--ink); color: var(--paper);
  font-size: .85rem; padding: .3rem .6rem; border-radius: .3rem; pointer-events: none; }
form { display: flex; flex-wrap: wrap; gap: .6rem 1rem; align-items: end; margin: .6rem 0; }
#ask { position: sticky; top: 0; z-index: 3; background: var(--paper); border-bottom: 1px solid var(--line);
  gap: .4rem .6rem; padding: .4rem 0; margin: .4rem 0; }
#ask input, #ask select { min-width: 4rem; max-width: 11rem; padding: .2rem .4rem; }
#ask button { padding: .3rem .6rem; }
#shown { color: var(--soft); font-size: .85rem; white-space: nowrap; align-self: center; }
label { display: flex; flex-direction: column; font-size: .8rem; color: var(--soft); white-space: nowrap; }
input, select { font: inherit; color: var(--ink); background: var(--paper); border: 1px solid var(--line);
  border-radius: .3rem; padding: .3rem .5rem; min-width: 8rem; }
details { border: 1px solid var(--line); border-radius: .4rem; padding: .3rem .8rem; margin: .4rem 0; }
details.here { border-color: var(--accent); } summary { cursor: pointer; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .4rem 0; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
[hidden] { display: none !important; }
@media (max-width: 40rem) { body { padding: .5rem .75rem 3rem; } th, td { padding: .25rem .4rem; }
  dl { grid-template-columns: 1fr; } dt { margin-top: .3rem; } #ask { flex-wrap: nowrap; overflow-x: auto; }
  #ask select { max-width: 6rem; } #ask input { width: 6rem; }
  .chart { display: none; } .chart.narrow { display: block; width: 100%; } }
@media print { :root { --ink: #000; --soft: #444; --paper: #fff; --tint: #f3f3f3; --line: #bbb; --accent: #000;
  --note: #eee; }
  body { max-width: none; font-size: 10pt; } form, nav, .screen, #tip { display: none !important; }
  .wide { overflow: visible; } .wide > div { overflow: visible !important; padding: 0 !important; }
.wide.more { mask-image: none; }
  .chart { display: block; } .chart.narrow { display: none; }
  table { font-size: 8pt; } th, td { white-space: normal; padding: .15rem .3rem; }
  figure, tr, .answer { break-inside: avoid; } h2, h3, h4, summary { break-after: avoid; } }
"""
