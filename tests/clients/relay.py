"""A wire that can be slow, silent or cut, between a proxy and a server."""

import socket
import threading
import time
from contextlib import contextmanager


class Relay:
    """Passes connections on to a port of this machine. What the server says waits for `delay` seconds.

    With `at`, both are sockets that are files."""

    def __init__(self, to, at=None):
        self.delay, self.is_cut, self.ends = 0, False, set()
        self.flows = threading.Event()
        self.flows.set()
        self.family = socket.AF_UNIX if at else socket.AF_INET
        self.to = str(to) if at else ("127.0.0.1", to)
        self.listener = socket.socket(self.family)
        self.listener.bind(str(at) if at else ("127.0.0.1", 0))
        self.listener.listen(100)
        self.port = None if at else self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def addr(self):
        return f"127.0.0.1:{self.port}"

    @contextmanager
    def silent(self):
        """What is said, by both, waits, and no connection is closed: as with a machine that has lost its network."""
        self.flows.clear()
        try:
            yield
        finally:
            self.flows.set()

    @contextmanager
    def cut(self):
        """All connections are closed, and so is each new one."""
        self.is_cut = True
        try:
            for end in list(self.ends):
                close(end)
            yield
        finally:
            self.is_cut = False

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            # Whoever connects in a silence waits: the other end hears nothing of it.
            self.flows.wait()
            server = socket.socket(self.family)
            if self.is_cut or server.connect_ex(self.to) != 0:
                client.close()
                server.close()
                continue
            self.ends |= {client, server}
            for source, sink, waits in ((client, server, False), (server, client, True)):
                threading.Thread(target=self.pass_on, args=(source, sink, waits), daemon=True).start()

    def pass_on(self, source, sink, waits):
        try:
            while data := source.recv(65536):
                if waits and self.delay:
                    time.sleep(self.delay)
                self.flows.wait()
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                close(end)
            self.ends -= {source, sink}

    def end(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def close(end):
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
