// A grid for each stack, dialer by listener, and one of the controls; one for each other study.
// Keys move in them.

const grids = []; // { section, table, lines: [[td]], heads, sides, empty: which columns are }
const tdOf = new Map(); // cell -> td

function drawGrids() {
  const place = document.getElementById('matrix');
  const punches = cells.filter(({ shown }) => isPunch(shown));
  const punched = punches.filter((cell) => cell.shown.mode === 'punch');
  const places = new Map(); // peer -> its worlds
  for (const { shown: { peer, topology } } of punched) {
    if (!places.has(peer)) places.set(peer, new Set());
    places.get(peer).add(topology);
  }
  for (const [title, some] of grouped(punched, ({ shown, pair }) => {
    const several = places.get(shown.peer).size > 1;
    const late = pair.match(/\.skew-[^/]+$/)?.[0].replace('.skew-', ', later by ms: ') ?? '';
    if (shown.hosts) return shown.topology + late;
    return shown.peer + (several ? ` in ${shown.topology}` : '') + late;
  })) {
    place.append(drawGrid(title, 'dialer', 'listener', some,
      (cell) => namesOf(cell.shown)[0], (cell) => namesOf(cell.shown).at(-1)));
  }
  const controls = punches.filter((cell) => cell.shown.mode !== 'punch');
  if (controls.length) {
    const control = ({ shown }) => `${shown.peer}: ${MODES[shown.mode] ?? shown.mode}`;
    place.append(drawGrid('negative controls', 'control', 'behind', controls,
      control, (cell) => cell.shown.profiles.at(-1)));
  }
  const others = cells.filter(({ shown }) => !isPunch(shown));
  for (const [study, some] of grouped(others, ({ shown }) => shown.study)) {
    const [{ shown: { side, head } }] = some;
    place.append(drawGrid(study, side[0], head[0], some,
      (cell) => cell.shown.side[1], (cell) => cell.shown.head[1]));
  }
}

function grouped(items, key) {
  const groups = new Map();
  for (const item of items) {
    const name = key(item);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(item);
  }
  return groups;
}

function drawGrid(title, sideWord, headWord, some, sideOf, headOf) {
  const headNames = [...new Set(some.map(headOf))];
  const bySide = grouped(some, sideOf);
  const number = grids.length;
  const head = make('tr', {},
    make('td', { class: 'corner' },
      make('span', { class: 'down' }, `${sideWord} ↓`), make('span', {}, `${headWord} →`)),
    headNames.map((name) => make('th', { scope: 'col', title: data.profiles[name] }, make('span', {}, name))));
  const lines = [];
  const body = make('tbody');
  for (const [side, members] of bySide) {
    const byHead = new Map(members.map((cell) => [headOf(cell), cell]));
    const line = headNames.map((name) => drawCell(byHead.get(name)));
    lines.push(line);
    body.append(make('tr', {}, make('th', { scope: 'row', title: data.profiles[side] }, side), line));
  }
  const table = make('table', { role: 'grid', 'aria-labelledby': `grid-${number}` },
    make('thead', {}, head), body);
  table.style.setProperty('--columns', headNames.length); // how narrow a cell is on paper
  const rated = some.some((cell) => cell.rate);
  const size = headNames.length > 12 ? 'dense' : '';
  const section = make('section', { class: `grid ${size} ${rated ? 'rated' : ''}` },
    make('h2', { id: `grid-${number}` }, title, ' ', make('small', {}, tally(some))),
    make('div', { class: 'scroll' }, table));
  const grid = {
    section, table, lines, some,
    heads: [...head.querySelectorAll('th')],
    sides: [...body.querySelectorAll('th')],
    empty: new Set(),
  };
  grids.push(grid);
  listen(grid);
  enter(grid, lines.flat().find(Boolean));
  return section;
}

function tally(some) {
  const good = some.filter((cell) => cell.agreed === cell.rows.length).length;
  return `${good} of ${some.length} as predicted`;
}

function drawCell(cell) {
  if (!cell) return make('td', { class: 'void' });
  const td = make('td', {
    class: cell.state, tabindex: -1, 'aria-label': spoken(cell), title: hint(cell),
    'data-cell': cell.pair,
  }, make('b', {}, cell.letters), cell.rate ? make('small', {}, cell.rate) : null);
  td.cell = cell;
  td.cell.out = false;
  tdOf.set(cell, td);
  return td;
}

function hint(cell) {
  const names = cell.shown.profiles.map((name) =>
    (data.profiles[name] ? `${name}: ${data.profiles[name]}` : name));
  return [...new Set(names), spoken(cell), cell.shown.headline].join('\n');
}

// One cell of each grid is reached by Tab; arrows go on from there.
function enter(grid, td) {
  if (grid.current) grid.current.tabIndex = -1;
  grid.current = td;
  if (td) td.tabIndex = 0;
}

function listen(grid) {
  const { table } = grid;
  const cellOf = (event) => event.target.closest('td[data-cell]');
  table.addEventListener('click', (event) => cellOf(event) && openCell(cellOf(event).cell));
  table.addEventListener('focusin', (event) => {
    if (!cellOf(event)) return;
    enter(grid, cellOf(event));
    cross(grid, cellOf(event));
  });
  table.addEventListener('mouseover', (event) => cross(grid, cellOf(event)));
  table.addEventListener('mouseleave', () => cross(grid, null));
  table.addEventListener('focusout', () => cross(grid, null));
  table.addEventListener('keydown', (event) => {
    const td = cellOf(event);
    if (!td || event.altKey || event.metaKey) return;
    if (event.key === 'Enter' || event.key === ' ') openCell(td.cell);
    else if (!step(grid, td, event.key, event.ctrlKey)) return;
    event.preventDefault();
  });
}

// The names that a cell belongs to stand out.
function cross(grid, td) {
  for (const th of grid.table.querySelectorAll('th.here')) th.classList.remove('here');
  if (!td) return;
  const [y, x] = position(grid, td);
  grid.sides[y].classList.add('here');
  grid.heads[x].classList.add('here');
}

function position(grid, td) {
  const y = grid.lines.findIndex((line) => line.includes(td));
  return [y, grid.lines[y].indexOf(td)];
}

const reachable = (td) => td?.cell && !td.cell.out;

function step(grid, td, key, far) {
  const [y, x] = position(grid, td);
  const line = grid.lines[y];
  const column = grid.lines.map((each) => each[x]);
  const along = {
    ArrowRight: () => line.slice(x + 1).find(reachable),
    ArrowLeft: () => line.slice(0, x).findLast(reachable),
    ArrowDown: () => column.slice(y + 1).find(reachable),
    ArrowUp: () => column.slice(0, y).findLast(reachable),
    Home: () => (far ? grid.lines.flat() : line).find(reachable),
    End: () => (far ? grid.lines.flat() : line).findLast(reachable),
    PageDown: () => column.findLast(reachable),
    PageUp: () => column.find(reachable),
  }[key];
  if (!along) return false;
  along()?.focus();
  return true;
}
