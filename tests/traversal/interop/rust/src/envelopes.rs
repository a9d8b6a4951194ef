//! Signed envelopes where rust-libp2p's own protocols do without, opened and sealed by
//! its envelope code: vouchers, which its relay does not issue and its client does not
//! read, and peer records of the standard's form, which its identify passes over.

use std::{io, time::SystemTime};

use libp2p::{
    Multiaddr, PeerId,
    core::{PeerRecord, SignedEnvelope},
    futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    identity::Keypair,
};

const DOMAIN: &str = "libp2p-relay-rsvp";
const PAYLOAD_TYPE: [u8; 2] = [0x03, 0x02];
const LIFETIME_S: u64 = 3600;
// HopMessage.type and .status
const RESERVE: u64 = 0;
const STATUS: u64 = 2;
const OK: u64 = 100;

pub struct Reservation {
    pub expire: u64,
    pub voucher_expiration: u64,
}

/// Ask the relay at the other end of a fresh HOP stream, check its voucher.
pub async fn reserve<S>(mut stream: S, relay: PeerId, me: PeerId) -> Result<Reservation, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let frame = |e: io::Error| format!("hop: {e}");
    write_frame(&mut stream, &uint(1, RESERVE))
        .await
        .map_err(frame)?;
    let answer = read_frame(&mut stream).await.map_err(frame)?;
    stream.close().await.map_err(frame)?;
    let answer = Message::parse(&answer)?;
    if (answer.uint(1)?, answer.uint(5)?) != (STATUS, OK) {
        return Err(format!("refused with status {}", answer.uint(5)?));
    }
    let reservation = Message::parse(answer.bytes(3)?)?;
    let expire = reservation.uint(1)?;
    let envelope = SignedEnvelope::from_protobuf_encoding(reservation.bytes(3)?)
        .map_err(|e| format!("envelope: {e}"))?;
    let (payload, signer) = envelope
        .payload_and_signing_key(DOMAIN.into(), &PAYLOAD_TYPE)
        .map_err(|e| format!("envelope: {e}"))?;
    let payload = Message::parse(payload)?;
    if signer.to_peer_id() != relay || payload.bytes(1)? != relay.to_bytes() {
        return Err("the voucher is not the relay's".into());
    }
    if payload.bytes(2)? != me.to_bytes() {
        return Err("the voucher is another peer's".into());
    }
    Ok(Reservation {
        expire,
        voucher_expiration: payload.uint(3)?,
    })
}

/// Answer a RESERVE on `stream` with a voucher for `peer`, in the name of `relay`.
pub async fn grant<S>(
    mut stream: S,
    signer: &Keypair,
    relay: PeerId,
    peer: PeerId,
    addrs: &[Multiaddr],
) -> Result<(), Box<dyn std::error::Error>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = read_frame(&mut stream).await?;
    if Message::parse(&request)?.uint(1)? != RESERVE {
        return Err("not a RESERVE".into());
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let expire = now.as_secs() + LIFETIME_S;
    let payload = [
        bytes(1, &relay.to_bytes()),
        bytes(2, &peer.to_bytes()),
        uint(3, expire),
    ]
    .concat();
    let voucher = SignedEnvelope::new(signer, DOMAIN.into(), PAYLOAD_TYPE.into(), payload)?;
    let mut reservation = uint(1, expire);
    for addr in addrs {
        reservation.extend(bytes(2, addr.as_ref()));
    }
    reservation.extend(bytes(3, &voucher.into_protobuf_encoding()));
    let answer = [uint(1, STATUS), bytes(3, &reservation), uint(5, OK)].concat();
    write_frame(&mut stream, &answer).await?;
    Ok(stream.close().await?)
}

/// The signed peer record in the Identify message that `stream` delivers.
pub async fn peer_record<S: AsyncRead + Unpin>(mut stream: S) -> Result<PeerRecord, String> {
    let message = read_frame(&mut stream)
        .await
        .map_err(|e| format!("identify: {e}"))?;
    let sealed = Message::parse(&message)?.bytes(8)?;
    let envelope =
        SignedEnvelope::from_protobuf_encoding(sealed).map_err(|e| format!("envelope: {e}"))?;
    PeerRecord::from_signed_envelope_interop(envelope).map_err(|e| format!("record: {e}"))
}

// Frames: a varint of the length, then the message.

async fn read_frame<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Vec<u8>> {
    let (mut length, mut shift) = (0, 0);
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] < 0x80 {
            break;
        }
        if shift > 14 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn write_frame<S: AsyncWrite + Unpin>(stream: &mut S, message: &[u8]) -> io::Result<()> {
    let mut frame = varint(message.len() as u64);
    frame.extend(message);
    stream.write_all(&frame).await?;
    stream.flush().await
}

// As much of protobuf as there is in these messages.

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = vec![];
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn uint(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [
        varint(field << 3 | 2),
        varint(value.len() as u64),
        value.to_vec(),
    ]
    .concat()
}

#[derive(Default)]
struct Message<'a> {
    uints: Vec<(u64, u64)>,
    bytes: Vec<(u64, &'a [u8])>,
}

impl<'a> Message<'a> {
    fn parse(mut data: &'a [u8]) -> Result<Self, String> {
        let mut message = Self::default();
        while !data.is_empty() {
            let tag = take_varint(&mut data)?;
            let value = take_varint(&mut data)?;
            match tag & 7 {
                0 => message.uints.push((tag >> 3, value)),
                2 if value <= data.len() as u64 => {
                    let (inner, rest) = data.split_at(value as usize);
                    message.bytes.push((tag >> 3, inner));
                    data = rest;
                }
                _ => return Err(format!("protobuf: tag {tag}")),
            }
        }
        Ok(message)
    }

    fn uint(&self, field: u64) -> Result<u64, String> {
        let found = self.uints.iter().find(|(number, _)| *number == field);
        found
            .map(|(_, value)| *value)
            .ok_or(format!("no field {field}"))
    }

    fn bytes(&self, field: u64) -> Result<&'a [u8], String> {
        let found = self.bytes.iter().find(|(number, _)| *number == field);
        found
            .map(|(_, value)| *value)
            .ok_or(format!("no field {field}"))
    }
}

fn take_varint(data: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = data.split_first().ok_or("protobuf: it ends early")?;
        *data = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("protobuf: a varint too long".into())
}
