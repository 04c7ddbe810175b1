"""The application behind the proxies: it says what it got, over HTTP, in a WebSocket, and over gRPC."""

import base64
import hashlib
import json
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc

COOKIES = ["basket=17; Path=/", "theme=dark; Path=/"]
SOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def echo(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        said = {"method": self.command, "path": self.path, "headers": self.headers.items(), "body": len(body)}
        answer = json.dumps(said).encode()
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("x-app", "echo")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        for cookie in COOKIES:
            self.send_header("set-cookie", cookie)
        if "for-all" in self.path:
            self.send_header("cache-control", "public, max-age=3600")
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_PUT = do_DELETE = echo

    def do_GET(self):
        if any("h2c" in value.lower() for value in self.headers.get_all("upgrade", [])):
            self.tunnel()
        elif self.headers.get("upgrade", "").lower() == "websocket":
            self.socket()
        else:
            self.echo()

    def tunnel(self):
        """Speaks something else from here on, as servers do that know HTTP/2 without TLS."""
        self.send_response(101)
        self.send_header("upgrade", "h2c")
        self.send_header("connection", "upgrade")
        self.end_headers()
        self.close_connection = True
        self.wfile.write(b"tunnel")

    def socket(self):
        """Greets with who it is, and then gives each text back. Texts are short; a client's are masked (RFC 6455)."""
        key = self.headers["sec-websocket-key"].encode()
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "upgrade")
        self.send_header("sec-websocket-accept", base64.b64encode(hashlib.sha1(key + SOCKET).digest()).decode())
        self.end_headers()
        self.close_connection = True
        self.text(self.headers.get("x-auth-user-id", "").encode())
        while head := self.rfile.read(2):
            length, mask = head[1] & 0x7F, self.rfile.read(4)
            text = bytes(byte ^ mask[n % 4] for n, byte in enumerate(self.rfile.read(length)))
            if head[0] & 0x0F != 1:
                self.wfile.write(bytes([0x88, 0]))
                return
            self.text(text)

    def text(self, text):
        self.wfile.write(bytes([0x81, len(text)]) + text)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 2048
    daemon_threads = True

    def handle_error(self, *_):
        """A proxy may end connections whenever it likes."""


class Echo(grpc.GenericRpcHandler):
    """Any unary method answers with the metadata that it got."""

    def service(self, call):
        def answer(_, context):
            return json.dumps([[name, str(value)] for name, value in context.invocation_metadata()]).encode()

        return grpc.unary_unary_rpc_method_handler(answer)


class App:
    def __init__(self):
        self.http = Server(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.grpc = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Echo()])
        self.grpc_port = self.grpc.add_insecure_port("127.0.0.1:0")
        self.grpc.start()

    def end(self):
        self.http.shutdown()
        self.grpc.stop(None)
