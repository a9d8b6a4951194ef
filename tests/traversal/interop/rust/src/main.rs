//! A rust-libp2p node driven by words on stdin, for the wire checks of testbed.traversal.
//!
//! Prints {"id":..,"addr":..} when it listens.  "dial ADDR" and "reserve ADDR" (a relay)
//! are the commands; every event of interest is one JSON line.

use std::error::Error;

use futures::StreamExt;
use libp2p::{
    identify, multiaddr::Protocol, noise, ping, relay,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux, Multiaddr,
};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    relay_client: relay::client::Behaviour,
    relay: relay::Behaviour,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let listen: Multiaddr = std::env::args().nth(1).ok_or("usage: interop LISTEN")?.parse()?;
    let mut swarm = libp2p::SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
        .with_quic()
        .with_relay_client(noise::Config::new, yamux::Config::default)?
        .with_behaviour(|key, relay_client| Behaviour {
            identify: identify::Behaviour::new(identify::Config::new(
                "/interop/1.0.0".into(),
                key.public(),
            )),
            ping: ping::Behaviour::default(),
            relay_client,
            relay: relay::Behaviour::new(key.public().to_peer_id(), Default::default()),
        })?
        .build();
    swarm.listen_on(listen)?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                None => return Ok(()),
                Some(line) => match line.split_once(' ') {
                    Some(("dial", addr)) => swarm.dial(addr.parse::<Multiaddr>()?)?,
                    Some(("reserve", addr)) => {
                        swarm.listen_on(addr.parse::<Multiaddr>()?.with(Protocol::P2pCircuit))?;
                    }
                    _ => println!("{}", json!({"error": line})),
                },
            },
            event = swarm.select_next_some() => report(&mut swarm, event),
        }
    }
}

fn report(swarm: &mut libp2p::Swarm<Behaviour>, event: SwarmEvent<BehaviourEvent>) {
    match event {
        SwarmEvent::NewListenAddr { address, .. } => {
            let id = *swarm.local_peer_id();
            swarm.add_external_address(address.clone());
            println!("{}", json!({"id": id.to_string(), "addr": format!("{address}/p2p/{id}")}));
        }
        SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { info, .. })) => {
            println!("{}", json!({"identify": info.agent_version,
                "observed": info.observed_addr.to_string(),
                "protocols": info.protocols.iter().map(|p| p.to_string()).collect::<Vec<_>>()}));
        }
        SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { result: Ok(rtt), .. })) => {
            println!("{}", json!({"ping_us": rtt.as_micros() as u64}));
        }
        SwarmEvent::Behaviour(BehaviourEvent::RelayClient(
            relay::client::Event::ReservationReqAccepted { limit, .. },
        )) => {
            let limit = limit.map(|l| (l.duration().map(|d| d.as_secs()), l.data_in_bytes()));
            println!("{}", json!({"reserved": limit}));
        }
        SwarmEvent::OutgoingConnectionError { error, .. } => {
            println!("{}", json!({"error": error.to_string()}));
        }
        _ => {}
    }
}
