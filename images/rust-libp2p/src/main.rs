//! rust-libp2p as a peer: relayed first, then upgraded by DCUtR (libp2p relay/DCUtR.md).
//!
//! It speaks the testbed's contract on its standard streams, and words for humans on stderr.

mod contract;
mod echo;
mod node;
mod peer;
mod story;
mod tap;

use std::process::ExitCode;

use contract::{Command, Failure, emit, event, failed, parse};
use peer::Peer;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin, stdin};

const LOCK: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock"));

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let ended = match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Session::new().run().await,
        ["--version"] => {
            println!("rust-libp2p {}", version());
            Ok(())
        }
        _ => Err("usage: rust-libp2p [--version]".into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            eprintln!("{words}");
            ExitCode::FAILURE
        }
    }
}

/// The release that is built in.
fn version() -> &'static str {
    let mut rest = LOCK.split("name = \"libp2p\"\nversion = \"").skip(1);
    rest.next()
        .and_then(|text| text.split('"').next())
        .unwrap_or("unknown")
}

#[derive(PartialEq, Clone, Copy)]
enum State {
    Start,
    Offered,
    Connected,
    Failed,
}

/// Commands in their order, until "close".
struct Session {
    lines: Lines<BufReader<Stdin>>,
    state: State,
    peer: Option<Peer>,
}

impl Session {
    fn new() -> Self {
        Self {
            lines: BufReader::new(stdin()).lines(),
            state: State::Start,
            peer: None,
        }
    }

    async fn run(mut self) -> Result<(), String> {
        while let Some(command) = self.next().await? {
            let Some(outcome) = self.obey(command).await? else {
                break; // "close" came meanwhile
            };
            if let Err(failure) = outcome {
                if let Some(peer) = &mut self.peer {
                    peer.end();
                }
                emit(&failed(&failure));
                self.state = State::Failed;
            }
        }
        emit(&event("closed", json!({})));
        Ok(())
    }

    /// The next command that is of effect; None for "close".
    async fn next(&mut self) -> Result<Option<Command>, String> {
        loop {
            let read = async { line(&mut self.lines).await };
            let command = match &mut self.peer {
                Some(peer) => tokio::select! {
                    command = read => command?,
                    never = peer.drive() => match never {},
                },
                None => read.await?,
            };
            let fits = match (&command, self.state) {
                (Command::Configure(_), state) => state == State::Start,
                (Command::Dial(_), state) => matches!(state, State::Offered | State::Failed),
                (Command::Echo(_), state) => matches!(state, State::Connected | State::Failed),
                (Command::Close {}, state) => state != State::Start,
            };
            if !fits {
                return Err(format!("out of order: {command:?}"));
            }
            match command {
                Command::Close {} => return Ok(None),
                _ if self.state == State::Failed => {} // it crossed our event
                command => return Ok(Some(command)),
            }
        }
    }

    /// Carries out a command; None if "close" came before that was done.
    async fn obey(&mut self, command: Command) -> Result<Option<Result<(), Failure>>, String> {
        if let Command::Configure(configure) = command {
            match Peer::new(*configure)? {
                Ok(peer) => self.peer = Some(peer),
                Err(failure) => return Ok(Some(Err(failure))),
            }
            self.state = State::Offered;
            let peer = self.peer.as_mut().expect("was just made");
            return unless_closed(peer.begin(), &mut self.lines).await;
        }
        let peer = self.peer.as_mut().expect("the order of commands");
        self.state = State::Connected;
        match command {
            Command::Dial(dial) => unless_closed(peer.dial(dial), &mut self.lines).await,
            Command::Echo(echo) => unless_closed(peer.echo(echo), &mut self.lines).await,
            Command::Configure(_) | Command::Close {} => unreachable!("dealt with"),
        }
    }
}

async fn unless_closed<T>(
    work: impl Future<Output = T>,
    lines: &mut Lines<BufReader<Stdin>>,
) -> Result<Option<T>, String> {
    tokio::select! {
        outcome = work => Ok(Some(outcome)),
        command = line(lines) => match command? {
            Command::Close {} => Ok(None),
            other => Err(format!("out of order: {other:?}")),
        },
    }
}

async fn line(lines: &mut Lines<BufReader<Stdin>>) -> Result<Command, String> {
    let read = lines.next_line().await.map_err(|error| error.to_string())?;
    parse(&read.ok_or("the harness went away without a word")?)
}
