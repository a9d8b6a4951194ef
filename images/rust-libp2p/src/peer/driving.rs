//! Hands on what the swarm tells.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId,
    futures::StreamExt,
    identify, relay,
    swarm::{ConnectionId, SwarmEvent},
};
use serde_json::json;
use tokio::time::timeout;

use super::{Connection, PRIVATE, PUBLIC, Peer, UNKNOWN};
use crate::{
    contract::{Endpoint, emit, event},
    node::BehaviourEvent,
    story::words,
};

impl Peer {
    /// Handles events for ever.
    pub async fn drive(&mut self) -> Infallible {
        loop {
            tokio::select! {
                biased; // a message was seen before what the swarm makes of it
                Some(seen) = self.tap.recv() => self.story.message(seen),
                event = self.swarm.select_next_some() => self.take(event),
            }
        }
    }

    pub(super) async fn wait(&mut self, duration: Duration) {
        let _ = timeout(duration, self.drive()).await;
    }

    /// What `found` gives once it gives something; an error after the deadline.
    pub(super) async fn within<T>(
        &mut self,
        deadline: Duration,
        found: impl Fn(&Self) -> Option<Result<T, String>>,
    ) -> Result<T, String> {
        let deadline = self.configure.longer(deadline);
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
    pub(super) fn best(&self, peer: PeerId) -> Option<(ConnectionId, &Connection)> {
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
            SwarmEvent::NewExternalAddrCandidate { address } => {
                if let Some(address) = Endpoint::of(&address) {
                    self.judged.entry(address).or_insert(UNKNOWN);
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
            BehaviourEvent::AddressAutonat(verdict) => {
                if let Some(address) = Endpoint::of(&verdict.tested_addr) {
                    let reached = verdict.result.is_ok();
                    self.judged
                        .insert(address, if reached { PUBLIC } else { PRIVATE });
                }
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
