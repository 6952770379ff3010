//! One connection without IO: ICE, DTLS, SCTP with its data channels, and liveness.
//!
//! Datagrams and the time go in; datagrams and the next deadline come out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dimpl::{Dtls, Output};
use is::stun::TransId;
use libp2p_core::connection::Endpoint;

use super::certificate::Certificate;
use super::channels::Channels;
use super::socket::Batch;
use super::stun;
use crate::Error;
use crate::credentials::Pair;
use crate::fingerprint::Fingerprint;
use crate::limits::{LIVENESS_TIMEOUT, PROBE_INTERVAL};

/// Retransmission interval of a client's first STUN request, until it is answered.
const FIRST_REQUESTS: Duration = Duration::from_millis(100);
/// Maximum DTLS record (16 KiB) plus overhead.
const RECORD_BYTES: usize = 17 * 1024;
/// A timer that fires this late means that this process was suspended, so the peer's silence proves nothing.
const SUSPEND_THRESHOLD: Duration = Duration::from_secs(2);

pub(crate) struct Session {
    role: Endpoint,
    pair: Pair,
    remote: SocketAddr,
    dtls: Dtls,
    dtls_timeout: Option<Instant>,
    /// The DTLS handshake is complete.
    secured: bool,
    /// Of the peer's certificate, once received.
    remote_fingerprint: Option<Fingerprint>,
    /// The dialer's expectation, from the address.
    expected_fingerprint: Option<Fingerprint>,
    pub(crate) channels: Channels,
    /// The peer has sent a valid STUN request or response.
    reached: bool,
    /// Transaction of the STUN request in progress.
    request: TransId,
    next_probe: Instant,
    last_received: Instant,
    last_tick: Instant,
    over: Option<Error>,
    buffer: Vec<u8>,
}

impl Session {
    pub(crate) fn new(
        role: Endpoint,
        pair: Pair,
        remote: SocketAddr,
        certificate: &Certificate,
        expected_fingerprint: Option<Fingerprint>,
        now: Instant,
    ) -> Result<Self, Error> {
        let mut dtls = Dtls::new_12(dtls_config()?, certificate.dtls(), now);
        let dialer = role == Endpoint::Dialer;
        dtls.set_active(dialer);
        let channels = Channels::new(dialer, pair.version, now)?;
        Ok(Self {
            role,
            pair,
            remote,
            dtls,
            // The library needs the time before a server's first datagram. A client starts once the peer has answered.
            dtls_timeout: (!dialer).then_some(now),
            secured: false,
            remote_fingerprint: None,
            expected_fingerprint,
            channels,
            reached: !dialer,
            request: TransId::new(),
            next_probe: if dialer { now } else { now + PROBE_INTERVAL },
            last_received: now,
            last_tick: now,
            over: None,
            buffer: vec![0; RECORD_BYTES],
        })
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// Whether the peer has sent a valid STUN message.
    pub(crate) fn is_reached(&self) -> bool {
        self.reached
    }

    /// Whether SCTP is established, so that channels can be used.
    pub(crate) fn is_connected(&self) -> bool {
        self.channels.is_connected()
    }

    pub(crate) fn remote_fingerprint(&self) -> Option<Fingerprint> {
        self.remote_fingerprint
    }

    /// Why the connection ended, if it did.
    pub(crate) fn over(&self) -> Option<&Error> {
        self.over.as_ref()
    }

    /// Ends the connection. Tells the peer, unless it closed the connection itself.
    pub(crate) fn end(&mut self, reason: Error, out: &mut Batch, now: Instant) {
        if self.over.is_some() {
            return;
        }
        tracing::debug!(remote = %self.remote, role = ?self.role, %reason, "connection ended");
        if self.secured && !matches!(reason, Error::ClosedByPeer) {
            self.channels.abort();
            let said = self.flush_sctp(out, now).and_then(|()| self.dtls.close().map_err(dtls_error));
            if let Err(error) = said.and_then(|()| self.drain_dtls(out, now)) {
                tracing::debug!(%error, "cannot tell the peer that the connection is closed");
            }
        }
        self.channels.end();
        self.over = Some(reason);
    }

    /// Processes a received datagram.
    pub(crate) fn receive(&mut self, from: SocketAddr, datagram: &[u8], out: &mut Batch, now: Instant) {
        if self.over.is_some() {
            return;
        }
        let result = match datagram.first() {
            Some(0..=3) => {
                self.receive_stun(from, datagram, out, now);
                Ok(())
            }
            Some(20..=63) => self.receive_dtls(datagram, out, now),
            _ => Ok(()),
        };
        if let Err(error) = result {
            self.end(error, out, now);
        }
    }

    /// Processes timeouts and queues datagrams. Returns the deadline of the next call.
    pub(crate) fn advance(&mut self, out: &mut Batch, now: Instant) -> Instant {
        if let Err(error) = self.try_advance(out, now) {
            self.end(error, out, now);
        }
        let deadlines = [
            self.dtls_timeout,
            self.secured.then(|| self.channels.next_timeout()).flatten(),
            self.reached.then(|| self.last_received + LIVENESS_TIMEOUT),
        ];
        deadlines.into_iter().flatten().fold(self.next_probe, Instant::min)
    }

    fn try_advance(&mut self, out: &mut Batch, now: Instant) -> Result<(), Error> {
        if self.over.is_some() {
            return Ok(());
        }
        self.check_liveness(now)?;
        if now >= self.next_probe {
            self.probe(out, now);
        }
        if self.dtls_timeout.is_some_and(|at| at <= now) {
            self.dtls.handle_timeout(now).map_err(dtls_error)?;
            self.drain_dtls(out, now)?;
        }
        while self.secured {
            self.channels.advance(now)?;
            self.flush_sctp(out, now)?;
            if !self.channels.has_due_resets() {
                break;
            }
        }
        Ok(())
    }

    // --- STUN: connectivity and liveness ----------------------------------------------------------------------

    fn check_liveness(&mut self, now: Instant) -> Result<(), Error> {
        let expected = self.next_probe.max(self.last_tick);
        if now.saturating_duration_since(expected) > SUSPEND_THRESHOLD {
            // After a suspension, the peer gets at least half of the liveness timeout to be heard.
            self.last_received = self.last_received.max(now.checked_sub(LIVENESS_TIMEOUT / 2).unwrap_or(now));
        }
        self.last_tick = now;
        if self.reached && now.saturating_duration_since(self.last_received) >= LIVENESS_TIMEOUT {
            return Err(Error::Silent);
        }
        Ok(())
    }

    fn probe(&mut self, out: &mut Batch, now: Instant) {
        let silent = now.saturating_duration_since(self.last_received) >= PROBE_INTERVAL;
        match self.role {
            Endpoint::Dialer => {
                let username = self.pair.username_to_server();
                self.ask(stun::request(&username, &self.pair.server, true, self.request), out);
            }
            // An ICE-lite server sends no checks; this is a liveness probe of a silent client.
            Endpoint::Listener if silent => {
                let username = self.pair.username_to_client();
                self.ask(stun::request(&username, &self.pair.client, false, self.request), out);
            }
            Endpoint::Listener => {}
        }
        self.next_probe = now + if self.reached { PROBE_INTERVAL } else { FIRST_REQUESTS };
    }

    fn ask(&self, request: Option<Vec<u8>>, out: &mut Batch) {
        match request {
            Some(request) => out.push(self.remote, &request),
            None => tracing::debug!(remote = %self.remote, "cannot send a STUN request: the username is too long"),
        }
    }

    fn receive_stun(&mut self, from: SocketAddr, datagram: &[u8], out: &mut Batch, now: Instant) {
        let Some(message) = stun::Message::parse(datagram) else { return };
        let (own, peer, username) = match self.role {
            Endpoint::Dialer => (&self.pair.client, &self.pair.server, self.pair.username_to_client()),
            Endpoint::Listener => (&self.pair.server, &self.pair.client, self.pair.username_to_server()),
        };
        if message.is_request() && message.username() == Some(&username) && message.verify(own.password()) {
            if let Some(response) = stun::response(message.transaction(), from, own) {
                out.push(from, &response);
            }
            self.last_received = now;
            if self.role == Endpoint::Listener && message.nominates() && from != self.remote {
                tracing::debug!(old = %self.remote, new = %from, "the peer nominated a new address");
                self.remote = from;
            }
        } else if message.is_response()
            && message.transaction() == self.request
            && from == self.remote
            && message.verify(peer.password())
        {
            self.request = TransId::new();
            self.last_received = now;
            if !self.reached {
                self.reached = true;
                self.next_probe = now + PROBE_INTERVAL;
                // Starts the DTLS handshake.
                self.dtls_timeout = Some(now);
            }
        }
    }

    // --- DTLS and SCTP ----------------------------------------------------------------------------------------

    fn receive_dtls(&mut self, datagram: &[u8], out: &mut Batch, now: Instant) -> Result<(), Error> {
        if !self.reached {
            return Ok(());
        }
        if !self.secured {
            // The library computes retransmissions of the handshake from the last time that it was given.
            self.dtls.handle_timeout(now).map_err(dtls_error)?;
        }
        match self.dtls.handle_packet(datagram) {
            Ok(()) => self.drain_dtls(out, now),
            // Only this datagram is lost: the queue is drained after each.
            Err(dimpl::Error::ReceiveQueueFull) => self.drain_dtls(out, now),
            Err(error) => Err(dtls_error(error)),
        }
    }

    fn drain_dtls(&mut self, out: &mut Batch, now: Instant) -> Result<(), Error> {
        loop {
            match self.dtls.poll_output(&mut self.buffer) {
                Output::Packet(packet) => out.push(self.remote, packet),
                Output::BufferTooSmall { needed } => self.buffer.resize(needed, 0),
                Output::Timeout(at) => {
                    self.dtls_timeout = Some(at);
                    return Ok(());
                }
                Output::Connected => {
                    self.secured = true;
                    self.last_received = now;
                }
                Output::PeerCert(der) => {
                    let actual = Fingerprint::of_certificate(der);
                    if self.expected_fingerprint.is_some_and(|expected| expected != actual) {
                        return Err(Error::Fingerprint);
                    }
                    self.remote_fingerprint = Some(actual);
                }
                Output::ApplicationData(data) => {
                    self.last_received = now;
                    self.channels.receive(Bytes::copy_from_slice(data), now)?;
                }
                Output::CloseNotify => return Err(Error::ClosedByPeer),
                _ => {}
            }
        }
    }

    fn flush_sctp(&mut self, out: &mut Batch, now: Instant) -> Result<(), Error> {
        while let Some(packets) = self.channels.transmit(now)? {
            for packet in packets {
                self.dtls.send_application_data(&packet).map_err(dtls_error)?;
                self.drain_dtls(out, now)?;
            }
        }
        Ok(())
    }
}

fn dtls_config() -> Result<Arc<dimpl::Config>, Error> {
    // No cookie: the client has sent a STUN request with a valid MESSAGE-INTEGRITY.
    // DTLS 1.2, as the specification assumes.
    let builder = dimpl::Config::builder().use_server_cookie(false).flight_start_rto(Duration::from_millis(500));
    builder.build().map(Arc::new).map_err(dtls_error)
}

fn dtls_error(error: dimpl::Error) -> Error {
    match error {
        dimpl::Error::ConnectionClosed => Error::ClosedByPeer,
        other => Error::Dtls(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
