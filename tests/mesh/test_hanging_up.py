"""Clients that hang up before they are answered: Envoy then takes its question back, on a connection that all clients share."""

import socket
import struct

from asked import allowed, ask, bearer
from processes import wait_until
from proxies import Envoy

AT_ONCE = 100
REQUEST = b"GET /orders HTTP/1.1\r\nhost: x\r\nauthorization: Bearer nonsense\r\n\r\n"
# A connection that is closed is reset, and what was not sent yet is forgotten.
AT_ONCE_GONE = struct.pack("ii", 1, 0)


def hang_up(port):
    wires = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(AT_ONCE)]
    for wire in wires:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE_GONE)
        wire.sendall(REQUEST)
    for wire in wires:
        wire.close()


def test_clients_that_hang_up_do_not_cost_others_their_connection(start, dev, alice, token):
    envoy = start(Envoy, dev)
    allowed(ask(envoy.port, "/orders", bearer(token)), alice)

    def many_were_taken_back():
        hang_up(envoy.port)
        return envoy.stat("cluster.countersign_grpc.http2.tx_reset") > 10 * AT_ONCE

    wait_until("questions are taken back", many_were_taken_back, 30)
    allowed(ask(envoy.port, "/orders", bearer(token)), alice)
    assert envoy.stat("cluster.countersign_grpc.upstream_cx_destroy_remote") == 0
