"""A place to measure at: a private Postgres, filled with sessions, and the server before it."""

import base64
import hashlib
import hmac
import json
import os
import pathlib
import pwd
import shutil
import subprocess
import threading
import time
import urllib.parse
import uuid

from common import environment, generator

OWNER, DATABASE = "countersign", "postgres"
# Checkpoints come when they are asked for: one that falls into a round would be a part of that round alone.
SETTINGS = {
    "listen_addresses": "''",
    "max_connections": "200",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
}
# One user in so many is there to be ended; the others keep their sessions.
DOOMED = 5
# Of a seed of ten million sessions (crates/countersign-bench/src/seed.rs).
PASSES, PASS = 40, 250_000


def cpu_of(pid):
    """Seconds of CPU that a process has used, its threads that have ended too (clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)


def account():
    """Postgres refuses to run as root, so root hands it to another user."""
    if os.geteuid() != 0:
        return {}
    for name in ["postgres", "nobody"]:
        try:
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        except KeyError:
            continue
    raise SystemExit("as root: no user postgres or nobody to run Postgres as")


def programs():
    """Where initdb and the others are: the newest of Debian's places, or the path."""
    places = pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(places, key=lambda path: int(path.parts[-3]), default=shutil.which("initdb"))
    if not newest:
        raise SystemExit("no Postgres is installed")
    return pathlib.Path(newest).resolve().parent


class Postgres:
    """A running Postgres; a with block ends it."""

    def __init__(self, directory, shared_buffers):
        self.directory, self.programs, self.account = directory, programs(), account()
        directory.mkdir(mode=0o700)
        if self.account:
            os.chown(directory, self.account["user"], self.account["group"])
        data = directory / "data"
        self.do("initdb", "-D", data, "-U", OWNER, "-E", "UTF8", "--no-locale", "-A", "trust", "--data-checksums")
        settings = {**SETTINGS, "unix_socket_directories": f"'{directory}'", "shared_buffers": shared_buffers}
        with open(data / "postgresql.conf", "a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def __enter__(self):
        self.do("pg_ctl", "start", "-w", "-D", self.directory / "data", "-l", self.directory / "log")
        self.pid = int((self.directory / "data" / "postmaster.pid").read_text().splitlines()[0])
        self.connection = self.session()
        return self

    def __exit__(self, *_):
        self.do("pg_ctl", "stop", "-w", "-m", "immediate", "-D", self.directory / "data")

    def do(self, program, *arguments):
        command = [self.programs / program, *arguments]
        subprocess.run(command, check=True, cwd=self.directory, stdout=subprocess.DEVNULL, **self.account)

    def url(self):
        host = urllib.parse.quote(str(self.directory), safe="")
        return f"postgres://{OWNER}@localhost:5432/{DATABASE}?host={host}&sslmode=disable"

    def session(self):
        """A connection of its own, to ask through."""
        return Psql([self.programs / "psql", "-qXAt", "-h", self.directory, "-p", "5432", "-U", OWNER, DATABASE])

    def ask(self, statement):
        return self.connection.ask(statement)

    def one(self, statement):
        return int(self.ask(statement)[0][0])

    def wal(self):
        """Bytes of write-ahead log so far."""
        return self.one("SELECT pg_current_wal_insert_lsn() - '0/0'")

    def processes(self):
        """The fields of stat of each (proc_pid_stat(5), from the state on), by id."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except (OSError, IndexError):
                continue
            if entry.name == str(self.pid) or fields[1] == str(self.pid):
                found[int(entry.name)] = fields
        return found

    def used(self):
        """Seconds of CPU that its processes have used, those that have ended too, and pages that they had to map."""
        processes = self.processes()
        ended = processes[self.pid]
        used, faults = (int(ended[13]) + int(ended[14])) / os.sysconf("SC_CLK_TCK"), int(ended[8])
        for pid, fields in processes.items():
            try:
                used, faults = used + cpu_of(pid), faults + int(fields[7])
            except OSError:
                continue
        return used, faults

    def memory(self):
        """MiB: the shared memory that is in use, counted once, and what the processes have to themselves."""
        shared = private = 0
        for pid in self.processes():
            lines = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
            sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
            shared, private = shared + sizes["Pss_Shmem"], private + sizes["Pss_Anon"]
        return {"postgres_shared": shared / 1024, "postgres_private": private / 1024}


class Psql:
    """A connection that stays: one that came and went for each statement would be counted as CPU of the database."""

    def __init__(self, command):
        command = [*command, "-v", "ON_ERROR_STOP=1"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, statement):
        """The rows of the answer, each a list of text."""
        self.process.stdin.write(f"{statement};\n\\echo .\n")
        self.process.stdin.flush()
        rows = []
        for line in self.process.stdout:
            if line == ".\n":
                return rows
            rows.append(line.rstrip("\n").split("|"))
        raise SystemExit(f"failed: {statement}")


class Server:
    """A running `serve`; a with block ends it."""

    def __init__(self, binary, postgres, master_key, admin_token):
        variables = environment(
            COUNTERSIGN_LOG="warn,countersign::cli=info",
            COUNTERSIGN_DATABASE_URL=postgres.url(),
            COUNTERSIGN_MASTER_KEY_FILE=str(master_key),
            COUNTERSIGN_ADMIN_TOKEN_FILE=str(admin_token),
        )
        command = [binary, "serve", "--grpc-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0", "--log-format", "json"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=variables)
        for line in self.process.stderr:
            if '"serving"' in line:
                break
            print(line, end="")
        else:
            raise SystemExit("the server did not start")
        self.address = find(json.loads(line), "grpc")
        threading.Thread(target=self.show, daemon=True).start()
        while subprocess.run([binary, "healthcheck", "--grpc-addr", self.address], capture_output=True).returncode:
            if self.process.poll() is not None:
                raise SystemExit("the server did not become ready")

    def show(self):
        for line in self.process.stderr:
            if '"stopped"' not in line:
                print(line, end="", flush=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def cpu(self):
        return cpu_of(self.process.pid)

    def memory(self):
        """MiB that are resident."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


def find(record, name):
    """A field of a line of the log, wherever it stands."""
    if isinstance(record, dict):
        return record.get(name) or next(filter(None, (find(value, name) for value in record.values())), None)
    return None


class Place:
    def __init__(self, binary, directory, postgres, sessions):
        self.postgres, self.sessions, self.users = postgres, sessions, sessions // 100
        self.admin_token, self.master_key = os.urandom(32).hex(), self.run(binary, "keys", "generate-master")
        contents = {"master_key": self.master_key, "admin_token": self.admin_token}
        self.files = {name: directory / f"{name}-{sessions}" for name in contents}
        for name, content in contents.items():
            self.files[name].write_text(content)
        self.run(binary, "migrate")
        seed = ["--users", str(self.users), "--sessions", str(sessions), "--json"]
        self.seeded = json.loads(self.run(*generator(binary), "seed", *seed))
        self.password = self.seeded.pop("password")
        if sessions < PASSES * PASS:
            self.scatter()
        # As after hours of service: what fits into the memory of Postgres is there.
        postgres.ask("CREATE EXTENSION pg_prewarm")
        tables = "SELECT oid FROM pg_class WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace"
        postgres.ask(f"SELECT pg_prewarm(oid) FROM ({tables}) AS tables")
        postgres.ask("CHECKPOINT")

    def scatter(self):
        """The seed lays a user's sessions side by side within each pass of 250,000, so that those of a small table lie on 3
        pages, and of a large one on 40: gives them to users as ten million would have them."""
        rows = max(1, self.sessions // PASSES)
        self.postgres.ask(
            "WITH s AS (SELECT session_id, row_number() OVER (ORDER BY session_id) - 1 AS n FROM refresh_tokens), "
            "u AS (SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM users) "
            "UPDATE refresh_tokens t SET user_id = u.id FROM s, u WHERE t.session_id = s.session_id "
            f"AND u.n = s.n % {rows} * {self.users} / {rows}"
        )
        self.postgres.ask("CLUSTER refresh_tokens USING refresh_tokens_pkey")
        self.postgres.ask("VACUUM (ANALYZE) refresh_tokens")

    def run(self, *command):
        variables = environment(COUNTERSIGN_DATABASE_URL=self.postgres.url())
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=variables).stdout

    def serve(self, binary):
        self.server = Server(binary, self.postgres, **self.files)
        return self.server

    def draw(self, count):
        """Sessions from all over the table, in no order, none twice; users that stay, and users that are there to be ended."""
        self.key = self.refresh_key()
        share = min(100, 150 * count / self.sessions)
        sample = f"SELECT session_id FROM refresh_tokens s TABLESAMPLE BERNOULLI ({share}) JOIN users u ON u.id = s.user_id"
        stays = f"substr(username, 7)::int % {DOOMED} <> 0"
        rows = self.postgres.ask(f"{sample} WHERE {stays} ORDER BY random() LIMIT {count}")
        self.ids = [row[0] for row in rows]
        if len(self.ids) < count:
            raise SystemExit(f"{len(self.ids)} sessions where {count} are needed")
        users = "SELECT id, username FROM users WHERE"
        self.staying = self.postgres.ask(f"{users} {stays} ORDER BY random() LIMIT 20000")
        self.doomed = self.postgres.ask(f"{users} NOT {stays} ORDER BY random() LIMIT 2000")
        self.hash = self.postgres.ask("SELECT password_hash FROM users LIMIT 1")[0][0]

    def take(self, count):
        taken, self.ids = self.ids[:count], self.ids[count:]
        return taken

    def refresh_key(self):
        """Number and secret of the key of refresh tokens. It is sealed by AES-256-GCM (src/crypto/seal.rs): opened here as
        what that is without its tag, AES-256-CTR from the second block."""
        rows = "SELECT number, encode(sealed_key, 'hex') FROM keys WHERE purpose = 'refresh_token' AND stage = 'active'"
        number, sealed = self.postgres.ask(rows)[0]
        sealed = bytes.fromhex(sealed)
        nonce, text = sealed[1:13], sealed[13:-16]
        master = base64.b64decode(self.master_key.strip()).hex()
        command = ["openssl", "enc", "-d", "-aes-256-ctr", "-K", master, "-iv", nonce.hex() + "00000002"]
        return int(number), subprocess.run(command, input=text, check=True, stdout=subprocess.PIPE).stdout

    def refresh_token(self, session_id, generation):
        """As src/crypto/refresh_token.rs makes it."""
        number, secret = self.key
        body = b"\x01" + number.to_bytes(2, "big") + uuid.UUID(session_id).bytes + generation.to_bytes(4, "big")
        tag = hmac.new(secret, body, hashlib.sha256).digest()
        return "csr_" + base64.urlsafe_b64encode(body + tag).rstrip(b"=").decode()
