//! The node: rust-libp2p's swarm and what has been seen of its events.

use std::{collections::HashMap, error::Error, future::Future, time::Duration};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, Transport as _, autonat,
    core::{ConnectedPoint, transport::ListenerId, upgrade::Version},
    dcutr,
    futures::{AsyncReadExt, AsyncWriteExt, StreamExt, future::join, io},
    identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping, relay,
    swarm::{
        ConnectionId, NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle, dial_opts::DialOpts,
    },
    tcp, tls, yamux,
};
use serde_json::{Value, json};

use crate::envelopes;

const VERSION: &str = "ipfs/0.1.0";
const ECHO: StreamProtocol = StreamProtocol::new("/testbed/echo/1.0.0");
// Longer than any test leaves a connection idle.
const IDLE: Duration = Duration::from_secs(120);

#[derive(Default)]
pub struct Options {
    /// Comma separated multiaddrs.
    pub listen: String,
    /// Serve as a circuit relay v2.
    pub relay: bool,
    /// Of a circuit of that relay.
    pub duration: Option<Duration>,
    pub data: Option<u64>,
    /// Hole punching (DCUtR).
    pub punch: bool,
    /// TLS in place of Noise on TCP.
    pub tls: bool,
    /// AutoNAT v1 and v2, as "client" or "server".
    pub autonat: Option<String>,
    /// Send a signed peer record with identify.
    pub signed_records: bool,
    /// Answer RESERVE alone, with a voucher signed by the "own" or by a "foreign" key.
    pub vouchers: Option<String>,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    relay: Toggle<relay::Behaviour>,
    circuits: relay::client::Behaviour,
    punch: Toggle<dcutr::Behaviour>,
    autonat_v1: Toggle<autonat::v1::Behaviour>,
    autonat_client: Toggle<autonat::v2::client::Behaviour>,
    autonat_server: Toggle<autonat::v2::server::Behaviour>,
    streams: libp2p_stream::Behaviour,
}

#[derive(Default)]
struct Seen {
    connections: HashMap<ConnectionId, (PeerId, String)>,
    identified: HashMap<PeerId, identify::Info>,
    rtts: HashMap<PeerId, Result<Duration, String>>,
    reserved: HashMap<PeerId, (Option<Duration>, Option<u64>)>,
    punched: HashMap<PeerId, Result<(), String>>,
    asked_v1: HashMap<PeerId, Result<Multiaddr, String>>,
    asked_v2: HashMap<PeerId, (Multiaddr, Result<(), String>)>,
    failed: HashMap<ConnectionId, String>,
    unheard: HashMap<ListenerId, String>,
}

pub struct Node {
    swarm: Swarm<Behaviour>,
    streams: libp2p_stream::Control,
    seen: Seen,
}

impl Node {
    pub async fn listen(options: Options) -> Result<Self, Box<dyn Error>> {
        let key = Keypair::generate_ed25519();
        let mut swarm = build(&key, &options)?;
        let mut wanted = 0;
        for addr in options.listen.split(',') {
            swarm.listen_on(addr.parse()?)?;
            wanted += 1;
        }
        let mut streams = swarm.behaviour().streams.new_control();
        tokio::spawn(serve_echo(streams.accept(ECHO)?));
        let mut node = Self {
            swarm,
            streams,
            seen: Seen::default(),
        };
        while node.swarm.listeners().count() < wanted {
            node.step().await;
        }
        if options.relay {
            // Its reservations carry external addresses, and it serves none without.
            for addr in node.swarm.listeners().cloned().collect::<Vec<_>>() {
                node.swarm.add_external_address(addr);
            }
        }
        if let Some(signer) = options.vouchers {
            let signer = if signer == "own" {
                key
            } else {
                Keypair::generate_ed25519()
            };
            node.grant_reservations(signer)?;
        }
        Ok(node)
    }

    pub fn id(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    pub fn addresses(&self) -> Vec<String> {
        self.swarm
            .listeners()
            .map(|addr| format!("{addr}/p2p/{}", self.id()))
            .collect()
    }

    // Commands

    pub async fn connect(&mut self, addr: Multiaddr, peer: PeerId) -> Result<Value, String> {
        let dial = DialOpts::peer_id(peer).addresses(vec![addr]).build();
        let attempt = dial.connection_id();
        if !self.swarm.is_connected(&peer) {
            self.swarm.dial(dial).map_err(|e| e.to_string())?;
        }
        self.until(|seen| match seen.failed.get(&attempt) {
            Some(error) => Some(Err(error.clone())),
            None => seen.identified.contains_key(&peer).then_some(Ok(())),
        })
        .await?;
        self.describe(peer)
    }

    pub fn describe(&self, peer: PeerId) -> Result<Value, String> {
        let info = self.seen.identified.get(&peer).ok_or("not identified")?;
        let connections = self
            .seen
            .connections
            .values()
            .filter(|(other, _)| *other == peer);
        Ok(json!({
            "protocols": info.protocols.iter().map(|p| p.to_string()).collect::<Vec<_>>(),
            "agent": info.agent_version,
            "observed": info.observed_addr.to_string(),
            "addrs": texts(&info.listen_addrs),
            "connections": connections.map(|(_, addr)| addr.clone()).collect::<Vec<_>>(),
            "punched": self.seen.punched.get(&peer).map(|result| match result {
                Ok(()) => "ok".to_string(),
                Err(error) => error.clone(),
            }),
        }))
    }

    /// Until there are connections to the peer, and none of them relayed.
    pub async fn direct(&mut self, peer: PeerId) -> Result<Value, String> {
        self.until(|seen| {
            let mut all = seen
                .connections
                .values()
                .filter(|(other, _)| *other == peer)
                .peekable();
            all.peek()?;
            all.all(|(_, addr)| !addr.contains("/p2p-circuit"))
                .then_some(())
        })
        .await;
        self.describe(peer)
    }

    /// The next round trip; rust-libp2p pings by itself, once a second.
    pub async fn ping(&mut self, peer: PeerId) -> Result<Value, String> {
        self.seen.rtts.remove(&peer);
        let rtt = self.until(|seen| seen.rtts.get(&peer).cloned()).await?;
        Ok(json!({"rtt_us": rtt.as_micros() as u64}))
    }

    pub async fn echo(&mut self, peer: PeerId, count: u64) -> Result<Value, String> {
        let mut streams = self.streams.clone();
        self.drive(async move {
            let stream = streams
                .open_stream(peer, ECHO)
                .await
                .map_err(|error| error.to_string())?;
            let sent: Vec<u8> = (0..count).map(|i| (i * i / 3) as u8).collect();
            let (mut reader, mut writer) = stream.split();
            let mut got = vec![];
            let write = async {
                writer.write_all(&sent).await?;
                writer.close().await
            };
            let (wrote, read) = join(write, reader.read_to_end(&mut got)).await;
            wrote.and(read).map_err(|error| error.to_string())?;
            Ok(json!({"bytes": got.len(), "equal": got == sent}))
        })
        .await
    }

    /// A new protocol, of which identify's push tells.
    pub fn handle(&mut self, protocol: &str) -> Result<Value, String> {
        let name = StreamProtocol::try_from_owned(protocol.to_string())
            .map_err(|error| error.to_string())?;
        let mut asked = self
            .streams
            .accept(name)
            .map_err(|error| error.to_string())?;
        tokio::spawn(async move { while asked.next().await.is_some() {} });
        Ok(json!({}))
    }

    /// What the peer's AutoNAT v1 said of us; rust-libp2p asks by itself.
    pub async fn asked_v1(&mut self, peer: PeerId) -> Result<Value, String> {
        let told = self.until(|seen| seen.asked_v1.get(&peer).cloned()).await;
        let text = told.as_ref().err().cloned();
        Ok(json!({"reached": told.is_ok(), "text": text, "addr": told.ok().map(|a| a.to_string())}))
    }

    /// What the peer's AutoNAT v2 found of one of our addresses.
    pub async fn asked_v2(&mut self, peer: PeerId) -> Result<Value, String> {
        let (addr, told) = self.until(|seen| seen.asked_v2.get(&peer).cloned()).await;
        Ok(json!({"reached": told.is_ok(), "text": told.err(), "addr": addr.to_string()}))
    }

    /// A reservation by rust-libp2p's own client, kept as long as the program runs.
    pub async fn reserve(&mut self, addr: Multiaddr, relay: PeerId) -> Result<Value, String> {
        let circuit = addr.with(Protocol::P2pCircuit);
        let listener = self.swarm.listen_on(circuit).map_err(|e| e.to_string())?;
        let (duration, data) = self
            .until(|seen| match seen.unheard.get(&listener) {
                Some(error) => Some(Err(error.clone())),
                None => seen.reserved.get(&relay).copied().map(Ok),
            })
            .await?;
        let addrs = self.swarm.external_addresses();
        Ok(json!({
            "addrs": texts(addrs),
            "duration_s": duration.map(|d| d.as_secs()),
            "data": data,
        }))
    }

    /// A reservation asked for by hand, so as to check its voucher.
    pub async fn voucher(&mut self, relay: PeerId) -> Result<Value, String> {
        let (me, mut streams) = (self.id(), self.streams.clone());
        self.drive(async move {
            let stream = streams
                .open_stream(relay, relay::HOP_PROTOCOL_NAME)
                .await
                .map_err(|error| error.to_string())?;
            let got = envelopes::reserve(stream, relay, me).await?;
            Ok(json!({"expire": got.expire, "voucher_expiration": got.voucher_expiration}))
        })
        .await
    }

    /// The addresses in the peer's signed record, which is read by hand.
    pub async fn record(&mut self, peer: PeerId) -> Result<Value, String> {
        let mut streams = self.streams.clone();
        self.drive(async move {
            let stream = streams
                .open_stream(peer, identify::PROTOCOL_NAME)
                .await
                .map_err(|error| error.to_string())?;
            let record = envelopes::peer_record(stream).await?;
            let (who, addrs) = (record.peer_id().to_string(), texts(record.addresses()));
            Ok(json!({"peer": who, "addrs": addrs}))
        })
        .await
    }

    // Driving

    /// Handle one event.
    pub async fn step(&mut self) {
        let event = self.swarm.select_next_some().await;
        self.seen.take(event);
    }

    async fn until<T>(&mut self, found: impl Fn(&Seen) -> Option<T>) -> T {
        loop {
            if let Some(result) = found(&self.seen) {
                return result;
            }
            self.step().await;
        }
    }

    async fn drive<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                result = &mut work => return result,
                () = self.step() => {}
            }
        }
    }

    fn grant_reservations(&mut self, signer: Keypair) -> Result<(), Box<dyn Error>> {
        let mut asked = self.streams.accept(relay::HOP_PROTOCOL_NAME)?;
        let (me, addrs) = (
            self.id(),
            self.swarm.listeners().cloned().collect::<Vec<_>>(),
        );
        tokio::spawn(async move {
            while let Some((peer, stream)) = asked.next().await {
                if let Err(error) = envelopes::grant(stream, &signer, me, peer, &addrs).await {
                    eprintln!("reservation for {peer}: {error}");
                }
            }
        });
        Ok(())
    }
}

fn build(key: &Keypair, options: &Options) -> Result<Swarm<Behaviour>, Box<dyn Error>> {
    // Of a role that is played, whether it is the client.
    let plays = |role: &str| {
        let played = options.autonat.as_deref() == Some(role);
        played.then_some(role == "client")
    };
    let built = SwarmBuilder::with_existing_identity(key.clone())
        .with_tokio()
        .with_quic()
        .with_other_transport(|key| {
            let socket = tcp::tokio::Transport::new(tcp::Config::default());
            let plain = socket.upgrade(Version::V1Lazy);
            let muxer = yamux::Config::default();
            Ok(if options.tls {
                plain
                    .authenticate(tls::Config::new(key)?)
                    .multiplex(muxer)
                    .boxed()
            } else {
                plain
                    .authenticate(noise::Config::new(key)?)
                    .multiplex(muxer)
                    .boxed()
            })
        })?
        .with_relay_client(noise::Config::new, yamux::Config::default)?
        .with_behaviour(|key, circuits| {
            let me = key.public().to_peer_id();
            Behaviour {
                identify: identify::Behaviour::new(if options.signed_records {
                    identify::Config::new_with_signed_peer_record(VERSION.into(), key)
                } else {
                    identify::Config::new(VERSION.into(), key.public())
                }),
                ping: ping::Behaviour::new(
                    ping::Config::new().with_interval(Duration::from_secs(1)),
                ),
                relay: options
                    .relay
                    .then(|| relay::Behaviour::new(me, relaying(options)))
                    .into(),
                circuits,
                punch: options.punch.then(|| dcutr::Behaviour::new(me)).into(),
                autonat_v1: plays("client")
                    .or(plays("server"))
                    .map(|client| autonat::v1::Behaviour::new(me, autonat_v1(client)))
                    .into(),
                autonat_client: plays("client")
                    .map(|_| autonat::v2::client::Behaviour::default())
                    .into(),
                autonat_server: plays("server")
                    .map(|_| autonat::v2::server::Behaviour::default())
                    .into(),
                streams: libp2p_stream::Behaviour::new(),
            }
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE))
        .build();
    Ok(built)
}

fn relaying(options: &Options) -> relay::Config {
    let mut config = relay::Config::default();
    if let Some(duration) = options.duration {
        config.max_circuit_duration = duration;
    }
    if let Some(data) = options.data {
        config.max_circuit_bytes = data;
    }
    config
}

/// A client asks those that it is connected to, and at once.
fn autonat_v1(client: bool) -> autonat::v1::Config {
    autonat::v1::Config {
        boot_delay: if client {
            Duration::from_millis(500)
        } else {
            IDLE
        },
        retry_interval: Duration::from_secs(1),
        throttle_server_period: Duration::from_millis(100),
        use_connected: client,
        only_global_ips: false,
        ..Default::default()
    }
}

impl Seen {
    fn take(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                self.connections
                    .insert(connection_id, (peer_id, place(&endpoint)));
            }
            SwarmEvent::ConnectionClosed { connection_id, .. } => {
                self.connections.remove(&connection_id);
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                error,
                ..
            } => {
                self.failed.insert(connection_id, error.to_string());
            }
            SwarmEvent::ListenerClosed {
                listener_id,
                reason: Err(error),
                ..
            } => {
                self.unheard.insert(listener_id, error.to_string());
            }
            SwarmEvent::Behaviour(event) => self.take_inner(event),
            _ => {}
        }
    }

    fn take_inner(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                self.identified.insert(peer_id, info);
            }
            BehaviourEvent::Ping(ping::Event { peer, result, .. }) => {
                self.rtts
                    .insert(peer, result.map_err(|error| error.to_string()));
            }
            BehaviourEvent::Circuits(relay::client::Event::ReservationReqAccepted {
                relay_peer_id,
                limit,
                ..
            }) => {
                let limits = limit.map_or((None, None), |l| (l.duration(), l.data_in_bytes()));
                self.reserved.insert(relay_peer_id, limits);
            }
            BehaviourEvent::AutonatV1(autonat::v1::Event::OutboundProbe(event)) => {
                use autonat::v1::OutboundProbeEvent::{Error, Response};
                match event {
                    Response { peer, address, .. } => self.asked_v1.insert(peer, Ok(address)),
                    Error {
                        peer: Some(peer),
                        error,
                        ..
                    } => self.asked_v1.insert(peer, Err(format!("{error:?}"))),
                    _ => None,
                };
            }
            BehaviourEvent::AutonatClient(event) => {
                let told = event.result.map_err(|error| error.to_string());
                self.asked_v2
                    .insert(event.server, (event.tested_addr, told));
            }
            BehaviourEvent::Punch(dcutr::Event {
                remote_peer_id,
                result,
            }) => {
                let result = result.map(|_| ()).map_err(|error| error.to_string());
                self.punched.insert(remote_peer_id, result);
            }
            _ => {}
        }
    }
}

/// The other end's address; a relayed connection's is named by its circuit.
fn place(endpoint: &ConnectedPoint) -> String {
    match endpoint {
        ConnectedPoint::Listener { local_addr, .. } if endpoint.is_relayed() => {
            local_addr.to_string()
        }
        _ => endpoint.get_remote_address().to_string(),
    }
}

async fn serve_echo(mut asked: libp2p_stream::IncomingStreams) {
    while let Some((_, stream)) = asked.next().await {
        tokio::spawn(async move {
            let (reader, mut writer) = stream.split();
            // An end that breaks off is the other side's to notice.
            if io::copy(reader, &mut writer).await.is_ok() {
                let _ = writer.close().await;
            }
        });
    }
}

fn texts<'a>(addrs: impl IntoIterator<Item = &'a Multiaddr>) -> Vec<String> {
    addrs.into_iter().map(|addr| addr.to_string()).collect()
}
