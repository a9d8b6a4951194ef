"""`testbed peer check`: sound peers pass, and each broken rule is red for its own reason."""

import itertools
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import forked_command
import pytest
from peer_zoo import BREAKS

from testbed.model.peer_check import Checked, Gap, Rule, Scene, Sign
from testbed.peercheck.child import Child
from testbed.peercheck.run import check
from testbed.peercheck.task import Patience
from testbed.report.peer_check import lines
from testbed.words.broken_rules import sentence

HERE = Path(__file__).parent
EXAMPLE = HERE.parent / "example"
SHORT = Patience(gathering=6, connecting=8, echoing=6, closing=2, exiting=1)
HASTY = Patience(gathering=2, connecting=2, echoing=2, closing=2, exiting=1)  # for who is mute
ENDS = (Scene.DIALER,)

# kind -> the scene in which it shows, and the rules that it breaks there
ZOO = {
    "chatty": (Scene.DIALER, [Rule.LINE_NOT_JSON]),
    "listing": (Scene.DIALER, [Rule.LINE_NOT_JSON]),
    "long_winded": (Scene.DIALER, [Rule.LINE_TOO_LONG]),
    "cut_off": (Scene.DIALER, [Rule.LINE_UNFINISHED]),
    "inventive": (Scene.DIALER, [Rule.EVENT_UNKNOWN]),
    "forgetful": (Scene.DIALER, [Rule.FIELD_MISSING]),
    "generous": (Scene.DIALER, [Rule.FIELD_UNKNOWN]),
    "wordy": (Scene.DIALER, [Rule.FIELD_WRONG]),
    "nil": (Scene.DIALER, [Rule.FIELD_WRONG]),
    "hasty": (Scene.DIALER, [Rule.OUT_OF_ORDER]),
    "double": (Scene.DIALER, [Rule.OUT_OF_ORDER]),
    "mute": (Scene.DIALER, [Rule.NO_ANSWER]),
    "mute_dial": (Scene.DIALER, [Rule.NO_ANSWER]),
    "mute_echo": (Scene.DIALER, [Rule.NO_ANSWER]),
    "buffered": (Scene.DIALER, [Rule.STDOUT_BUFFERED]),
    "wall_clock": (Scene.DIALER, [Rule.CLOCK_OFF]),
    "milliseconds": (Scene.DIALER, [Rule.CLOCK_OFF]),
    "impatient": (Scene.LISTENER, [Rule.DIALED_EARLY]),
    "eager": (Scene.LISTENER, [Rule.DIALED_EARLY]),
    "crashing": (Scene.DIALER, [Rule.EXITED_EARLY]),
    "crashing_dial": (Scene.DIALER, [Rule.EXITED_EARLY]),
    "deaf_to_close": (Scene.INTERRUPTED, [Rule.CLOSE_IGNORED]),
    "talkative": (Scene.INTERRUPTED, [Rule.OUTPUT_AFTER_CLOSED]),
    "lingering": (Scene.INTERRUPTED, [Rule.STILL_RUNNING]),
    "ungraceful": (Scene.INTERRUPTED, [Rule.EXIT_CODE]),
    "orphan": (Scene.ORPHANED, [Rule.OUTLIVED_STDIN]),
    "elsewhere": (Scene.INTERRUPTED, [Rule.NOT_BOUND]),
    "mistaken": (Scene.INTERRUPTED, [Rule.OBSERVED_WRONG]),
    "empty": (Scene.INTERRUPTED, [Rule.OFFER_EMPTY]),
    "lying": (Scene.INTERRUPTED, [Rule.OFFER_WRONG]),
    "lame": (Scene.DIALER, [Rule.NOT_CONNECTED]),
    "boasting": (Scene.NOBODY, [Rule.CLAIM_WRONG]),
    "relaying": (Scene.LISTENER, [Rule.CLAIM_WRONG]),
    "astray": (Scene.LISTENER, [Rule.CLAIM_WRONG]),
    "loud": (Scene.SILENT, [Rule.MODE_IGNORED]),
    "misnamed": (Scene.SILENT, [Rule.FAILURE_WRONG]),
    "modest": (Scene.DIALER, [Rule.ECHO_SHORT]),
    "proud": (Scene.DIALER, [Rule.ECHO_OVERSTATED]),
    "idle": (Scene.DIALER, [Rule.ECHO_OVERSTATED]),
    "keeping": (Scene.LISTENER, [Rule.ECHO_NOT_RETURNED]),
    "altering": (Scene.LISTENER, [Rule.ECHO_ALTERED]),
    "garbled": (Scene.DIALER, [Rule.FRAME_MALFORMED]),
    "estranged": (Scene.DIALER, [Rule.FRAME_FOREIGN]),
    "mirrored": (Scene.DIALER, [Rule.FRAME_FOREIGN]),
    "tiny": (Scene.DIALER, [Rule.FRAME_SMALL]),
    "heedless": (Scene.DIALER, [Rule.NONCE_MISSING]),
    "huge": (Scene.DIALER, [Rule.FRAME_LARGE]),
    "forgetting": (Scene.DIALER, [Rule.ECHO_NOT_RESENT]),
    "tardy": (Scene.DIALER, [Rule.DIALED_LATE]),
    "hopeless": (Scene.NOBODY, [Rule.GAVE_UP_EARLY]),
    "promiscuous": (Scene.LISTENER, [Rule.STRANGER_HEEDED]),
    "narcissistic": (Scene.LISTENER, [Rule.STRANGER_HEEDED]),
    "gullible": (Scene.NOBODY, [Rule.ACK_MISPLACED]),
}
MUTE = {"mute", "mute_dial", "mute_echo", "buffered"}


@pytest.fixture(scope="session", autouse=True)
def _loopback() -> None:
    """In the sandbox of the suite nobody has brought it up."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)


def broken(kind: str, scene: Scene) -> Checked:
    argv = (sys.executable, str(HERE / "peer_zoo.py"), kind)
    patience = HASTY if kind in MUTE else SHORT
    return check(argv, "punch_udp", (scene,), patience)


def test_the_zoo_is_whole() -> None:
    assert set(ZOO) == set(BREAKS)


def test_every_rule_has_a_peer_that_breaks_it() -> None:
    assert {rule for _, rules in ZOO.values() for rule in rules} == set(Rule)


@pytest.mark.parametrize("kind", ZOO)
def test_a_broken_peer_is_red_for_its_own_reason(kind: str) -> None:
    scene, rules = ZOO[kind]
    found = broken(kind, scene)
    assert list(dict.fromkeys(one.rule for one in found.broken)) == rules, found
    assert all(sentence(one) for one in found.broken)


@pytest.mark.parametrize("scene", [Scene.PLAIN_DIALER, Scene.PLAIN_LISTENER])
def test_who_punches_in_a_plain_dial_is_caught(scene: Scene) -> None:
    found = broken("loud", scene).broken
    assert {one.rule for one in found} == {Rule.MODE_IGNORED}
    assert {one.found for one in found} <= {Sign.PORT, Sign.UNASKED}


def test_what_shows_that_a_mode_is_ignored_is_told() -> None:
    (one,) = broken("loud", Scene.SILENT).broken
    assert sentence(one) == ("did not keep to the mode silent: it sent something to the other side")


def test_a_broken_rule_names_the_line_the_event_and_the_field() -> None:
    (one,) = broken("generous", Scene.INTERRUPTED).broken
    assert (one.event, one.field) == ("listening", "comment")
    assert '"comment": "mine"' in str(one.found)


def test_a_peer_that_crashes_is_shown_with_its_last_words() -> None:
    found = broken("crashing", Scene.DIALER)
    assert "the peer is broken" in "\n".join(lines("it", found))


def test_an_answer_that_was_refused_is_not_waited_for() -> None:
    argv = (sys.executable, str(HERE / "peer_zoo.py"), "nil")
    found = check(argv, "punch_udp", (Scene.DIALER, Scene.LISTENER))  # the answer may take 20 s
    assert [one.rule for one in found.broken] == [Rule.FIELD_WRONG] * 2
    assert all(scene.seconds < 15 for scene in found.scenes), found


def test_what_is_broken_alike_in_several_scenes_is_told_once() -> None:
    argv = (sys.executable, str(HERE / "peer_zoo.py"), "nil")
    found = check(argv, "punch_udp", (Scene.DIALER, Scene.LISTENER, Scene.NOBODY))
    head, told, *_ = lines("it", found)
    assert head == "it as punch_udp: breaks 1 rule of the contract in 3 scenes"
    assert "offer.multiaddrs is null: a list is due (and in 2 more: listener, nobody)" in told
    assert sum("is due" in line for line in lines("it", found)) == 1


@pytest.mark.parametrize(
    ("name", "mechanism"),
    [
        ("punch-udp", "punch_udp"),
        ("punch-tcp", "punch_tcp"),
        ("ice", "ice"),
        ("traversal-tcp", "dcutr_tcp"),
        ("traversal-quic", "dcutr_quic"),
    ],
)
def test_our_own_stacks_keep_the_contract_in_every_scene(name: str, mechanism: str) -> None:
    found = check((sys.executable, "-m", "testbed.stacks", name), mechanism)
    assert (found.broken, found.unchecked) == ((), ())
    assert found.determined


def test_the_example_in_python_keeps_the_contract() -> None:
    found = check((sys.executable, str(EXAMPLE / "my_puncher.py")), "punch_udp")
    assert (found.broken, found.unchecked) == ((), ())


def test_the_example_in_javascript_keeps_the_contract() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("NOT RUN: there is no Node.js here, so the example in JavaScript is not tried")
    found = check((node, str(EXAMPLE / "my_puncher.mjs")), "punch_udp")
    assert (found.broken, found.unchecked) == ((), ())


def test_a_peer_that_cannot_is_not_determined_and_not_blamed() -> None:
    found = check((sys.executable, "-m", "testbed.stacks", "punch-tcp"), "punch_udp", ENDS)
    assert not found.broken
    assert [gap.gap for gap in found.unchecked] == [Gap.UNSUPPORTED]
    assert not found.determined


def test_a_peer_that_waits_for_a_processor_is_not_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    waited = itertools.count(0, 60)  # seconds, more with each look
    monkeypatch.setattr(Child, "waited_for_processor", lambda _: next(waited))
    found = broken("mute", Scene.DIALER)
    assert not found.broken
    assert [gap.gap for gap in found.unchecked] == [Gap.BUSY]
    assert not found.determined


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return forked_command.said("peer", "check", *words, timeout=60, apart=False)


def test_the_exit_codes_of_the_command() -> None:
    zoo = shlex.join([sys.executable, str(HERE / "peer_zoo.py")])
    assert run("punch-udp", "--scene", "dialer").returncode == 0
    assert run(f"{zoo} chatty", "--scene", "dialer").returncode == 1
    assert run("./no-such-peer").returncode == 2
    assert run("punch-tcp", "--mechanism", "punch_udp").returncode == 2
    assert (
        run(
            shlex.join([sys.executable, "-m", "testbed.stacks", "punch-tcp"]), "--scene", "dialer"
        ).returncode
        == 3
    )


def test_json_is_all_that_is_on_stdout() -> None:
    done = run(
        shlex.join([sys.executable, str(HERE / "peer_zoo.py"), "chatty"]),
        "--scene",
        "dialer",
        "--json",
    )
    (scene,) = json.loads(done.stdout)["scenes"]
    assert [one["rule"] for one in scene["broken"]] == ["line_not_json"]
    assert done.stderr == ""
