"""What a node can be told to do."""

from collections.abc import Callable
from dataclasses import dataclass, field

from .aio.autonat_server import AutonatOptions
from .aio.host import HostLimits
from .aio.path_watch import PathOptions
from .aio.rent_client import Rent
from .aio.rent_server import RentOut
from .aio.resolve import LookupTxt
from .aio.resumable import ResumeOptions
from .aio.upgrade_service import UpgradeOptions
from .aio.websocket import WebSocketOptions
from .gater import Gater, RelayAcl
from .keys import PrivateKey
from .ladder import LadderOptions
from .portmap.options import PortMapOptions
from .relay import RelayLimits
from .security import BOTH
from .version import __version__

AGENT = f"testbed-traversal/{__version__}"


@dataclass(frozen=True)
class NodeOptions:
    """What a node does.  Times are seconds.

    Options that are made without an `identity` have a new one: nodes that are to be two peers
    need options of their own.
    `allow_private` treats private and loopback addresses like public ones: for tests on
    one machine.  `relay` makes the node a relay, for those whom `relay_acl` lets; `autonat_server`
    lets others ask it.  `gater` is asked who may connect.
    `autonat_interval` 0 leaves probing to `probe_reachability`.  `v1_threshold` and
    `v2_threshold` are servers that must agree; `activation_threshold` and
    `punch_threshold` are observers that must, to advertise and to punch with an address.
    Without `advertise_unproven` an observed address is advertised only once AutoNAT v2 has
    proved it: others then do not dial it in vain before a punch, which costs them time and
    makes a NAT that accepts such packets itself move the mapping.  `ladder` has the order of
    the ways to a peer, and the times; `port_mapping` lets `prepare` ask the gateway for ports.
    `direct_patience` is how long a new stream waits for a direct connection, where there is only
    a relayed one with a limit.  `paths` says how soon a path that died without a word is given up.
    `resume` is about resumable streams; `lookup_txt` gives a name's TXT records, for `/dnsaddr`.
    `security` are the protocols that are offered on TCP and circuits, the first proposed first;
    `websocket` has what TLS of the web takes.
    `announce` are addresses that are advertised in place of those that the node listens on: of a
    relay behind a port forward.
    `rent_out` has a relay forward beyond its limits for those who pay, `rent` a node pay and
    count: RENT.md.
    `key_log` gets a line for each connection, by which whoever has it reads what was captured of
    it: for tests and laboratories alone.
    """

    identity: PrivateKey = field(default_factory=PrivateKey.generate)
    agent: str = AGENT
    limits: HostLimits = field(default_factory=HostLimits)
    ladder: LadderOptions = field(default_factory=LadderOptions)
    upgrade: UpgradeOptions = field(default_factory=UpgradeOptions)
    direct_patience: float = 20.0
    port_mapping: PortMapOptions | None = None
    relay: RelayLimits | None = None
    relay_acl: RelayAcl = field(default_factory=RelayAcl)
    gater: Gater = field(default_factory=Gater)
    autonat_server: bool = False
    autonat: AutonatOptions = field(default_factory=AutonatOptions)
    autonat_boot_delay: float = 15.0
    autonat_interval: float = 90.0
    v1_threshold: int = 4
    v2_threshold: int = 3
    activation_threshold: int = 4
    punch_threshold: int = 1
    allow_private: bool = False
    advertise_unproven: bool = True
    paths: PathOptions = field(default_factory=PathOptions)
    resume: ResumeOptions = field(default_factory=ResumeOptions)
    lookup_txt: LookupTxt | None = None
    security: tuple[str, ...] = BOTH
    websocket: WebSocketOptions = field(default_factory=WebSocketOptions)
    announce: tuple[str, ...] = ()
    rent: Rent | None = None
    rent_out: RentOut | None = None
    key_log: Callable[[str], None] | None = None
