"""An Envoy that verifies tokens by itself, and is told what has ended: with what the binary prints."""

import subprocess
import tempfile
import threading
import time
from pathlib import Path

from asked import ask, bearer
from processes import environment, free_port, wait_until
from proxies import Envoy

# Of the servers that tell proxies here, in seconds (COUNTERSIGN_PROXY_TTL).
TTL = 3
# What is promised: time from the answer of Revoke to the refusal, whatever is broken (docs/in-proxy.md).
# What docs/in-proxy.md promises, and a little for the asking itself.
BOUND = TTL + 2 + 0.5
SETTINGS = ["--audience", "internal,billing", "--proxy-ttl", f"{TTL}s"]


class Told(Envoy):
    file = "envoy/envoy.yaml"

    def __init__(self, job, app, addresses, *settings):
        self.port, self.more_port = free_port(), free_port()
        # Not by the port alone: that of one that has ended may be free again.
        self.dir = Path(tempfile.mkdtemp(prefix=f"told-{self.port}-", dir=job.dir))
        command = [job.binary, "mesh", "envoy-config", "--countersign", ",".join(addresses)]
        command += ["--app", f"127.0.0.1:{app.port}", "--listen", f"127.0.0.1:{self.port}", *settings]
        made = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
        self.config = self.dir / "envoy.yaml"
        self.config.write_text(self.changed(made.stdout.replace("port_value: 9901", f"port_value: {self.more_port}")))
        self.log = self.dir / "log"
        with open(self.log, "wb") as log:
            words = [str(word) for word in self.command()]
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment())
        wait_until("Envoy listens", lambda: self.runs() and self.is_ready(), 30)

    def changed(self, printed):
        """What the proxy runs with, made of what the binary printed."""
        return printed


def status(proxy, tokens, path="/orders"):
    """What the proxy answers to a request with these tokens, or with none."""
    return ask(proxy.port, path, bearer(tokens.access_token) if tokens else []).status


def passes(proxy, tokens, seconds=30):
    return wait_until("the token passes", lambda: status(proxy, tokens) == 200, seconds)


def refused(proxy, tokens, seconds=BOUND):
    """Waits for the refusal; the seconds that it took."""
    begun = time.monotonic()
    wait_until("the token is refused", lambda: status(proxy, tokens) == 401, seconds)
    return time.monotonic() - begun


class Asking:
    """Asks with tokens from a thread, on and on; the statuses that were answered, in a row, by session."""

    def __init__(self, proxy, *sessions):
        self.proxy, self.sessions, self.ends = proxy, list(sessions), threading.Event()
        self.statuses = {tokens.session_id: [] for tokens in sessions}
        self.failure = None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def run(self):
        try:
            while not self.ends.is_set():
                for tokens in self.sessions:
                    self.statuses[tokens.session_id].append(status(self.proxy, tokens))
        except OSError as failure:
            self.failure = failure

    def __exit__(self, *_):
        self.ends.set()
        self.thread.join()
        assert self.failure is None and all(self.statuses.values()), self.failure

    def of(self, tokens):
        return self.statuses[tokens.session_id]

    def came_back(self, tokens):
        """True if it passed after it had been refused."""
        statuses = self.of(tokens)
        return 401 in statuses and 200 in statuses[statuses.index(401) :]
