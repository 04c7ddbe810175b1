"""A Prometheus that scrapes each second."""

import json
import shutil
import time
import urllib.parse

import yaml

from conftest import Process, get, wait_until
from processes import free_port


class Prometheus:
    """Scrapes jobs, each by its targets' names and addresses, and evaluates rules each second."""

    def __init__(self, folder, jobs, rule_files):
        folder.mkdir()
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(file) for file in rule_files],
            "scrape_configs": [
                {
                    "job_name": job,
                    "static_configs": [{"targets": [address], "labels": {"instance": name}} for name, address in targets.items()],
                }
                for job, targets in jobs.items()
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.address, self.targets = f"127.0.0.1:{free_port()}", sum(map(len, jobs.values()))
        storage = f"--storage.tsdb.path={folder / 'tsdb'}"
        settings = [f"--config.file={folder / 'prometheus.yml'}", storage, f"--web.listen-address={self.address}"]
        self.process = Process(folder / "log", shutil.which("prometheus"), *settings)
        wait_until("some scrapes", self.has_scraped)
        self.started = time.time()

    def ask(self, path, **parameters):
        answer = json.loads(get(f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression):
        return self.ask("query", query=expression)["result"]

    def has_scraped(self):
        self.process.runs()
        try:
            return len(self.query("count_over_time(up[1m]) > 5")) == self.targets
        except OSError:
            return False

    def end(self):
        self.process.end()
