"""A plugin for pytest: labs, certified pairs of NATs and verdicts in a suite of one's own.

The process that runs the tests stays where it is, with its network and its privileges.
Labs are made by a helper process in a sandbox, which is started by the first fixture that
needs it and ends with the session, or with this process, however that ends.  Nothing
but pytest is imported before that.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from testbed.pytest_plugin.bench import Bench, Session
    from testbed.pytest_plugin.labs import Lab
    from testbed.pytest_plugin.verdicts import NatPair, Peer

BACKENDS = ("namespaces", "docker")
_BENCH: "pytest.StashKey[Bench]" = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("testbed", "NAT-traversal testbed")
    group.addoption("--testbed-backend", choices=BACKENDS, help="what labs are made of")
    group.addoption(
        "--testbed-out",
        type=Path,
        metavar="DIR",
        help="keep captures and explanations here, a folder for each test (default: tmp_path)",
    )
    parser.addini("testbed_backend", "the same as --testbed-backend", default=BACKENDS[0])
    parser.addini("testbed_out", "the same as --testbed-out, from this file's folder", "paths")


def within_sandbox() -> None:
    """Put all of this pytest, and what it starts, into a sandbox: for a suite about labs itself.

    To be called at the top of a conftest.  No other network is reached from then on.
    """
    from testbed.errors import UnfitError
    from testbed.lab import sandbox

    try:
        sandbox.enter()
    except UnfitError as error:
        # Loud on purpose: a suite that silently left out the lab would prove nothing.
        raise pytest.UsageError(str(error)) from error


@pytest.fixture(scope="session")
def testbed_session(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[Session]":
    """The helper process of this session, and what it has certified."""
    from testbed.pytest_plugin.bench import Session

    backend = pytestconfig.getoption("testbed_backend") or pytestconfig.getini("testbed_backend")
    if backend not in BACKENDS:
        raise pytest.UsageError(f"testbed_backend: {backend!r} is none of {', '.join(BACKENDS)}")
    out = _out(pytestconfig)
    session = Session(backend, out or tmp_path_factory.getbasetemp(), pytestconfig.rootpath)
    yield session
    session.close()


@pytest.fixture
def testbed_bench(testbed_session: "Session", request: pytest.FixtureRequest) -> "Iterator[Bench]":
    """What one test has made, and the folder that keeps it."""
    from testbed.pytest_plugin.bench import Bench, folder_name
    from testbed.run.folder import RunFolder
    from testbed.run.record import begun

    kept = _out(request.config)
    if kept is not None:
        folder = kept / folder_name(request.node.nodeid)
    else:
        folder = request.getfixturevalue("tmp_path") / "testbed"
    own = RunFolder(folder, begun("pytest", program="pytest"), ())
    try:
        own.begin()
        bench = Bench(testbed_session, own)
        request.node.stash[_BENCH] = bench
        yield bench
        bench.close()
    finally:
        own.release()


@pytest.fixture
def nat_pair(testbed_bench: "Bench") -> "Callable[..., NatPair]":
    """``nat_pair("home", "symmetric")``: the dialer's NAT and the listener's, measured first."""
    return testbed_bench.nat_pair


@pytest.fixture
def peer(testbed_bench: "Bench") -> "Callable[..., Peer]":
    """``peer(command=..., mechanism=...)``, ``peer(image=...)``, ``peer("ice")``: a stack."""
    return testbed_bench.peer


@pytest.fixture
def lab(testbed_bench: "Bench") -> "Callable[..., Lab]":
    """``lab("two-homes", "home", "symmetric")``: a lab that is up, recorded; gone with the test."""
    return testbed_bench.lab


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure is shown with the explanations of what the test ran."""
    report = yield
    bench = item.stash.get(_BENCH, None)
    if bench is not None and report.failed:
        report.sections.extend(bench.sections())
    return report


def _out(config: pytest.Config) -> Path | None:
    """Where artefacts are kept, absolute, if that was said."""
    given = config.getoption("testbed_out")
    if given is not None:
        return Path(config.invocation_params.dir, given)
    named = config.getini("testbed_out")
    return Path(named[0]) if named else None
