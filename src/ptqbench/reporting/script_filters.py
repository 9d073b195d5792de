"""The page's script: the form, kept in the address, that filters and answers the whole page."""

FILTERS = r"""
const UNITS = {b: 1, kb: 1e3, mb: 1e6, gb: 1e9, kib: 2**10, mib: 2**20, gib: 2**30};
function parse(text, units, name) {
  const match = text.trim().match(/^([0-9]*\.?[0-9]+)\s*([a-zA-Z%]*)$/);
  const factor = match && units[match[2].toLowerCase()];
  if (!factor) throw `${name}: "${text}" is not understood`;
  return parseFloat(match[1]) * factor;
}

function ask(form) {
  const value = name => form.elements[name].value.trim();
  const given = (name, units) => value(name) ? parse(value(name), units, name.replace(/_/g, ' ')) : null;
  return {
    model: value('model'), method: value('method'), bits: value('bits'),
    scores: value('task') ? [value('task')] : data.scores,
    named: Boolean(value('task')),
    memory: given('memory', UNITS),
    max_drop: given('max_drop', {'%': 0.01, '': 1}),
    tokens_per_second: given('tokens_per_second', {'': 1}),
    prefer: value('prefer') || 'size',
  };
}

function candidates(model, wanted) {
  const is = (cell, name) => !wanted[name] || cell[name] === wanted[name];
  return data.cells.filter(cell => cell.model === model && (cell.float || is(cell, 'method') && is(cell, 'bits')));
}

function kept(cells, wanted) {
  const asked = wanted.memory !== null || wanted.max_drop !== null || wanted.tokens_per_second !== null;
  const [scores] = counted(cells, wanted);
  const whole = cell => scores.every(score => has(cell, score));
  const holds = cell => whole(cell) && !Object.keys(violations(cell, wanted, scores, true)).length;
  return cells.filter(cell => cell.float || !asked || holds(cell));
}

const quoted = word => /^[\w@%+=:,.\/-]+$/.test(word) ? word : `'${word.replace(/'/g, `'"'"'`)}'`;
function command(form, held, model) {
  const typed = name => form.elements[name].value.trim();
  const options = {report: data.folder === 'reports' ? '' : data.folder, model, method: typed('method'),
    bits: typed('bits'), memory: typed('memory'), task: typed('task'), 'tokens-per-second': typed('tokens_per_second'),
    'max-drop': held.max_drop === null ? '' : `${Number((100 * held.max_drop).toPrecision(6))}%`, prefer: held.prefer};
  const words = Object.entries(options).filter(([, value]) => value).flatMap(([name, value]) => [`--${name}`, value]);
  return ['ptqbench', 'recommend', ...words].map(quoted).join(' ');
}

function made(parent, kind, text, href) {
  const element = document.createElement(kind);
  element.textContent = text; parent.append(element);
  if (href) element.href = '#' + href;
  return element;
}

function none(found, held) {
  if (held.max_drop !== null && held.scores.every(distant)) return NO_LOSS;
  const why = found.miss ? Object.keys(found.violations).map(name => reason(found.miss, name, held)) : [];
  return why.join('; ') || 'no cell has the scores that count';
}

function tell(out, [held, found, missed]) {
  out.replaceChildren();
  const best = found.satisfying[0];
  if (best) {
    const head = made(out, 'p', `Within ${limit(held.max_drop)}: `);
    head.className = 'deploy'; made(head, 'a', title(best), best.anchor);
    made(out, 'p', facts(best, found.scores));
    const list = made(out, 'ul', '');
    for (const doubt of [...missed ? [missed] : [], ...doubts(found, held)]) made(list, 'li', doubt);
    if (best.serve) made(out, 'pre', best.serve);
    made(out, 'p', `${found.satisfying.length - 1} more satisfy this; ${ranking(found, held)}.`).className = 'soft';
  } else {
    made(out, 'p', `None: ${none(found, held)}.`).className = 'deploy';
  }
  for (const told of leftOut(found)) made(out, 'p', told).className = 'soft';
}

function fill(row, from, texts) {
  texts.forEach(([text, anchor, small], index) => {
    const cell = row.children[from + index];
    cell.replaceChildren();
    if (anchor) made(cell, 'a', text, anchor); else cell.textContent = text;
    if (small) { cell.append(' '); made(cell, 'small', small); }
  });
}

function chosenTexts(found) {
  const best = found.satisfying[0];
  if (!best) return [['none'], [''], ['']];
  const name = best.float ? 'keep the unquantized model' : `${best.method} ${best.scheme}`;
  const score = worst(best, found.scores);
  const recovers = best.float || score === null ? [''] : [best.recovered[score], null, score];
  return [[name, best.anchor], [size(best.bytes)], recovers];
}

function summarize(row, [held, found]) {
  const table = row.closest('table').dataset, best = found.satisfying[0];
  const [by, form] = best ? best.served.split(': ') : [''], bits = best ? best.bits_per_weight : '';
  const texts = [...chosenTexts(found), [limit(held.max_drop)], [bits], [by, null, form]];
  if (table.kl) texts.push([best ? best.kl : '']);
  const rate = best ? best.tokens_per_second : null;
  if (table.speeds) texts.push([rate === null ? '' : String(Math.round(rate))]);
  fill(row, 1, texts);
}

function within(table, cells, wanted) {
  for (const row of table.tBodies[0].rows) {
    const held = {...wanted, max_drop: parseFloat(row.children[0].textContent) / 100};
    fill(row, 1, chosenTexts(recommend(cells, held, data.stderrs)));
  }
}

function prune(table) {
  const out = cell => cell.querySelector('a') && cell.classList.contains('out');
  const rows = [...table.tBodies[0].rows], linked = cell => cell.querySelector('a[href^="#cell-"]');
  const gone = cells => cells.some(linked) && cells.filter(linked).every(out);
  for (const row of rows) row.hidden = gone([...row.children]);
  const heads = [...table.querySelectorAll('thead tr:last-child th')];
  heads.forEach((head, index) => {
    const column = rows.map(row => row.children[index]), hidden = index > 0 && gone(column);
    for (const cell of [head, ...column]) cell.classList.toggle('out-column', hidden);
  });
}

function along(chart) {
  const line = chart.querySelector('.frontier');
  if (!line) return;
  const marks = [...chart.querySelectorAll('a[data-at]:not(.out)')];
  const points = marks.map(mark => mark.dataset.at.split(',').map(Number));
  const tie = Number(chart.dataset.tie);
  const beaten = ([x, y]) => points.some(([a, b]) => a <= x + tie && b > y || a < x && b >= y);
  const best = points.filter(point => !beaten(point)).sort(([a], [b]) => a - b);
  line.setAttribute('points', best.map(point => point.join()).join(' '));
}

function show(links, cells) {
  const anchors = new Set(cells.map(cell => cell.anchor));
  for (const [anchor, elements] of links)
    for (const element of elements) element.classList.toggle('out', !anchors.has(anchor));
  for (const table of document.querySelectorAll('.filtered table')) prune(table);
  for (const chart of document.querySelectorAll('svg.chart')) along(chart);
}

function bindings() {
  const links = new Map(data.cells.map(cell => [cell.anchor, [document.getElementById(cell.anchor)].filter(Boolean)]));
  for (const link of document.querySelectorAll('a[href^="#cell-"]'))
    if (!link.closest('#summary, .answer, [id^=limits]'))
      links.get(decodeURIComponent(link.getAttribute('href').slice(1)))?.push(link.closest('td, th') ?? link);
  for (const fold of document.querySelectorAll('section[data-model] .cell')) {
    const model = fold.closest('section').dataset.model;
    const of = cell => cell.model === model && `${cell.method} ${cell.scheme}` === fold.dataset.of;
    if (!links.has(fold.id)) links.get(data.cells.find(of)?.anchor)?.push(fold);  // another seed's
  }
  return links;
}

function apply(form, links) {
  const problem = document.getElementById('problem');
  let wanted;
  try { wanted = ask(form); problem.hidden = true; } catch (words) {
    if (typeof words !== 'string') throw words;
    problem.textContent = words; problem.hidden = false; return;
  }
  for (const part of document.querySelectorAll('[data-model]'))
    part.hidden = Boolean(wanted.model) && part.dataset.model !== wanted.model;
  const models = [...new Set(data.cells.map(cell => cell.model))].filter(one => !wanted.model || one === wanted.model);
  const shown = [], held = [];
  for (const model of models) {
    const cells = candidates(model, wanted), [limits, found] = choose(cells, wanted, data.stderrs);
    const one = [limits, found, nearest(cells, limits, data.stderrs)];
    for (const row of document.querySelectorAll('#summary tbody tr'))
      if (row.dataset.model === model) summarize(row, one);
    for (const part of document.querySelectorAll('section[data-model]')) if (part.dataset.model === model) {
      tell(part.querySelector('.answer'), one);
      for (const table of part.querySelectorAll('[id^=limits] table')) within(table, cells, wanted);
    }
    shown.push(...kept(cells, wanted)); held.push([model, limits]);
  }
  show(links, shown);
  const alike = new Set(held.map(([, limits]) => limits.max_drop)).size === 1;
  const commands = alike ? [[wanted.model, held[0][1]]] : held;
  document.getElementById('command').textContent = commands.map(([model, one]) => command(form, one, model)).join('\n');
  const counts = [shown, data.cells].map(cells => cells.filter(cell => !cell.float).length);
  document.getElementById('shown').textContent = `${counts[0]} of ${counts[1]} cells`;
}

const fields = form => [...form.elements].filter(field => field.name);
function remember(form, at) {
  if (location.protocol === 'data:') return;
  const parts = new URLSearchParams(fields(form).filter(field => field.value).map(field => [field.name, field.value]));
  if (at && !parts.size) return;
  if (at) parts.set('at', at);
  history.replaceState(null, '', '#' + parts);
}
function recall(form) {
  const text = location.hash.slice(1), parts = new URLSearchParams(text);
  const known = fields(form).some(field => parts.has(field.name)) || parts.has('at');
  if (known) for (const field of fields(form)) field.value = parts.get(field.name) ?? '';
  return known ? parts.get('at') : decodeURIComponent(text);
}

function tips() {
  const tip = made(document.body, 'div', '');
  tip.id = 'tip'; tip.hidden = true;
  for (const mark of document.querySelectorAll('svg.chart a[data-at]')) {
    const words = mark.querySelector('title');
    mark.setAttribute('aria-label', words.textContent); words.remove();
    const place = () => {
      const box = mark.getBoundingClientRect();
      tip.textContent = mark.getAttribute('aria-label'); tip.hidden = false;
      tip.style.left = `${scrollX + Math.max(4, Math.min(box.left, innerWidth - tip.offsetWidth - 24))}px`;
      tip.style.top = `${scrollY + box.bottom + 8}px`;
    };
    for (const name of ['pointerenter', 'focus']) mark.addEventListener(name, place);
    for (const name of ['pointerleave', 'blur', 'click']) mark.addEventListener(name, () => { tip.hidden = true; });
  }
}

const form = document.getElementById('ask');
if (form && data) {
  data.cells.forEach((cell, index) => { cell.index = index; });
  const links = bindings();
  const update = () => { apply(form, links); remember(form); };
  const arrive = () => { const at = recall(form); apply(form, links); if (at) { reveal(at); remember(form, at); } };
  form.addEventListener('input', update);
  form.addEventListener('reset', () => setTimeout(update));
  form.addEventListener('submit', event => event.preventDefault());
  addEventListener('hashchange', arrive);
  tips(); arrive();
} else if (location.hash) reveal(decodeURIComponent(location.hash.slice(1)));
"""
