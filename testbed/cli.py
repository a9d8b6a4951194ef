"""Words in, exit code out."""

import json
import os
import signal
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from testbed.backends.choice import Kind
from testbed.errors import Exit, TestbedError, UsageError
from testbed.streams import Streams

app = typer.Typer(
    help="A NAT-traversal testbed: measured NATs, real stacks, verdicts read off the wire.",
    epilog="Exit codes: 0 all as predicted, 1 something differs, 2 wrong usage, "
    "3 inconclusive (the harness is at fault), 4 this machine lacks something.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
nat = typer.Typer(help="NAT profiles: list, show, probe, certify.", no_args_is_help=True)
app.add_typer(nat, name="nat")
compose = typer.Typer(help="Labs as compose projects.", no_args_is_help=True)
app.add_typer(compose, name="compose")

TopologyName = Annotated[str, typer.Argument(help="A preset: two-homes, carrier, same-lan, ...")]
ProfileA = Annotated[str, typer.Option("-a", help="Profile of the first NAT.")]
ProfileB = Annotated[str | None, typer.Option("-b", help="Profile of the second NAT, if any.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on stdout, for machines.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for captures and results.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, max=200, help="Cells at a time.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Makes a run repeatable.")]
MadeBy = Annotated[
    Kind, typer.Option("--backend", help="What nodes are: namespaces, or Docker's containers.")
]
LabPid = Annotated[int | None, typer.Option("--lab", help="Process of `testbed up`, if several.")]


Stack = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=COMMAND", help="A stack of yours: a program, or image:REFERENCE."),
]
Mechanism = Annotated[
    str | None, typer.Option(help="What it is predicted by: dcutr_quic, dcutr_tcp, ice, ...")
]


Contract = Annotated[
    str, typer.Option(help="Which one your stacks follow: lines (ours), or unified (libp2p's).")
]
Relay = Annotated[
    str, typer.Option(help="The libp2p relay's stack: traversal, go, ...; a matrix takes several.")
]


class Pairs(StrEnum):
    """Which stacks meet in a matrix."""

    SAME = "same"
    ALL = "all"
    INTEROP = "interop"


DEFAULT_JOBS = 4 * (os.cpu_count() or 1)
_REPORT = "  please open an issue with the command and what it prints with TESTBED_DEBUG=1 set"


def main() -> NoReturn:
    """The console script: errors become one message and their exit code."""
    streams = Streams()
    try:
        code = app(standalone_mode=False) or 0  # the code of a typer.Exit comes back
        interrupted = code == Exit.INTERRUPTED  # typer's, of a KeyboardInterrupt
    except (typer.Abort, KeyboardInterrupt):
        code, interrupted = int(Exit.INTERRUPTED), True
    except SystemExit as stop:  # a signal's, or a command's that was run in a lab
        code, interrupted = _stopped(stop), False
    except Exception as error:
        code, interrupted = _failed(error), False
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left is to say so
    if interrupted:
        print("testbed: interrupted, all that was brought up was taken down", file=sys.stderr)
    sys.exit(streams.finish(code))


def _stopped(stop: SystemExit) -> int:
    """typer makes a SystemExit of 1 of a broken pipe, whoever's it was."""
    if isinstance(stop.__context__, BrokenPipeError):
        return _failed(stop.__context__)
    return stop.code if isinstance(stop.code, int) else int(Exit.INCONCLUSIVE)


def _failed(error: Exception) -> int:
    """Say what went wrong; the exit code.  What nobody foresaw has measured nothing: 3."""
    if isinstance(error, TestbedError):
        print(f"testbed: {str(error).removeprefix('testbed: ')}", file=sys.stderr)
        return int(error.exit_code)
    if show := getattr(error, "show", None):  # typer's own, for wrong words
        show()
        return int(getattr(error, "exit_code", Exit.USAGE))
    if os.environ.get("TESTBED_DEBUG"):
        traceback.print_exception(error)
    print(f"testbed: internal error: {type(error).__name__}: {error}\n{_REPORT}", file=sys.stderr)
    return int(Exit.INCONCLUSIVE)


def _build(topology: str, a: str, b: str | None, number: int = 0) -> Any:
    from testbed.nat.load import find
    from testbed.plan.planner import plan
    from testbed.topology.presets import preset

    built = preset(topology, *([a, b] if b else [a]))
    profiles = {router.profile: find(router.profile) for router in built.routers}
    return plan(built, profiles, number)


def _emit(value: Any) -> None:
    print(json.dumps(value, indent=2))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Is this machine fit?  What is missing, and the line that remedies it."""
    from testbed.doctor import checks, exit_code, remedies, render

    found = checks()
    if as_json:
        _emit([check.to_json() for check in found])
    else:
        console = Console()
        console.print(render(found))
        for line in remedies(found):  # whole: they are there to be copied
            console.print(line, soft_wrap=True, markup=False, highlight=False)
    raise typer.Exit(int(exit_code(found)))


@app.command()
def plan(
    topology: TopologyName = "two-homes",
    a: ProfileA = "linux-home",
    b: ProfileB = None,
    number: Annotated[int, typer.Option(help="The lab's number, 0 to 255.")] = 0,
) -> None:
    """Print every step of a lab, rules and all, without doing any."""
    from testbed.plan.describe import describe

    sys.stdout.write(describe(_build(topology, a, b, number)))


@app.command()
def up(
    topology: TopologyName = "two-homes",
    a: ProfileA = "linux-home",
    b: ProfileB = None,
    number: Annotated[int, typer.Option(help="The lab's number, 0 to 255.")] = 0,
    backend: MadeBy = Kind.NAMESPACES,
) -> None:
    """Bring a lab up and keep it until Ctrl-C; enter it with `testbed shell NODE`."""
    from testbed.commands.lab import keep

    keep(_build(topology, a, b, number), backend)


@app.command()
def shell(node: str, lab: LabPid = None) -> None:
    """Open a shell in a node of the lab that is up."""
    from testbed import attach

    program = os.environ.get("SHELL", "/bin/sh")
    sys.exit(attach.run_in(attach.choose(lab), node, [program]))


@app.command("exec", context_settings={"allow_interspersed_args": False})
def execute(node: str, command: list[str], lab: LabPid = None) -> None:
    """Run a command in a node of the lab that is up: testbed exec a -- ip route."""
    from testbed import attach

    words = command[1:] if command[0] == "--" else command
    if not words:
        raise UsageError("no command was given", remedy="testbed exec NODE -- ip route")
    sys.exit(attach.run_in(attach.choose(lab), node, words))


@app.command()
def tcpdump(
    node: str,
    interface: Annotated[str | None, typer.Option("-i", help="Only this interface.")] = None,
    write: Annotated[str | None, typer.Option("-w", help="pcapng to a file; - is stdout.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many packets.")] = None,
    lab: LabPid = None,
) -> None:
    """Watch a node of the lab that is up: testbed tcpdump nat-a -w - | wireshark -k -i -."""
    from testbed.commands.tcpdump import follow

    raise typer.Exit(follow(node, interface, write, count, lab))


@app.command()
def wipe(
    every: Annotated[bool, typer.Option("--all", help="Everybody's; for root.")] = False,
) -> None:
    """End your labs that are still up, and remove containers of runs that were killed."""
    from testbed.commands.lab import wipe as wiped

    if every and os.getuid() != 0:
        raise UsageError("only root may end the labs of others", remedy="testbed wipe")
    print(wiped(everybody=every))


@compose.command("render")
def compose_render(
    topology: TopologyName = "two-homes",
    a: Annotated[str, typer.Option("-a", "--a", help="Profile of the first NAT.")] = "linux-home",
    b: Annotated[
        str | None, typer.Option("-b", "--b", help="Profile of the second NAT, if any.")
    ] = None,
    number: Annotated[int, typer.Option(min=0, max=255, help="The lab's number.")] = 0,
    certifiable: Annotated[
        bool, typer.Option("--certifiable", help="Short timers and no delay: all is measured.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder.")] = Path("out/compose"),
) -> None:
    """Write a lab as a compose project, to be used without Python."""
    from testbed.compose.project import render, write
    from testbed.compose.source import Source

    source = Source(topology, (a, b) if b else (a,), number, certifiable)
    write(render(source), out)
    print(f"{out}: see its README.md")


@compose.command("certify")
def compose_certify(
    folder: Annotated[Path, typer.Argument(help="Of a project that is up.")] = Path("out/compose"),
    as_json: AsJson = False,
) -> None:
    """Prove that a project is closed, and hold each of its NATs against its profile."""
    from testbed.commands.compose import certify

    raise typer.Exit(certify(folder, as_json))


@nat.command("list")
def nat_list(as_json: AsJson = False) -> None:
    """All profiles: what they are and where they are met."""
    from testbed.nat.load import catalogue

    profiles = catalogue()
    if as_json:
        _emit(
            {n: {"title": p.title, "met": p.met, "source": p.source} for n, p in profiles.items()}
        )
        return
    console = Console()
    for name, profile in profiles.items():
        console.print(f"[bold]{name:18}[/] {profile.title}", highlight=False)
        console.print(f"{'':18} [dim]met: {profile.met}[/]", highlight=False)


@nat.command("show")
def nat_show(profile: str) -> None:
    """A profile's claim and the rules that it becomes."""
    from testbed.nat.load import find
    from testbed.plan.model import LoadRules, ServePortMapping, SetSysctls

    found = find(profile)
    if found.path is not None:
        print(found.path.read_text())
    steps = _build("two-homes", profile, profile)
    for step in steps.of(LoadRules)[: len(steps.of(LoadRules)) // 2]:
        print(f"# {step.engine}\n{step.text}")
    for service in steps.of(ServePortMapping)[:1]:
        print(f"# miniupnpd's chains\n{service.chains}\n# miniupnpd.conf\n{service.config}")
    for key, value in steps.of(SetSysctls)[0].sysctls:
        print(f"# {key} = {value}")


@nat.command("probe")
def nat_probe(
    profile: Annotated[str, typer.Argument(help="The router's profile.")] = "linux-home",
    rules: Annotated[
        Path | None, typer.Option(help="Rules of your own instead: *.nft or *.rules (iptables).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a NAT from both sides, on every axis, believing nothing."""
    from testbed.commands.nat import probe

    raise typer.Exit(probe(profile, rules, as_json))


@nat.command("certify")
def nat_certify(
    profiles: Annotated[list[str] | None, typer.Argument(help="Profiles.")] = None,
    every: Annotated[bool, typer.Option("--all", help="The whole catalogue.")] = False,
    jobs: Jobs = 2 * DEFAULT_JOBS,
    markdown: Annotated[Path | None, typer.Option(help="Write the table as Markdown.")] = None,
    as_json: AsJson = False,
    backend: MadeBy = Kind.NAMESPACES,
) -> None:
    """Hold declared against measured, for UDP and TCP; exit 0 only if all agree."""
    from testbed.commands.nat import certify

    if bool(profiles) == every:
        raise UsageError("name profiles, or say --all")
    raise typer.Exit(certify(profiles or [], jobs, markdown, as_json, backend))


@app.command()
def run(
    peer: Annotated[
        str, typer.Option(help="The stack: punch-udp, ice, ...; or two, DIALER+LISTENER.")
    ] = "ice",
    a: ProfileA = "linux-home",
    b: ProfileB = "linux-home",
    topology: Annotated[
        str | None, typer.Option(help="A preset; the peer's own if none is named.")
    ] = None,
    mode: Annotated[str, typer.Option(help="punch, plain_dial, silent, relay_only.")] = "punch",
    skew: Annotated[float, typer.Option(help="The listener starts later, ms.")] = 0.0,
    seed: Seed = 0,
    replay: Annotated[Path | None, typer.Option(help="Run a cell's folder again.")] = None,
    out: Out = Path("out/run"),
    as_json: AsJson = False,
    backend: MadeBy = Kind.NAMESPACES,
    stack: Stack = None,
    mechanism: Mechanism = None,
    contract: Contract = "lines",
    relay: Relay = "traversal",
) -> None:
    """Run one cell and judge it; or --replay one from its folder."""
    from testbed.commands.cells import one
    from testbed.peers.external import add_stacks

    add_stacks(stack or (), mechanism, contract)
    raise typer.Exit(
        one(peer, (a, b), topology, mode, skew, seed, replay, out, as_json, backend, relay)
    )


@app.command()
def matrix(
    profiles: Annotated[
        str, typer.Option(help="classic, nine, default, all, or names with commas.")
    ] = "default",
    peers: Annotated[
        str, typer.Option(help="Stacks with commas, default, libp2p, or all.")
    ] = "default",
    pairs: Annotated[
        Pairs,
        typer.Option(help="Which stacks meet; interop: with others behind the classic NATs alone."),
    ] = Pairs.SAME,
    topology: Annotated[
        str | None, typer.Option(help="two-homes, libp2p or carrier; each stack's own if none.")
    ] = None,
    select: Annotated[
        list[str] | None, typer.Option(help="Only pairs like ice/full-cone--*; may be repeated.")
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="Times each cell is run.")] = 1,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only this part: see `testbed merge`.")
    ] = None,
    controls: Annotated[bool, typer.Option(help="With the negative controls.")] = True,
    certify: Annotated[bool, typer.Option(help="Measure the profiles first.")] = True,
    jobs: Jobs = DEFAULT_JOBS,
    seed: Seed = 0,
    out: Out = Path("out/matrix"),
    as_json: AsJson = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    svg: Annotated[Path | None, typer.Option(help="Write the output as a picture.")] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write a summary, for CI job pages.")
    ] = None,
    backend: MadeBy = Kind.NAMESPACES,
    stack: Stack = None,
    mechanism: Mechanism = None,
    contract: Contract = "lines",
    relay: Relay = "traversal",
) -> None:
    """Send the stacks through every pair of NATs; exit 0 only if all is as predicted."""
    from testbed.commands.cells import Reports, Request, many
    from testbed.peers.external import add_stacks
    from testbed.shards import Shard

    own = add_stacks(stack or (), mechanism, contract)
    request = Request(
        profiles,
        ",".join(own) if own and peers == "default" else peers,
        pairs is not Pairs.SAME,
        topology,
        tuple(select or ()),
        repeat,
        controls,
        certify,
        jobs,
        seed,
        out,
        backend,
        Shard.parse(shard) if shard is not None else None,
        relay,
        interop=pairs is Pairs.INTEROP,
    )
    raise typer.Exit(many(request, Reports(junit, svg, markdown), as_json=as_json))


@app.command()
def merge(
    shards: Annotated[list[Path], typer.Argument(help="Their folders, or results.json.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the whole.")],
    differing: Annotated[
        list[str] | None,
        typer.Option(metavar="FACT", help="May be another version elsewhere: kernel, ..."),
    ] = None,
    as_json: AsJson = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a summary.")] = None,
) -> None:
    """Put the shards of one matrix together; one that is missing or foreign is an error."""
    from testbed.commands.merge import merged

    raise typer.Exit(merged(shards, out, differing or (), junit, markdown, as_json))


@app.command()
def kubernetes(
    image: Annotated[str, typer.Argument(help="Has the testbed and its tools in it.")],
    words: Annotated[list[str] | None, typer.Argument(help="Those of `matrix`, after --.")] = None,
    shards: Annotated[int, typer.Option(min=1, max=1000, help="Pods.")] = 4,
    name: Annotated[str, typer.Option(help="Of the Job.")] = "testbed",
    claim: Annotated[str, typer.Option(help="The volume claim for results.")] = "testbed-results",
) -> None:
    """Print a matrix's shards as an Indexed Job: kubernetes IMAGE -- --profiles nine."""
    from testbed.kubernetes import manifest

    sys.stdout.write(manifest(image, shards, name, claim, words or ()))


@app.command()
def explain(
    cell: Annotated[str, typer.Argument(help="A cell's folder, or its name in the matrix.")],
    packets: Annotated[
        bool, typer.Option("--packets", help="Every packet, at each node of its way.")
    ] = False,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The matrix: its folder or its results.json.")
    ] = Path("out/matrix"),
    as_json: AsJson = False,
) -> None:
    """Why a cell ended as it did: the cause, the story, a ladder of its packets."""
    from testbed.commands.explain import explain_cell

    raise typer.Exit(explain_cell(cell, out, packets=packets, as_json=as_json))


@app.command()
def autonat(
    profiles: Annotated[list[str] | None, typer.Argument(help="Profiles.")] = None,
    every: Annotated[bool, typer.Option("--all", help="The whole catalogue.")] = False,
    jobs: Jobs = DEFAULT_JOBS,
    as_json: AsJson = False,
    client: Annotated[
        str | None, typer.Option(help="Who asks: traversal, go, ... with commas.")
    ] = None,
    server: Annotated[str | None, typer.Option(help="Who is asked, likewise.")] = None,
) -> None:
    """What AutoNAT v1 and v2 say behind NATs, beside a stranger's dial and the prediction."""
    from testbed.commands.autonat import autonat as run_autonat

    if bool(profiles) == every:
        raise UsageError("name profiles, or say --all")
    raise typer.Exit(run_autonat(profiles or [], jobs, as_json, client, server))


@app.command()
def life(
    scenarios: Annotated[list[str] | None, typer.Argument(help="Scenarios.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    peers: Annotated[str, typer.Option(help="udp, quic, tcp with commas, or all.")] = "all",
    jobs: Jobs = 2 * DEFAULT_JOBS,  # they wait most of their time
    out: Out = Path("out/life"),
    as_json: AsJson = False,
) -> None:
    """A direct path, and what happens to it: timeouts, reboots, new addresses, roaming."""
    from testbed.commands.life import life as lead_lives

    if bool(scenarios) == every:
        raise UsageError("name scenarios, or say --all")
    raise typer.Exit(lead_lives(scenarios or [], peers, jobs, out, as_json))


@app.command()
def odds(
    runs: Annotated[int, typer.Option(min=20, max=5000, help="Runs of each case.")] = 200,
    seed: Seed = 0,
    svg: Annotated[Path | None, typer.Option(help="Write the plot.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hard NATs: how often prediction and birthday probing get through, beside theory."""
    from testbed.commands.odds import odds as run_odds

    raise typer.Exit(run_odds(runs, seed, svg, as_json))


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="results.json of a matrix, or its folder.")],
    html: Annotated[
        Path | None, typer.Option(help="The page to write; report.html beside it if none.")
    ] = None,
) -> None:
    """Write the reports of a matrix again, from its results.json."""
    from testbed.commands.report import report as write_report

    raise typer.Exit(write_report(results, html))


@app.command()
def compare(
    old: Annotated[Path, typer.Argument(help="results.json, its folder, or a golden file.")],
    new: Annotated[Path, typer.Argument(help="The same; what is held against OLD.")],
    select: Annotated[
        list[str] | None, typer.Option(help="Only pairs like ice/full-cone--*; may be repeated.")
    ] = None,
    times: Annotated[
        float | None, typer.Option(metavar="FACTOR", help="Slower by this counts as differing.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What changed between two matrices; exit 0 nothing, 1 something, 3 inconclusive."""
    from testbed.commands.compare import compared

    raise typer.Exit(compared(old, new, select or (), times, as_json))


@app.command()
def golden(
    results: Annotated[
        list[Path], typer.Argument(help="As compare takes them; the last word on a pair holds.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The golden file to write.")],
) -> None:
    """Keep what a matrix gave as a golden file, one line a pair, to compare with later."""
    from testbed.commands.compare import keep

    raise typer.Exit(keep(results, out))


if __name__ == "__main__":
    main()
