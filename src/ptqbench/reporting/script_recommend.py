"""The page's script as ``recommend.py``, ``answer.py`` and ``choice.py`` compute and say it."""

RECOMMEND = r"""
const data = JSON.parse(document.getElementById('data')?.textContent ?? 'null');
const NORMAL = 1.959963985, TIE = 0.01, NAMED = 3;
const UNIT = {perplexity: 'bits per byte', divergence: 'nats', accuracy: 'points'};
const NO_LOSS = 'a KL is no relative loss that a limit could hold: leave the limit out';
const UNASKED = [0.05, 0.1, 0.2];

const KINDS = {ppl: 'perplexity', kl: 'divergence', 'kl\u2265': 'divergence'};
const kind = score => KINDS[score.split(' ')[0]] ?? 'accuracy';
const distant = score => kind(score) === 'divergence';
const has = (cell, score) => score in cell.drop || (distant(score) && score in cell.comparable);
const lower = score => kind(score) !== 'accuracy';
const loss = (cell, score) => lower(score) ? cell.comparable[score] : -cell.comparable[score];
const bound = (cell, score, sure) => score in cell.drop ? cell.drop[score][sure ? 1 : 0] ?? Infinity : -Infinity;
const error = (a, b, score, stderrs) => stderrs[score][[a.index, b.index].sort((x, y) => x - y).join()] ?? Infinity;
const worse = (cell, other, score, stderrs) => cell.id !== other.id
  && loss(cell, score) - loss(other, score) > NORMAL * error(cell, other, score, stderrs);
const before = keys => (a, b) => {
  const x = keys(a), y = keys(b), i = x.findIndex((value, at) => value !== y[at]);
  return i < 0 ? 0 : x[i] < y[i] ? -1 : 1;
};

function counted(cells, wanted) {
  const quantized = cells.filter(cell => !cell.float), judged = quantized.length ? quantized : cells;
  const own = wanted.scores, losses = own.filter(score => !distant(score));
  const asked = wanted.max_drop !== null && !losses.length ? [] : wanted.named || !losses.length ? own : losses;
  const having = asked.map(score => [score, judged.filter(cell => has(cell, score)).length]);
  const measured = having.filter(([, n]) => n), most = Math.max(...measured.map(([, n]) => n));
  let held = measured.filter(([, n]) => wanted.named || 2 * n > judged.length);
  if (!held.length) held = measured.filter(([, n]) => n === most);
  held = held.map(([score]) => score);
  return [held, measured.filter(([score]) => !held.includes(score))];
}

function violations(cell, wanted, scores, sure) {
  const found = {};
  if (wanted.memory !== null && cell.bytes > wanted.memory)
    found.memory = wanted.memory ? cell.bytes / wanted.memory - 1 : Infinity;
  if (wanted.max_drop !== null) for (const score of scores) {
    const drop = bound(cell, score, sure);
    if (drop > wanted.max_drop) found[score] = drop - wanted.max_drop;
  }
  const rate = cell.tokens_per_second;
  if (wanted.tokens_per_second !== null && (rate === null || rate < wanted.tokens_per_second))
    found['tokens per second'] = rate ? wanted.tokens_per_second / rate - 1 : Infinity;
  return found;
}

function cost(cell, prefer) {
  return prefer === 'size' ? cell.bytes : cell.tokens_per_second ? 1 / cell.tokens_per_second : Infinity;
}

function ranked(cells, wanted, scores, stderrs) {
  if (!cells.length) return [];
  let good = [...cells].sort(before(cell => [loss(cell, scores[0]), cell.bytes, cell.id]));
  const base = cells.find(cell => cell.float);
  const vain = cell => base && cell !== base && cell.bytes >= (1 - TIE) * base.bytes
    && !scores.some(score => worse(base, cell, score, stderrs));
  good = [...good.filter(cell => !vain(cell)), ...good.filter(vain)];
  if (wanted.prefer === 'quality') return good;
  const best = good[0];
  if (wanted.max_drop === null) good = good.filter(cell => !scores.some(score => worse(cell, best, score, stderrs)));
  const found = [];
  while (good.length) {
    const least = Math.min(...good.map(cell => cost(cell, wanted.prefer)));
    const next = good.findIndex(cell => cost(cell, wanted.prefer) <= (1 + TIE) * least);
    found.push(...good.splice(next, 1));
  }
  return found;
}

function recommend(cells, wanted, stderrs) {
  const [scores, uncounted] = counted(cells, wanted);
  const lacks = cell => scores.filter(score => !has(cell, score));
  const whole = scores.length ? cells.filter(cell => !lacks(cell).length) : [];
  const lacking = cells.filter(cell => lacks(cell).length).map(cell => [cell, lacks(cell)]);
  const holds = sure => whole.filter(cell => !Object.keys(violations(cell, wanted, scores, sure)).length);
  const good = ranked(holds(true), wanted, scores, stderrs), hoped = ranked(holds(false), wanted, scores, stderrs);
  const result = {satisfying: good, scores, uncounted, lacking, unsure: null, margin: null, stderr: null, miss: null,
    violations: {}};
  if (hoped.length && hoped[0] !== good[0]) result.unsure = hoped[0];
  if (!good.length && whole.length) {
    const worst = cell => Math.max(...Object.values(violations(cell, wanted, scores, true)));
    result.miss = [...whole].sort(before(cell => [worst(cell), cell.id]))[0];
    result.violations = violations(result.miss, wanted, scores, true);
  }
  if (good.length > 1) {
    result.margin = loss(good[1], scores[0]) - loss(good[0], scores[0]);
    result.stderr = error(good[0], good[1], scores[0], stderrs);
  }
  return result;
}

function general(value, digits) {
  if (!isFinite(value)) return 'inf';
  if (!value || Math.abs(value) >= 1e-4) return String(Number(value.toPrecision(digits)));
  const [front, power] = value.toExponential(digits - 1).split('e-');
  return `${Number(front)}e-${power.padStart(2, '0')}`;
}
const limit = share => share === null ? 'any loss' : Number((100 * share).toPrecision(6)) + ' %';
const percent = share => (100 * share).toFixed(2) + ' %';
const most = high => high === null ? 'nobody knows what (a single window)' : percent(high);
const title = cell => cell.float ? `${cell.id}, the unquantized model` : cell.id;
function size(bytes) {
  const power = Math.min(3, Math.max(0, Math.floor(Math.log10(Math.max(bytes, 1)) / 3)));
  return Number((bytes / 1000**power).toPrecision(3)) + ' ' + ['B', 'kB', 'MB', 'GB'][power];
}
function facts(cell, scores) {
  const said = [size(cell.bytes)];
  if (cell.tokens_per_second !== null) said.push(Math.round(cell.tokens_per_second) + ' tokens/s');
  for (const score of cell.float ? [] : scores) if (distant(score) && has(cell, score)) {
    said.push(`${score}: ${cell.comparable[score].toFixed(5)} nats from the float model`);
  } else if (score in cell.drop) {
    const [drop, high] = cell.drop[score], plus = drop < 0 ? '' : '+';
    said.push(`${score}: ${plus}${percent(drop)} lost, at most ${most(high)}`);
  }
  return said.join(', ');
}

function reason(cell, name, wanted) {
  if (name === 'memory') return `its weights take ${size(cell.bytes)}, more than ${size(wanted.memory)}`;
  const asked = Number((wanted.tokens_per_second ?? 0).toPrecision(6));
  if (name === 'tokens per second') return cell.tokens_per_second === null
    ? `its speed was not measured, where ${asked} are asked`
    : `its speed is ${Math.round(cell.tokens_per_second)} tokens/s, where ${asked} are asked`;
  const [drop, high] = cell.drop[name];
  return `it loses ${percent(drop)} on ${name} and may lose ${most(high)}, more than ${limit(wanted.max_drop)}`;
}

function hope(found) {
  return found.unsure ? [`${title(found.unsure)} would be preferred if its measured loss were exact `
    + `(${facts(found.unsure, found.scores)}): more documents or windows would tell`] : [];
}

function doubts(found, wanted) {
  const best = found.satisfying[0], main = found.scores[0], said = [];
  if (found.margin !== null) {
    const sure = Math.abs(found.margin) > NORMAL * found.stderr;
    const numbers = `${general(Math.abs(found.margin), 3)} \u00b1 ${general(found.stderr, 2)}`;
    const side = found.margin >= 0 ? 'better' : 'worse', unit = UNIT[kind(main)];
    const verdict = sure ? 'significant' : 'not significant: choose between them by size or speed';
    said.push(`${main}: ${numbers} ${unit} ${side} than the next, ${title(found.satisfying[1])} (${verdict})`);
  }
  said.push(...hope(found));
  said.push(...best.caveats);
  const clean = found.satisfying.find(cell => !cell.caveats.length);
  if (best.caveats.length && clean)
    said.push(`the best without such a caveat: ${title(clean)} (${facts(clean, found.scores)})`);
  return said;
}

function choose(cells, wanted, stderrs) {
  let held, found;
  const limits = wanted.scores.every(distant) || wanted.max_drop !== null ? [wanted.max_drop] : UNASKED;
  for (const limit of limits) {
    held = {...wanted, max_drop: limit};
    found = recommend(cells, held, stderrs);
    if (found.satisfying.length && !found.satisfying[0].float) break;
  }
  return [held, found];
}

function nearest(cells, wanted, stderrs) {
  const found = recommend(cells.filter(cell => !cell.float), wanted, stderrs);
  if (found.satisfying.length || !found.miss) return '';
  const reasons = Object.keys(found.violations).map(name => reason(found.miss, name, wanted));
  return `no quantized cell is sure to hold; the nearest is ${title(found.miss)}: ${reasons.join('; ')}`;
}

function worst(cell, scores) {
  const most = score => cell.drop[score][1] ?? Infinity, lost = scores.filter(score => score in cell.drop);
  return lost.length ? lost.reduce((one, other) => most(other) > most(one) ? other : one) : null;
}

function ranking(found, wanted) {
  const quality = `quality being ${found.scores[0]}`;
  const within = wanted.max_drop !== null ? '' : ' among those that cannot be told from the best';
  return wanted.prefer === 'quality' ? `ranked by ${quality}` : `ranked by ${wanted.prefer}${within}, ${quality}`;
}

function leftOut(found) {
  const said = found.lacking.slice(0, NAMED).map(([cell, scores]) =>
    `${cell.id} is not judged: it has no ${scores.join(' and no ')}`);
  const more = found.lacking.length - NAMED;
  if (more > 0) said.push(`${more} more cells are not judged: they lack one of these scores`);
  for (const [score, n] of found.uncounted)
    said.push(`${score} does not count, as only ${n} quantized cell${n > 1 ? 's have' : ' has'} it`);
  return said;
}
"""
