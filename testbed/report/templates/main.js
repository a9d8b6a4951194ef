// The page: its head, and the cell that the address names.

const link = (name) => `#${encodeURI(name).replaceAll('#', '%23')}`;

// Of several repetitions, the one whose letters are in the grid.
function openCell(cell) {
  location.hash = link(cell.shown.name);
}

function drawHead() {
  const { total, passed, failed, inconclusive, mixed, retried, certified } = data.counts;
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
  const outcomes = grouped(data.rows, (row) => row.measured ?? 'unknown');
  const said = [
    ...parts.map(([name, count, word]) => [name, `${count} ${word}`]),
    ...[...outcomes].map(([path, rows]) => ['', `${rows.length} ${path}`]),
    mixed?.length ? ['failed', `${mixed.length} of mixed results`] : null,
    retried ? ['', `${retried} tried again: the machine was busy`] : null,
    ['', certified ? 'every NAT certified' : 'NATs not certified in this run'],
  ].filter(Boolean);
  document.getElementById('counts').append(
    ...said.map(([name, text]) => make('li', { class: name }, text)));
  const facts = Object.entries(data.facts);
  document.querySelector('#facts dl').append(
    ...facts.flatMap(([name, value]) => [make('dt', {}, name), make('dd', {}, String(value))]));
  document.getElementById('facts').hidden = facts.length === 0;
}

function route() {
  let name = location.hash.slice(1);
  try {
    name = decodeURIComponent(name);
  } catch {
    // not one of ours: no cell has that name
  }
  const row = rowsByName.get(name) ?? rowsByName.get(`${name}/0`);
  if (row) showPanel(row);
  else hidePanel();
}

drawHead();
drawGrids();
drawFilters();
filter();
listenPanel();
window.addEventListener('hashchange', route);
window.addEventListener('popstate', route);
route();
document.documentElement.dataset.ready = Math.round(performance.now());
