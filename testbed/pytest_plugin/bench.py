"""What the fixtures give: `Session` is pytest's, `Bench` one test's."""

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from testbed.errors import ProfileError, UsageError
from testbed.model.presets import asked
from testbed.model.result import Result
from testbed.model.topology import Topology
from testbed.nat.load import find, load, named
from testbed.plan.planner import plan
from testbed.pytest_plugin.helper import Helper
from testbed.pytest_plugin.labs import STARTING, Lab
from testbed.pytest_plugin.verdicts import NatPair, Peer, Verdict
from testbed.run.folder import Files, RunFolder
from testbed.studies.punch.folder import own_names

ALIASES = {"home": "linux-home"}
EXPLANATION = "explanation.txt"
CELL = 600.0  # seconds for a cell, which has deadlines of its own, and is tried three times
CERTIFYING = 600.0  # seconds, likewise
_UNFIT_FOR_A_NAME = re.compile(r"[^a-z0-9]+")

Words = str | Sequence[str | PathLike[str]]
# Words, mechanism, contract, and what it reads: as `add_stacks` takes them.
Stranger = tuple[str, str, str, tuple[str, ...]]


class Session:
    """One helper process for all tests, and what it is not asked twice."""

    def __init__(self, backend: str, results: Path, root: Path) -> None:
        self.backend = backend
        self.root = root
        self._results = results
        self._helper: Helper | None = None
        self._certified: set[tuple[str | None, ...]] = set()
        self._strangers: dict[str, Stranger] = {}

    def close(self) -> None:
        if self._helper is not None:
            self._helper.close()

    def new_helper(self) -> Helper:
        __tracebackhide__ = True
        return Helper(self._results)

    def ask(self, do: str, deadline: float, **arguments: Any) -> Any:
        """Of the helper for all; a new one if the last was ended."""
        __tracebackhide__ = True
        if self._helper is None or self._helper.ended:
            self._helper = self.new_helper()
        return self._helper.ask(do, deadline, kind=self.backend, **arguments)[0]

    def certify(
        self, files: dict[str, str], world: str | None = None, names: Sequence[str] = ()
    ) -> None:
        """ProfileError for a NAT that is not measured to be what its file claims.

        ``world``, with ``names`` for its options, may forward ports of them.
        """
        __tracebackhide__ = True
        asked = (world, *names, *files.values())
        if asked in self._certified:
            return
        told = {"topology": world, "names": list(names)}
        for certificate in self.ask("certify", CERTIFYING, profiles=files, **told):
            if certificate["verdict"] != "PASS":
                file = files[certificate["profile"].partition(".")[0]]
                raise ProfileError(_uncertified(certificate, file))
        self._certified.add(asked)

    def stranger(self, name: str, told: Stranger) -> str:
        """What a stack of the user's is called here: as little changed as two of a name need."""
        unique, number = name, 1
        while self._strangers.setdefault(unique, told) != told:
            number += 1
            unique = f"{name}-{number}"
        return unique

    def described(self, names: Iterable[str]) -> dict[str, Stranger]:
        """Those of ``names`` that are the user's."""
        return {name: self._strangers[name] for name in names if name in self._strangers}


class Bench:
    """What one test has made; its folder keeps what was recorded."""

    def __init__(self, session: Session, own: RunFolder) -> None:
        self._session = session
        self._own = own
        self._folder = own.path
        self._labs: list[Lab] = []
        self._told: list[tuple[str, Path]] = []  # what was run, its folder
        self._repeats: Counter[tuple[str, NatPair]] = Counter()

    def __repr__(self) -> str:
        return "testbed"  # in a failure's fixtures there is enough to read

    def nat_pair(self, dialer: str, listener: str, *, topology: str | None = None) -> NatPair:
        """Two NATs, certified: names of profiles, or files (``*.toml``) of one's own.

        ``topology`` is a world with two NATs by option, by its name or its file, which begins at
        pytest's root; without, each stack is tried in its own.
        ProfileError naming the file that is missing, broken, or claims what is not so.
        """
        __tracebackhide__ = True
        names, files = _found((dialer, listener), self._session.root)
        if topology is not None:
            world = asked(topology, self._session.root)
            topology, files = world.word, _inner(world.topology(*names), files)
        self._session.certify(files, topology, names if topology is not None else ())
        return NatPair(names[0], names[1], topology, tuple(files.items()))

    def peer(
        self,
        stack: str | None = None,
        *,
        command: Words | None = None,
        image: str | None = None,
        mechanism: str | None = None,
        contract: str = "lines",
        reads: Sequence[str | PathLike[str]] = (),
        name: str | None = None,
    ) -> Peer:
        """Either one of the testbed's stacks by its name, or the user's own.

        That is the ``command`` of a program, the ``image`` of a container, or both, of which
        labs of containers take the image.  A relative path in a command begins at pytest's
        root.  ``contract`` is what it speaks: JSON Lines (testbed/stacks/contract.schema.json),
        or ``unified``, that of libp2p's unified-testing.  ``mechanism`` says by what the outcome
        is predicted: ``punch_udp``, ``ice``, ``dcutr_quic``, ...
        A program sees of the machine's files the system's, those that its command names, and
        what ``reads`` names, files or folders: its modules, say.  It cannot change any.
        """
        __tracebackhide__ = True
        if stack is not None:
            if command is not None or image is not None or reads:
                raise UsageError("a peer is a stack of the testbed's, or one of yours")
            return Peer(stack, self)
        if mechanism is None:
            raise UsageError("a peer of yours needs a mechanism", remedy='mechanism="punch_udp"')
        words, plain = _own(command, image, self._session)
        shown = tuple(str(self._session.root / path) for path in reads)
        known = name or _UNFIT_FOR_A_NAME.sub("-", plain.lower()).strip("-") or "peer"
        return Peer(self._session.stranger(known, (words, mechanism, contract, shown)), self)

    def lab(self, topology: str | NatPair = "two-homes", *profiles: str) -> Lab:
        """A lab that is up: a world, by name or file, and the profiles of its NATs; or a
        `NatPair`'s.
        """
        __tracebackhide__ = True
        if isinstance(topology, NatPair):
            pair, world = topology, asked(topology.topology or "two-homes")
            names, files = [pair.dialer, pair.listener], dict(pair.files)
        else:
            world = asked(topology, self._session.root)
            names, files = _found(profiles, self._session.root)
        built = world.topology(*names)
        files = _inner(built, files)
        self._session.certify(files, world.word, names)
        steps = plan(built, {name: load(Path(file)) for name, file in files.items()})
        folder = self._folder / f"lab-{len(self._labs)}"
        folder.mkdir(parents=True, exist_ok=True)
        capture = folder / "capture.pcapng"
        self._own.records(Files((folder.name,), (capture.name,)))
        helper = self._session.new_helper()
        try:
            helper.ask(
                "lab",
                STARTING,
                topology=world.word,
                names=names,
                profiles=files,
                kind=self._session.backend,
                capture=str(capture),
            )
        except BaseException:
            helper.close()
            raise
        self._labs.append(Lab(helper, steps, capture))
        self._told.append((f"lab of {world.name}", folder))
        return self._labs[-1]

    def connect(self, dialer: Peer, listener: Peer, nats: NatPair, seed: int) -> Verdict:
        """See `Peer.connect`."""
        __tracebackhide__ = True
        names = dict.fromkeys((dialer.name, listener.name))
        both = "+".join(names)
        cell = {
            "peer": both,
            "profiles": [nats.dialer, nats.listener],
            "topology": nats.topology,
            "repeat": self._repeats[both, nats],
            "seed": seed,
        }
        self._repeats[both, nats] += 1
        told = self._session.ask(
            "cell",
            CELL,
            cell=cell,
            strangers=self._session.described(names),
            profiles=dict(nats.files),
            out=str(self._folder),
        )
        result = Result.model_validate_json(json.dumps(told))
        self._record(result, nats)
        self._told.append((result.name, Path(result.folder)))
        return Verdict.of(result)

    def _record(self, result: Result, nats: NatPair) -> None:
        """The files of a cell, of every try, are this test's."""
        tries = (result.folder, *(earlier.folder for earlier in result.earlier_tries))
        folders = (str(Path(folder).relative_to(self._folder)) for folder in tries)
        worlds = [result.labels["topology"]]
        self._own.records(
            Files(tuple(folders), (*own_names(dict(nats.files), worlds), EXPLANATION))
        )

    def sections(self) -> Iterator[tuple[str, str]]:
        """For a report of failure: what was run, and why it ended so."""
        for name, folder in self._told:
            file = folder / EXPLANATION
            lines = file.read_text(encoding="utf-8") if file.exists() else f"packets  {folder}"
            yield f"testbed: {name}", "\n".join(line.rstrip() for line in lines.splitlines())

    def close(self) -> None:
        """Take down what is still up; raises the first trouble that there is with it."""
        with ExitStack() as stack:
            for lab in self._labs:
                stack.callback(lab.close)


def folder_name(test: str) -> Path:
    """A test's folder: its node id as a path of harmless names."""
    return Path(*(re.sub(r"[^\w.\-]+", "-", part) for part in re.split(r"/|::", test)))


def _found(names: Sequence[str], root: Path) -> tuple[list[str], dict[str, str]]:
    """Names of profiles as the catalogue or their file has them, and the file of each."""
    __tracebackhide__ = True
    found = named((ALIASES.get(name, name) for name in names), root)
    return [profile.name for profile in found], {one.name: str(one.path) for one in found}


def _inner(built: Topology, files: dict[str, str]) -> dict[str, str]:
    """``files`` with those of the NATs that a topology has besides, a carrier's for instance."""
    used = (router.profile for router in built.routers)
    return {name: files.get(name) or str(find(name).path) for name in used}


def _own(command: Words | None, image: str | None, session: Session) -> tuple[str, str]:
    """How a stack of the user's is started on this backend, and its plain name."""
    __tracebackhide__ = True
    containers = session.backend == "docker"
    if image is not None and containers:
        return f"image:{image}", image.rpartition("/")[2].partition(":")[0]
    if command is not None:
        return _words(command, session.root)
    if image is None:
        raise UsageError("a peer is a stack's name, a command or an image")
    raise UsageError(
        f"an image is run in labs of containers only: {image}",
        remedy="--testbed-backend docker; or give its command as well",
    )


def _words(command: Words, root: Path) -> tuple[str, str]:
    """A command for a shell's eyes, its paths absolute; and its plain name."""
    __tracebackhide__ = True
    words = shlex.split(command) if isinstance(command, str) else [fspath(w) for w in command]
    if not words:
        raise UsageError("the command of a peer is empty")
    first, *rest = words
    if "/" in first:
        first = str(root / first)
    told = next((word for word in rest if Path(root, word).is_file()), first)
    rest = [str(root / word) if Path(root, word).is_file() else word for word in rest]
    return shlex.join([first, *rest]), Path(told).stem


def _uncertified(certificate: dict[str, Any], file: str) -> str:
    """Why a NAT is not to be trusted, axis by axis."""
    differs = (
        f"\n  {row['axis']}: declared {row['declared']}, measured {row['measured']}"
        for row in certificate["rows"]
        if not row["agrees"]
    )
    name, verdict, reason = (certificate[key] for key in ("profile", "verdict", "reason"))
    return f"{file}: {name} is not certified: {verdict} {reason}{''.join(differs)}".rstrip()
