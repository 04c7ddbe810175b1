"""An Envoy that verifies tokens by itself, and is told what has ended: with the configuration that the binary prints."""

import subprocess

from processes import environment, wait_until
from proxies import Envoy, free_port


class Told(Envoy):
    file = "envoy/envoy.yaml"

    def __init__(self, job, app, addresses, *settings):
        self.port, self.more_port = free_port(), free_port()
        self.dir = job.dir / f"told-{self.port}"
        self.dir.mkdir()
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

    def changed(self, config):
        return config
