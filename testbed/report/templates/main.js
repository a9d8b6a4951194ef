// The page: its head, and the cell that the address names.

// Of several repetitions, the one whose letters are in the grid.
function openCell(cell) {
  location.hash = link(cell.shown.name);
}

function drawHead() {
  const { total, passed, failed, inconclusive, mixed, rates_differ: rates, retried, certified } = data.counts;
  document.getElementById('sum').textContent = `${passed} of ${total} cells as predicted`;
  const parts = [
    ['passed', passed, 'as predicted'],
    ['failed', failed, 'differ'],
    ['inconclusive', inconclusive, 'inconclusive'],
  ].filter(([, count]) => count);
  const bar = document.getElementById('bar');
  bar.setAttribute('aria-label', parts.map(([, count, word]) => `${count} ${word}`).join(', '));
  for (const [name, count] of parts) {
    const part = make('span', { class: name });
    part.style.flexGrow = count;
    bar.append(part);
  }
  const outcomes = grouped(data.rows.filter(isPunch), (row) => row.measured ?? 'unknown');
  const said = [
    ...parts.map(([name, count, word]) => [name, `${count} ${word}`]),
    ...[...outcomes].map(([path, rows]) => ['', `${rows.length} ${path}`]),
    mixed?.length ? ['failed', `${mixed.length} of mixed results`] : null,
    rates?.length ? ['failed', `${rates.length} of a rate that disagrees`] : null,
    retried ? ['', `${retried} tried again: the machine was busy`] : null,
    ['', certified ? 'every NAT certified' : 'NATs not certified in this run'],
  ].filter(Boolean);
  document.getElementById('counts').append(
    ...said.map(([name, text]) => make('li', { class: name }, text)));
  drawRun();
  const facts = Object.entries(data.facts);
  document.querySelector('#facts dl').append(
    ...facts.flatMap(([name, value]) => [make('dt', {}, name), make('dd', {}, String(value))]));
  document.getElementById('facts').hidden = facts.length === 0;
}

// When, by which command, with which seed and version: as the run recorded it.
function drawRun() {
  if (!data.run) return;
  const { date, command: line, seed, version } = data.run;
  const said = [date, seed === null ? null : `seed ${seed}`, `testbed ${version}`];
  document.getElementById('run').append(
    said.filter(Boolean).join(', '), ' ', make('code', {}, line));
  document.getElementById('run').hidden = false;
}

let drawn = false;

// What the address asks for: filters, and a cell; what is not in the page is said.
function route() {
  const { name, filters } = address();
  if (document.getElementById(name)) return; // a part of the page: the link to the matrix
  const before = asked();
  const unknown = setFilters(filters);
  if (asked() !== before || !drawn) filter();
  drawn = true;
  const row = rowsByName.get(name) ?? rowsByName.get(`${name}/0`);
  if (name && !row) unknown.unshift(`the cell ${name}`);
  const note = document.getElementById('unknown');
  note.hidden = unknown.length === 0;
  note.textContent = unknown.length
    ? `The address asks for ${unknown.join(', and for ')}: not in this page.` : '';
  if (row) showPanel(row);
  else hidePanel();
}

drawHead();
drawGrids();
drawFilters();
listenPanel();
window.addEventListener('hashchange', route);
window.addEventListener('popstate', route);
route();
document.documentElement.dataset.ready = Math.round(performance.now());
