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

use super::packet::{self, Chunk};
use super::resets::{Resets, StreamState};
use super::rtt::MinRtt;
use crate::Error;
use crate::limits::{
    MESSAGE_BYTES, SCTP_PENDING_ASSOCIATIONS, SCTP_RECEIVE_BYTES, SCTP_SEND_BYTES, SCTP_SEND_BYTES_MAX, SCTP_SEND_RATE,
};

/// The library requires an address, which has no effect: DTLS carries the packets.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 5000);
/// Maximum size of a received SCTP message. Other implementations put several frames into one, beyond 16 KiB.
const RECEIVE_MESSAGE_BYTES: usize = SCTP_RECEIVE_BYTES as usize;

/// Factor by which the library's clock runs faster. Its timers are constants of 1 s (minimum retransmission timeout)
/// and 200 ms (delayed SACK); with this factor they become 333 ms and 67 ms. A peer with a delayed SACK of 200 ms still
/// answers before the retransmission. The round-trip times that the library measures scale with its clock.
const SPEED: u32 = 3;

/// Converts between real time and the library's time.
#[derive(Clone, Copy)]
struct Clock {
    start: Instant,
}

impl Clock {
    fn to_library(self, now: Instant) -> Instant {
        self.start + now.saturating_duration_since(self.start) * SPEED
    }

    /// Rounded up, so that the timeout is due when the timer fires.
    fn to_ours(self, at: Instant) -> Instant {
        self.start + at.saturating_duration_since(self.start) / SPEED + Duration::from_nanos(1)
    }
}

/// Event of the association.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The association is established: streams can be opened.
    Connected,
    /// A stream has a message to read.
    Readable(u16),
    /// The peer has opened a stream.
    Opened,
    /// The peer has acknowledged this many bytes.
    Released(usize),
    /// Both sides have reset a stream.
    Closed(u16),
}

/// Kind of a message, from its payload protocol identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// DCEP.
    Control,
    /// A channel's data.
    Data,
}

pub(crate) struct Sctp {
    clock: Clock,
    endpoint: Endpoint,
    /// Half-open associations. A peer may have several, if our answers to its INIT were lost.
    pending: Vec<(AssociationHandle, Association)>,
    established: Option<(AssociationHandle, Association)>,
    resets: Resets,
    rtt: MinRtt,
    /// Our last SACK announced a zero window.
    window_closed: bool,
    /// Bytes received since then.
    overrun: usize,
}

impl Sctp {
    /// The dialer's side, which sends the INIT.
    pub(crate) fn client(now: Instant) -> Result<Self, Error> {
        let mut sctp = Self::new(None, now);
        let config = ClientConfig::new(transport());
        let begun = sctp
            .endpoint
            .connect(sctp.clock.to_library(now), config, ADDRESS)
            .map_err(|e| Error::Sctp(e.to_string()))?;
        sctp.pending.push(begun);
        Ok(sctp)
    }

    /// The listener's side, which waits for the INIT.
    pub(crate) fn server(now: Instant) -> Self {
        Self::new(Some(Arc::new(ServerConfig::new(transport()))), now)
    }

    fn new(server: Option<Arc<ServerConfig>>, now: Instant) -> Self {
        let endpoint = Endpoint::new(ADDRESS, TransportProtocol::UDP, Arc::new(EndpointConfig::new()), server);
        Self {
            clock: Clock { start: now },
            endpoint,
            pending: Vec::new(),
            established: None,
            resets: Resets::default(),
            rtt: MinRtt::new(now),
            window_closed: false,
            overrun: 0,
        }
    }

    /// Processes a received packet.
    pub(crate) fn receive(&mut self, packet: Bytes, now: Instant) -> Result<(), Error> {
        if self.window_closed {
            self.overrun += packet.len();
        }
        if self.rtt.is_timing()
            && let Some(tsn) = packet::cumulative_tsn(&packet)
        {
            self.rtt.acknowledged(tsn, now);
        }
        match self.resets.received(packet) {
            Some(packet) => self.feed(packet, now),
            None => Ok(()),
        }
    }

    fn feed(&mut self, packet: Bytes, now: Instant) -> Result<(), Error> {
        match self.endpoint.handle(self.clock.to_library(now), ADDRESS, None, packet) {
            Some((handle, DatagramEvent::AssociationEvent(event))) => {
                let all = self.established.iter_mut().chain(&mut self.pending);
                if let Some((_, association)) = all.into_iter().find(|(h, _)| *h == handle) {
                    association.handle_event(event);
                }
            }
            Some((handle, DatagramEvent::NewAssociation(association))) => {
                if self.pending.len() >= SCTP_PENDING_ASSOCIATIONS {
                    return Err(Error::Violation("it started too many SCTP associations"));
                }
                self.pending.push((handle, association));
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let now = self.clock.to_library(now);
        for (_, association) in self.established.iter_mut().chain(&mut self.pending) {
            association.handle_timeout(now);
        }
    }

    /// Streams that the peer has closed: nothing more should be sent on them. [`Event::Closed`] follows once it has
    /// acknowledged everything that was sent.
    pub(crate) fn ended(&self, unread: impl Fn(u16) -> bool) -> Vec<u16> {
        self.resets.ended(unread)
    }

    /// Performs the peer's resets that are due. Call it after reading everything that streams have room for; `unread`
    /// tells whether a stream is paused.
    pub(crate) fn release_resets(&mut self, unread: impl Fn(u16) -> bool, now: Instant) -> Result<(), Error> {
        while let Some((_, association)) = &mut self.established
            && let Some(packet) = self.resets.release(|id| stream_state(association, id, &unread))
        {
            self.feed(packet, now)?;
        }
        Ok(())
    }

    /// Whether [`Sctp::release_resets`] would perform a reset.
    pub(crate) fn has_due_resets(&mut self, unread: impl Fn(u16) -> bool) -> bool {
        let Some((_, association)) = &mut self.established else { return false };
        self.resets.has_due(|id| stream_state(association, id, &unread))
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let associations = self.established.iter().chain(&self.pending);
        let timeouts = associations.filter_map(|(_, association)| association.poll_timeout());
        timeouts.map(|at| self.clock.to_ours(at)).chain(self.resets.next_retransmission()).min()
    }

    /// Packets to send now. May be an empty list with more to follow; none at the end.
    pub(crate) fn transmit(&mut self, now: Instant) -> Result<Option<Vec<Bytes>>, Error> {
        if let Some((_, association)) = &mut self.established
            && let Some(packet) = self.resets.transmit(now, |id| stream_state(association, id, &|_| false))
        {
            return Ok(Some(vec![packet]));
        }
        let time = self.clock.to_library(now);
        let associations = self.established.iter_mut().chain(&mut self.pending);
        let mut transmits = associations.filter_map(|(_, association)| association.poll_transmit(time));
        let packets = transmits.find_map(|transmit| match transmit.message {
            Payload::RawEncode(packets) => Some(packets),
            _ => None,
        });
        let Some(mut packets) = packets else { return Ok(None) };
        drop(transmits);
        self.rtt.sent(packets.iter().filter_map(|packet| packet::data(packet)), now);
        let mut settled = Vec::new();
        packets.retain(|packet| self.observe(packet, &mut settled));
        for packet in settled {
            self.feed(packet, now)?;
        }
        Ok(Some(packets))
    }

    /// Observes an outgoing packet of the library. Returns whether to send it; the library's own resets are not sent,
    /// and `settled` receives the responses to them.
    fn observe(&mut self, packet: &Bytes, settled: &mut Vec<Bytes>) -> bool {
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

    /// The next event, if any.
    ///
    /// # Errors
    /// Why the association ended.
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
        while let Some((_, association)) = self.pending.get_mut(at) {
            while let Some(event) = association.poll() {
                match event {
                    rtc_sctp::Event::Connected => {
                        self.endpoint.reject_new_associations();
                        self.established = Some(self.pending.swap_remove(at));
                        self.pending.clear();
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
        // An empty message is sent as one padding byte (RFC 8831, section 6.6).
        let empty =
            matches!(chunks.ppi, PayloadProtocolIdentifier::BinaryEmpty | PayloadProtocolIdentifier::StringEmpty);
        let message = if empty { Bytes::new() } else { chunks.to_payload(RECEIVE_MESSAGE_BYTES).ok()?.freeze() };
        Some((kind, message))
    }

    /// Queues a message. Returns false if the stream is closed for sending.
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

    /// Maximum bytes in flight. More would queue in sockets, or be dropped there.
    pub(crate) fn send_window(&self) -> usize {
        let seconds = self.rtt.min_rtt().unwrap_or_default().as_secs_f64();
        SCTP_SEND_BYTES_MAX.min(SCTP_SEND_BYTES + (SCTP_SEND_RATE * seconds) as usize)
    }

    /// Opens a stream. Returns false if that failed.
    pub(crate) fn open(&mut self, id: u16) -> bool {
        self.association().is_some_and(|a| a.open_stream(id, PayloadProtocolIdentifier::Binary).is_ok())
    }

    /// Closes a stream after its queued messages. [`Event::Closed`] follows once the peer has closed it too.
    ///
    /// Does not use the library's own close, after which nothing can be read, and which refuses the peer's reset while
    /// there is unread data.
    pub(crate) fn close(&mut self, id: u16) {
        if self.association().is_some_and(|association| association.stream(id).is_ok()) {
            self.resets.close(id);
        }
    }

    /// Whether one of this side's ids can be reused: both sides have reset the stream.
    pub(crate) fn is_free(&mut self, id: u16) -> bool {
        let in_progress = self.resets.is_in_progress(id);
        self.association().is_some_and(|association| !in_progress && association.stream(id).is_err())
    }

    /// The negotiated number of streams: valid stream ids are below it.
    pub(crate) fn id_limit(&self) -> u16 {
        self.established.as_ref().and_then(|(_, association)| association.negotiated_max_streams()).unwrap_or(0)
    }

    /// Ids of the association's streams.
    pub(crate) fn ids(&self) -> Vec<u16> {
        self.established.as_ref().map_or(Vec::new(), |(_, association)| association.stream_ids())
    }

    /// Whether the peer ignores the zero window; the library would buffer its data without limit. Data in flight when
    /// the window closed is at most one more window.
    pub(crate) fn is_overrun(&self) -> bool {
        self.overrun > SCTP_RECEIVE_BYTES as usize
    }

    /// Aborts the association; [`Sctp::transmit`] returns the ABORT.
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

fn stream_state(association: &mut Association, id: u16, unread: &impl Fn(u16) -> bool) -> StreamState {
    match association.stream(id).and_then(|stream| stream.buffered_amount()) {
        Err(_) => StreamState::Absent,
        Ok(unacknowledged) if unacknowledged > 0 || unread(id) => StreamState::Busy,
        Ok(_) => StreamState::Idle,
    }
}

fn transport() -> TransportConfig {
    // STUN decides on liveness, by a timeout in seconds. SCTP must not give up earlier after a number of
    // retransmissions.
    let timers = TimerConfig { max_t3_rtx_retrans: usize::MAX, ..Default::default() };
    TransportConfig::default()
        .with_max_receive_buffer_size(SCTP_RECEIVE_BYTES)
        .with_max_message_size(MESSAGE_BYTES as u32)
        .with_timer_config(timers)
}
