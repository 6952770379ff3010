"""A peer on py-libp2p, with these commands of interop-peer and their events: `dial`, `echo`, `disconnect`."""

import json
import sys

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from libp2p.transport.webrtc.config import WebRTCTransportConfig
from libp2p.transport.webrtc.exceptions import WebRTCStreamError
from libp2p.transport.webrtc.transport import WebRTCDirectTransport
from multiaddr import Multiaddr

ECHO = TProtocol("/interop/echo/1")


def emit(**line):
    print(json.dumps(line), flush=True)


async def read_to_end(stream):
    data = bytearray()
    while True:
        try:
            # Reads from the underlying stream: the host's stream treats the end of the data as an error, after which it
            # cannot be written to.
            data += await stream.muxed_stream.read(4096)
        except WebRTCStreamError as end:
            if "clos" not in str(end).lower():
                raise
            return bytes(data)


async def serve_echo(stream):
    await stream.write(await read_to_end(stream))
    await stream.close()


async def echo(host, peer, length):
    stream = await host.new_stream(ID.from_base58(peer), [ECHO])
    sent = bytes(i * 7 % 256 for i in range(length))
    await stream.write(sent)
    # There is no public method to close one half.
    await stream.muxed_stream._close_write()
    got = await read_to_end(stream)
    if got != sent:
        raise ValueError(f"sent {length} bytes, but received {len(got)} different ones")
    emit(done="echo")


async def on_command(host, words):
    try:
        match words:
            case ["dial", address]:
                info = info_from_p2p_addr(Multiaddr(address))
                await host.connect(info)
                emit(connected=str(info.peer_id))
            case ["echo", peer, length]:
                await echo(host, peer, int(length))
            case ["disconnect", peer]:
                await host.disconnect(ID.from_base58(peer))
                emit(disconnected=peer)
            case _:
                raise ValueError("unknown command")
    except Exception as error:
        emit(error=f"{' '.join(words)}: {error!r}")


async def main(version, listen):
    keys = create_new_key_pair()
    config = WebRTCTransportConfig(webrtc_direct_dial_version=version)
    transport = WebRTCDirectTransport(private_key=keys.private_key, config=config)
    host = new_host(key_pair=keys, transports=[transport])
    host.set_stream_handler(ECHO, serve_echo)
    async with host.run(listen_addrs=[Multiaddr(listen)]), trio.open_nursery() as nursery:
        emit(listening=str(host.get_addrs()[0]))
        async for line in trio.wrap_file(sys.stdin):
            nursery.start_soon(on_command, host, line.split())
        nursery.cancel_scope.cancel()


trio.run(main, int(sys.argv[1]), sys.argv[2])
