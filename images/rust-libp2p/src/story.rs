//! Makes the contract's events of what becomes of the connection to the other peer.

use std::error::Error;

use libp2p::{core::ConnectedPoint, dcutr, swarm::ConnectionId};
use serde_json::{Value, json};

use crate::{
    contract::{Endpoint, Moment, clipped, emit, event, event_at},
    tap::{Kind, Seen},
};

pub struct Story {
    leads: bool, // we are the listener: B of the specification
    local: Endpoint,
    waiting: Vec<Value>, // events from before "connected" was said
    begun: bool,
    attempt: u32,
    synced: bool,
    punch: Option<ConnectionId>, // the dial that is under way
    told: bool,                  // "upgraded" or "stayed" was said
    over: bool,
}

impl Story {
    pub fn new(leads: bool, local: Endpoint) -> Self {
        Self {
            leads,
            local,
            waiting: vec![],
            begun: false,
            attempt: 0,
            synced: false,
            punch: None,
            told: false,
            over: false,
        }
    }

    /// "connected" has been said: so is what was kept back.
    pub fn begin(&mut self) {
        self.begun = true;
        self.waiting.drain(..).for_each(|event| emit(&event));
    }

    /// Nothing more is told: it is not rust-libp2p that closes connections now.
    pub fn end(&mut self) {
        self.over = true;
    }

    fn say(&mut self, event: Value) {
        match (self.over, self.begun) {
            (true, _) => {}
            (false, true) => emit(&event),
            (false, false) => self.waiting.push(event),
        }
    }

    fn step(&mut self, name: &str, moment: Moment) {
        let more = json!({
            "name": name, "attempt": self.attempt, "realtime": moment.realtime,
        });
        self.say(event_at(moment, "step", more));
    }

    /// A message of DCUtR.  What comes after the upgrade is no step of it any more.
    pub fn message(&mut self, seen: Seen) {
        if self.told {
            return;
        }
        if seen.kind == Kind::Connect && seen.sent == self.leads {
            self.attempt += 1;
        }
        self.synced |= seen.kind == Kind::Sync;
        let name = match (seen.kind, seen.sent) {
            (Kind::Connect, true) => "connect_sent",
            (Kind::Connect, false) => "connect_received",
            (Kind::Sync, true) => "sync_sent",
            (Kind::Sync, false) => "sync_received",
        };
        self.step(name, seen.moment);
    }

    /// A dial to the other peer began; once SYNC was seen it is DCUtR's.
    pub fn dialing(&mut self, connection: ConnectionId) {
        if self.synced && !self.told {
            self.punch = Some(connection);
            self.step("punching", Moment::now());
        }
    }

    pub fn dial_failed(&mut self, connection: ConnectionId) {
        if self.punch == Some(connection) && !self.told {
            self.punch = None;
            self.step("failed", Moment::now());
        }
    }

    /// There is a connection to the other peer, by whichever side's dial.
    pub fn opened(&mut self, endpoint: &ConnectedPoint) {
        if endpoint.is_relayed() || self.told {
            return;
        }
        self.told = true;
        let (how, attempts) = if self.synced {
            ("punched", self.attempt)
        } else {
            ("reversed", 0)
        };
        let (local, remote) = ends(endpoint, self.local);
        let more = json!({"how": how, "attempts": attempts, "local": local, "remote": remote});
        self.say(event("upgraded", more));
    }

    pub fn relay_left(&mut self) {
        self.step("relay_left", Moment::now());
    }

    /// rust-libp2p's last word on a hole punch; of the dialer it is the first, too.
    pub fn ended(&mut self, outcome: &Result<ConnectionId, dcutr::Error>) {
        let Err(error) = outcome else { return };
        if self.leads {
            self.stay(&words(error));
        } else if !self.told {
            self.step("failed", Moment::now());
        }
    }

    pub fn stay(&mut self, reason: &str) {
        if !self.told {
            self.told = true;
            self.say(event("stayed", json!({"reason": clipped(reason)})));
        }
    }
}

/// Ours, and the other's; of a circuit, the relay's.
pub fn ends(endpoint: &ConnectedPoint, listening: Endpoint) -> (Endpoint, Option<Endpoint>) {
    match endpoint {
        // Where a dial left from is not told; it is to leave from the listening port.
        ConnectedPoint::Dialer { address, .. } => (listening, Endpoint::of(address)),
        ConnectedPoint::Listener { local_addr, .. } if endpoint.is_relayed() => {
            (listening, Endpoint::of(local_addr))
        }
        ConnectedPoint::Listener {
            local_addr,
            send_back_addr,
        } => (
            Endpoint::of(local_addr).unwrap_or(listening),
            Endpoint::of(send_back_addr),
        ),
    }
}

/// An error, and what it came of.
pub fn words(error: &dyn Error) -> String {
    let mut all = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        all += &format!(": {error}");
        source = error.source();
    }
    all
}
