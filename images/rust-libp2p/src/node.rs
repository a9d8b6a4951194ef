//! The swarm: one transport, identify, and what its role takes of relaying, DCUtR and AutoNAT.

use std::{error::Error, net::Ipv4Addr, time::Duration};

use libp2p::{
    Multiaddr, PeerId, Swarm, Transport as _, autonat,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, timeout::TransportTimeout},
        upgrade::Version,
    },
    dcutr, identify,
    identity::Keypair,
    noise, ping, quic, relay,
    swarm::{self, NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    contract::{Configure, Role, Transport},
    echo,
    tap::{Seen, Tapped},
};

const PROTOCOL: &str = "testbed/1.0.0";
/// Of any one dial: a lost SYN is sent again after 1 s.
const DIAL_DEADLINE: Duration = Duration::from_secs(2);
/// Longer than a session.
const IDLE: Duration = Duration::from_secs(120);

/// Between two servers that AutoNAT v1 asks.
const ASK_PAUSE: Duration = Duration::from_secs(1);

#[derive(NetworkBehaviour)]
pub struct Behaviour {
    identify: identify::Behaviour,
    ping: ping::Behaviour, // our own stack asks for it before it trusts a connection
    circuits: relay::client::Behaviour,
    punch: Toggle<dcutr::Behaviour>,
    relay: Toggle<relay::Behaviour>,
    pub node_autonat: Toggle<autonat::v1::Behaviour>,
    address_autonat: Toggle<autonat::v2::client::Behaviour>,
    address_server: Toggle<autonat::v2::server::Behaviour>,
    pub echo: echo::Behaviour,
}

/// Where the peer listens: TCP, or QUIC where the transport is UDP.
pub fn listen_address(configure: &Configure) -> Multiaddr {
    address(configure, configure.local_address, configure.port)
}

/// The address by which others know a public node: behind a NAT, not its own.
pub fn reached(configure: &Configure) -> Multiaddr {
    match &configure.announce {
        Some(outside) => address(configure, outside.address, outside.port),
        None => listen_address(configure),
    }
}

fn address(configure: &Configure, ip: Ipv4Addr, port: u16) -> Multiaddr {
    use libp2p::multiaddr::Protocol::{QuicV1, Tcp, Udp};
    let base = Multiaddr::empty().with(ip.into());
    match configure.transport {
        Transport::Tcp => base.with(Tcp(port)),
        Transport::Udp => base.with(Udp(port)).with(QuicV1),
    }
}

/// A key for each role of a session: equal sessions, equal peer ids.
fn identity(configure: &Configure) -> Result<Keypair, Box<dyn Error>> {
    let mut seed: [u8; 32] = configure.session.as_bytes().try_into()?;
    seed[0] ^= (configure.role as u8) << 5;
    Ok(Keypair::ed25519_from_bytes(seed)?)
}

/// A swarm that does not listen yet; what it sees of DCUtR goes to `told`.
pub fn build(
    configure: &Configure,
    told: UnboundedSender<Seen>,
) -> Result<Swarm<Behaviour>, Box<dyn Error>> {
    let key = identity(configure)?;
    let me = key.public().to_peer_id();
    let (circuits, behaviour) = relay::client::new(me);
    let circuits = circuits
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&key)?)
        .multiplex(yamux::Config::default())
        .map(move |(peer, muxer), _| (peer, Tapped::new(muxer, told.clone())))
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let all = circuits
        .or_transport(direct(configure, &key)?)
        .map(|either, _| either.into_inner());
    Ok(Swarm::new(
        TransportTimeout::new(all, configure.longer(DIAL_DEADLINE)).boxed(),
        behaviours(&key, behaviour, configure),
        me,
        swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE),
    ))
}

fn direct(
    configure: &Configure,
    key: &Keypair,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    Ok(match configure.transport {
        Transport::Tcp => tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(key)?)
            .multiplex(yamux::Config::default())
            .boxed(),
        Transport::Udp => {
            let mut config = quic::Config::new(key);
            config.handshake_timeout = configure.longer(DIAL_DEADLINE);
            quic::tokio::Transport::new(config)
                .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
                .boxed()
        }
    })
}

fn behaviours(
    key: &Keypair,
    circuits: relay::client::Behaviour,
    configure: &Configure,
) -> Behaviour {
    let me = key.public().to_peer_id();
    let role = configure.role;
    let client = role == Role::AutonatClient;
    let public = matches!(role, Role::Relay | Role::AutonatServer);
    let punch = role.is_end() && !configure.options.relay_only;
    Behaviour {
        identify: identify::Behaviour::new(identify::Config::new(PROTOCOL.into(), key.public())),
        ping: ping::Behaviour::default(),
        circuits,
        punch: punch.then(|| dcutr::Behaviour::new(me)).into(),
        relay: (role == Role::Relay)
            .then(|| relay::Behaviour::new(me, relay::Config::default()))
            .into(),
        node_autonat: (client || public)
            .then(|| autonat::v1::Behaviour::new(me, node_autonat(client)))
            .into(),
        address_autonat: client.then(autonat::v2::client::Behaviour::default).into(),
        address_server: public.then(autonat::v2::server::Behaviour::default).into(),
        echo: echo::Behaviour::default(),
    }
}

/// One behaviour is both sides of AutoNAT v1.  A client asks at once and again at short
/// intervals, where a usual node takes minutes; a server asks nobody.
fn node_autonat(client: bool) -> autonat::v1::Config {
    autonat::v1::Config {
        boot_delay: if client { Duration::ZERO } else { IDLE },
        retry_interval: ASK_PAUSE,
        throttle_server_period: ASK_PAUSE,
        use_connected: client,
        ..Default::default()
    }
}
