use super::*;

fn at(host: &str, port: u16, peer: PeerId) -> Multiaddr {
    let ip = if host.contains(':') { "ip6" } else { "ip4" };
    format!("/{ip}/{host}/tcp/{port}/p2p/{peer}").parse().unwrap()
}

/// Dials that were permitted and failed.
fn failed(table: &mut Table, addresses: impl Iterator<Item = Multiaddr>, now: Instant) -> usize {
    let begun: Vec<u64> = addresses.filter_map(|address| table.begin(&address, now).ok().flatten()).collect();
    begun.iter().for_each(|id| table.ended(*id, Some(None), now));
    begun.len()
}

#[test]
fn a_port_that_many_strangers_name_is_dialled_a_few_times_a_minute() {
    let (mut table, now) = (Table::default(), Instant::now());
    let named = || (0..100).map(|_| at("203.0.113.7", 22, PeerId::random()));
    assert_eq!(failed(&mut table, named(), now), DIALS_OF_PORT as usize);
    assert_eq!(failed(&mut table, named(), now + Duration::from_secs(60)), DIALS_OF_PORT as usize);
    let on_loopback = (0..100).map(|_| at("127.0.0.1", 22, PeerId::random()));
    assert_eq!(failed(&mut table, on_loopback, now), DIALS_OF_PORT as usize);
}

#[test]
fn the_ports_of_a_host_are_not_scanned() {
    let (mut table, now) = (Table::default(), Instant::now());
    let ports = (1..1000).map(|port| at("203.0.113.7", port, PeerId::random()));
    assert_eq!(failed(&mut table, ports, now), DIALS_OF_HOST as usize);
}

#[test]
fn many_hosts_get_no_more_dials_than_allowed_in_all() {
    let (mut table, now) = (Table::default(), Instant::now());
    let peers: Vec<PeerId> = (0..500).map(|_| PeerId::random()).collect();
    let hosts = || peers.iter().enumerate().map(|(i, peer)| at(&format!("203.0.{}.{}", i / 250, i % 250), 1, *peer));
    assert_eq!(failed(&mut table, hosts(), now), DIALS_UNASKED as usize);
    peers.iter().for_each(|peer| table.set_awaited(*peer, true));
    let later = now + Duration::from_secs(1);
    let asked = failed(&mut table, hosts(), later);
    assert!(asked > DIALS_UNASKED as usize && asked <= DIALS_IN_ALL as usize, "{asked}");
}

#[test]
fn honest_peers_use_up_no_dials() {
    let (mut table, now) = (Table::default(), Instant::now());
    for n in 0..1000_u16 {
        let peer = PeerId::random();
        // Two ports at once: the second is given up when the first answers.
        let first = table.begin(&at("203.0.113.7", 2 * n + 1, peer), now).unwrap().unwrap();
        let second = table.begin(&at("203.0.113.7", 2 * n + 2, peer), now).unwrap().unwrap();
        table.ended(first, Some(Some(peer)), now);
        table.ended(second, None, now);
    }
}

#[test]
fn another_peer_at_an_address_counts_as_a_failure() {
    let (mut table, now) = (Table::default(), Instant::now());
    let (peer, other) = (PeerId::random(), PeerId::random());
    let dial = table.begin(&at("203.0.113.7", 1, peer), now).unwrap().unwrap();
    table.ended(dial, Some(Some(other)), now);
    assert_eq!(table.begin(&at("203.0.113.7", 1, peer), now), Err(Refused::BackingOff));
}

#[test]
fn a_port_that_stays_silent_is_not_dialled_again_at_once() {
    let (mut table, now) = (Table::default(), Instant::now());
    let address = at("203.0.113.7", 1, PeerId::random());
    let dial = table.begin(&address, now).unwrap().unwrap();
    table.ended(dial, None, now + DIAL_SILENCE);
    assert_eq!(table.begin(&address, now + DIAL_SILENCE), Err(Refused::BackingOff));
}

#[test]
fn a_failed_address_is_tried_again_ever_later_and_at_once_after_its_peer_came() {
    let (mut table, mut now) = (Table::default(), Instant::now());
    let peer = PeerId::random();
    let address = at("203.0.113.7", 1, peer);
    for pause in [15, 30, 60] {
        assert_eq!(failed(&mut table, [address.clone()].into_iter(), now), 1);
        assert_eq!(table.begin(&address, now + Duration::from_secs(pause - 1)), Err(Refused::BackingOff));
        now += Duration::from_secs(pause);
    }
    assert_eq!(failed(&mut table, [address.clone()].into_iter(), now), 1);
    table.connected(peer, &address, now);
    assert!(table.begin(&address, now).is_ok());
}

#[test]
fn a_peer_that_restarts_is_dialled_where_it_answered_or_came_from_without_a_pause() {
    let (mut table, mut now) = (Table::default(), Instant::now());
    let (answered, came) = (PeerId::random(), PeerId::random());
    let dial = table.begin(&at("203.0.113.7", 1, answered), now).unwrap().unwrap();
    table.ended(dial, Some(Some(answered)), now);
    table.connected(came, &"/ip4/203.0.113.8/tcp/55555".parse().unwrap(), now);
    for address in [at("203.0.113.7", 1, answered), at("203.0.113.8", 1, came)] {
        for _ in 0..5 {
            now += Duration::from_secs(3);
            assert_eq!(failed(&mut table, [address.clone()].into_iter(), now), 1);
        }
    }
    let ports = (1..1000).map(|port| at("203.0.113.8", port, came));
    assert!(failed(&mut table, ports, now) <= DIALS_OF_HOST as usize, "it may not name all ports of its host");
}

#[test]
fn what_the_user_gave_is_always_dialled() {
    let (mut table, now) = (Table::default(), Instant::now());
    let peer = PeerId::random();
    table.set_reach([&"/ip4/203.0.113.9/tcp/1".parse().unwrap()], []);
    table.give(peer, &at("127.0.0.1", 1, peer));
    table.give(peer, &"/dns4/mesh.example/tcp/2".parse().unwrap());
    let named = PeerId::random();
    table.give(named, &"/dnsaddr/mesh.example".parse().unwrap());
    for _ in 0..100 {
        assert_eq!(table.begin(&at("127.0.0.1", 1, peer), now), Ok(None));
        assert_eq!(table.begin(&at("203.0.113.1", 2, peer), now), Ok(None), "an address of the name");
        assert_eq!(table.begin(&at("203.0.113.1", 3, named), now), Ok(None), "any address of the name");
        assert_eq!(table.begin(&"/ip4/127.0.0.1/tcp/9".parse().unwrap(), now), Ok(None), "only users give no id");
    }
    assert_eq!(table.begin(&at("127.0.0.1", 1, PeerId::random()), now), Err(Refused::Local), "another peer there");
}

#[test]
fn local_addresses_of_peers_outside_are_not_dialled() {
    let (mut table, now) = (Table::default(), Instant::now());
    let end = |text: &str| text.parse::<Multiaddr>().unwrap();
    let (home, far, nobody) = (PeerId::random(), PeerId::random(), PeerId::random());
    let (lan, wide) = (end("/ip4/192.168.1.2/tcp/1"), end("/ip4/203.0.113.7/tcp/1"));
    table.connected(home, &lan, now);
    table.set_reach([], [(home, &lan)]);
    assert!(table.begin(&at("192.168.1.9", 1, nobody), now).is_ok(), "everything is one local network");
    assert_eq!(table.begin(&at("127.0.0.1", 1, nobody), now), Err(Refused::Local), "but not one machine");

    table.connected(far, &wide, now);
    table.set_reach([], [(home, &lan), (far, &wide)]);
    assert!(table.begin(&at("192.168.1.9", 2, home), now).is_ok(), "it was met within the local network");
    for peer in [far, nobody] {
        assert_eq!(table.begin(&at("192.168.1.9", 2, peer), now), Err(Refused::Local));
        assert_eq!(table.begin(&at("::ffff:192.168.1.9", 2, peer), now), Err(Refused::Local));
    }
    let (relayed, proxied) = (PeerId::random(), PeerId::random());
    table.connected(relayed, &end(&format!("/ip4/192.168.1.2/tcp/1/p2p/{home}/p2p-circuit/p2p/{relayed}")), now);
    table.connected(proxied, &end("/ip4/127.0.0.1/tcp/1/ws"), now);
    for peer in [relayed, proxied] {
        assert_eq!(table.begin(&at("192.168.1.9", 2, peer), now), Err(Refused::Local), "it may be anywhere");
    }
    table.set_reach([], []);
    assert_eq!(table.begin(&at("192.168.1.9", 2, far), now), Err(Refused::Local), "it was met outside");
}

#[test]
fn a_bootstrap_peer_with_a_name_is_outside_if_its_address_is() {
    let named: Multiaddr = "/dns4/mesh.example/tcp/1".parse().unwrap();
    for (host, is_outside) in [("10.1.2.3", false), ("203.0.113.7", true)] {
        let (mut table, now) = (Table::default(), Instant::now());
        let peer = PeerId::random();
        table.reached(peer, &at(host, 1, peer), now);
        table.connected(peer, &named, now);
        table.set_reach([&named], [(peer, &named)]);
        assert_eq!(table.begin(&at("10.1.2.4", 1, PeerId::random()), now).is_err(), is_outside, "{host}");
    }
}

#[test]
fn the_tables_are_bounded() {
    let (mut table, mut now) = (Table::default(), Instant::now());
    for n in 0..2 * DIAL_TABLE {
        let address = at(&format!("127.{}.{}.1", n / 250, n % 250), 1, PeerId::random());
        failed(&mut table, [address].into_iter(), now);
        now += Duration::from_millis(1);
    }
    assert!(table.ports.len() <= DIAL_TABLE && table.hosts.len() <= DIAL_TABLE && table.failures.len() <= DIAL_TABLE);
    assert!(table.dials.is_empty());
}
