//! The swarm: one transport, identify, the relay's client, DCUtR and the testbed's echo.

use std::{error::Error, time::Duration};

use libp2p::{
    Multiaddr, PeerId, Swarm, Transport as _,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, timeout::TransportTimeout},
        upgrade::Version,
    },
    dcutr, identify,
    identity::Keypair,
    noise, quic, relay,
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

#[derive(NetworkBehaviour)]
pub struct Behaviour {
    identify: identify::Behaviour,
    circuits: relay::client::Behaviour,
    punch: Toggle<dcutr::Behaviour>,
    pub echo: echo::Behaviour,
}

/// Where the peer listens: TCP, or QUIC where the transport is UDP.
pub fn listen_address(configure: &Configure) -> Multiaddr {
    use libp2p::multiaddr::Protocol::{QuicV1, Tcp, Udp};
    let base = Multiaddr::empty().with(configure.local_address.into());
    match configure.transport {
        Transport::Tcp => base.with(Tcp(configure.port)),
        Transport::Udp => base.with(Udp(configure.port)).with(QuicV1),
    }
}

/// A key for each of a session's two: equal sessions, equal peer ids.
fn identity(configure: &Configure) -> Result<Keypair, Box<dyn Error>> {
    let mut seed: [u8; 32] = configure.session.as_bytes().try_into()?;
    seed[0] ^= match configure.role {
        Role::Dialer => 0,
        Role::Listener => 0x80,
    };
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
        .or_transport(direct(configure.transport, &key)?)
        .map(|either, _| either.into_inner());
    Ok(Swarm::new(
        TransportTimeout::new(all, DIAL_DEADLINE).boxed(),
        behaviours(&key, behaviour, !configure.options.relay_only),
        me,
        swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE),
    ))
}

fn direct(
    transport: Transport,
    key: &Keypair,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    Ok(match transport {
        Transport::Tcp => tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(key)?)
            .multiplex(yamux::Config::default())
            .boxed(),
        Transport::Udp => {
            let mut config = quic::Config::new(key);
            config.handshake_timeout = DIAL_DEADLINE;
            quic::tokio::Transport::new(config)
                .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
                .boxed()
        }
    })
}

fn behaviours(key: &Keypair, circuits: relay::client::Behaviour, punch: bool) -> Behaviour {
    Behaviour {
        identify: identify::Behaviour::new(identify::Config::new(PROTOCOL.into(), key.public())),
        circuits,
        punch: punch
            .then(|| dcutr::Behaviour::new(key.public().to_peer_id()))
            .into(),
        echo: echo::Behaviour::default(),
    }
}
