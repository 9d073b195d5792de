"""The script of the pages: sorting, folds and hints; then the recommendation, the filters and copies of tables."""

from ptqbench.reporting.script_copy import COPY
from ptqbench.reporting.script_filters import FILTERS
from ptqbench.reporting.script_recommend import RECOMMEND

BASE = r"""
'use strict';
const POWERS = {kB: 1e3, MB: 1e6, GB: 1e9, M: 1e6, B: 1e9};
function number(text) {
  const found = text.match(/^(?:\u2265 )?([+-]?[0-9][0-9.]*(?:e[+-]?[0-9]+)?)(?: (kB|MB|GB|M|B)\b)?/);
  return found ? parseFloat(found[1]) * (POWERS[found[2]] ?? 1) : NaN;
}

function compare(a, b) {
  const x = number(a), y = number(b);
  if (isNaN(x) !== isNaN(y)) return isNaN(x) ? 1 : -1;
  return isNaN(x) ? a.localeCompare(b) : x - y;
}

function sort(head) {
  const table = head.closest('table'), body = table.tBodies[0];
  const column = [...head.parentNode.children].indexOf(head);
  const down = head.getAttribute('aria-sort') === 'ascending';
  for (const other of head.parentNode.children) other.removeAttribute('aria-sort');
  head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
  const text = row => row.children[column].textContent.trim();
  const rows = [...body.rows].sort((a, b) => {
    if (!text(a) || !text(b)) return (text(a) ? 0 : 1) - (text(b) ? 0 : 1);
    return (down ? -1 : 1) * compare(text(a), text(b));
  });
  body.append(...rows);
}

for (const head of document.querySelectorAll('.gt_table thead tr:last-child th')) {
  head.dataset.sort = ''; head.tabIndex = 0; head.title = 'sort';
  head.addEventListener('click', () => sort(head));
  head.addEventListener('keydown', event => { if (event.key === 'Enter') sort(head); });
}

for (const mark of document.querySelectorAll('figure svg [role=graphics-symbol][aria-label]')) {
  const title = document.createElementNS('http://www.w3.org/2000/svg', 'title');
  title.textContent = mark.getAttribute('aria-label'); mark.prepend(title);
}

function reveal(id) {
  const target = document.getElementById(id);
  if (!target) return;
  for (let fold = target.closest('details'); fold; fold = fold.parentElement.closest('details')) fold.open = true;
  for (const other of document.querySelectorAll('.here')) other.classList.remove('here');
  target.classList.add('here');
  target.scrollIntoView();
}
const closed = () => [...document.querySelectorAll('details:not(.cell, [open])')].filter(one => !one.closest('.cells'));
let opened = [];
addEventListener('beforeprint', () => { opened = closed(); opened.forEach(one => one.open = true); });
addEventListener('afterprint', () => opened.forEach(one => one.open = false));

function hint(box) {
  box.classList.toggle('more', box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
}
for (const box of document.querySelectorAll('.wide')) {
  box.tabIndex = 0;
  box.addEventListener('scroll', () => hint(box));
  new ResizeObserver(() => hint(box)).observe(box);
}
"""

SCRIPT = BASE + RECOMMEND + FILTERS + COPY
