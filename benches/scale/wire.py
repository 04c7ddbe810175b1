"""A small gRPC client (RFC 9113, no TLS), which can be given every message: each call another session of millions.

It knows what a server of this project sends: an answer that carries a message is OK, one without it is an error.
"""

import selectors
import socket
import struct
import time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
LARGEST_FRAME = 16384
WIDE = 2**31 - 1 - 65535
CONNECTIONS, STREAMS = 8, 8


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def field(number, value):
    """A field of a message: text, bytes, or a number."""
    if isinstance(value, int):
        return bytes([number << 3]) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def first_field(message):
    """The content of field 1, which is text or a message."""
    length, shift, at = 0, 0, 1
    while True:
        length |= (message[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if message[at - 1] < 128:
            return message[at : at + length]


def headers(method, bearer=None):
    """The header block of a call, without Huffman coding and without a table (RFC 7541)."""
    named = [(":path", f"/countersign.v1.{method}"), (":authority", "localhost")]
    named += [("content-type", "application/grpc"), ("te", "trailers")]
    named += [("authorization", f"Bearer {bearer}")] if bearer else []
    text = lambda value: bytes([len(value)]) + value.encode()
    # Fields 3 and 6 of the static table: POST, http.
    return b"\x83\x86" + b"".join(b"\x00" + text(name) + text(value) for name, value in named)


class Connection:
    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = struct.pack(">HIHIHI", 1, 0, 2, 0, 4, WIDE)
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW, 0, 0, WIDE.to_bytes(4, "big")))
        self.window, self.next, self.received, self.messages, self.waiting = 65535, 1, b"", {}, []

    def call(self, block, message):
        """Sends it, or keeps it until the server has room; gives its stream."""
        stream, self.next = self.next, self.next + 2
        body = b"\x00" + len(message).to_bytes(4, "big") + message
        frames = [frame(HEADERS, END_HEADERS, stream, block)]
        for at in range(0, len(body), LARGEST_FRAME):
            piece = body[at : at + LARGEST_FRAME]
            frames.append(frame(DATA, END_STREAM if at + len(piece) == len(body) else 0, stream, piece))
        self.waiting.append((len(body), b"".join(frames)))
        self.flush()
        return stream

    def flush(self):
        while self.waiting and self.waiting[0][0] <= self.window:
            length, frames = self.waiting.pop(0)
            self.window -= length
            self.socket.sendall(frames)

    def receive(self):
        """The streams that have ended, each with its answer: None for an error."""
        piece = self.socket.recv(1 << 18)
        if not piece:
            raise SystemExit("the server closed a connection")
        received, at, ended = self.received + piece, 0, []
        while len(received) - at >= 9:
            length = int.from_bytes(received[at : at + 3], "big")
            if len(received) - at < 9 + length:
                break
            kind, flags, stream = struct.unpack_from(">BBI", received, at + 3)
            self.take(kind, flags, stream, received[at + 9 : at + 9 + length])
            if stream and (kind == RESET or kind in (DATA, HEADERS) and flags & END_STREAM):
                message = self.messages.pop(stream, None)
                ended.append((stream, message and message[5:]))
            at += 9 + length
        self.received = received[at:]
        self.flush()
        return ended

    def take(self, kind, flags, stream, payload):
        if kind == DATA:
            self.messages[stream] = self.messages.get(stream, b"") + payload
        elif kind == WINDOW and not stream:
            self.window += int.from_bytes(payload, "big")
        elif kind in (SETTINGS, PING) and not flags & ACK:
            self.socket.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
        elif kind == GOAWAY:
            raise SystemExit("the server refused a connection")


class Client:
    """Several connections to one server."""

    def __init__(self, address):
        self.connections = [Connection(address) for _ in range(CONNECTIONS)]
        self.selector = selectors.DefaultSelector()
        for connection in self.connections:
            self.selector.register(connection.socket, selectors.EVENT_READ, connection)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.selector.close()
        for connection in self.connections:
            connection.socket.close()

    def all(self, method, messages, bearer=None):
        """Makes each call, so many at once as there are streams; gives the answers in the order of the messages."""
        block, answers, under_way = headers(method, bearer), [None] * len(messages), {}
        numbered = iter(enumerate(messages))

        def begin(connection):
            for number, message in numbered:
                under_way[connection, connection.call(block, message)] = number
                return

        for connection in self.connections * STREAMS:
            begin(connection)
        while under_way:
            ready = self.selector.select(30)
            if not ready:
                raise SystemExit(f"{method}: no answer within 30 seconds")
            for key, _ in ready:
                for stream, answer in key.data.receive():
                    answers[under_way.pop((key.data, stream))] = answer
                    begin(key.data)
        refused = answers.count(None)
        if refused:
            raise SystemExit(f"{method}: {refused} of {len(answers)} calls were refused")
        return answers

    def paced(self, method, messages, rate, begin):
        """An open loop: each call is due by a schedule whatever the server does, the first at `begin` (time.monotonic).
        Gives when each was due, and its latency from then on; None for an error."""
        block, under_way, figures, sent = headers(method), {}, [None] * len(messages), 0
        while sent < len(messages) or under_way:
            now = time.monotonic()
            while sent < len(messages) and begin + sent / rate <= now:
                connection = self.connections[sent % CONNECTIONS]
                under_way[connection, connection.call(block, messages[sent])] = sent
                sent += 1
            wait = max(0, begin + sent / rate - time.monotonic()) if sent < len(messages) else 30
            for key, _ in self.selector.select(wait):
                ended = key.data.receive()
                now = time.monotonic()
                for stream, answer in ended:
                    number = under_way.pop((key.data, stream))
                    due = begin + number / rate
                    figures[number] = (due, None if answer is None else now - due)
        return figures
