//! The contract of testbed/stacks/contract.schema.json, version 2, as far as this peer needs it.

use std::{
    io::{Write, stdout},
    net::Ipv4Addr,
    time::Duration,
};

use libp2p::{Multiaddr, multiaddr::Protocol};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

const VERSION: u32 = 2;
const ECHO_LIMIT: usize = 1 << 24;
const REASON_LIMIT: usize = 1000; // characters
pub const NONCE: usize = 16; // bytes that an echo begins with

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    pub address: Ipv4Addr,
    pub port: u16,
}

impl Endpoint {
    /// What an address begins with; of a circuit, the relay's.
    pub fn of(address: &Multiaddr) -> Option<Self> {
        let mut parts = address.iter();
        match (parts.next()?, parts.next()?) {
            (Protocol::Ip4(address), Protocol::Tcp(port) | Protocol::Udp(port)) => {
                Some(Self { address, port })
            }
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Dialer,
    Listener,
    Relay,
    AutonatServer,
    AutonatClient,
}

impl Role {
    /// Of a cell, and not a libp2p node on its own.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Dialer | Self::Listener)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    Udp,
    Tcp,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    pub mode: String,
    pub relay_only: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configure {
    pub version: u32,
    pub role: Role,
    pub transport: Transport,
    pub local_address: Ipv4Addr,
    pub port: u16,
    #[serde(rename = "stun")]
    _stun: Value,
    #[serde(rename = "turn")]
    _turn: Value,
    pub relays: Vec<Multiaddr>,
    pub observers: Vec<Multiaddr>,
    pub session: String,
    pub seed: u64,
    pub options: Options,
    pub announce: Option<Endpoint>,
    #[serde(default)]
    pub extra_time: f64, // seconds
}

impl Configure {
    /// A deadline with what a world of long ways adds to it.
    pub fn longer(&self, usual: Duration) -> Duration {
        usual + Duration::from_secs_f64(self.extra_time)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    #[serde(rename = "addresses")]
    _addresses: Value,
    #[serde(rename = "ice")]
    _ice: Value,
    pub multiaddrs: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dial {
    pub remote: Offer,
    pub start_at: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Echo {
    pub bytes: usize,
    pub nonce: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    Configure(Box<Configure>),
    Dial(Dial),
    Echo(Echo),
    Close {},
}

pub fn parse(line: &str) -> Result<Command, String> {
    let command = serde_json::from_str(line).map_err(|error| format!("not a command: {error}"))?;
    match &command {
        Command::Configure(configure) if configure.version != VERSION => Err(format!(
            "this peer speaks version {VERSION} of the contract, not {}",
            configure.version
        )),
        Command::Echo(echo) if !(1..=ECHO_LIMIT).contains(&echo.bytes) => {
            Err(format!("an echo of {} bytes", echo.bytes))
        }
        Command::Echo(Echo {
            nonce: Some(nonce), ..
        }) if octets(nonce).is_none() => Err(format!("an echo with the nonce {nonce}")),
        _ => Ok(command),
    }
}

/// What 32 hexadecimal digits stand for.
pub fn octets(digits: &str) -> Option<[u8; NONCE]> {
    let number = u128::from_str_radix(digits, 16).ok()?;
    (digits.len() == 2 * NONCE).then(|| number.to_be_bytes())
}

/// A result, not an error of this program: there is no connection, and why.
#[derive(Debug)]
pub struct Failure {
    pub class: &'static str,
    pub reason: String,
}

impl Failure {
    pub fn new(class: &'static str, reason: impl ToString) -> Self {
        let reason = reason.to_string();
        Self { class, reason }
    }
}

/// One instant by two clocks, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    pub at: u64,       // of the clock that all peers share
    pub realtime: u64, // as captures have it
}

impl Moment {
    pub fn now() -> Self {
        Self {
            at: nanoseconds(ClockId::Monotonic),
            realtime: nanoseconds(ClockId::Realtime),
        }
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The time that is left to an instant of the shared clock.
pub fn until(instant: u64) -> Duration {
    Duration::from_nanos(instant.saturating_sub(Moment::now().at))
}

/// An event of this moment, with what it has beside its name and time.
pub fn event(name: &str, more: Value) -> Value {
    event_at(Moment::now(), name, more)
}

pub fn event_at(moment: Moment, name: &str, more: Value) -> Value {
    let mut line = Map::new();
    line.insert("event".into(), name.into());
    line.insert("at".into(), moment.at.into());
    if let Value::Object(more) = more {
        line.extend(more);
    }
    Value::Object(line)
}

pub fn emit(event: &Value) {
    let mut out = stdout().lock();
    // Who does not listen any more will soon end this process.
    let _ = writeln!(out, "{event}").and_then(|()| out.flush());
}

pub fn failed(failure: &Failure) -> Value {
    let reason = clipped(&failure.reason);
    event(
        "failed",
        json!({"failure": failure.class, "reason": reason}),
    )
}

/// Words that fit the contract.
pub fn clipped(words: &str) -> String {
    words.chars().take(REASON_LIMIT).collect()
}
