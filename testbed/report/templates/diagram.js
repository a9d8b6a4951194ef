// The diagram of one cell as SVG: time downwards, a column a node, an arrow a packet.

const GUTTER = 78; // left of the first column: time and number
const MARGIN = 62; // right of the last: half a name
const COLUMN = 158;
const HEAD = 30;
const PAUSE_MS = 40; // from which on a gap in time is said

const BAD_ENDS = { dropped: 'dropped', rejected: 'rejected', lost: 'lost' };

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== null));
  return element;
}

const text = (x, y, words_, kind, anchor = 'start') =>
  svg('text', { x, y, class: kind, 'text-anchor': anchor }, words_);

// Gives { head, body, width, height, messages }: two SVGs of one width, and the g of each message.
function drawDiagram(diagram) {
  const x = new Map(diagram.columns.map((name, n) => [name, GUTTER + MARGIN + n * COLUMN]));
  const width = GUTTER + 2 * MARGIN + Math.max(0, diagram.columns.length - 1) * COLUMN;
  const messages = [];
  let y = 6;
  let before = null;
  for (const message of diagram.messages) {
    const gap = before === null ? 0 : message.time_ms - before;
    const g = svg('g', { class: message.decisive ? 'message decisive' : 'message' });
    if (gap >= PAUSE_MS) {
      g.append(svg('path', { class: 'pause', d: `M${GUTTER} ${y + 8}H${width - 6}` }),
        text(GUTTER - 8, y + 12, `+${Math.round(gap)} ms`, 'gap', 'end'));
      y += 20;
    }
    y += drawMessage(g, message, x, y, width);
    messages.push({ g, message });
    before = message.time_ms;
  }
  const height = y + 6;
  const lines = [...x.values()].map((at) => svg('path', { class: 'life', d: `M${at} 0V${height}` }));
  return {
    width,
    height,
    messages,
    head: svg('svg', { viewBox: `0 0 ${width} ${HEAD}`, class: 'heads', 'aria-hidden': 'true' },
      ...diagram.columns.map((name) => drawHeadOf(name, x.get(name)))),
    body: svg('svg', {
      viewBox: `0 0 ${width} ${height}`, role: 'img',
      'aria-label': `Sequence diagram of ${diagram.messages.length} packets; as a table below`,
    }, ...lines, ...messages.map(({ g }) => g)),
  };
}

function drawHeadOf(name, x) {
  const wide = Math.max(48, name.length * 7.4 + 18);
  return svg('g', {},
    svg('rect', { x: x - wide / 2, y: 3, width: wide, height: 22, rx: 5, class: 'node' }),
    text(x, 18, name, 'node-name', 'middle'));
}

// Draws at y and gives the height that it took.
function drawMessage(g, message, x, y, width) {
  const parts = message.segments.filter((part) => x.has(part.start) && x.has(part.to));
  const addressed = shownAddresses(parts);
  const outer = (node) => [...x.keys()].indexOf(node) % (x.size - 1) === 0;
  const below = (part) => Boolean(part.note) && outer(part.to); // no room for it beside
  const height = parts.some(below) ? 80 : parts.length ? 66 : 36;
  const line = y + 25;
  g.append(svg('rect', { x: 2, y: y + 1, width: width - 4, height: height - 2, rx: 5, class: 'band' }));
  const number = parts[0]?.packets[0];
  g.append(text(GUTTER - 8, y + 20, message.time_ms.toFixed(1), 'time', 'end'));
  if (number !== undefined) g.append(text(GUTTER - 8, y + 33, `#${number}`, 'number', 'end'));
  if (message.decisive) g.append(text(9, y + 21, '◆', 'star'));
  parts.forEach((part, n) => drawSegment(g, part, addressed[n], x, line, below(part)));
  if (parts.length) {
    const [from, to] = ends(parts[0], x);
    const right = to > from;
    const said = message.count > 1 ? `${message.label} ×${message.count}` : message.label;
    g.append(text(from + (right ? 7 : -7), line - 7, said, 'label',
      right ? 'start' : 'end'));
  }
  g.append(svg('title', {}, spokenMessage(message)));
  return height;
}

// The addresses of a part of the way where they are new; `new` marks what a NAT has changed.
function shownAddresses(parts) {
  return parts.map((part, n) => {
    const last = parts[n - 1];
    const source = last && last.source !== part.source;
    const destination = last && last.destination !== part.destination;
    if (last && !source && !destination) return null;
    return { source, destination };
  });
}

function drawSegment(g, part, addressed, x, line, below) {
  const [from, to] = ends(part, x);
  const way = Math.sign(to - from);
  const bad = part.end in BAD_ENDS;
  const stop = part.end === 'lost' ? from + (to - from) * 0.75 : to - way * 2;
  g.append(svg('path', { class: bad ? 'way bad' : 'way', d: `M${from} ${line}H${stop}` }));
  g.append(bad ? drawEnd(part.end, stop, line)
    : svg('path', { class: 'tip', d: `M${stop} ${line}l${-way * 9} -4.5v9z` }));
  if (addressed) {
    const kind = (changed) => (changed ? 'address new' : 'address');
    const middle = (from + to) / 2;
    g.append(
      text(middle, line + 17, part.source, kind(addressed.source), 'middle'),
      text(middle, line + 30, `→ ${part.destination}`, kind(addressed.destination), 'middle'));
  }
  const said = part.note || (bad ? BAD_ENDS[part.end] : '');
  if (said) {
    const [at, side] = below ? [stop - way * 4, -way] : [stop + way * 11, way];
    g.append(text(at, line + (below ? 46 : bad ? 4 : -7), said, bad ? 'note bad' : 'note',
      side > 0 ? 'start' : 'end'));
  }
}

// Where an arrow begins and ends.  Of what was seen at one node only, a stub is drawn.
function ends({ start, to }, x) {
  if (start !== to) return [x.get(start), x.get(to)];
  const way = x.get(to) === Math.max(...x.values()) ? -1 : 1;
  return [x.get(to) + way * 0.6 * COLUMN, x.get(to)];
}

// A cross where it was dropped or lost, a barred circle where it was answered with an error.
function drawEnd(end, x, y) {
  if (end === 'rejected') {
    return svg('g', { class: 'end' }, svg('circle', { cx: x, cy: y, r: 6.5 }),
      svg('path', { d: `M${x - 4.6} ${y + 4.6}L${x + 4.6} ${y - 4.6}` }));
  }
  return svg('g', { class: 'end' },
    svg('path', { d: `M${x - 6} ${y - 6}l12 12M${x + 6} ${y - 6}l-12 12` }));
}

function spokenMessage(message) {
  const way = message.segments.map((part) =>
    `${part.start} → ${part.to}: ${part.source} → ${part.destination}, ${part.end}`
    + `${part.note ? ` (${part.note})` : ''}, packets ${part.packets.join(', ')}`);
  return [`${message.time_ms.toFixed(3)} ms: ${message.label}${message.count > 1 ? ` ×${message.count}` : ''}`,
    ...way].join('\n');
}

// The same for those who do not see it, and for searching.
function diagramTable(diagram) {
  return make('table', { class: 'plain' },
    make('thead', {}, make('tr', {}, ['ms', 'packet', 'way', 'addresses', 'end', 'packets']
      .map((name) => make('th', { scope: 'col' }, name)))),
    make('tbody', {}, diagram.messages.flatMap((message) => message.segments.map((part, n) =>
      make('tr', { class: message.decisive ? 'decisive' : null },
        make('td', {}, n ? '' : message.time_ms.toFixed(1)),
        make('td', {}, n ? '' : message.label + (message.count > 1 ? ` ×${message.count}` : '')
          + (message.decisive ? ' ◆' : '')),
        make('td', {}, `${part.start} → ${part.to}`),
        make('td', {}, `${part.source} → ${part.destination}`),
        make('td', {}, part.note ? `${part.end}: ${part.note}` : part.end),
        make('td', {}, part.packets.map((number) => `#${number}`).join(' ')))))));
}

// The diagram in a box that scrolls, with buttons, keys and Ctrl+wheel for its size.
function diagramView(diagram) {
  const drawn = drawDiagram(diagram);
  const box = make('div', {
    class: 'diagram', tabindex: 0, role: 'region',
    'aria-label': 'Sequence diagram; arrows scroll, plus and minus zoom, 0 fits, d goes to what decided',
  }, drawn.head, drawn.body);
  let scale = 1;
  const zoom = (wanted, x = 0, y = 0) => { // the point x, y of the box stays where it is
    const next = Math.min(3, Math.max(0.3, wanted));
    const [left, top] = [(box.scrollLeft + x) / scale, (box.scrollTop + y) / scale];
    scale = next;
    for (const [part, height] of [[drawn.head, HEAD], [drawn.body, drawn.height]]) {
      part.setAttribute('width', drawn.width * scale);
      part.setAttribute('height', height * scale);
    }
    box.scrollTo(left * scale - x, top * scale - y);
  };
  const fit = () => zoom((box.clientWidth - 2) / drawn.width);
  const decisive = drawn.messages.filter(({ message }) => message.decisive);
  let turn = 0;
  const next = () => decisive.length && turnTo(box, decisive[turn++ % decisive.length].g, scale);
  const start = () => {
    zoom(Math.min(1.25, Math.max(0.72, (box.clientWidth - 2) / drawn.width)));
    next(); // the moment that decided is what one came for
    turn = 0;
  };
  const acts = {
    '-': () => zoom(scale / 1.25), '+': () => zoom(scale * 1.25), '=': () => zoom(scale * 1.25),
    0: fit, d: next,
  };
  box.addEventListener('keydown', (event) => {
    if (!acts[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    acts[event.key]();
  });
  box.addEventListener('wheel', (event) => {
    if (!event.ctrlKey) return; // plain wheels scroll
    event.preventDefault();
    const { left, top } = box.getBoundingClientRect();
    zoom(scale * Math.exp(-event.deltaY / 300), event.clientX - left, event.clientY - top);
  }, { passive: false });
  dragging(box);
  const button = (name, words_, act) => {
    const made = make('button', { type: 'button', 'aria-label': words_, title: words_ }, name);
    made.addEventListener('click', act);
    return made;
  };
  const star = button('◆', 'The next decisive packet (d)', next);
  star.classList.add('star');
  const tools = make('div', { class: 'tools' }, decisive.length ? star : null,
    button('−', 'Smaller (-)', acts['-']), button('+', 'Larger (+)', acts['+']),
    button('Fit', 'Fit to the width (0)', fit));
  const find = (number) => point(box, drawn, number, () => scale);
  const status = make('p', { class: 'found-not', role: 'status' });
  return { box, tools, start, find, status };
}

function dragging(box) {
  let from = null;
  box.addEventListener('pointerdown', (event) => {
    if (event.pointerType !== 'mouse' || event.button !== 0) return; // fingers scroll anyway
    from = { x: event.clientX + box.scrollLeft, y: event.clientY + box.scrollTop };
    box.setPointerCapture(event.pointerId);
    box.classList.add('held');
  });
  box.addEventListener('pointermove', (event) => {
    if (from) box.scrollTo(from.x - event.clientX, from.y - event.clientY);
  });
  const release = () => {
    from = null;
    box.classList.remove('held');
  };
  box.addEventListener('pointerup', release);
  box.addEventListener('pointercancel', release);
}

// Show the message of a packet; false if it is not on the diagram.
function point(box, drawn, number, scale) {
  for (const { g } of drawn.messages) g.classList.remove('found');
  const hit = drawn.messages.find(({ message }) =>
    message.segments.some((part) => part.packets.includes(number)));
  if (!hit) return false;
  hit.g.classList.add('found');
  turnTo(box, hit.g, scale());
  return true;
}

function turnTo(box, g, scale) {
  const top = Number(g.querySelector('.band').getAttribute('y')) * scale;
  box.scrollTo({ top: top - box.clientHeight / 3, left: box.scrollLeft });
}
