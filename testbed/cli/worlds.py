"""Words for worlds: list, check, show."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from testbed.cli.building import built, emit
from testbed.cli.options import AsJson, ProfileA, ProfileB, takes_profiles
from testbed.cli.words import App
from testbed.errors import ProfileError
from testbed.model.toml_lines import line_of
from testbed.report.terminal import tell, terminal

world = App(help="Worlds, the files that describe labs: list, check, show.", no_args_is_help=True)
World = Annotated[str, typer.Argument(metavar="WORLD", help="A name, or a file: ./mine.toml.")]


@world.command("list")
def world_list(as_json: AsJson = False) -> None:
    """All worlds that come with the testbed: what they are and where they are met."""
    from testbed.model.presets import LIVES, PRESETS, find

    worlds = {name: find(name).world for name in (*PRESETS, *LIVES)}
    if as_json:
        emit({n: {"title": w.title, "source": w.source} for n, w in worlds.items()})
        return
    shown = Table.grid(padding=(0, 2))
    shown.add_column(style="bold", no_wrap=True)
    for name, one in worlds.items():
        shown.add_row(name, Text(one.title).append(f"\n{one.source}", style="dim"))
    terminal(highlight=False).print(shown)


@world.command("links")
def world_links(as_json: AsJson = False) -> None:
    """Conditions of links as users meet them, for --link and for worlds, and who says so."""
    from dataclasses import asdict

    from testbed.model.links import CATALOGUE
    from testbed.report.world import link_words

    if as_json:
        emit(
            {
                name: {"title": one.title, "source": one.source, **asdict(one.link())}
                for name, one in CATALOGUE.items()
            }
        )
        return
    shown = Table.grid(padding=(0, 2))
    shown.add_column(style="bold", no_wrap=True)
    for name, one in CATALOGUE.items():
        said = Text(f"{one.title}\n{link_words(one.link())}")
        shown.add_row(name, said.append(f"\n{one.source}", style="dim"))
    terminal(highlight=False).print(shown)


@world.command("check")
@takes_profiles
def world_check(
    files: Annotated[list[str], typer.Argument(metavar="WORLD...", help="Names or files.")],
) -> None:
    """Read worlds, their profiles too, and plan their labs; an error names file and line."""
    from testbed.model.presets import asked
    from testbed.nat.load import find

    for word in files:
        world = asked(word)
        for name, router in world.world.routers.items():
            try:
                find(router.profile)
            except ProfileError as error:
                line = line_of(world.text, ("routers", name, "profile"))
                message = f"{word}:{line}: routers.{name}.profile: {error.message}"
                raise ProfileError(message, remedy=error.remedy) from None
        plan = built(word, None, None)
        topology = plan.topology
        nats, hosts = len(topology.routers), len(topology.hosts)
        events = f"; {len(world.world.events)} events" if world.world.events else ""
        tell(f"{word}: {hosts} hosts, {nats} routers, a lab of {len(plan.steps)} steps{events}")


@world.command("show")
@takes_profiles
def world_show(
    file: World,
    a: ProfileA = None,
    b: ProfileB = None,
    svg: Annotated[Path | None, typer.Option(help="Write the picture as SVG, too.")] = None,
) -> None:
    """Draw a world: who is where, behind which NATs, over which links."""
    from testbed.files import write_text
    from testbed.model.network_fault import words
    from testbed.model.presets import asked
    from testbed.report import world as picture

    found = asked(file)
    topology = built(file, a, b).topology
    options = {
        name: f"-{router.option}" for name, router in found.world.routers.items() if router.option
    }
    box = picture.tree(topology, options)
    console = terminal(highlight=False)
    console.print(f"{found.name}: {found.world.title}", style="bold", markup=False)
    console.print(found.world.source, style="dim", markup=False)
    console.print(picture.drawn(box))
    for at, fault in found.world.timeline():
        console.print(f"after {at:g} s: {words(fault)}", markup=False)
    if svg is not None:
        write_text(svg, picture.svg(box, f"{found.name}: {found.world.title}"))
