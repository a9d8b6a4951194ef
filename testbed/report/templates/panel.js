// The panel of one cell: what happened, why, and where the packets are.

const panel = () => document.getElementById('panel');
let shownRow = null;
const AT_FAULT = {
  prediction: 'the prediction', nat: 'the NAT', peer: 'the peer', harness: 'the harness',
};

function listenPanel() {
  panel().addEventListener('cancel', (event) => { // Escape
    event.preventDefault();
    leave();
  });
  panel().addEventListener('click', (event) => { // beside it
    if (event.target === panel()) leave();
  });
}

// Closing is a step that the back button can undo.
function leave() {
  history.pushState(null, '', `#${asked()}`);
  hidePanel();
}

function hidePanel() {
  if (!panel().open) return;
  const td = tdOf.get(shownRow.cell);
  shownRow = null;
  panel().close();
  panel().replaceChildren();
  if (reachable(td)) td.focus(); // also when it was opened by its address
}

async function showPanel(row) {
  shownRow = row;
  let more = null;
  let trouble = null;
  try {
    more = await details(row);
  } catch (error) {
    trouble = `Its details could not be unpacked: ${error.message}`;
  }
  if (shownRow !== row) return; // somebody was faster
  let view = null;
  let drawn;
  try {
    const diagram = more?.explanation?.diagram;
    view = diagram?.messages.length ? diagramView(diagram) : null;
    drawn = [tale(row, more, trouble, view), picture(diagram, view, more)];
  } catch (error) { // an explanation.json that another version has written, or nobody
    view = null;
    trouble = `Its explanation could not be drawn: ${error.message}`;
    drawn = [tale(row, more && { ...more, explanation: null }, trouble, view), []];
  }
  panel().replaceChildren(heading(row), make('div', { class: 'columns' },
    make('div', { class: 'tale' }, ...drawn[0]), make('div', { class: 'picture' }, ...drawn[1])));
  if (!panel().open) panel().showModal();
  panel().scrollTop = 0;
  view?.start();
  panel().querySelector('h2').focus();
}

function heading(row) {
  const close = make('button', { type: 'button', class: 'close', 'aria-label': 'Close (Escape)' }, '✕');
  close.addEventListener('click', leave);
  return make('header', {},
    make('div', {},
      make('h2', { id: 'p-name', tabindex: -1 },
        make('span', { class: 'stack' }, row.peer), ' ',
        isPunch(row) ? namesOf(row).flatMap((name, index) =>
          [index ? ' → ' : '', make('span', { title: data.profiles[name] }, name)]) : titled(row)),
      make('p', { class: 'badges' },
        make('span', { class: `badge ${row.judgement}` }, VERDICTS[row.judgement] ?? row.judgement),
        outcome(row, 'measured'), outcome(row, 'predicted'),
        row.mode === 'punch' ? null : make('span', { class: 'badge' }, MODES[row.mode] ?? row.mode),
        row.topology ? make('span', { class: 'badge' }, row.topology) : null)),
    repeats(row), close);
}

function outcome(row, word) {
  const path = row[word];
  return make('span', { class: 'badge' }, `${word} `, isPunch(row)
    ? make('i', { class: `mark ${path ?? 'unclear'}` }, letter(path)) : null, ` ${path ?? 'nothing'}`);
}

function repeats(row) {
  const { rows } = row.cell;
  if (rows.length < 2) return null;
  return make('nav', { class: 'repeats', 'aria-label': 'Repetitions' }, rows.map((each) =>
    make('a', {
      href: link(each.name), class: each.judgement,
      'aria-current': each === row ? 'page' : null,
      title: `${VERDICTS[each.judgement]}: ${each.measured ?? 'nothing'}`,
    }, `${each.repeat + 1}`, each.judgement === 'pass' ? '' : each.judgement === 'fail' ? '≠' : '?')));
}

function tale(row, more, trouble, view) {
  const told = more?.explanation;
  const parts = [
    make('p', { class: 'causes' }, row.cause
      ? [make('span', { class: 'cause' }, words(row.cause)), row.node ? ` at ${row.node}` : '']
      : make('span', { class: 'cause' }, NOTHING)),
    make('p', { class: row.headline.length > 110 ? 'headline long' : 'headline' },
      told?.headline ?? row.headline),
  ];
  if (trouble) parts.push(make('p', { class: 'callout' }, trouble));
  if (!more && !trouble) {
    parts.push(make('p', { class: 'callout' },
      'Its details are not in this page, to keep it small; they are in its folder.'));
  }
  if (!more) return parts;
  if (told && told.wrong !== 'nobody') parts.push(make('div', { class: 'callout' },
    make('strong', {}, told.wrong === 'undecided'
      ? 'Undecided who is wrong. ' : `At fault: ${AT_FAULT[told.wrong] ?? told.wrong}. `),
    told.wrong_why ? sentence(told.wrong_why, view) : ''));
  if (told?.missing.length) parts.push(make('div', { class: 'callout' },
    make('strong', {}, 'Evidence that is missing'),
    make('ul', {}, told.missing.map((line) => make('li', {}, line)))));
  if (told?.story.length) parts.push(make('h3', {}, 'What happened'),
    make('ol', { class: 'story' }, told.story.map((line) => make('li', {}, sentence(line, view)))));
  if (!told) parts.push(make('p', { class: 'callout' }, 'This cell has no explanation recorded.'));
  parts.push(...facts(more), ...commands(more));
  return parts;
}

// A line of the story; each packet that it cites can be shown on the diagram.
function sentence(line, view) {
  return make('span', {}, `${line.text} `, line.cites.map((cite) => citation(cite, view)));
}

function citation([number, vantage, outgoing, protocol, source, destination], view) {
  const words_ = `packet ${number}: ${outgoing ? 'out of' : 'into'} ${vantage}, `
    + `${protocol} ${source} → ${destination}`;
  const button = make('button', { type: 'button', class: 'cite', title: words_, 'aria-label': words_ },
    `#${number}`);
  button.addEventListener('click', () => {
    if (!view) return;
    const found = view.find(number);
    view.status.textContent = found ? '' : `Packet ${number} has no arrow of its own: it is one of `
      + 'several like it, or was left out. The capture has it.';
    (found ? view.box : view.status).scrollIntoView({ block: 'nearest' });
  });
  return button;
}

function facts(more) {
  const { reason, findings, earlier } = more;
  const numbers = [
    more.packets === null ? null : `${more.packets} packets`,
    more.connect_ms === null ? null : `connected in ${more.connect_ms} ms`,
    ...carried(more.rung),
    more.up_ms === null ? null : `lab up in ${more.up_ms} ms`,
    more.seconds === null ? null : `${more.seconds} s in all`,
  ].filter(Boolean);
  return [
    make('h3', {}, 'The judge, and the prediction’s reason'),
    make('p', {}, reason),
    ...own(more.details),
    findings?.length ? make('ul', {}, findings.map((finding) => make('li', {}, finding))) : null,
    earlier.length ? make('p', {}, `Tried again; before: ${earlier.join('; ')}`) : null,
    make('p', { class: 'soft' }, numbers.join(', ')),
  ].filter(Boolean);
}

// What only the study of the case knows of it: its values, and a table for each list of them.
function own(details) {
  const { study, ...values } = details ?? {};
  const lists = Object.values(values).filter((value) => Array.isArray(value)
    && value.length && typeof value[0] === 'object');
  const plain = Object.entries(values).filter(([, value]) => !lists.includes(value));
  return [
    plain.length ? tableOf(['', ''], plain.map(([name, value]) => [words(name), inWords(value)])) : null,
    ...lists.map((list) => tableOf(Object.keys(list[0]).map(words),
      list.map((item) => Object.values(item).map(inWords)))),
  ];
}

// A value in words; that of a field within another is after its name.
function inWords(value) {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return value.map(inWords).join(', ');
  if (typeof value !== 'object') return String(value);
  return Object.entries(value).map(([name, one]) => `${words(name)} ${inWords(one)}`).join(', ');
}

function tableOf(heads, lines) {
  return make('div', { class: 'scroll' }, make('table', { class: 'plain' },
    make('thead', {}, make('tr', {}, heads.map((name) => make('th', { scope: 'col' }, name)))),
    make('tbody', {}, lines.map((line) => make('tr', {}, line.map((text) => make('td', {}, text)))))));
}

// By which rung of the ladder, and how long that took from the dial on.
function carried(rung) {
  if (!rung?.measured) return [];
  return [
    `carried: ${rung.measured}${rung.mapped ? ` by a port that ${rung.mapped} maps` : ''}`
      + `${rung.predicted === rung.measured ? '' : `, predicted ${rung.predicted ?? 'nothing'}`}`,
    rung.first_byte_ms === null ? null : `first byte after ${rung.first_byte_ms} ms`,
    rung.final_ms === null ? null : `final path after ${rung.final_ms} ms`,
  ];
}

function commands(more) {
  const folder = quoted(more.folder);
  const numbers = (more.explanation?.decisive ?? []).map(([number]) => number);
  const shown = numbers.map((number) => `frame.number == ${number}`).join(' || ');
  return [
    make('h3', {}, 'The packets'),
    more.capture
      ? make('p', {}, make('a', { href: more.capture }, 'capture.pcapng'), ' opens in Wireshark as it is')
      : make('p', { class: 'soft' }, 'The capture is not where the page expects it.'),
    command(`testbed explain ${folder}`),
    command(`tshark -r ${quoted(`${more.folder}/capture.pcapng`)}${shown ? ` -Y '${shown}'` : ''}`),
  ];
}

const quoted = (path) => (/^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`);

function command(line) {
  const code = make('code', {}, line);
  const button = make('button', { type: 'button', 'aria-label': `Copy: ${line}` }, 'Copy');
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(line);
      button.textContent = 'Copied';
    } catch { // not allowed here: leave it selected, Ctrl+C does the rest
      getSelection().selectAllChildren(code);
      button.textContent = 'Selected';
    }
  });
  return make('div', { class: 'command' }, code, button);
}

function picture(diagram, view, more) {
  const parts = [];
  if (view) {
    parts.push(make('div', { class: 'over' }, make('h3', {}, 'The sequence diagram'), view.tools), view.box, view.status,
      make('p', { class: 'soft key' },
        '◆ decisive', make('span', { class: 'bad' }, ' ✕ dropped or lost'),
        make('span', { class: 'bad' }, ' ⊘ rejected'), make('span', { class: 'new' }, ' changed by a NAT'),
        diagram.omitted ? `; ${diagram.omitted} packets of usual traffic are left out` : ''),
      make('details', {}, make('summary', {}, 'The sequence diagram as a table'),
        make('div', { class: 'scroll' }, diagramTable(diagram))));
  } else {
    parts.push(make('p', { class: 'soft' }, diagram
      ? 'No packet is worth showing here.' : 'There is no sequence diagram of this cell.'));
  }
  if (more?.events.length) parts.push(events(more));
  return parts;
}

function events(more) {
  const table = make('table', { class: 'plain' },
    make('thead', {}, make('tr', {}, ['ms', 'peer', 'event', ''].map((name) =>
      make('th', { scope: 'col' }, name)))),
    make('tbody', {}, more.events.map(([peer, ms, event, rest]) => make('tr', {},
      make('td', {}, ms.toFixed(1)), make('td', {}, peer), make('td', {}, event),
      make('td', { class: 'rest' }, rest)))));
  const count = more.events.length + more.more_events;
  return make('details', { class: 'events' },
    make('summary', {}, `What the peers said: ${count} events`),
    make('div', { class: 'scroll' }, table),
    more.more_events ? make('p', { class: 'soft' }, `${more.more_events} more in events.jsonl`) : null);
}
