"""The page's script: any table as Markdown or LaTeX, as it is filtered and sorted, with its errors."""

COPY = r"""
function grid(table) {
  const rows = [...table.querySelectorAll('thead tr:last-child, tbody tr')].filter(row => !row.hidden);
  const cells = row => [...row.children].filter(cell => !cell.hidden && !cell.classList.contains('out-column'));
  const text = cell => cell.classList.contains('out') ? '' : cell.textContent.replace(/\s+/g, ' ').trim();
  return rows.map(row => cells(row).map(text));
}

function markdown(rows) {
  const line = cells => `| ${cells.map(text => text.replace(/\|/g, '\\|')).join(' | ')} |`;
  return [line(rows[0]), `|${' --- |'.repeat(rows[0].length)}`, ...rows.slice(1).map(line)].join('\n') + '\n';
}

const SPECIAL = /[\\&%$#_{}~^<>\u00b1\u2248\u2265\u0394\u221e]/g;
const SIGNS = {'\\': '\\textbackslash{}', '&': '\\&', '%': '\\%', '$': '\\$', '#': '\\#', '_': '\\_', '{': '\\{',
  '}': '\\}', '~': '\\textasciitilde{}', '^': '\\textasciicircum{}', '<': '\\textless{}', '>': '\\textgreater{}',
  '\u00b1': '$\\pm$', '\u2248': '$\\approx$', '\u2265': '$\\geq$', '\u0394': '$\\Delta$', '\u221e': '$\\infty$'};
function escaped(text) {
  const best = text.endsWith(' \u25c6');
  const plain = text.replace(/ \u25c6$/, '').replace(SPECIAL, sign => SIGNS[sign]);
  return best ? `\\textbf{${plain}}` : plain;
}

function latex(rows, caption) {
  const line = cells => `  ${cells.map(escaped).join(' & ')} \\\\`;
  const inner = [line(rows[0]), '  \\midrule', ...rows.slice(1).map(line)];
  const begin = `\\begin{tabular}{l${'r'.repeat(rows[0].length - 1)}}`;
  return [`% ${caption}; needs booktabs`, begin, '  \\toprule', ...inner, '  \\bottomrule', '\\end{tabular}', '']
    .join('\n');
}

function captionOf(box) {
  const part = box.closest('section')?.dataset.model, fold = box.closest('details')?.querySelector('summary');
  let head = box.previousElementSibling;
  while (head && !/^H[34]$/.test(head.tagName)) head = head.previousElementSibling;
  return [part, fold?.textContent, head?.textContent].filter(Boolean).join(', ').replace(/\s+/g, ' ');
}

function offer(box, table) {
  const bar = document.createElement('div'), out = document.createElement('textarea');
  bar.className = 'copy screen'; out.readOnly = true; out.hidden = true; out.rows = 6;
  bar.append('copy as');
  const kinds = {Markdown: () => markdown(grid(table)), LaTeX: () => latex(grid(table), captionOf(box))};
  for (const [name, write] of Object.entries(kinds)) {
    const button = document.createElement('button');
    button.type = 'button'; button.textContent = name; button.title = `copy this table as ${name}`;
    button.addEventListener('click', () => {
      out.hidden = false; out.value = write(); out.select();
      navigator.clipboard?.writeText(out.value).catch(() => out.focus());
    });
    bar.append(button);
  }
  bar.append(out); box.after(bar);
}
for (const box of document.querySelectorAll('.wide')) {
  const table = box.querySelector('table');
  if (table) offer(box, table);
}
"""
