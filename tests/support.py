"""What the tests share: free ports, waiting for a condition, and processes that never outlive a test."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

_ports = itertools.count(os.getpid())


def free_port() -> int:
    """A TCP port on 127.0.0.1 that nothing listens on.

    No other worker of this run is given it, and the system does not take it for a connection: it uses higher
    ones for these.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])
    while True:
        port = 10_000 + worker % 4 * 5_000 + next(_ports) % 5_000
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def answers(port: int) -> bool:
    """Whether something accepts connections on the port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition: Callable[[], Any], what: str, timeout: float = 30) -> Any:
    """Call `condition` until it returns something true, and return that.

    An exception counts as "not yet"; after `timeout` seconds AssertionError says what was awaited and what
    came instead.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            value = condition()
            if value:
                return value
        except Exception as error:  # whatever is not there yet may raise anything
            value = error
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain for {what}; last: {value!r}")
        time.sleep(0.02)


class Process:
    """A child process in a process group of its own, its output kept line by line.

    As a context manager it leaves nothing running: the whole group is killed at the end.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path = ROOT):
        self.lines: list[str] = []
        self._popen = subprocess.Popen(
            list(command),
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._collector = threading.Thread(target=self._collect, daemon=True)
        self._collector.start()

    def _collect(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            self.lines.append(line.rstrip("\n"))

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def running(self) -> bool:
        return self._popen.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal to the process itself (not to its group)."""
        self._popen.send_signal(number)

    def wait(self, timeout: float = 30) -> int:
        """Its exit status, once it has ended and all its output is in `lines`."""
        try:
            status = self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout} s; its output:\n{self.output}") from None
        self._collector.join(5)
        return status

    def wait_for_line(self, text: str, timeout: float = 30) -> str:
        """The first line of output that contains `text`."""

        def found() -> str | None:
            return next((line for line in list(self.lines) if text in line), None)

        try:
            return wait_for(found, f"a line with {text!r}", timeout)
        except AssertionError:
            raise AssertionError(f"no line with {text!r} in the output:\n{self.output}") from None

    def kill(self) -> None:
        """Kill the whole group and reap the process."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._collector.join(5)


def python(*arguments: str) -> list[str]:
    """The command that runs this interpreter with the given arguments."""
    return [sys.executable, *arguments]


def emulator(port: int, *arguments: str, program: Sequence[str] = ("-m", "tdengine_emulator")) -> Process:
    """Start an emulator on the port; the caller ends it. Returns once it accepts connections."""
    process = Process(python(*program, "--port", str(port), *arguments), {"PYTHONPATH": str(ROOT)})
    try:
        wait_for(lambda: answers(port) or not process.running(), f"the emulator on port {port}")
        assert process.running(), process.output
    except AssertionError:
        process.kill()
        raise
    return process


def make_venv_of_links(folder: Path) -> None:
    """Give the folder a venv/ that is this interpreter's and counts as set up."""
    venv = folder / "venv"
    venv.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if not entry.name.endswith(".installed"):
            (venv / entry.name).symlink_to(entry)
    pins = (folder / "requirements.txt").read_text()
    (venv / "requirements.txt.installed").write_text(pins + pins)
