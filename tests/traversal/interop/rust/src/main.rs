//! A rust-libp2p node driven by JSON lines, for the wire checks of testbed.traversal.
//!
//! It prints {"id":..., "addrs":[...]} when it listens, then answers one line for
//! each command line it reads: {"cmd":"connect","addr":"/ip4/..."} and so on, the
//! same commands as the Go program beside it.

mod envelopes;
mod node;

use std::{error::Error, time::Duration};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use node::{Node, Options};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

const DEADLINE: Duration = Duration::from_secs(15);

fn options() -> Result<Options, String> {
    let mut found = Options::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "-listen" => found.listen = words.next().unwrap_or_default(),
            "-relay" => found.relay = true,
            "-duration" => found.duration = words.next().and_then(seconds),
            "-data" => found.data = words.next().and_then(|word| word.parse().ok()),
            "-punch" => found.punch = true,
            "-tls" => found.tls = true,
            "-autonat" => found.autonat = words.next(),
            "-signed-records" => found.signed_records = true,
            "-sign-vouchers" => found.vouchers = words.next(),
            _ => return Err(format!("unknown option {word}")),
        }
    }
    Ok(found)
}

/// "77s", as Go writes it.
fn seconds(word: String) -> Option<Duration> {
    let count = word.strip_suffix('s')?.parse().ok()?;
    Some(Duration::from_secs(count))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut node = Node::listen(options()?).await?;
    say(&json!({"id": node.id().to_string(), "addrs": node.addresses()}));
    let mut lines = BufReader::new(stdin()).lines();
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line?,
            () = node.step() => continue,
        };
        let Some(line) = line else { return Ok(()) };
        let answer = tokio::time::timeout(DEADLINE, run(&mut node, &line)).await;
        say(&match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => json!({"error": error}),
            Err(_) => json!({"error": format!("nothing in {DEADLINE:?}")}),
        });
    }
}

async fn run(node: &mut Node, line: &str) -> Result<Value, String> {
    let command: Value = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let addr: Multiaddr = command["addr"]
        .as_str()
        .unwrap_or_default()
        .parse()
        .map_err(|e| format!("addr: {e}"))?;
    let peer = peer_of(&addr)?;
    match command["cmd"].as_str().unwrap_or_default() {
        "connect" => node.connect(addr, peer).await,
        "identify" => node.describe(peer),
        "direct" => node.direct(peer).await,
        "ping" => node.ping(peer).await,
        "echo" => {
            node.echo(peer, command["bytes"].as_u64().unwrap_or(0))
                .await
        }
        "reserve" => node.reserve(addr, peer).await,
        "handle" => node.handle(command["proto"].as_str().unwrap_or_default()),
        "autonat1" => node.asked_v1(peer).await,
        "autonat2" => node.asked_v2(peer).await,
        "voucher" => node.voucher(peer).await,
        "record" => node.record(peer).await,
        unknown => Err(format!("unknown command {unknown:?}")),
    }
}

fn peer_of(addr: &Multiaddr) -> Result<PeerId, String> {
    match addr.iter().last() {
        Some(Protocol::P2p(peer)) => Ok(peer),
        _ => Err(format!("no peer id at the end of {addr}")),
    }
}

fn say(answer: &Value) {
    println!("{answer}");
}
