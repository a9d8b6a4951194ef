//! One session: gathers, dials and echoes.

mod driving;
mod public;

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::{ConnectedPoint, transport::ListenerId},
    multiaddr::Protocol,
    swarm::{ConnectionId, dial_opts::DialOpts},
};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::timeout,
};

use crate::{
    contract::{Configure, Dial, Echo, Endpoint, Failure, NONCE, Role, emit, event, octets, until},
    echo,
    node::{Behaviour, build, listen_address},
    story::{Story, ends, words},
    tap::Seen,
};

// As testbed/stacks/traversal.py has them.
const MEET_DEADLINE: Duration = Duration::from_secs(3); // of the observers and relays
const CIRCUIT_DEADLINE: Duration = Duration::from_secs(4); // from start_at to the circuit
const ECHO_DEADLINE: Duration = Duration::from_secs(6);
/// Observers that must agree before an address is advertised.  rust-libp2p leaves it to its
/// user when an address is confirmed; go-libp2p and testbed.traversal ask for as many.
const ADVERTISED_BY: usize = 4;

const PUBLIC: &str = "public";
const PRIVATE: &str = "private";
const UNKNOWN: &str = "unknown";

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
    judged: BTreeMap<Endpoint, &'static str>, // AutoNAT v2's verdicts on our candidates
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
        if configure.role.is_end() && configure.relays.is_empty() {
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
            judged: BTreeMap::new(),
            reserved: false,
            unheard: HashMap::new(),
            failed: HashMap::new(),
        }))
    }

    // Commands

    /// What configuring leads to, by the role.
    pub async fn begin(&mut self) -> Result<(), Failure> {
        let gathering = |reason: String| Failure::new("gathering", reason);
        self.listen().await.map_err(gathering)?;
        match self.configure.role {
            Role::Dialer | Role::Listener => self.gather().await,
            Role::Relay | Role::AutonatServer => Ok(self.serve()),
            Role::AutonatClient => self.ask().await,
        }
        .map_err(gathering)
    }

    async fn listen(&mut self) -> Result<(), String> {
        let listened = self.swarm.listen_on(listen_address(&self.configure));
        let listener = listened.map_err(|error| words(&error))?;
        self.within(MEET_DEADLINE, |seen| match seen.unheard.get(&listener) {
            Some(error) => Some(Err(error.clone())),
            None => seen.listening.then_some(Ok(())),
        })
        .await
    }

    /// Meets the public nodes, and reserves where it is to be dialed.
    async fn gather(&mut self) -> Result<(), String> {
        emit(&event("listening", json!({"local": self.local})));
        let (relays, observers) = (&self.configure.relays, &self.configure.observers);
        let public: Vec<_> = relays.iter().chain(observers).cloned().collect();
        let silent = self.meet(public).await?;
        if let Some(words) = silent.first() {
            return Err(words.clone());
        }
        self.confirm();
        let me = *self.swarm.local_peer_id();
        let multiaddr = match self.configure.role {
            Role::Listener => self.reserve(me).await?,
            _ => format!("/p2p/{me}"),
        };
        let offer = json!({"addresses": [], "ice": null, "multiaddrs": [multiaddr]});
        let more = json!({"offer": offer, "accepts": ["nonce"]});
        emit(&event("offer", more));
        Ok(())
    }

    /// Connects to public nodes from the listening port, and learns how they see us; of those
    /// that it cannot connect to, why.
    async fn meet(&mut self, public: Vec<Multiaddr>) -> Result<Vec<String>, String> {
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
            let mut silent = vec![];
            for (peer, connection, address) in &dials {
                if let Some(error) = seen.failed.get(connection) {
                    silent.push(format!("{address}: {error}"));
                } else if !seen.observed.contains_key(peer) {
                    return None;
                }
            }
            Some(Ok(silent))
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

    /// Sends as many bytes as it asks for over the best connection there is.
    pub async fn echo(&mut self, asked: Echo) -> Result<(), Failure> {
        let lost = |reason: &str| Failure::new("lost", format!("echo: {reason}"));
        let remote = self.remote.expect("the order of commands");
        let best = self.best(remote).map(|(id, _)| id);
        let connection = best.ok_or_else(|| lost("no connection"))?;
        let opening = self.swarm.behaviour_mut().echo.open(remote, connection);
        let mut data = random(self.configure.seed, asked.bytes);
        if let Some(nonce) = asked.nonce.as_deref().and_then(octets) {
            let known = NONCE.min(data.len());
            data[..known].copy_from_slice(&nonce[..known]);
        }
        let work = async {
            let stream = opening.await.map_err(|_| "no stream".to_owned())?;
            let back = echo::exchange(stream, &data).await;
            back.map_err(|error| error.to_string())
        };
        let back = tokio::select! {
            back = timeout(self.configure.longer(ECHO_DEADLINE), work) => back,
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
