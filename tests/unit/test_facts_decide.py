"""Facts decide, and words do not: no verdict and no cause follows from a sentence."""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_explain import Run, symmetric

import testbed
from testbed.explain.causes.root import RANK
from testbed.explain.explainer import explain
from testbed.model.breach import FirstNoise, NeverSent, NotClient, RelayKept
from testbed.model.explanation import Cause, Evidence, Wrong
from testbed.model.fault import Broke, CaptureLost, PeerFailed
from testbed.model.judgement import WireReading
from testbed.model.outcome import Outcome
from testbed.model.path import NothingEchoed
from testbed.model.trace import Verb
from testbed.model.verdict import Judgement
from testbed.predict.deviations import DEVIATIONS
from testbed.predict.prediction import predict
from testbed.predict.punching import PLAIN_DIAL_UDP
from testbed.verdict.judge import judge
from testbed.words import (
    breaches,
    explanations,
    faults,
    gaps,
    grounds,
    lives,
    packets,
    paths,
    reasons,
    sentence,
)

ROOT = Path(testbed.__file__).parent
ROOMS = (breaches, explanations, faults, gaps, grounds, lives, paths, reasons)
SPOKEN = ("note", "drop", "loss", "step")  # of `testbed.words.packets`


# -- sentences ----------------------------------------------------------------


def garbled(words: Callable[..., str]) -> Callable[..., str]:
    return lambda fact: f"~{words(fact)[::-1]}~"


@pytest.fixture
def another_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sentence reads backwards."""
    for room in ROOMS:
        monkeypatch.setattr(room, "sentence", garbled(room.sentence))
    for name in SPOKEN:
        monkeypatch.setattr(packets, name, garbled(getattr(packets, name)))


def cases() -> dict[str, Evidence]:
    """Runs whose end has a cause of each sort: the NATs', a fault's, a claim's, a breach's."""
    whole = symmetric().evidence(Outcome.NONE)
    broken = replace(whole, judgement=Judgement.INCONCLUSIVE, measured=None)
    failed = replace(symmetric().evidence(Outcome.RELAYED), judgement=Judgement.FAIL)
    return {
        "as predicted": whole,
        "unpredicted": replace(whole, judgement=Judgement.FAIL),
        "capture": replace(broken, faults=(CaptureLost("nat-a:wan", 3),)),
        "lab": replace(broken, faults=(Broke("lab", "a", "peer [b]: it fell off"),)),
        "peer": replace(broken, faults=(PeerFailed("b", "it died\nof that"),)),
        "liar": replace(broken, faults=(PeerFailed("b", "no event", broke_contract=True),)),
        "nameless": replace(broken, faults=(PeerFailed(None, "it died"),)),
        "silent": replace(whole, judgement=Judgement.FAIL, findings=(NeverSent("b"),)),
        "breach": replace(failed, findings=(RelayKept("a", "b"),)),
        "server": replace(failed, findings=(NotClient("a", "b", FirstNoise(96, 32)),)),
    }


EXPECTED = {
    "capture": (Cause.HARNESS_FAULT, None, Wrong.HARNESS),
    "lab": (Cause.HARNESS_FAULT, None, Wrong.HARNESS),
    "peer": (Cause.PEER_FAILED, "b", Wrong.UNDECIDED),
    "liar": (Cause.PEER_FAILED, "b", Wrong.PEER),
    "nameless": (Cause.PEER_FAILED, None, Wrong.UNDECIDED),
    "silent": (Cause.NEVER_SENT, "b", Wrong.PEER),
}


def ends() -> dict[str, tuple[Any, ...]]:
    found = {name: explain(evidence) for name, evidence in cases().items()}
    return {
        name: (one.cause, one.node, one.wrong, [c.number for c in one.decisive])
        for name, one in found.items()
    }


def test_a_fault_is_known_by_what_it_is() -> None:
    found = ends()
    assert {name: found[name][:3] for name in EXPECTED} == EXPECTED


PLAIN = ends()


@pytest.mark.usefixtures("another_catalogue")
def test_no_cause_follows_from_a_sentence() -> None:
    assert ends() == PLAIN
    told = sentence(explain(cases()["capture"]).headline)
    assert told.startswith("~"), "the catalogue was not changed"


def verdicts() -> list[tuple[Judgement, int]]:
    """Each known deviation beside its own breach and beside another, and without any."""
    run = symmetric()
    prediction = run.evidence(Outcome.RELAYED).prediction
    reading = WireReading(prediction.outcome, PATH)
    found = []
    for row in DEVIATIONS:
        for violations in ((), (RelayKept("a"),), (NotClient("a", "b"),)):
            verdict = judge(reading, prediction, [], violations=violations, known=[row])
            found.append((verdict.judgement, len(verdict.findings)))
    return found


PATH = NothingEchoed()
JUDGED = verdicts()


@pytest.mark.usefixtures("another_catalogue")
def test_no_verdict_follows_from_a_sentence() -> None:
    assert verdicts() == JUDGED
    assert {judgement for judgement, _ in JUDGED} == {Judgement.PASS, Judgement.FAIL}


# -- what mutations of it have gone unnoticed ----------------------------------------


def test_causes_come_in_the_order_in_which_they_bring_one_another_about() -> None:
    order = sorted(RANK, key=RANK.__getitem__)
    chain = (
        Cause.UDP_BLOCKED, Cause.PORT_NOT_SHARED, Cause.NEVER_SENT, Cause.QUOTA_REACHED,
        Cause.SIGNALLED_STALE, Cause.MAPPING_CHANGED, Cause.EARLY_SYN_RESET,
        Cause.FILTER_NOT_OPEN_YET, Cause.UNKNOWN, Cause.SIGNALLED_PRIVATE, Cause.FILTER_CLOSED,
    )  # fmt: skip
    assert [cause for cause in order if cause in chain] == list(chain)


def test_of_two_causes_the_earlier_in_the_chain_is_told_whichever_side_it_is_on() -> None:
    """One side's mapping changed, and so the other side's filter was closed for it."""
    for a, b, node in (
        ("symmetric", "port-restricted", "nat-a"),
        ("port-restricted", "symmetric", "nat-b"),
    ):
        found = explain(_changed(a, b, "a" if node == "nat-a" else "b").evidence(Outcome.NONE))
        assert (found.cause, found.node) == (Cause.MAPPING_CHANGED, node)


def _changed(a: str, b: str, moved: str) -> Run:
    """``moved`` leaves by another port than it told; nothing of either gets in."""
    run = Run(a, b)
    for node in "ab":
        run.learns(node, 4001)
    for at, node, other in ((0, "a", "nat-b"), (1, "b", "nat-a")):
        port = 5001 if node == moved else 4001
        run.sends(at, node, 4001, run.at(other, 4001), port, stopped=True)
    return run


def test_the_trace_tells_what_happened_to_each_packet_and_where() -> None:
    run = symmetric()
    found = predict(
        run.plan.topology,
        run.evidence(Outcome.NONE).behaviours,
        PLAIN_DIAL_UDP,
        "a",
        "b",
    )
    told = {(step.verb, step.node) for step in found.trace}
    verb = Verb
    assert told == {
        (verb.LEAVES, "nat-a"), (verb.LEAVES, "nat-b"), (verb.ARRIVES, None),
        (verb.ENTERS, "nat-a"), (verb.ENTERS, "nat-b"), (verb.DROPPED, None),
    }  # fmt: skip
    for step in found.trace:
        assert (step.drop is not None) is (step.verb is verb.DROPPED)
        assert (step.place is not None) is (step.verb in (verb.LEAVES, verb.ENTERS))


# -- text that is taken apart -----------------------------------------------------

# Names of what holds sentences; `messages` finds comparisons and searches of them.
SENTENCES = frozenset(
    {
        "reason", "reasons", "finding", "findings", "fault", "faults", "headline", "evidence",
        "why", "words", "message", "trace", "text", "breach", "breaches", "doubts", "late",
    }
)  # fmt: skip
METHODS = frozenset({"startswith", "endswith", "partition", "rpartition", "split", "find", "index"})
SEARCHES = frozenset({"match", "search", "fullmatch", "findall", "finditer", "sub", "split"})
# Text that others wrote, and numbers: (file, name).  What is not here is text of our own.
FOREIGN = {
    ("capture/drops.py", "text"),  # of nft
    ("capture/flows.py", "text"),  # of conntrack
    ("capture/recorder.py", "message"),  # a dictionary
    ("certify/prober/waiting.py", "late"),  # seconds
    ("cli/commands/chosen.py", "words"),  # of the command line
    ("evidence/protocols/multistream.py", "text"),  # off the wire
    ("explain/sides.py", "words"),  # ICE's candidates
    ("explain/worth.py", "words"),  # numbers left out, to fold repeats in the picture alone
    ("foreign.py", "text"),  # of strangers
    ("lab/attach.py", "words"),  # a dictionary
    ("lab/services/gateway/upnp.py", "text"),  # off the wire
    ("peercheck/meeting.py", "late"),  # seconds
    ("report/files.py", "text"),  # what XML cannot hold is taken out
    ("run/shards.py", "words"),  # of the command line
    ("run/store.py", "text"),  # a file
    ("studies/autonat/study.py", "late"),  # seconds
    ("studies/punch/external.py", "text"),  # of the command line
    ("studies/punch/selection.py", "words"),  # of the command line
    ("words/statements/runs.py", "message"),  # a peer's, of which the first line is shown
}


def named(node: ast.expr) -> str | None:
    """The last name of ``a.b.c``, of a call's or a subscript's value."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Subscript(value=value) | ast.Call(func=value):
            return named(value)
    return None


def has_words(node: ast.expr) -> bool:
    """A text, or an f-string, that is more than an identifier."""
    match node:
        case ast.Constant(value=str() as text):
            return bool(re.search(r"\s", text.strip()))
        case ast.JoinedStr(values=parts):
            return any(map(has_words, parts))
    return False


def messages(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Where text is compared with a sentence, or a sentence is searched, with its name."""
    for node in ast.walk(tree):
        match node:
            case ast.Compare(left=left, comparators=others):
                found = compared([left, *others])
            case ast.Call(func=ast.Attribute(value=value, attr=method), args=arguments):
                found = called(value, method, arguments)
            case ast.MatchValue(value=text) if has_words(text):
                found = "a sentence"
            case _:
                continue
        if found:
            yield getattr(node, "lineno", 0), found


def compared(sides: list[ast.expr]) -> str | None:
    """A sentence or its name, in a comparison with a text."""
    if any(map(has_words, sides)):
        return "a sentence"
    names = [name for name in map(named, sides) if name in SENTENCES]
    strings = [s for s in sides if isinstance(s, ast.Constant) and isinstance(s.value, str)]
    known = [s for s in sides if isinstance(s, ast.Name) and (s.id == "word" or s.id.isupper())]
    return names[0] if names and (strings or known) else None


def called(value: ast.expr, method: str, arguments: list[ast.expr]) -> str | None:
    """The name of a sentence that is searched, or taken apart."""
    asked = [value] if method in METHODS else []
    asked += arguments if method in SEARCHES else []
    return next((name for name in map(named, asked) if name in SENTENCES), None)


def watched() -> list[Path]:
    """All but the library, which has no stages, and what reads rules and programs of others."""
    others = [ROOT / "traversal", ROOT / "bench", ROOT / "certify" / "foreign"]
    return [p for p in sorted(ROOT.rglob("*.py")) if not any(map(p.is_relative_to, others))]


def test_nothing_takes_a_sentence_apart() -> None:
    found, met = [], set()
    for path in watched():
        name = path.relative_to(ROOT).as_posix()
        for line, about in messages(ast.parse(path.read_text(encoding="utf-8"))):
            met.add((name, about))
            if (name, about) not in FOREIGN:
                found.append(f"{name}:{line}: {about}")
    assert found == []
    assert FOREIGN - met == set(), "nothing reads these any more"


# -- fields that hold sentences ------------------------------------------------------

# Where text is a field of a value: its words are others', or are made by the catalogue.
PROSE = SENTENCES | {"lost", "gaps", "note", "notes", "said", "because"}
# What makes words, or is read by people alone.
TOLD = ("words", "report", "cli", "pytest_plugin", "errors.py", "bench", "traversal", "fitness")


def textual(annotation: ast.expr | None) -> bool:
    """``str``, ``str | None``, ``tuple[str, ...]`` or the `Text` of results."""
    names = {n.id for n in ast.walk(annotation) if isinstance(n, ast.Name)} if annotation else set()
    return bool(names & {"str", "Text"}) and not names & {"dict", "Mapping"}


def takers(tree: ast.Module) -> Iterator[tuple[str, list[str], set[str]]]:
    """Values with text that is named like a sentence: name, fields in order, those fields."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
        known = [(named(one.target) or "", one.annotation) for one in fields]
        texts = {field for field, kind in known if field in PROSE and textual(kind)}
        if texts:
            yield node.name, [field for field, _ in known], texts


def filled(tree: ast.Module, known: dict[str, tuple[list[str], set[str]]]) -> Iterator[str]:
    """Where a field of ``known`` is given a sentence that stands right there, or in a name."""
    for scope in ast.walk(tree):
        if not isinstance(scope, ast.FunctionDef | ast.Module):
            continue
        inner = list(own_nodes(scope))
        given = {
            named(target): node.value
            for node in inner
            if isinstance(node, ast.Assign) and has_words(node.value)
            for target in node.targets
        }
        for call in inner:
            if not isinstance(call, ast.Call) or (name := named(call.func)) is None:
                continue
            for field, value in bound(call, *known.get(name, ([], set()))):
                spoken = [value, *(getattr(value, "elts", ()))]
                if any(has_words(one) or named(one) in given for one in spoken):
                    yield f"{call.lineno}: {name}.{field}"


def own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions inside of it."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, ast.FunctionDef):
            yield child
            yield from own_nodes(child)


def bound(call: ast.Call, order: list[str], texts: set[str]) -> Iterator[tuple[str, ast.expr]]:
    """The text fields that ``call`` gives, with their values; of any callee if by name."""
    for field, value in zip(order, call.args, strict=False):
        if field in texts:
            yield field, value
    for keyword in call.keywords:
        if keyword.arg in texts:
            yield keyword.arg, keyword.value


def stages() -> dict[str, ast.Module]:
    found = {p.relative_to(ROOT).as_posix(): p for p in sorted(ROOT.rglob("*.py"))}
    return {
        name: ast.parse(path.read_text(encoding="utf-8"))
        for name, path in found.items()
        if name.split("/")[0] not in TOLD
    }


def takers_of(trees: dict[str, ast.Module]) -> dict[str, tuple[list[str], set[str]]]:
    return {name: (order, texts) for tree in trees.values() for name, order, texts in takers(tree)}


def test_no_stage_fills_a_field_with_a_sentence() -> None:
    trees = stages()
    known = takers_of(trees)
    assert "PeerFailed" in known, "the search finds such fields"
    found = [f"{name}:{one}" for name, tree in trees.items() for one in filled(tree, known)]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "Certificate('x', (), V.FAIL, 0.1, f'it ended after {s} s')",
        "Certificate('x', reason='the prober crashed')",
        "why = f'it ended after {s} s'\nCertificate('x', reason=why)",
        "Certificate('x', notes=(f'{node} sent no event',))",
    ],
)
def test_a_field_that_is_filled_with_a_sentence_is_found(line: str) -> None:
    source = """
class Certificate:
    name: str
    rows: tuple[Row, ...]
    verdict: V
    seconds: float
    reason: str = ""
    notes: tuple[str, ...] = ()
"""
    known = takers_of({"c": ast.parse(source)})
    assert list(filled(ast.parse(line), known))
    assert not list(filled(ast.parse("Certificate('x', reason=str(error))"), known))


def test_the_verdict_reads_packets_through_the_account_alone() -> None:
    """What is read twice may be read in two ways."""
    found = []
    for path in sorted((ROOT / "verdict").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Attribute(value=ast.Name(id="account"), attr="packets"):
                    found.append(f"{path.name}:{node.lineno}")
                case ast.arg(arg="packets", annotation=ast.expr()) if path.name != "handshake.py":
                    found.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "re.match(pattern, finding)",
        "_PEER.search(fault)",
        "if 'too busy' in x: pass",
        "if fault.startswith('peer'): pass",
        "x = verdict.reason == 'done'",
        "head = said.text.partition(' ')",
        "ok = f'{a} sent nothing' in findings",
        "if certificate.reason.startswith('probe'): pass",
        "shown = f'#{n}' not in line.text.split()",
        "any(word in failure.reason for word in REFUSED)",
        "x = NO_RESERVATION in failure.reason",
    ],
)
def test_the_search_for_such_lines_finds_them(line: str) -> None:
    assert list(messages(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    ["x = fault.kind is Kind.LATE", "x = step.verb in (Verb.ENTERS,)", "x = name == 'a'"],
)
def test_values_are_no_sentences(line: str) -> None:
    assert not list(messages(ast.parse(line)))
