"""The script of the page: sorting, the filter by model, and the recommendation (as ``recommend.py`` computes it)."""

SCRIPT = r"""
'use strict';
function number(text) {
  const found = text.match(/^[+-]?[0-9][0-9.]*(?:e[+-]?[0-9]+)?/);
  return found ? parseFloat(found[0]) : NaN;
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

function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target && target.tagName === 'DETAILS') target.open = true;
}
addEventListener('hashchange', reveal); reveal();
addEventListener('beforeprint', () => document.querySelectorAll('details').forEach(one => one.open = true));

const filter = document.getElementById('model-filter');
if (filter) filter.addEventListener('change', () => {
  for (const part of document.querySelectorAll('[data-model]'))
    part.hidden = filter.value !== '' && part.dataset.model !== filter.value;
});

const data = JSON.parse(document.getElementById('data')?.textContent ?? 'null');
const NORMAL = 1.959963985, UNITS = {b: 1, kb: 1e3, mb: 1e6, gb: 1e9, kib: 2**10, mib: 2**20, gib: 2**30};

function heldTo(cell, wanted) {
  const own = wanted.scores.filter(score => wanted.named || cell.expected.includes(score));
  return own.length ? own : wanted.scores;
}

function violations(cell, wanted) {
  const found = {}, scores = heldTo(cell, wanted), main = scores[0];
  if (wanted.memory !== null && cell.bytes > wanted.memory)
    found.memory = wanted.memory ? cell.bytes / wanted.memory - 1 : Infinity;
  if (wanted.max_drop !== null) for (const score of scores) {
    const drop = score in cell.drop ? cell.drop[score][0] : Infinity;
    if (drop > wanted.max_drop) found[score] = drop - wanted.max_drop;
  }
  const rate = cell.tokens_per_second;
  if (wanted.tokens_per_second !== null && (rate === null || rate < wanted.tokens_per_second))
    found['tokens per second'] = rate ? wanted.tokens_per_second / rate - 1 : Infinity;
  if (!(main in cell.comparable)) found[main + ' was measured'] = Infinity;
  return found;
}

function recommend(cells, wanted, stderrs) {
  const main = wanted.scores[0], sign = main.startsWith('ppl ') ? 1 : -1;
  const loss = cell => main in cell.comparable ? sign * cell.comparable[main] : Infinity;
  const order = {
    quality: cell => [loss(cell), cell.bytes],
    size: cell => [cell.bytes, loss(cell)],
    speed: cell => [-(cell.tokens_per_second || 0), loss(cell)],
  }[wanted.prefer];
  const before = (a, b) => { const x = order(a), y = order(b);
    const gap = i => x[i] === y[i] ? 0 : x[i] - y[i];
    return gap(0) || gap(1) || (a.id < b.id ? -1 : 1); };
  const missed = new Map(cells.map(cell => [cell.id, violations(cell, wanted)]));
  const good = cells.filter(cell => !Object.keys(missed.get(cell.id)).length).sort(before);
  if (!good.length) {
    const worst = cell => Math.max(...Object.values(missed.get(cell.id)));
    const nearer = (a, b) => worst(a) === worst(b) ? (a.id < b.id ? -1 : 1) : worst(a) - worst(b);
    const near = [...cells].sort(nearer)[0];
    return {satisfying: [], miss: near ?? null, violations: near ? missed.get(near.id) : {}};
  }
  const result = {satisfying: good, margin: null, stderr: null};
  if (good.length > 1 && good.slice(0, 2).every(cell => main in cell.comparable)) {
    const ends = [good[0], good[1]].map(cell => cell.index).sort((a, b) => a - b);
    result.margin = loss(good[1]) - loss(good[0]);
    result.stderr = stderrs[main][ends.join()];
  }
  return result;
}

const limit = share => Number((100 * share).toPrecision(6)) + ' %';
const percent = share => (100 * share).toFixed(2) + ' %';
function size(bytes) {
  const power = Math.min(3, Math.max(0, Math.floor(Math.log10(Math.max(bytes, 1)) / 3)));
  return Number((bytes / 1000**power).toPrecision(3)) + ' ' + ['B', 'kB', 'MB', 'GB'][power];
}
function facts(cell, scores) {
  const said = [size(cell.bytes)];
  if (cell.tokens_per_second !== null) said.push(Math.round(cell.tokens_per_second) + ' tokens/s');
  for (const score of scores) if (score in cell.drop) {
    const [drop, stderr] = cell.drop[score], plus = drop < 0 ? '' : '+';
    said.push(`${score}: ${plus}${percent(drop)} \u00b1 ${(100 * stderr).toFixed(2)} lost`);
  }
  return said.join(', ');
}

function reason(cell, name, wanted) {
  if (name === 'memory') return `its weights take ${size(cell.bytes)}, more than ${size(wanted.memory)}`;
  if (name === 'tokens per second') return cell.tokens_per_second === null ? 'its speed was not measured'
    : `its speed is ${Math.round(cell.tokens_per_second)} tokens/s, where ${wanted.tokens_per_second} are asked`;
  if (name in cell.drop)
    return `it loses ${percent(cell.drop[name][0])} on ${name}, more than ${limit(wanted.max_drop)}`;
  return `it has no ${name.replace(/ was measured$/, '')}`;
}

function doubts(found, wanted) {
  const best = found.satisfying[0], main = wanted.scores[0], said = [];
  if (found.margin !== null) {
    const sure = Math.abs(found.margin) > NORMAL * found.stderr;
    const numbers = `${Math.abs(found.margin).toPrecision(3)} \u00b1 ${found.stderr.toPrecision(2)}`;
    const side = found.margin >= 0 ? 'better' : 'worse';
    const unit = main.startsWith('ppl ') ? 'bits per byte' : 'points';
    const verdict = sure ? 'significant' : 'not significant: choose between them by size or speed';
    said.push(`${main}: ${numbers} ${unit} ${side} than the next, ${found.satisfying[1].id} (${verdict})`);
  }
  if (wanted.max_drop !== null) for (const score of heldTo(best, wanted)) {
    const [drop, stderr] = best.drop[score];
    if (drop + NORMAL * stderr > wanted.max_drop)
      said.push(`not sure to hold: the interval of its loss on ${score} reaches beyond ${limit(wanted.max_drop)}`);
  }
  said.push(...best.caveats);
  const clean = found.satisfying.find(cell => !cell.caveats.length);
  if (best.caveats.length && clean)
    said.push(`the best without such a caveat: ${clean.id} (${facts(clean, wanted.scores)})`);
  return said;
}

function parse(text, units, name) {
  const match = text.trim().match(/^([0-9]*\.?[0-9]+)\s*([a-zA-Z%]*)$/);
  const factor = match && units[match[2].toLowerCase()];
  if (!factor) throw `${name}: "${text}" is not understood`;
  return parseFloat(match[1]) * factor;
}

function ask(form) {
  const value = name => form.elements[name].value.trim();
  const given = (name, units) => value(name) ? parse(value(name), units, name.replace(/_/g, ' ')) : null;
  const task = value('task');
  return {
    scores: task ? [task] : data.scores,
    named: Boolean(task),
    memory: given('memory', UNITS),
    max_drop: given('max_drop', {'%': 0.01, '': 1}),
    tokens_per_second: given('tokens_per_second', {'': 1}),
    prefer: value('prefer'),
  };
}

function line(parent, kind, text) {
  const made = document.createElement(kind);
  made.textContent = text; parent.append(made);
  return made;
}

function show(form, out) {
  out.replaceChildren();
  let wanted;
  try { wanted = ask(form); } catch (problem) { line(out, 'p', problem); return; }
  const model = filter ? filter.value : '';
  const cells = data.cells.filter(cell => !model || cell.model === model);
  const found = recommend(cells, wanted, data.stderrs);
  if (!found.satisfying.length) {
    if (!found.miss) { line(out, 'p', 'None, because the report has no quantized cell.'); return; }
    const nearest = `${found.miss.id} (${facts(found.miss, wanted.scores)})`;
    line(out, 'p', `None, because every cell misses something; the nearest is ${nearest}:`);
    const list = line(out, 'ul', '');
    for (const name of Object.keys(found.violations)) line(list, 'li', reason(found.miss, name, wanted));
    return;
  }
  const best = found.satisfying[0], head = line(out, 'p', 'Deploy '), link = line(head, 'a', best.id);
  head.className = 'deploy'; link.href = '#' + best.anchor;
  line(out, 'p', facts(best, wanted.scores));
  const list = line(out, 'ul', '');
  for (const doubt of doubts(found, wanted)) line(list, 'li', doubt);
  if (best.serve) line(out, 'pre', best.serve);
  const others = found.satisfying.length - 1;
  line(out, 'p', `${others} more satisfy this; ranked by ${wanted.prefer}, quality being ${wanted.scores[0]}.`);
}

const form = document.getElementById('recommend');
if (form && data) {
  data.cells.forEach((cell, index) => cell.index = index);
  const out = document.getElementById('recommended');
  const update = () => show(form, out);
  form.addEventListener('input', update);
  form.addEventListener('submit', event => event.preventDefault());
  if (filter) filter.addEventListener('change', update);
  update();
}
"""
