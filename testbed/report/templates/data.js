// What is embedded in the page: rows at once, the details of a cell when they are asked for.

const data = JSON.parse(document.getElementById('data').textContent);

const LETTERS = { direct: 'D', relayed: 'R', none: '–' };
const letter = (outcome) => LETTERS[outcome] ?? '?';
const isPunch = (row) => row.study === 'punch';
// What a hole punch is between: NATs, or the hosts of a mesh.
const namesOf = (row) => row.hosts ?? row.profiles;
// What a case is called beside its stack: its NATs, or its place in the grid of its study.
const titled = (row) => (isPunch(row)
  ? namesOf(row).join(' → ') : `${row.side[1]} / ${row.head[1]}`);
const words = (cause) => cause.replaceAll('_', ' ');
const VERDICTS = { pass: 'as predicted', fail: 'differs', inconclusive: 'inconclusive' };
const MODES = {
  punch: 'punch',
  plain_dial: 'plain dial to the mapped address',
  silent: 'punching off',
  relay_only: 'relay only',
};

// An element; children may be text, elements, or nothing.  Text is never read as markup.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const rowsByName = new Map(data.rows.map((row) => [row.name, row]));

// A cell of the grid: one pair, all its repetitions.
const cells = (() => {
  const found = new Map();
  for (const row of data.rows) {
    const pair = row.name.slice(0, row.name.lastIndexOf('/'));
    if (!found.has(pair)) found.set(pair, { pair, rows: [] });
    const cell = found.get(pair);
    cell.rows.push(row);
    row.cell = cell;
    row.text = [row.name, words(row.cause ?? ''), row.cause, row.node, row.headline]
      .join(' ').toLowerCase();
  }
  for (const cell of found.values()) Object.assign(cell, summary(cell.rows));
  return [...found.values()];
})();

// State, letters and rate of a pair: the worst of its repetitions is what is shown.
function summary(rows) {
  const bad = rows.find((row) => row.judgement === 'fail');
  const unclear = rows.find((row) => row.judgement === 'inconclusive');
  const shown = bad ?? unclear ?? rows[0];
  const agreed = rows.filter((row) => row.judgement === 'pass').length;
  return {
    shown,
    agreed,
    rate: rows.length > 1 ? `${agreed}/${rows.length}` : '',
    state: bad ? 'differs' : unclear ? 'unclear' : isPunch(shown) ? shown.measured : 'agrees',
    letters: !isPunch(shown) ? { pass: '=', fail: '≠', inconclusive: '?' }[shown.judgement] : bad && shown.measured !== shown.predicted
      ? `${letter(shown.measured)}≠${letter(shown.predicted)}`
      : bad ? `${letter(shown.measured)}!` : unclear ? '?' : letter(shown.measured),
  };
}

function spoken(cell) {
  const { shown, rows, agreed } = cell;
  const verdict = shown.judgement === 'fail'
    ? `measured ${shown.measured ?? 'nothing'}, predicted ${shown.predicted}`
    : shown.judgement === 'inconclusive' ? 'inconclusive' : `${shown.measured}, as predicted`;
  const rate = rows.length > 1 ? `, ${agreed} of ${rows.length} as predicted` : '';
  const name = isPunch(shown) ? namesOf(shown).join(' to ') : titled(shown);
  return `${name}: ${verdict}${rate}`;
}

const opened = new Map();

// The chunks are deflated; the one that is needed is opened once and kept.
async function details(row) {
  if (row.place === null) return null;
  const chunk = Math.floor(row.place / data.chunk);
  if (!opened.has(chunk)) opened.set(chunk, unpack(chunk));
  return (await opened.get(chunk))[row.place % data.chunk];
}

async function unpack(chunk) {
  const packed = atob(document.getElementById(`chunk-${chunk}`).textContent);
  const bytes = Uint8Array.from(packed, (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  return new Response(stream).json();
}
