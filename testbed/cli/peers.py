"""Words for those who bring a stack of their own."""

from typing import Annotated

import typer

from testbed.cli.options import AsJson
from testbed.cli.words import App
from testbed.model.peer_check import Scene

peer = App(
    help="Your own stack: does it keep the contract that all peers speak?", no_args_is_help=True
)


@peer.command(
    "check",
    epilog="Exit codes: 0 keeps the contract, 1 breaks it, 2 wrong usage, "
    "3 could not be determined.",
)
def peer_check(
    command: Annotated[
        str, typer.Argument(help="A program with its arguments in quotes, or a stack's name.")
    ],
    mechanism: Annotated[
        str | None,
        typer.Option(help="punch_udp (if none is named), punch_tcp, ice, dcutr_tcp or dcutr_quic."),
    ] = None,
    scene: Annotated[
        list[Scene] | None,
        typer.Option(help="Only this conversation; may be repeated.", show_choices=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Play the harness to a peer on loopback, without a lab, and name each rule that it breaks.

    It takes some seconds and no privilege. The contract is explained, with examples, in
    testbed/stacks/README.md.
    """
    from testbed.cli.commands.peer import check_peer

    raise typer.Exit(check_peer(command, mechanism, scene or (), as_json=as_json))
