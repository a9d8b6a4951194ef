"""What strangers say, and the files that they leave, are clean and bounded where they enter."""

import io
import json
import os
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from explained_cells import matrix
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed import foreign
from testbed.errors import ContractError, UsageError
from testbed.model.contract import Failed
from testbed.model.contract_lines import decode_event
from testbed.model.presets import find
from testbed.report.html import write_html
from testbed.report.world import svg, tree
from testbed.run.store import load
from testbed.stacks.remarks import Remarks

ORDERS = [
    "\x1b[2J\x1b]0;owned\x07", "\x9b31m", "::error::it is broken", "a\n  ::set-output name=x::y",
    "##[error]no", "\u202egnp.exe", "\ud800", "back\b\b\b\bspace", "\x00", "over\rwritten",
]  # fmt: skip


def harmless(text: str) -> bool:
    """No character is a command, and no line is an order to a CI."""
    lines = text.split("\n")
    return all(
        one.isprintable() and not one.lstrip().startswith("::") and "##[" not in one
        for one in lines
    )


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_to_a_terminal_or_a_ci_is_words_and_no_more(order: str) -> None:
    said = foreign.words(order)
    assert harmless(said)
    assert len(said) == len(order)
    assert foreign.words(said) == said


@given(st.text())
def test_whatever_is_said_is_harmless_and_stays_as_it_is(text: str) -> None:
    said = foreign.words(text)
    assert harmless(said)
    assert foreign.words(said) == said
    assert len(foreign.line(text, 20)) <= 20


def test_plain_words_are_left_alone() -> None:
    plain = "a: no answer from 29.0.0.1:3478\n  remedy: wait; 日本 – ✗ std::vector"
    assert foreign.words(plain) == plain


@pytest.mark.parametrize("order", [one for one in ORDERS if one.isprintable() or one.isascii()])
def test_a_peers_reason_and_its_stderr_are_cleaned(order: str) -> None:
    line = json.dumps({"event": "failed", "at": 1, "failure": "timeout", "reason": order})
    event = decode_event(line.encode())
    assert isinstance(event, Failed)
    assert harmless(event.reason)
    remarks = Remarks()
    remarks.take(order.encode())
    assert harmless(str(remarks))


def test_a_time_of_4000_digits_breaks_the_contract() -> None:
    line = b'{"event": "closed", "at": ' + b"9" * 4000 + b"}"
    with pytest.raises(ContractError):
        decode_event(line)


# -- files -----------------------------------------------------------------------------


def test_a_pipe_a_device_and_a_folder_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    began = time.monotonic()
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match=r"not a regular file|directory"):
            foreign.read_bytes(path)
    assert time.monotonic() - began < 1.0


def test_a_file_that_is_too_large_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(2001)
    with pytest.raises(OSError, match="larger than 2000 bytes"):
        foreign.read_bytes(path, 2000)
    assert foreign.read_bytes(path, 2001) == bytes(2001)


# -- reports ---------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A small matrix on disk."""
    matrix(tmp_path, profiles=("symmetric",), peers=("ice",))
    return tmp_path


def cell(made: Path) -> Path:
    return next(made.glob("cells/**/explanation.json")).parent


def test_a_pipe_in_a_cells_folder_does_not_keep_the_report_waiting(made: Path) -> None:
    folder = cell(made)
    for name in ("run.json", "events.jsonl", "explanation.json"):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
    write_html(made / "report.html", load(made))


@pytest.mark.parametrize("at", ["9" * 4000, "1e400", "-1", "true", "null", '"now"', "[]"])
def test_an_odd_time_costs_one_event_and_not_the_report(at: str, made: Path) -> None:
    (cell(made) / "events.jsonl").write_text(f'{{"peer": "a", "event": "closed", "at": {at}}}\n')
    write_html(made / "report.html", load(made))


@pytest.mark.parametrize(
    "text", ["[]", "3", '"x"', "{}", '{"start_ns": "x"}', '{"start_ns": 1e99, "clock_ns": []}']
)
def test_an_odd_run_json_costs_the_report_nothing(text: str, made: Path) -> None:
    (cell(made) / "events.jsonl").write_text('{"peer": "a", "event": "closed", "at": 1}\n')
    (cell(made) / "run.json").write_text(text)
    write_html(made / "report.html", load(made))


def test_folders_outside_of_a_run_are_not_shown(made: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    (other / "events.jsonl").write_text('{"peer": "a", "event": "secret", "at": 1}\n')
    run = tmp_path / "run"
    run.mkdir()
    document = json.loads((made / "results.json").read_text())
    for result in document["results"]:
        result["folder"] = str(other)
    (run / "results.json").write_text(json.dumps(document))
    from testbed.report import html

    row = load(run).results[0]
    assert html._details(row, run)["events"] == []
    (other / "result.json").write_text(json.dumps({"name": row.name}))  # as a shard's case has it
    assert html._details(row, run)["events"] != []


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=3,
)


def changed(value: Any, data: st.DataObject) -> Any:
    """``value`` with something odd in one place of it."""
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(value)))
        if data.draw(st.integers(0, 9)) == 0:
            return {k: v for k, v in value.items() if k != key}
        return {**value, key: changed(value[key], data)}
    if isinstance(value, list) and value and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(value) - 1))
        return [*value[:at], changed(value[at], data), *value[at + 1 :]]
    return data.draw(odd)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_a_run_left_the_report_is_written_or_says_what_is_damaged(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    matrix(folder, profiles=("symmetric",), peers=("ice",))
    name = data.draw(st.sampled_from(["results.json", "run.json", "explanation.json"]))
    file = folder / name if name == "results.json" else cell(folder) / name
    value = json.loads(file.read_text()) if file.exists() else {"start_ns": 1, "clock_ns": 2}
    file.write_text(json.dumps(changed(value, data)))
    told = ""
    try:
        write_html(folder / "report.html", load(folder))
    except UsageError as error:
        told = error.message
    assert not told or str(file) in told


# -- drawings --------------------------------------------------------------------------


@pytest.mark.parametrize("order", [r"\u0000", r"\u001b[2J", r"\uFFFE", "]]>", "<script>"])
def test_a_drawing_of_a_world_is_well_formed_whatever_it_is_called(
    order: str, tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    hosts = "".join(f'[hosts.{name}]\nnetwork = "internet"\n' for name in ("a", "b", "server"))
    path.write_text(f'title = "x{order}"\nsource = "none: mine"\n{hosts}')
    found = find(str(path))
    drawn = svg(tree(found.topology(), {}), found.world.title)
    assert ElementTree.parse(io.StringIO(drawn)).getroot().tag.endswith("svg")


def test_a_link_out_of_a_folder_is_followed_only_where_the_user_named_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "sent"
    folder.mkdir()
    (folder / "own").write_text("own")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "in").symlink_to("own")
    (folder / "loop").symlink_to("loop")
    assert foreign.read_text(folder / "in") == "own"
    assert foreign.read_text(folder / "out", named=True) == "secret"
    for name in ("out", "loop"):
        with pytest.raises(OSError, match=r"leads out of its folder|symbolic link"):
            foreign.read_text(folder / name)
