//! One session: gathers, dials, echoes, and hands on what the swarm tells.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::{ConnectedPoint, transport::ListenerId},
    futures::StreamExt,
    identify,
    multiaddr::Protocol,
    relay,
    swarm::{ConnectionId, SwarmEvent, dial_opts::DialOpts},
};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

use crate::{
    contract::{Configure, Dial, Endpoint, Failure, Role, emit, event, until},
    echo,
    node::{Behaviour, BehaviourEvent, build, listen_address},
    story::{Story, ends, words},
    tap::Seen,
};

// As testbed/peers/traversal.py has them.
const MEET_DEADLINE: Duration = Duration::from_secs(3); // of the observers and relays
const CIRCUIT_DEADLINE: Duration = Duration::from_secs(4); // from start_at to the circuit
const ECHO_DEADLINE: Duration = Duration::from_secs(6);
/// Observers that must agree before an address is advertised.  rust-libp2p leaves it to its
/// user when an address is confirmed; go-libp2p and testbed.traversal ask for as many.
const ADVERTISED_BY: usize = 4;

struct Connection {
    peer: PeerId,
    endpoint: ConnectedPoint,
}

pub struct Peer {
    configure: Configure,
    local: Endpoint,
    swarm: Swarm<Behaviour>,
    tap: UnboundedReceiver<Seen>,
    story: Story,
    remote: Option<PeerId>,
    listening: bool,
    connections: HashMap<ConnectionId, Connection>,
    observed: HashMap<PeerId, Multiaddr>,
    reserved: bool,
    unheard: HashMap<ListenerId, String>,
    failed: HashMap<ConnectionId, String>,
}

impl Peer {
    /// Failure if it cannot do what it is configured for; Err(words) if it cannot be made.
    pub fn new(configure: Configure) -> Result<Result<Self, Failure>, String> {
        if configure.options.mode != "punch" {
            let reason = format!("no mode {}", configure.options.mode);
            return Ok(Err(Failure::new("unsupported", reason)));
        }
        if configure.relays.is_empty() {
            return Ok(Err(Failure::new("unsupported", "a relay is needed")));
        }
        let (told, tap) = unbounded_channel();
        let swarm = build(&configure, told).map_err(|error| error.to_string())?;
        let local = Endpoint {
            address: configure.local_address,
            port: configure.port,
        };
        Ok(Ok(Self {
            story: Story::new(configure.role == Role::Listener, local),
            configure,
            local,
            swarm,
            tap,
            remote: None,
            listening: false,
            connections: HashMap::new(),
            observed: HashMap::new(),
            reserved: false,
            unheard: HashMap::new(),
            failed: HashMap::new(),
        }))
    }

    // Commands

    /// Meets the public nodes, and reserves where it is to be dialed.
    pub async fn gather(&mut self) -> Result<(), Failure> {
        let gathering = |reason: String| Failure::new("gathering", reason);
        let listener = self
            .swarm
            .listen_on(listen_address(&self.configure))
            .map_err(|error| gathering(words(&error)))?;
        self.within(MEET_DEADLINE, |seen| {
            if let Some(error) = seen.unheard.get(&listener) {
                return Some(Err(error.clone()));
            }
            seen.listening.then_some(Ok(()))
        })
        .await
        .map_err(gathering)?;
        emit(&event("listening", json!({"local": self.local})));
        self.meet().await.map_err(gathering)?;
        self.confirm();
        let me = *self.swarm.local_peer_id();
        let multiaddr = match self.configure.role {
            Role::Dialer => format!("/p2p/{me}"),
            Role::Listener => self.reserve(me).await.map_err(gathering)?,
        };
        let offer = json!({"addresses": [], "ice": null, "multiaddrs": [multiaddr]});
        emit(&event("offer", json!({"offer": offer})));
        Ok(())
    }

    /// Connects to the public nodes from the listening port, and learns how they see us.
    async fn meet(&mut self) -> Result<(), String> {
        let (relays, observers) = (&self.configure.relays, &self.configure.observers);
        let public: Vec<_> = relays.iter().chain(observers).cloned().collect();
        let mut dials = vec![];
        for address in public {
            let peer = peer_of(&address)?;
            let dial = DialOpts::peer_id(peer)
                .addresses(vec![address.clone()])
                .build();
            dials.push((peer, dial.connection_id(), address));
            self.swarm.dial(dial).map_err(|error| words(&error))?;
        }
        self.within(MEET_DEADLINE, |seen| {
            for (_, connection, address) in &dials {
                if let Some(error) = seen.failed.get(connection) {
                    return Some(Err(format!("{address}: {error}")));
                }
            }
            let all = dials
                .iter()
                .all(|(peer, ..)| seen.observed.contains_key(peer));
            all.then_some(Ok(()))
        })
        .await
    }

    /// Advertises what enough public nodes agree on.
    fn confirm(&mut self) {
        let mut votes: HashMap<&Multiaddr, usize> = HashMap::new();
        for address in self.observed.values() {
            *votes.entry(address).or_default() += 1;
        }
        let best = votes.into_iter().max_by_key(|(_, count)| *count);
        if let Some((address, ADVERTISED_BY..)) = best {
            self.swarm.add_external_address(address.clone());
        }
    }

    /// The address by which the relay lets us be dialed.
    async fn reserve(&mut self, me: PeerId) -> Result<String, String> {
        let relay = self.configure.relays[0].clone();
        let address = relay.clone().with(Protocol::P2pCircuit);
        let listener = self
            .swarm
            .listen_on(address.clone())
            .map_err(|error| words(&error))?;
        self.within(MEET_DEADLINE, |seen| match seen.unheard.get(&listener) {
            Some(error) => Some(Err(error.clone())),
            None => seen.reserved.then_some(Ok(())),
        })
        .await?;
        let circuit = format!("{address}/p2p/{me}");
        let more = json!({"relay": Endpoint::of(&relay), "circuit": circuit});
        emit(&event("reserved", more));
        Ok(circuit)
    }

    /// Reaches the other side through the relay, or waits to be reached.
    pub async fn dial(&mut self, dial: Dial) -> Result<(), Failure> {
        let unsupported = |reason: String| Failure::new("unsupported", reason);
        let mut addresses = vec![];
        for text in &dial.remote.multiaddrs {
            let address = text.parse::<Multiaddr>();
            addresses.push(address.map_err(|error| unsupported(format!("{text}: {error}")))?);
        }
        let Some(first) = addresses.first() else {
            return Err(unsupported("the other side has no multiaddr".into()));
        };
        let remote = peer_of(first).map_err(unsupported)?;
        self.remote = Some(remote);
        self.wait(until(dial.start_at)).await;
        let mut attempt = None;
        if self.configure.role == Role::Dialer {
            let dial = DialOpts::peer_id(remote).addresses(addresses).build();
            attempt = Some(dial.connection_id());
            let dialed = self.swarm.dial(dial);
            dialed.map_err(|error| Failure::new("timeout", words(&error)))?;
        }
        let connected = self
            .within(CIRCUIT_DEADLINE, |seen| {
                if let Some((_, connection)) = seen.best(remote) {
                    return Some(Ok(seen.connected(connection)));
                }
                let error = attempt.and_then(|attempt| seen.failed.get(&attempt));
                error.map(|error| Err(error.clone()))
            })
            .await
            .map_err(|reason| Failure::new("timeout", reason))?;
        emit(&connected);
        self.story.begin();
        if self.configure.options.relay_only {
            self.story.stay("upgrades are off");
        }
        Ok(())
    }

    fn connected(&self, connection: &Connection) -> Value {
        let (local, remote) = ends(&connection.endpoint, self.local);
        let relayed = connection.endpoint.is_relayed();
        let path = if relayed { "relayed" } else { "direct" };
        event(
            "connected",
            json!({"local": local, "remote": remote, "path": path}),
        )
    }

    /// Sends `count` bytes over the best connection there is.
    pub async fn echo(&mut self, count: usize) -> Result<(), Failure> {
        let lost = |reason: &str| Failure::new("lost", format!("echo: {reason}"));
        let remote = self.remote.expect("the order of commands");
        let best = self.best(remote).map(|(id, _)| id);
        let connection = best.ok_or_else(|| lost("no connection"))?;
        let opening = self.swarm.behaviour_mut().echo.open(remote, connection);
        let data = random(self.configure.seed, count);
        let work = async {
            let stream = opening.await.map_err(|_| "no stream".to_owned())?;
            let back = echo::exchange(stream, &data).await;
            back.map_err(|error| error.to_string())
        };
        let back = tokio::select! {
            back = timeout(ECHO_DEADLINE, work) => back,
            never = self.drive() => match never {},
        };
        let back = back.map_err(|_| lost("deadline"))?;
        let back = back.map_err(|reason| lost(&reason))?;
        let equal = data.iter().zip(&back).filter(|(a, b)| a == b).count();
        emit(&event("echoed", json!({"bytes": equal})));
        Ok(())
    }

    /// Tells nothing more.
    pub fn end(&mut self) {
        self.story.end();
    }

    // Driving

    /// Handles events for ever.
    pub async fn drive(&mut self) -> std::convert::Infallible {
        loop {
            tokio::select! {
                biased; // a message was seen before what the swarm makes of it
                Some(seen) = self.tap.recv() => self.story.message(seen),
                event = self.swarm.select_next_some() => self.take(event),
            }
        }
    }

    async fn wait(&mut self, duration: Duration) {
        let _ = timeout(duration, self.drive()).await;
    }

    /// What `found` gives once it gives something; an error after the deadline.
    async fn within<T>(
        &mut self,
        deadline: Duration,
        found: impl Fn(&Self) -> Option<Result<T, String>>,
    ) -> Result<T, String> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(result) = found(self) {
                return result;
            }
            let left = end.saturating_duration_since(Instant::now());
            tokio::select! {
                biased;
                Some(seen) = self.tap.recv() => self.story.message(seen),
                event = self.swarm.select_next_some() => self.take(event),
                () = tokio::time::sleep(left) => return Err(format!("nothing in {deadline:?}")),
            }
        }
    }

    /// A direct connection to `peer`, else a relayed one.
    fn best(&self, peer: PeerId) -> Option<(ConnectionId, &Connection)> {
        let all = self.connections.iter().filter(|(_, one)| one.peer == peer);
        all.min_by_key(|(_, one)| one.endpoint.is_relayed())
            .map(|(id, one)| (*id, one))
    }

    fn take(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { .. } => self.listening = true,
            SwarmEvent::ListenerClosed {
                listener_id,
                reason,
                ..
            } => {
                let error = reason.err().map_or("closed".into(), |error| words(&error));
                self.unheard.insert(listener_id, error);
            }
            SwarmEvent::Dialing {
                peer_id,
                connection_id,
            } if peer_id.is_some() && peer_id == self.remote => self.story.dialing(connection_id),
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                error,
                ..
            } => {
                self.failed.insert(connection_id, words(&error));
                self.story.dial_failed(connection_id);
            }
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                if Some(peer_id) == self.remote {
                    self.story.opened(&endpoint);
                }
                let connection = Connection {
                    peer: peer_id,
                    endpoint,
                };
                self.connections.insert(connection_id, connection);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                self.connections.remove(&connection_id);
                if Some(peer_id) == self.remote && endpoint.is_relayed() {
                    self.story.relay_left();
                }
            }
            SwarmEvent::Behaviour(event) => self.take_inner(event),
            _ => {}
        }
    }

    fn take_inner(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                connection_id,
                info,
            }) => self.identified(peer_id, connection_id, info.observed_addr),
            BehaviourEvent::Circuits(relay::client::Event::ReservationReqAccepted { .. }) => {
                self.reserved = true;
            }
            BehaviourEvent::Punch(punch) if Some(punch.remote_peer_id) == self.remote => {
                self.story.ended(&punch.result);
            }
            _ => {}
        }
    }

    /// A public node, or the other peer, said how it sees us.
    fn identified(&mut self, peer: PeerId, connection: ConnectionId, observed: Multiaddr) {
        let Some(connection) = self.connections.get(&connection) else {
            return;
        };
        let public = !connection.endpoint.is_relayed() && Some(peer) != self.remote;
        let server = Endpoint::of(connection.endpoint.get_remote_address());
        let (true, Some(address), Some(server)) = (public, Endpoint::of(&observed), server) else {
            return;
        };
        if self.observed.insert(peer, observed).is_none() {
            let more = json!({"address": address, "server": server});
            emit(&event("observed", more));
        }
    }
}

fn peer_of(address: &Multiaddr) -> Result<PeerId, String> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Ok(peer),
        _ => Err(format!("{address} names no peer")),
    }
}

/// `count` bytes that belong to `seed`, by Steele's SplitMix64.
fn random(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as u8
    };
    (0..count).map(|_| next()).collect()
}
