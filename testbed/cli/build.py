"""Words for what is built once: peers that are programs, and images."""

from typing import Annotated

import typer

from testbed.cli.words import App

build = App(help="Build what takes a compiler or an engine: peers, images.", no_args_is_help=True)


@build.command("peers")
def build_peers(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="go-libp2p, pion, ...; all, if none is named."),
    ] = None,
    older: Annotated[
        bool, typer.Option("--older/--no-older", help="With older releases, which cost minutes.")
    ] = True,
) -> None:
    """Build other people's stacks; those whose toolchain is missing are left out.

    They go to the folder that TESTBED_PEERS names, else to out/peers in a clone, else to
    ~/.local/share/nat-testbed/peers.
    """
    from testbed.cli.commands.build import peers

    raise typer.Exit(peers(names or [], older=older))


@build.command("images")
def build_images(
    base: Annotated[
        str | None,
        typer.Option(
            envvar="BASE",
            help="The image of Debian to build on; if none, it is pulled or made of packages.",
        ),
    ] = None,
) -> None:
    """Build the images of `--backend docker` and of compose projects."""
    from testbed.cli.commands.build import images

    raise typer.Exit(images(base))
