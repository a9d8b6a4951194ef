//! The testbed's echo, on a connection of our choice: rust-libp2p's own stream behaviour
//! takes any connection to the peer, be it relayed or direct.

use std::{
    collections::VecDeque,
    convert::Infallible,
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::ReadyUpgrade},
    futures::{
        AsyncReadExt, AsyncWriteExt,
        future::join,
        io::{self, ReadHalf},
    },
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, NotifyHandler, SubstreamProtocol, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
        },
    },
};
use serde_json::json;
use tokio::sync::oneshot;

use crate::contract::{NONCE, emit, event};

const ECHO: StreamProtocol = StreamProtocol::new("/testbed/echo/1.0.0");

/// Where an opened stream goes; it is dropped if there is none.
type Waiting = oneshot::Sender<Stream>;

#[derive(Default)]
pub struct Behaviour {
    wanted: VecDeque<(PeerId, ConnectionId, Waiting)>,
}

impl Behaviour {
    /// A stream on that connection.
    pub fn open(&mut self, peer: PeerId, connection: ConnectionId) -> oneshot::Receiver<Stream> {
        let (sender, receiver) = oneshot::channel();
        self.wanted.push_back((peer, connection, sender));
        receiver
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        never: THandlerOutEvent<Self>,
    ) {
        match never {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        match self.wanted.pop_front() {
            Some((peer_id, connection, event)) => Poll::Ready(ToSwarm::NotifyHandler {
                peer_id,
                handler: NotifyHandler::One(connection),
                event,
            }),
            None => Poll::Pending, // who opens a stream polls the swarm next
        }
    }
}

#[derive(Default)]
pub struct Handler {
    wanted: VecDeque<Waiting>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Waiting;
    type ToBehaviour = Infallible;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Waiting;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, ()> {
        SubstreamProtocol::new(ReadyUpgrade::new(ECHO), ())
    }

    fn on_behaviour_event(&mut self, waiting: Waiting) {
        self.wanted.push_back(waiting);
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Waiting, Infallible>> {
        match self.wanted.pop_front() {
            Some(waiting) => Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(ReadyUpgrade::new(ECHO), waiting),
            }),
            None => Poll::Pending,
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), Waiting>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol, ..
            }) => {
                tokio::spawn(serve(protocol));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol,
                info,
            }) => {
                let _ = info.send(protocol); // who gave up waiting has no use for it
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, .. }) => drop(info),
            _ => {}
        }
    }
}

/// Send everything back, and tell what it begins with.
async fn serve(stream: Stream) {
    let (mut reader, mut writer) = stream.split();
    // An end that breaks off is the other side's to notice.
    let mut first = [0; NONCE];
    let Ok(heard) = beginning(&mut reader, &mut first).await else {
        return;
    };
    if heard == NONCE {
        let nonce: String = first.iter().map(|byte| format!("{byte:02x}")).collect();
        emit(&event("heard", json!({"nonce": nonce})));
    }
    let back = io::Cursor::new(&first[..heard]).chain(reader);
    if io::copy(back, &mut writer).await.is_ok() {
        let _ = writer.close().await;
    }
}

/// Reads as much as fits, or until the end; how many bytes that were.
async fn beginning(reader: &mut ReadHalf<Stream>, first: &mut [u8]) -> io::Result<usize> {
    let mut had = 0;
    while had < first.len() {
        match reader.read(&mut first[had..]).await? {
            0 => break,
            more => had += more,
        }
    }
    Ok(had)
}

/// Sends `data` and gives what comes back, as long.
pub async fn exchange(stream: Stream, data: &[u8]) -> io::Result<Vec<u8>> {
    let (mut reader, mut writer) = stream.split();
    let mut back = vec![0; data.len()];
    let write = async {
        writer.write_all(data).await?;
        writer.flush().await
    };
    let (wrote, read) = join(write, reader.read_exact(&mut back)).await;
    wrote.and(read)?;
    let _ = writer.close().await; // all is back already
    Ok(back)
}
