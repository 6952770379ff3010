//! The SCTP association of one connection, around the `rtc-sctp` library.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc_sctp::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Payload,
    PayloadProtocolIdentifier, ServerConfig, StreamEvent, TimerConfig, TransportConfig,
};
use rtc_shared::TransportProtocol;

use super::distance::Distance;
use super::error::Error;
use super::packet::{self, Chunk};
use super::resets::{Resets, Standing};
use crate::limits::{
    MESSAGE_BYTES, SCTP_BEGINNINGS, SCTP_RECEIVE_BYTES, SCTP_SEND_BYTES, SCTP_SEND_BYTES_MOST, SCTP_SEND_RATE,
};

/// The library wants addresses and uses them for nothing that we need: DTLS carries its packets.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);
/// The longest message taken apart by us. What others send beyond 16 KiB is several frames in one.
const RECEIVE_MESSAGE_BYTES: usize = SCTP_RECEIVE_BYTES as usize;

/// How much faster the library's clock runs. Its timers are constants and made for the networks of long ago: here its
/// second before the first repetition of data that is lost without anything sent after it becomes 333 ms, as much as a
/// peer that waits 200 ms before it acknowledges a single packet needs, and its own 200 ms become 67 ms. What it
/// measures, it compares with what it measures.
const SPEED: u32 = 3;

/// The library's time.
#[derive(Clone, Copy)]
struct Clock {
    start: Instant,
}

impl Clock {
    fn to_library(self, now: Instant) -> Instant {
        self.start + now.saturating_duration_since(self.start) * SPEED
    }

    /// Never too early by rounding: whoever comes then would come in vain.
    fn to_ours(self, at: Instant) -> Instant {
        self.start + at.saturating_duration_since(self.start) / SPEED + Duration::from_nanos(1)
    }
}

/// What has happened in the association.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Streams can be opened.
    Connected,
    /// A message can be read.
    Readable(u16),
    /// The peer uses a stream that was not there.
    Opened,
    /// The peer has acknowledged so many bytes.
    Released(usize),
    /// The peer has reset a stream, and so have we.
    Closed(u16),
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of the protocol that opens channels.
    Control,
    /// Data of a channel.
    Data,
}

pub(crate) struct Sctp {
    clock: Clock,
    endpoint: Endpoint,
    /// Begun and not established; the peer may have several beginnings if answers were lost.
    beginnings: Vec<(AssociationHandle, Association)>,
    established: Option<(AssociationHandle, Association)>,
    resets: Resets,
    distance: Distance,
    /// The last SACK closed the window.
    window_closed: bool,
    /// Bytes that have come since.
    overrun: usize,
}

impl Sctp {
    /// The dialer's side, which begins.
    pub(crate) fn client(now: Instant) -> Result<Self, Error> {
        let mut sctp = Self::new(None, now);
        let config = ClientConfig::new(transport());
        let begun = sctp
            .endpoint
            .connect(sctp.clock.to_library(now), config, ADDRESS)
            .map_err(|e| Error::Sctp(e.to_string()))?;
        sctp.beginnings.push(begun);
        Ok(sctp)
    }

    /// The listener's side, which waits.
    pub(crate) fn server(now: Instant) -> Self {
        Self::new(Some(Arc::new(ServerConfig::new(transport()))), now)
    }

    fn new(server: Option<Arc<ServerConfig>>, now: Instant) -> Self {
        let endpoint = Endpoint::new(ADDRESS, TransportProtocol::UDP, Arc::new(EndpointConfig::new()), server);
        Self {
            clock: Clock { start: now },
            endpoint,
            beginnings: Vec::new(),
            established: None,
            resets: Resets::default(),
            distance: Distance::new(now),
            window_closed: false,
            overrun: 0,
        }
    }

    /// Takes a packet.
    pub(crate) fn receive(&mut self, packet: Bytes, now: Instant) -> Result<(), Error> {
        if self.window_closed {
            self.overrun += packet.len();
        }
        if self.distance.is_timing()
            && let Some(tsn) = packet::cumulative_tsn(&packet)
        {
            self.distance.acknowledged(tsn, now);
        }
        match self.resets.received(packet) {
            Some(packet) => self.feed(packet, now),
            None => Ok(()),
        }
    }

    fn feed(&mut self, packet: Bytes, now: Instant) -> Result<(), Error> {
        match self.endpoint.handle(self.clock.to_library(now), ADDRESS, None, packet) {
            Some((handle, DatagramEvent::AssociationEvent(event))) => {
                let all = self.established.iter_mut().chain(&mut self.beginnings);
                if let Some((_, association)) = all.into_iter().find(|(h, _)| *h == handle) {
                    association.handle_event(event);
                }
            }
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                if self.beginnings.len() >= SCTP_BEGINNINGS {
                    return Err(Error::Violation("too many beginnings of an SCTP association"));
                }
                self.beginnings.push((handle, association));
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let now = self.clock.to_library(now);
        for (_, association) in self.established.iter_mut().chain(&mut self.beginnings) {
            association.handle_timeout(now);
        }
    }

    /// Streams that the peer has closed. They go, with [`Event::Closed`], once it has acknowledged all that we sent on
    /// them: nothing more is to be.
    pub(crate) fn ended(&self, unread: impl Fn(u16) -> bool) -> Vec<u16> {
        self.resets.ended(unread)
    }

    /// Carries out the peer's resets whose time has come. To be called when all that can be read has been; `unread` says
    /// of a stream whether its reader is behind all the same.
    pub(crate) fn release_resets(&mut self, unread: impl Fn(u16) -> bool, now: Instant) -> Result<(), Error> {
        while let Some((_, association)) = &mut self.established
            && let Some(packet) = self.resets.release(|id| standing(association, id, &unread))
        {
            self.feed(packet, now)?;
        }
        Ok(())
    }

    /// Whether [`Sctp::release_resets`] has something to do.
    pub(crate) fn has_due_resets(&mut self, unread: impl Fn(u16) -> bool) -> bool {
        let Some((_, association)) = &mut self.established else { return false };
        self.resets.has_due(|id| standing(association, id, &unread))
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let associations = self.established.iter().chain(&self.beginnings);
        let timeouts = associations.filter_map(|(_, association)| association.poll_timeout());
        timeouts.map(|at| self.clock.to_ours(at)).chain(self.resets.next_repeat()).min()
    }

    /// Packets to be sent now; perhaps none, with more to follow.
    pub(crate) fn transmit(&mut self, now: Instant) -> Result<Option<Vec<Bytes>>, Error> {
        if let Some((_, association)) = &mut self.established
            && let Some(packet) = self.resets.transmit(now, |id| standing(association, id, &|_| false))
        {
            return Ok(Some(vec![packet]));
        }
        let time = self.clock.to_library(now);
        let associations = self.established.iter_mut().chain(&mut self.beginnings);
        let mut transmits = associations.filter_map(|(_, association)| association.poll_transmit(time));
        let packets = transmits.find_map(|transmit| match transmit.message {
            Payload::RawEncode(packets) => Some(packets),
            _ => None,
        });
        let Some(mut packets) = packets else { return Ok(None) };
        drop(transmits);
        self.distance.sent(packets.iter().filter_map(|packet| packet::data(packet)), now);
        let mut settled = Vec::new();
        packets.retain(|packet| self.sees(packet, &mut settled));
        for packet in settled {
            self.feed(packet, now)?;
        }
        Ok(Some(packets))
    }

    /// Sees a packet of the library's, and whether it is to be sent. What is not is to be `settled`.
    fn sees(&mut self, packet: &Bytes, settled: &mut Vec<Bytes>) -> bool {
        if packet::is_data(packet) {
            self.resets.sent(packet);
            return true;
        }
        let mut send = true;
        for chunk in packet::read(packet) {
            match chunk {
                Chunk::Sack { cumulative_tsn, window } => {
                    self.resets.acknowledged(cumulative_tsn);
                    self.window_closed = window == 0;
                    self.overrun = if window == 0 { self.overrun } else { 0 };
                }
                Chunk::ResetRequest { sequence, .. } => {
                    settled.extend(self.resets.settle(sequence));
                    send = false;
                }
                Chunk::Response { .. } => send = false,
                Chunk::Init { .. } | Chunk::OtherRequest { .. } => {}
            }
        }
        send
    }

    /// The next event, or why the association is over.
    pub(crate) fn poll(&mut self) -> Result<Option<Event>, Error> {
        if let Some((_, association)) = &mut self.established {
            while let Some(event) = association.poll() {
                match event {
                    rtc_sctp::Event::Stream(StreamEvent::Opened { .. }) => return Ok(Some(Event::Opened)),
                    rtc_sctp::Event::Stream(StreamEvent::Readable { id }) => return Ok(Some(Event::Readable(id))),
                    rtc_sctp::Event::Stream(StreamEvent::BufferedAmountReleased { n_bytes, .. }) => {
                        return Ok(Some(Event::Released(n_bytes)));
                    }
                    rtc_sctp::Event::AssociationLost { reason: rtc_sctp::AssociationError::Reset, id } => {
                        return Ok(Some(Event::Closed(id)));
                    }
                    _ => {}
                }
            }
            return if association.is_closed() { Err(Error::ClosedByPeer) } else { Ok(None) };
        }
        let mut at = 0;
        while let Some((_, association)) = self.beginnings.get_mut(at) {
            while let Some(event) = association.poll() {
                match event {
                    rtc_sctp::Event::Connected => {
                        self.endpoint.reject_new_associations();
                        self.established = Some(self.beginnings.swap_remove(at));
                        self.beginnings.clear();
                        return Ok(Some(Event::Connected));
                    }
                    rtc_sctp::Event::HandshakeFailed { reason } => return Err(Error::Sctp(reason.to_string())),
                    _ => {}
                }
            }
            at += 1;
        }
        Ok(None)
    }

    /// The next message of a stream.
    pub(crate) fn read(&mut self, id: u16) -> Option<(Kind, Bytes)> {
        let chunks = self.association()?.stream(id).ok()?.read_sctp().ok()??;
        let kind = match chunks.ppi {
            PayloadProtocolIdentifier::Dcep => Kind::Control,
            _ => Kind::Data,
        };
        // An empty message is sent as one byte that means nothing.
        let empty =
            matches!(chunks.ppi, PayloadProtocolIdentifier::BinaryEmpty | PayloadProtocolIdentifier::StringEmpty);
        let message = if empty { Bytes::new() } else { chunks.to_payload(RECEIVE_MESSAGE_BYTES).ok()?.freeze() };
        Some((kind, message))
    }

    /// Queues a message. `false` if the stream cannot take any more, ever.
    pub(crate) fn write(&mut self, id: u16, kind: Kind, message: &Bytes, now: Instant) -> bool {
        debug_assert!(!message.is_empty() && message.len() <= MESSAGE_BYTES);
        let kind = match kind {
            Kind::Control => PayloadProtocolIdentifier::Dcep,
            Kind::Data => PayloadProtocolIdentifier::Binary,
        };
        let now = self.clock.to_library(now);
        let Some(association) = self.association() else { return false };
        association.stream(id).is_ok_and(|mut stream| stream.write_chunk_with_ppi(now, message, kind).is_ok())
    }

    /// How many bytes may be on their way at a time. What is more would wait in sockets, or be lost there.
    pub(crate) fn send_window(&self) -> usize {
        let seconds = self.distance.there_and_back().unwrap_or_default().as_secs_f64();
        SCTP_SEND_BYTES_MOST.min(SCTP_SEND_BYTES + (SCTP_SEND_RATE * seconds) as usize)
    }

    /// Opens a stream of ours.
    pub(crate) fn open(&mut self, id: u16) -> bool {
        self.association().is_some_and(|a| a.open_stream(id, PayloadProtocolIdentifier::Binary).is_ok())
    }

    /// Closes a stream after what is queued on it. [`Event::Closed`] comes once the peer has done so too.
    ///
    /// The library's own way of closing lets nothing be read from then on, and then refuses the peer's reset while
    /// something is there to be read.
    pub(crate) fn close(&mut self, id: u16) {
        if self.association().is_some_and(|association| association.stream(id).is_ok()) {
            self.resets.close(id);
        }
    }

    /// Whether an id of ours may be given out: both sides have let go of it.
    pub(crate) fn is_free(&mut self, id: u16) -> bool {
        let under_way = self.resets.is_under_way(id);
        self.association().is_some_and(|association| !under_way && association.stream(id).is_err())
    }

    /// Stream ids that both sides agreed on lie below this.
    pub(crate) fn id_limit(&self) -> u16 {
        self.established.as_ref().and_then(|(_, association)| association.negotiated_max_streams()).unwrap_or(0)
    }

    /// Streams that the association knows.
    pub(crate) fn ids(&self) -> Vec<u16> {
        self.established.as_ref().map_or(Vec::new(), |(_, association)| association.stream_ids())
    }

    /// Whether the peer goes on though the window is closed. The library would take it without bound. What was on its
    /// way when the window closed, behind a gap, is another window's worth at most.
    pub(crate) fn is_overrun(&self) -> bool {
        self.overrun > SCTP_RECEIVE_BYTES as usize
    }

    /// Says goodbye; [`Sctp::transmit`] has the packet.
    pub(crate) fn abort(&mut self) {
        if let Some(association) = self.association()
            && let Err(error) = association.abort()
        {
            tracing::debug!(%error, "cannot abort the association");
        }
    }

    fn association(&mut self) -> Option<&mut Association> {
        self.established.as_mut().map(|(_, association)| association)
    }
}

fn standing(association: &mut Association, id: u16, unread: &impl Fn(u16) -> bool) -> Standing {
    match association.stream(id).and_then(|stream| stream.buffered_amount()) {
        Err(_) => Standing::Absent,
        Ok(unacknowledged) if unacknowledged > 0 || unread(id) => Standing::Busy,
        Ok(_) => Standing::Idle,
    }
}

fn transport() -> TransportConfig {
    // Whether the peer is there is judged by STUN, in seconds; SCTP is not to give up earlier by counting.
    let timers = TimerConfig { max_t3_rtx_retrans: usize::MAX, ..Default::default() };
    TransportConfig::default()
        .with_max_receive_buffer_size(SCTP_RECEIVE_BYTES)
        .with_max_message_size(MESSAGE_BYTES as u32)
        .with_timer_config(timers)
}
