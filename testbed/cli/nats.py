"""Words for NAT profiles."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from testbed.cli.building import built, emit
from testbed.cli.options import DEFAULT_JOBS, AsJson, Jobs, MadeBy, some_or_all, takes_profiles
from testbed.cli.words import App
from testbed.lab.choice import Kind
from testbed.report.terminal import tell, terminal

nat = App(help="NAT profiles: list, show, probe, certify.", no_args_is_help=True)


@nat.command("list")
@takes_profiles
def nat_list(as_json: AsJson = False) -> None:
    """All profiles: what they are and where they are met."""
    from testbed.nat.load import catalogue, is_own

    profiles = catalogue()
    if as_json:
        emit({n: {"title": p.title, "met": p.met, "source": p.source} for n, p in profiles.items()})
        return
    console = terminal()
    for name, profile in profiles.items():
        console.print(Text(f"{name:18}", style="bold").append(f" {profile.title}", "not bold"))
        console.print(Text(f"{'':18} met: {profile.met}", style="dim"))
        if is_own(profile):
            console.print(Text(f"{'':18} yours: {profile.path}", style="dim"))


@nat.command("show")
@takes_profiles
def nat_show(
    profile: Annotated[str, typer.Argument(help="A name, or a file: ./mine.toml.")],
) -> None:
    """A profile's claim and the rules that it becomes."""
    from testbed.model.plan import LoadRules, ServePortMapping, SetSysctls
    from testbed.nat.load import find

    found = find(profile)
    tell(found.text)
    steps = built("two-homes", profile, profile)
    for step in steps.of(LoadRules)[: len(steps.of(LoadRules)) // 2]:
        tell(f"# {step.engine}\n{step.text}")
    for service in steps.of(ServePortMapping)[:1]:
        tell(f"# chains of the gateway\n{service.chains}\n# {service.gateway}\n{service.config}")
    for key, value in steps.of(SetSysctls)[0].sysctls:
        tell(f"# {key} = {value}")


@nat.command("probe")
@takes_profiles
def nat_probe(
    profile: Annotated[
        str | None, typer.Argument(help="The router's profile; linux-home, if none is named.")
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Rules of your own instead: what iptables-save or nft list ruleset prints.",
        ),
    ] = None,
    wan: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The rules' interface to the internet, if it is open."),
    ] = None,
    lan: Annotated[
        str | None, typer.Option(metavar="NAME", help="The rules' interface to the LAN.")
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ADDRESS",
            help="An external address of the router; with a prefix length (192.168.1.1/24) "
            "its address in the LAN. May be repeated.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="An interface that the rules name and the bench need not have, such as a VPN's. "
            "May be repeated.",
        ),
    ] = None,
    as_json: AsJson = False,
    as_toml: Annotated[
        bool, typer.Option("--toml", help="Print a profile that claims what was measured.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write that profile to a file.")
    ] = None,
) -> None:
    """Measure a NAT from both sides, on every axis, believing nothing.

    It also names the nearest of the profiles, and the axes on which they differ. Rules of your own
    are taken as they are: the bench gets the interfaces and addresses that they name, and is
    refused where it cannot have them. Rules that no packet matched are named. How to take the
    rules of a router is told in nat-profiles/README.md.
    """
    from testbed.certify.foreign.survey import told
    from testbed.cli.commands.nat import probe

    site = told(wan, lan, address or (), without or ())
    raise typer.Exit(probe(profile, rules, site, as_json, as_toml=as_toml, out=out))


@nat.command("certify")
@takes_profiles
def nat_certify(
    profiles: Annotated[list[str] | None, typer.Argument(help="Profiles, by name or file.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All profiles of the catalogue.")] = False,
    jobs: Jobs = 2 * DEFAULT_JOBS,
    markdown: Annotated[
        Path | None, typer.Option(help="Write the table to this file as Markdown.")
    ] = None,
    as_json: AsJson = False,
    backend: MadeBy = Kind.NAMESPACES,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print every axis with what was seen of it.")
    ] = False,
) -> None:
    """Hold declared against measured, for UDP and TCP; exit 0 only if all agree.

    The first line sums up; then follows what differs.
    """
    from testbed.cli.commands.nat import certify

    nats = some_or_all(profiles, every, "profiles")
    raise typer.Exit(certify(nats, jobs, markdown, as_json, backend, detailed=verbose))
