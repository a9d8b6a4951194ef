//! Reads along what relayed connections carry of DCUtR.
//!
//! rust-libp2p tells its user how a hole punch ended and nothing of the way there: CONNECT
//! and SYNC are seen where their streams leave the muxer.  Nothing is changed or held back.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use libp2p::{
    core::muxing::{StreamMuxer, StreamMuxerEvent},
    futures::{AsyncRead, AsyncWrite, io::IoSlice},
};
use tokio::sync::mpsc::UnboundedSender;

use crate::contract::Moment;

const DCUTR: &[u8] = b"/libp2p/dcutr\n";
const PREAMBLE: usize = 4; // frames in which a stream's protocol is found
const LONGEST: u64 = 4096; // bytes of a frame of DCUtR
const CONNECT: u64 = 100;
const SYNC: u64 = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Connect,
    Sync,
}

/// A message that is about to be sent, or has just come.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub sent: bool,
    pub kind: Kind,
    pub moment: Moment,
}

/// A muxer whose streams are read along.
pub struct Tapped<M> {
    inner: M,
    told: UnboundedSender<Seen>,
}

impl<M> Tapped<M> {
    pub fn new(inner: M, told: UnboundedSender<Seen>) -> Self {
        Self { inner, told }
    }

    fn stream<S>(&self, inner: S) -> TappedStream<S> {
        TappedStream {
            inner,
            sent: Reader::default(),
            received: Reader::default(),
            told: self.told.clone(),
        }
    }
}

impl<M> StreamMuxer for Tapped<M>
where
    M: StreamMuxer + Unpin,
    M::Substream: Unpin,
{
    type Substream = TappedStream<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let stream = ready!(Pin::new(&mut self.inner).poll_inbound(cx))?;
        Poll::Ready(Ok(self.stream(stream)))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let stream = ready!(Pin::new(&mut self.inner).poll_outbound(cx))?;
        Poll::Ready(Ok(self.stream(stream)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

pub struct TappedStream<S> {
    inner: S,
    sent: Reader,
    received: Reader,
    told: UnboundedSender<Seen>,
}

impl<S> TappedStream<S> {
    fn tell(&mut self, sent: bool, data: &[u8], moment: Moment) {
        let reader = if sent {
            &mut self.sent
        } else {
            &mut self.received
        };
        for kind in reader.feed(data) {
            // Nobody listens after the session's end.
            let _ = self.told.send(Seen { sent, kind, moment });
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TappedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        self.tell(false, &buffer[..count], Moment::now());
        Poll::Ready(Ok(count))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TappedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let moment = Moment::now();
        let count = ready!(Pin::new(&mut self.inner).poll_write(cx, data))?;
        self.tell(true, &data[..count], moment);
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = data.iter().find(|part| !part.is_empty());
        self.poll_write(cx, first.map_or(&[], |part| part))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// One direction of a stream.  Multistream's words and DCUtR's messages are framed alike: a
/// varint of the length, then the bytes.
#[derive(Default)]
struct Reader {
    buffer: Vec<u8>,
    frames: usize,
    dcutr: bool,
    over: bool, // another protocol's, or beyond understanding
}

impl Reader {
    fn feed(&mut self, data: &[u8]) -> Vec<Kind> {
        let mut found = vec![];
        if self.over {
            return found;
        }
        self.buffer.extend_from_slice(data);
        while let Some((length, head)) = varint(&self.buffer) {
            let end = head + length as usize;
            if length > LONGEST || (!self.dcutr && self.frames == PREAMBLE) {
                self.over = true;
                self.buffer = vec![];
                break;
            }
            if self.buffer.len() < end {
                break;
            }
            let frame: Vec<u8> = self.buffer.drain(..end).skip(head).collect();
            self.frames += 1;
            if self.dcutr {
                found.extend(kind(&frame));
            } else {
                self.dcutr = frame == DCUTR;
            }
        }
        found
    }
}

/// HolePunch.type, its field 1.
fn kind(mut message: &[u8]) -> Option<Kind> {
    while let Some((key, head)) = varint(message) {
        let (value, size) = varint(&message[head..])?;
        message = match key & 7 {
            0 if key >> 3 == 1 => {
                return match value {
                    CONNECT => Some(Kind::Connect),
                    SYNC => Some(Kind::Sync),
                    _ => None,
                };
            }
            0 => &message[head + size..],
            2 => message.get(head + size + usize::try_from(value).ok()?..)?,
            _ => return None,
        };
    }
    None
}

/// The number at the start of `bytes`, and how many of them it takes.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, i + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &[u8] = b"\x13/multistream/1.0.0\n\x0e/libp2p/dcutr\n";

    #[test]
    fn messages_are_found_byte_by_byte_and_in_one_piece() {
        let messages = b"\x09\x08\x64\x12\x05\x04\x0a\0\0\x02\x03\x08\xac\x02";
        let stream = [HELLO, messages].concat();
        let expected = [Kind::Connect, Kind::Sync];
        assert_eq!(Reader::default().feed(&stream), expected);
        let mut reader = Reader::default();
        let bytewise = stream.iter().flat_map(|byte| reader.feed(&[*byte]));
        assert_eq!(bytewise.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_type_that_comes_last_is_found() {
        assert_eq!(kind(b"\x12\x02\x04\x0a\x08\x64"), Some(Kind::Connect));
    }

    #[test]
    fn another_protocol_is_left_alone() {
        let mut reader = Reader::default();
        reader.feed(b"\x13/multistream/1.0.0\n\x07/other\n");
        assert_eq!(
            reader.feed(b"\x02\x08\x64\x02\x08\x64\x02\x08\x64\x02\x08\x64"),
            []
        );
        assert!(reader.over);
    }

    #[test]
    fn what_is_cut_off_or_too_long_is_no_message() {
        assert_eq!(kind(b"\x12\xff\x01\x08"), None);
        assert_eq!(kind(b"\x08"), None);
        let mut reader = Reader::default();
        assert_eq!(reader.feed(&[HELLO, b"\xff\xff\x7f"].concat()), []);
        assert!(reader.over);
    }
}
