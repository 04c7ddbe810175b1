"""A wire that can be slow, between a proxy and a server."""

import socket
import threading
import time


class Relay:
    """Passes connections on to a port of this machine. What the server says waits for `delay` seconds."""

    def __init__(self, to):
        self.to, self.delay = to, 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                return
            for source, sink, waits in ((client, server, False), (server, client, True)):
                threading.Thread(target=self.pass_on, args=(source, sink, waits), daemon=True).start()

    def pass_on(self, source, sink, waits):
        try:
            while data := source.recv(65536):
                if waits and self.delay:
                    time.sleep(self.delay)
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def end(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
