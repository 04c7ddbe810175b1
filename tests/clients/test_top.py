"""`countersign top` on a terminal: it takes it, draws, follows its size, and puts it back however it ends."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from actors import User
from processes import environment

# Where something is written, what else a terminal is told, and what is written.
WRITTEN = re.compile(r"\x1b\[(\d+);(\d+)H|\x1b\[[?\d;]*[A-Za-z]|\x1b.|([^\x1b])")
ALTERNATE, BACK, SHOWN = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"


class Screen:
    """A pseudo-terminal with `top` on it."""

    def __init__(self, job, *arguments, **settings):
        self.own, self.tty = pty.openpty()
        self.resize(24, 80)
        self.before = termios.tcgetattr(self.tty)
        command = [job.binary, "top", "--interval", "500ms", *arguments]
        on_tty = {"stdin": self.tty, "stdout": self.tty, "stderr": self.tty, "start_new_session": True}
        self.process = subprocess.Popen(command, env=environment(TERM="xterm-256color", **settings), **on_tty)
        self.read = b""

    def resize(self, rows, columns):
        fcntl.ioctl(self.tty, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, what, condition):
        """Reads until what has come is so."""
        deadline = time.monotonic() + 60
        while not condition(self.read):
            assert time.monotonic() < deadline, f"{what}: {self.read[-2000:]!r}"
            if select.select([self.own], [], [], 0.5)[0]:
                self.read += os.read(self.own, 65536)
        return self.read

    def shows(self, text):
        """Whether the picture has this: only what has changed is written again."""
        lines, row, column = {}, 1, 1
        for move in WRITTEN.finditer(self.read.decode(errors="replace")):
            if move[1]:
                row, column = int(move[1]), int(move[2])
            elif move[3]:
                lines.setdefault(row, {})[column] = move[3]
                column += 1
        drawn = ("".join(line.get(at, " ") for at in range(1, max(line) + 1)) for line in lines.values())
        return any(text in line for line in drawn)

    def types(self, keys):
        os.write(self.own, keys)

    def ends(self):
        """Waits for the end; the terminal has to be as it was."""
        self.until("the terminal is put back", lambda read: BACK in read and SHOWN in read[read.rindex(BACK) - 64 :])
        code = self.process.wait(timeout=60)
        assert termios.tcgetattr(self.tty) == self.before
        return code

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.own)
        os.close(self.tty)


@pytest.fixture
def screen(job):
    open_ones = []

    def on(*arguments, **settings):
        open_ones.append(Screen(job, *arguments, **settings))
        return open_ones[-1]

    yield on
    for one in open_ones:
        one.close()


def test_it_draws_follows_the_size_and_ends_with_q(screen, dev, client):
    User(client, "top", roles=["reader"]).login()
    top = screen(f"http://{dev.facts['http_addr']}", COUNTERSIGN_DATABASE_URL=dev.facts["database_url"])
    top.until("it is drawn", lambda read: ALTERNATE in read and top.shows("Calls") and top.shows("q quit"))
    assert termios.tcgetattr(top.tty) != top.before, "keys come one by one"
    drawn = len(top.read)
    # Replicas of other tests are on the list, and take lines.
    top.resize(100, 160)
    os.kill(top.process.pid, signal.SIGWINCH)
    # All rooms of numbers stand in one band now, far to the right.
    far = re.compile(rb"\x1b\[\d+;(?:1[0-5]\d|9\d)H")
    top.until("it uses the width", lambda read: far.search(read[drawn:]) and top.shows("Passwords"))
    top.until("the database is read", lambda read: top.shows("login succeeded"))
    top.types(b" ")
    top.until("it says that it waits", lambda read: top.shows("PAUSED"))
    top.types(b"q")
    assert top.ends() == 0


def test_signals_and_ctrl_c_put_the_terminal_back(screen, dev):
    for end in (signal.SIGTERM, signal.SIGHUP, b"\x03", b"\x1b"):
        top = screen(f"http://{dev.facts['http_addr']}")
        top.until("it is drawn", lambda read: top.shows("q quit"))
        if isinstance(end, bytes):
            top.types(end)
        else:
            os.kill(top.process.pid, end)
        assert top.ends() == 0, end


def test_colours_are_left_away_where_nobody_wants_them(screen, dev):
    colour = re.compile(rb"\x1b\[(?:3[0-79]|9[0-7]|38;5;[1-9]\d*)(?:;|m)")
    plain = screen(f"http://{dev.facts['http_addr']}", "http://127.0.0.1:1", NO_COLOR="1")
    plain.until("it is drawn", lambda read: plain.shows("refused the connection"))
    plain.types(b"q")
    assert plain.ends() == 0
    assert not [it for it in colour.findall(plain.read) if it != b"\x1b[39m"], plain.read
