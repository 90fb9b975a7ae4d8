"""How the scripts reach TDengine: settings, a connection that is known to work, errors in one line.

Used by the processes that talk to TDengine, each of which is a child that may be killed: `taosws` holds the
interpreter lock through every network call and `taosws.connect` never gives up, so no thread, timer or signal
handler of the same process can end a hung call. `watchdog` can, by ending the process.
"""

import os
import re
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    import taosws  # only imported where it is used: the web server's process does without it

MINIMUM_VERSION = (3, 3, 5, 8)  # the first with the prepared statements (stmt2) that the producer uses
PREFLIGHT_TIMEOUT = 3  # seconds
READ_TIMEOUT = 3  # seconds that a query or a batch may take
# Every other `taosws.connect` fails within the driver before it opens a socket, and pauses, by default for
# 7 seconds in all, until it tries what works: so make the pauses short.
DRIVER_OPTIONS = {
    "read_timeout": str(READ_TIMEOUT),
    "conn_retries": "1",
    "retry_backoff_ms": "1",
    "retry_backoff_max_ms": "1",
}
CHILD_SILENCE = 12  # seconds without a word, more than HANG_TIMEOUT, after which a child is given up
HANG_TIMEOUT = 10  # seconds after which a call that ignores READ_TIMEOUT ends its process

NO_DATABASE, NO_TABLE, NO_COLUMN = "0x0388", "0x2603", "0x2602"

# TDengine's units of a span, in ms.
SPAN_UNITS = {"a": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
LONGEST_SPAN = 36_500  # days: before 1677 there are no timestamps in ns


class TDengineError(Exception):
    """What is wrong with TDengine, and what to do, in one line."""


class OutOfReach(TDengineError):
    """Nothing answers, or not in time, or not as TDengine does. It may come back by itself."""


class Refused(TDengineError):
    """TDengine answers but can't be used as it is: wrong password, too old, another table of that name."""


class OtherColumns(Refused):
    """The table has other columns than it had before."""


@dataclass(frozen=True)
class TDengine:
    """Where TDengine is, and which table is meant."""

    host: str
    port: int
    user: str
    password: str
    database: str
    table: str

    @property
    def url(self) -> str:
        """host:port, without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def table_sql(self) -> str:
        """The table's full name, quoted for SQL."""
        return f"{quote_name(self.database)}.{quote_name(self.table)}"


def quote_name(name: str) -> str:
    """An identifier in backquotes: `order`, `precision` and many more names are reserved in TDengine."""
    return "`" + name.replace("`", "``") + "`"


def quote_text(text: str) -> str:
    """Text as a value in SQL."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def whole_number(name: str, default: int, lowest: int, highest: int) -> int:
    """The environment variable `name` as a whole number; ends the program with one line if it is none."""
    text = os.environ.get(name) or str(default)
    if not re.fullmatch(r"[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
        raise SystemExit(f"{name}={text}: must be a whole number from {lowest} to {highest}")
    return int(text)


def time_span(name: str, default: str) -> str:
    """The environment variable `name`, a span such as "12h"; ends the program with one line if it is none."""
    text = os.environ.get(name) or default
    found = re.fullmatch(r"([0-9]{1,15})([asmhdw])", text)
    if not found or not 1 <= int(found[1]) * SPAN_UNITS[found[2]] <= LONGEST_SPAN * SPAN_UNITS["d"]:
        raise SystemExit(
            f"{name}={text}: must be a whole number and a unit, a (ms) s m h d or w, such as {default}, "
            f"at most {LONGEST_SPAN}d"
        )
    return text


def start_child(target: Callable[..., None], *arguments: Any) -> tuple[BaseProcess, Connection]:
    """Run `target(pipe, *arguments)` in a process of its own; returns it and this side's end of the pipe.

    When this process ends, however it ends, the child finds its pipe closed.
    """
    spawn = get_context("spawn")  # a forked child hangs once taosws has been used
    pipe, end = spawn.Pipe()
    process = spawn.Process(target=target, args=(end, *arguments), daemon=True)
    # Ctrl-C reaches every process of the terminal's foreground. This one decides what it means, so the child
    # starts with it blocked. Starting the tracker first, as it would unblock the signal in between.
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    end.close()
    return process, pipe


def limit_waits(pipe: Connection, seconds: int) -> None:
    """Let the pipe raise OSError where it waits so long: a child may stop halfway through a message."""
    with socket.socket(fileno=os.dup(pipe.fileno())) as end:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            end.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", seconds, 0))


def silence_driver() -> None:
    """Send standard error nowhere: `taosws` prints a backtrace for what it then raises anyway."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


@contextmanager
def errors_explained(tdengine: TDengine) -> Iterator[None]:
    """Turn whatever the driver raises in the block into a TDengineError."""
    import taosws

    try:
        yield
    except (TDengineError, OSError):
        raise
    except taosws.Error as error:
        raise explain(tdengine, error) from None
    except BaseException as error:  # `taosws` panics over text that is not UTF-8, and a panic is no Exception
        reason = " ".join(str(error).split())
        raise OutOfReach(
            f"TDengine at {tdengine.url} sends what can't be read: {type(error).__name__}: {reason}"
        ) from None


@contextmanager
def watchdog(seconds: float = HANG_TIMEOUT) -> Iterator[None]:
    """End this process if the block takes longer; the parent starts it anew.

    It's the system that does it, by SIGALRM, which nobody here handles: no Python would run in a hung call.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def connect(tdengine: TDengine) -> tuple["taosws.Connection", str]:
    """A connection and the server's version.

    Asks for the version over REST first, since that has a timeout and `taosws.connect` has none: to be called
    under a `watchdog`.
    Raises OutOfReach, or Refused for a wrong password or a version under MINIMUM_VERSION.
    """
    import taosws

    version = server_version(tdengine)
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:4])
    if numbers < MINIMUM_VERSION:
        needed = ".".join(map(str, MINIMUM_VERSION))
        raise Refused(f"TDengine at {tdengine.url} is version {version}; this needs {needed} or newer")
    user, password = quote(tdengine.user, safe=""), quote(tdengine.password, safe="")
    with errors_explained(tdengine):
        return taosws.connect(f"taosws://{user}:{password}@{tdengine.url}", **DRIVER_OPTIONS), version


def server_version(tdengine: TDengine) -> str:
    """The version that TDengine's REST interface gives, such as "3.3.7.5". Raises OutOfReach or Refused."""
    import requests
    import taosrest

    try:
        rest = taosrest.connect(
            url=f"http://{tdengine.url}",
            user=tdengine.user,
            password=tdengine.password,
            timeout=PREFLIGHT_TIMEOUT,
        )
        version = rest.server_info
    except requests.Timeout:
        raise OutOfReach(f"TDengine at {tdengine.url} does not answer within {PREFLIGHT_TIMEOUT} s") from None
    except requests.ConnectionError:
        raise OutOfReach(f"nothing answers at {tdengine.url}: is TDengine (with taosAdapter) up?") from None
    except taosrest.Error as error:
        raise explain(tdengine, error) from None
    except Exception:  # anything can come from a port that some other program answers
        version = None
    if not isinstance(version, str) or not re.match(r"\d+\.\d+\.\d+\.\d+", version):
        raise OutOfReach(f"what answers at {tdengine.url} is not TDengine's adapter")
    return version


def explain(tdengine: TDengine, error: Exception) -> TDengineError:
    """The same error as one line for a person, by TDengine's error code (the `[0x…]` that it begins with)."""
    text = " ".join(str(error).split())
    found = re.match(r"\[(0x[0-9A-Fa-f]{4})\]:? ?(?:Internal error: )?`?(.*?)`?$", text)
    code, message = (found[1], found[2]) if found else ("", text)
    code = "0x" + code[2:].upper()
    if code in ("0x0357", "0x0351"):
        return Refused(
            f"TDengine at {tdengine.url} refuses user {tdengine.user}: check TAOS_USER and TAOS_PASSWORD"
        )
    if code == NO_DATABASE:
        return Refused(f"TDengine at {tdengine.url} has no database {tdengine.database} yet")
    if code == NO_TABLE:
        return Refused(f"TDengine at {tdengine.url} has no table {tdengine.database}.{tdengine.table} yet")
    if code == NO_COLUMN:
        return OtherColumns(f"{tdengine.database}.{tdengine.table} has other columns now: {message}")
    if code.startswith("0xE0"):
        return OutOfReach(f"TDengine at {tdengine.url} is gone or too slow: {message} [{code}]")
    return Refused(f"TDengine at {tdengine.url} says: {message} [{code}]")
