"""Owns the way to TDengine: where it is, a connection that works, names in SQL, errors in one line.

To be used in the processes that talk to TDengine, each of which is a child that may be killed (see
`children`).
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from tdengine_perspective.rest import TIMEOUT, NotTDengine, RestError, ask
from tdengine_perspective.settings import Settings

if TYPE_CHECKING:
    import taosws  # only imported where it is used: the web server's process does without it

MINIMUM_VERSION = (3, 3, 5, 8)  # the first with the prepared statements (stmt2) that the producer uses
READ_TIMEOUT = 3  # seconds that a query or a batch may take
# Every other `taosws.connect` fails within the driver before it opens a socket, and pauses, by default for
# 7 seconds in all, until it tries what works: so make the pauses short.
DRIVER_OPTIONS = {
    "read_timeout": str(READ_TIMEOUT),
    "conn_retries": "1",
    "retry_backoff_ms": "1",
    "retry_backoff_max_ms": "1",
}

MAX_BYTES = 65517  # that a VARBINARY can have, and a VARCHAR

NO_DATABASE, NO_TABLE = "0x0388", "0x2603"
HAS_TOPIC = "0x03ED"  # what can't be dropped before
# A name in a statement of one's own is no column, or a column has a type that its CAST does not take.
NO_COLUMN = ("0x2602", "0x2802")


class TDengineError(Exception):
    """What is wrong with TDengine, and what to do, in one line."""


class OutOfReach(TDengineError):
    """Nothing answers, or not in time, or not as TDengine does. It may come back by itself."""


class Unreadable(OutOfReach):
    """The driver can't read an answer: it is damaged, or text in it is not UTF-8."""


class Refused(TDengineError):
    """TDengine answers but can't be used as it is: wrong password, too old, another table of that name."""


class Absent(Refused):
    """There is no such database, or no such table in it."""


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
    table: str  # "": none, but what a query names

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The one that the settings name."""
        return cls(
            settings.taos_host,
            settings.taos_port,
            settings.taos_user,
            settings.taos_password,
            settings.taos_database,
            settings.taos_tablename,
        )

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
        raise Unreadable(
            f"TDengine at {tdengine.url} sends what can't be read: {type(error).__name__}: {reason}"
        ) from None


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
    rows = ask_over_rest(tdengine, "SELECT SERVER_VERSION()")
    version = rows[0][0] if rows and rows[0] else None
    if not isinstance(version, str) or not re.match(r"\d+\.\d+\.\d+\.\d+", version):
        raise OutOfReach(f"what answers at {tdengine.url} is not TDengine's adapter")
    return version


def ask_over_rest(tdengine: TDengine, sql: str) -> list[list]:
    """The rows of TDengine's answer, within `rest.TIMEOUT`. Raises OutOfReach or Refused."""
    try:
        return ask(tdengine.host, tdengine.port, tdengine.user, tdengine.password, sql)
    except RestError as error:
        raise explain(tdengine, error) from None
    except NotTDengine:
        raise OutOfReach(f"what answers at {tdengine.url} is not TDengine's adapter") from None
    except TimeoutError:
        raise OutOfReach(f"TDengine at {tdengine.url} does not answer within {TIMEOUT} s") from None
    except (OSError, UnicodeError):
        raise OutOfReach(f"nothing answers at {tdengine.url}: is TDengine (with taosAdapter) up?") from None


def describe(connection: "taosws.Connection", tdengine: TDengine) -> list[Sequence]:
    """DESCRIBE's rows: name, type, length, note and more of each column and tag.

    A name that is not UTF-8 has replacement characters in it. Raises taosws.Error or TDengineError.
    """
    sql = f"DESCRIBE {tdengine.table_sql}"
    try:
        with errors_explained(tdengine):
            return list(connection.query(sql))
    except Unreadable:  # the driver's panic over such a name, which leaves the connection as it was
        return ask_over_rest(tdengine, sql)


def bytes_of(text: str) -> str:
    """A text in SQL as its bytes, all of them: the driver panics over what is not UTF-8."""
    return f"CAST({text} AS VARBINARY({MAX_BYTES}))"


def readable(text: bytes | None) -> str | None:
    """Bytes of a text, with replacement characters for what is not UTF-8."""
    return text if text is None else text.decode(errors="replace")


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
    if code == NO_DATABASE and tdengine.table:
        return Absent(f"TDengine at {tdengine.url} has no database {tdengine.database} yet")
    if code == NO_TABLE and tdengine.table:
        return Absent(f"TDengine at {tdengine.url} has no table {tdengine.database}.{tdengine.table} yet")
    if code in NO_COLUMN and tdengine.table:
        return OtherColumns(f"{tdengine.database}.{tdengine.table} has other columns now: {message}")
    if code.startswith("0xE0"):
        return OutOfReach(f"TDengine at {tdengine.url} is gone or too slow: {message} [{code}]")
    return Refused(f"TDengine at {tdengine.url} says: {message} [{code}]")
