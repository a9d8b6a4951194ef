"""Words for labs: the doctor, up, in, and down again."""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from testbed.cli.building import built, emit, given_profiles
from testbed.cli.options import (
    AsJson,
    LabName,
    MadeBy,
    ProfileA,
    ProfileB,
    TopologyName,
    takes_profiles,
)
from testbed.cli.words import App
from testbed.errors import UsageError
from testbed.lab.choice import Kind
from testbed.report.terminal import tell, terminal

app = App()
Node = Annotated[str, typer.Argument(help="A node of the lab: a, nat-a, server, ...")]
Program = Annotated[list[str], typer.Argument(help="The command with its arguments, after --.")]
compose = App(help="Labs as compose projects.", no_args_is_help=True)
app.add_typer(compose, name="compose")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Is this machine fit?  What is missing, and the line that remedies it."""
    from testbed.fitness.doctor import checks, exit_code, remedies, render

    found = checks()
    if as_json:
        emit([check.to_json() for check in found])
    else:
        console = terminal()
        console.print(render(found))
        for line in remedies(found):  # whole: they are there to be copied
            console.print(line, soft_wrap=True, markup=False, highlight=False)
    raise typer.Exit(int(exit_code(found)))


@app.command()
@takes_profiles
def plan(
    topology: TopologyName = "two-homes",
    a: ProfileA = None,
    b: ProfileB = None,
    number: Annotated[int, typer.Option(help="The lab's number, 0 to 255.")] = 0,
) -> None:
    """Print every step of a lab, rules and all, without doing any."""
    from testbed.plan.describe import describe

    sys.stdout.write(describe(built(topology, a, b, number)))


@app.command()
@takes_profiles
def up(
    topology: TopologyName = "two-homes",
    a: ProfileA = None,
    b: ProfileB = None,
    number: Annotated[int, typer.Option(help="The lab's number, 0 to 255.")] = 0,
    backend: MadeBy = Kind.NAMESPACES,
) -> None:
    """Bring a lab up and keep it until Ctrl-C; enter it with `testbed shell NODE`."""
    from testbed.cli.commands.lab import keep

    keep(built(topology, a, b, number), backend)


@app.command("labs")
def list_labs(
    every: Annotated[bool, typer.Option("--all", help="Everybody's labs; for root alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Your labs that are up: number, topology, NATs, age, and where they were started."""
    from testbed.cli.commands.lab import require_root_for_all, up_now

    require_root_for_all(every, "testbed labs")
    raise typer.Exit(up_now(everybody=every, as_json=as_json))


@app.command()
def shell(node: Node, lab: LabName = None) -> None:
    """Open a shell in a node of a lab that is up; stderr says which lab, if it is not named."""
    from testbed.lab import attach, inside

    chosen = attach.choose(lab)
    if shutil.which("ping") is None:
        print(f"testbed: this machine has no ping: {inside.missing('ping')}", file=sys.stderr)
    program = os.environ.get("SHELL", "/bin/sh")
    sys.exit(inside.run_in(chosen, node, [program]))


@app.command("exec", context_settings={"allow_interspersed_args": False})
def execute(node: Node, command: Program, lab: LabName = None) -> None:
    """Run a command in a node of a lab that is up: testbed exec a -- ip route.

    It ends with this process, whatever ends that.  stderr says which lab it is, if it is not
    named.
    """
    from testbed.lab import attach, inside

    words = command[1:] if command[0] == "--" else command
    if not words:
        raise UsageError("no command was given", remedy="testbed exec NODE -- ip route")
    sys.exit(inside.run_in(attach.choose(lab), node, words))


@app.command()
def tcpdump(
    node: Node,
    interface: Annotated[
        str | None, typer.Option("-i", help="Only this interface of the node.")
    ] = None,
    write: Annotated[
        str | None, typer.Option("-w", help="Write pcapng to this file; - is stdout.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many packets.")] = None,
    lab: LabName = None,
) -> None:
    """Watch a node of the lab that is up: testbed tcpdump nat-a -w - | wireshark -k -i -."""
    from testbed.cli.commands.tcpdump import follow

    raise typer.Exit(follow(node, interface, write, count, lab))


@app.command()
def wipe(
    every: Annotated[bool, typer.Option("--all", help="Everybody's labs; for root alone.")] = False,
) -> None:
    """End your labs that are still up, and remove containers of runs that were killed."""
    from testbed.cli.commands.lab import require_root_for_all
    from testbed.cli.commands.lab import wipe as wiped

    require_root_for_all(every, "testbed wipe")
    print(wiped(everybody=every))


@compose.command("render")
@takes_profiles
def compose_render(
    topology: TopologyName = "two-homes",
    a: ProfileA = None,
    b: ProfileB = None,
    number: Annotated[int, typer.Option(min=0, max=255, help="The lab's number.")] = 0,
    certifiable: Annotated[
        bool,
        typer.Option(
            "--certifiable", help="With short timers and no delay, so that all can be measured."
        ),
    ] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.")] = Path(
        "out/compose"
    ),
) -> None:
    """Write a lab as a compose project, to be used without Python."""
    from testbed.compose.project import render, write
    from testbed.compose.source import Source
    from testbed.model.presets import asked

    world = asked(topology)
    given = tuple(given_profiles(world, a, b))
    names = tuple(profile.name for profile in given)
    source = Source(world.word, names, number, certifiable, given)
    write(render(source), out)
    tell(f"{out}: see its README.md")


@compose.command("certify")
def compose_certify(
    folder: Annotated[Path, typer.Argument(help="The folder of a project that is up.")] = Path(
        "out/compose"
    ),
    as_json: AsJson = False,
) -> None:
    """Prove that a project is closed, and hold each of its NATs against its profile."""
    from testbed.cli.commands.compose import certify

    raise typer.Exit(certify(folder, as_json))
