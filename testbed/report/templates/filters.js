// Filters: cells that do not match fade, and names, grids and list follow.

const NOTHING = 'not explained';
const field = (name) => document.getElementById(`f-${name}`);
const LISTED = 8; // cells named under the filters, before somebody asks for all

// What each select chooses by.  A row has one value, or one for each side.
const CHOICES = {
  profile: { all: 'any', of: (row) => row.profiles, say: (value) => value },
  stack: { all: 'any', of: (row) => [row.peer], say: (value) => value },
  transport: { all: 'any', of: (row) => [row.transport ?? 'unknown'], say: (v) => v.toUpperCase() },
  path: { all: 'any', of: (row) => [row.measured ?? 'unknown'], say: (value) => value },
  verdict: { all: 'any', of: (row) => [row.judgement], say: (value) => VERDICTS[value] ?? value },
  cause: { all: 'any', of: (row) => [row.cause ?? NOTHING], say: words },
};

const FILTERS = ['text', ...Object.keys(CHOICES)];

let matching = cells; // as filtered
let listAll = false;

function drawFilters() {
  for (const [name, choice] of Object.entries(CHOICES)) {
    const values = [...new Set(data.rows.flatMap(choice.of))].sort();
    field(name).append(make('option', { value: '' }, choice.all),
      ...values.map((value) => make('option', { value }, choice.say(value))));
  }
  const form = document.getElementById('filters');
  form.addEventListener('input', refilter);
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('reset', () => setTimeout(refilter)); // after it is done
}

// What is chosen, by name of the filter; nothing of those that are left open.
function chosen() {
  return Object.fromEntries(FILTERS
    .map((name) => [name, field(name).value]).filter(([, value]) => value));
}

// The filters become those of an address; gives what this page has not got, in words.
function setFilters(wanted) {
  const unknown = [];
  for (const name of FILTERS) {
    field(name).value = wanted[name] ?? '';
    if (wanted[name] && field(name).value !== wanted[name]) {
      field(name).value = '';
      unknown.push(`the ${name} ${wanted[name]}`);
    }
  }
  for (const name of Object.keys(wanted)) {
    if (!FILTERS.includes(name)) unknown.push(`the filter ${name}`);
  }
  return unknown;
}

function refilter() {
  document.getElementById('unknown').hidden = true;
  keep();
  filter();
}

function filter() {
  const sought = field('text').value.toLowerCase().split(/\s+/).filter(Boolean);
  const picked = Object.entries(CHOICES)
    .map(([name, { of }]) => [of, field(name).value]).filter(([, value]) => value);
  const active = sought.length > 0 || picked.length > 0;
  const fits = (row) => picked.every(([of, value]) => of(row).includes(value))
    && sought.every((word) => row.text.includes(word));
  for (const cell of cells) cell.hits = active ? cell.rows.filter(fits) : cell.rows;
  matching = cells.filter((cell) => cell.hits.length > 0);
  listAll = false;
  const chosenCells = new Set(matching);
  for (const grid of grids) show(grid, chosenCells);
  field('clear').disabled = !active;
  document.getElementById('shown').textContent = active
    ? `${matching.length} of ${cells.length} cells match` : '';
  drawCauses();
  drawList(active);
}

// What an element is told already it is not told again: a page has thousands of them.
function show(grid, chosen) {
  for (const cell of grid.some) {
    const out = !chosen.has(cell);
    if (cell.out !== out) tdOf.get(cell).classList.toggle('out', out);
    cell.out = out;
  }
  const heads = new Set(); // columns with a cell that matches
  grid.lines.forEach((line, y) => {
    let some = false;
    line.forEach((td, x) => {
      if (!reachable(td)) return;
      some = true;
      heads.add(x);
    });
    grid.sides[y].parentElement.hidden = !some;
  });
  grid.section.hidden = heads.size === 0;
  grid.heads.forEach((th, x) => {
    const empty = !heads.has(x);
    if (empty === grid.empty.has(x)) return;
    if (empty) grid.empty.add(x);
    else grid.empty.delete(x);
    th.hidden = empty;
    for (const line of grid.lines) line[x].classList.toggle('gone', empty);
  });
  if (!reachable(grid.current)) enter(grid, grid.lines.flat().find(reachable));
}

// How often each cause is met among what is shown; a click asks for it alone.
function drawCauses() {
  const counts = new Map();
  for (const { hits } of matching) {
    for (const cause of new Set(hits.map((row) => row.cause ?? NOTHING))) {
      counts.set(cause, (counts.get(cause) ?? 0) + 1);
    }
  }
  const picked = field('cause').value;
  const chips = [...counts].sort(([, a], [, b]) => b - a).map(([cause, count]) => {
    const chip = make('button', {
      type: 'button', class: 'chip', 'aria-pressed': String(cause === picked), 'data-cause': cause,
    }, words(cause), ' ', make('b', {}, count));
    chip.addEventListener('click', () => {
      field('cause').value = cause === picked ? '' : cause;
      refilter();
      [...document.querySelectorAll('.chip')].find((b) => b.dataset.cause === cause)?.focus();
    });
    return chip;
  });
  document.getElementById('causes').replaceChildren(...chips);
}

const URGENCY = ['differs', 'unclear', 'none', 'relayed', 'direct', 'agrees'];

// What one looks for first: what differs; or, filtered, what matches.
function drawList(active) {
  const some = active ? matching : cells.filter((cell) => cell.agreed < cell.rows.length);
  const wanted = [...some].sort((x, y) => URGENCY.indexOf(x.state) - URGENCY.indexOf(y.state));
  const section = document.getElementById('list');
  section.hidden = wanted.length === 0;
  const shown = listAll ? wanted : wanted.slice(0, LISTED);
  const items = shown.map((cell) => {
    const row = cell.hits.includes(cell.shown) ? cell.shown : cell.hits[0];
    return make('li', {}, make('a', { href: link(row.name) },
      make('i', { class: `mark ${cell.state}` }, cell.letters),
      make('span', { class: 'who' }, row.peer, ' ', make('b', {}, titled(row)),
        row.mode === 'punch' ? '' : ` (${MODES[row.mode] ?? row.mode})`,
        cell.rate ? ` ${cell.rate}` : ''),
      make('span', { class: 'cause' }, words(row.cause ?? NOTHING)),
      make('span', { class: 'why' }, row.headline)));
  });
  section.replaceChildren(
    make('h2', {}, active ? 'What matches' : 'What to look at first'),
    make('ul', {}, items));
  if (shown.length < wanted.length) section.append(moreButton(active, wanted.length));
}

function moreButton(active, count) {
  const button = make('button', { type: 'button' }, `All ${count}`);
  button.addEventListener('click', () => {
    const { length } = document.querySelectorAll('#list li');
    listAll = true;
    drawList(active);
    document.querySelectorAll('#list a')[length]?.focus();
  });
  return button;
}
