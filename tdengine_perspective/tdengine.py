"""Owns the way to TDengine: where it is, a connection that works, names in SQL, errors in one line.

To be used in the processes that talk to TDengine, each of which is a child that may be killed (see
`children`).
"""

import re
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from tdengine_perspective.certificates import (
    CertificateFileError,
    authorities,
    describe_mistrust,
    tls_context,
)
from tdengine_perspective.dsn import in_url, read_dsn
from tdengine_perspective.rest import TIMEOUT, NotAdmitted, NotTDengine, RestError, WantsTLS, ask
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
SHORTEST_SECRET = 4  # characters; whoever hides shorter ones in a message leaves nothing of it

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
    """Where TDengine is, how to get in, and which table is meant."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    table: str  # "": none, but what a query names
    token: str = field(default="", repr=False)  # in the place of user and password
    has_tls: bool = False
    ca: str = ""  # the file of the authorities to trust; "": those that this system trusts
    login_settings: str = "TAOS_USER and TAOS_PASSWORD"  # where its user looks when the login is wrong

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The one that the settings name."""
        dsn = read_dsn(settings.taos_dsn) if settings.taos_dsn else None
        return cls(
            host=dsn.host if dsn else settings.taos_host,
            port=dsn.port if dsn else settings.taos_port,
            user=(dsn and dsn.user) or settings.taos_user,
            password=(dsn and dsn.password) or settings.taos_password,
            database=settings.taos_database,
            table=settings.taos_tablename,
            token=dsn.token if dsn else "",
            has_tls=settings.has_tls,
            ca=settings.taos_ca,
            login_settings="the login in TAOS_DSN" if dsn and dsn.user else cls.login_settings,
        )

    @property
    def url(self) -> str:
        """host:port, without the password."""
        return f"{in_url(self.host)}:{self.port}"

    def without_secrets(self, text: str) -> str:
        """The text with … for the password and the token, as they are and as they stand in addresses."""
        for secret in (self.token, self.password):
            if len(secret) >= SHORTEST_SECRET:
                text = text.replace(secret, "…").replace(quote(secret, safe=""), "…")
        return text

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
        reason = tdengine.without_secrets(" ".join(str(error).split()))
        raise Unreadable(
            f"TDengine at {tdengine.url} sends what can't be read: {type(error).__name__}: {reason}"
        ) from None


def connect(
    tdengine: TDengine, options: Mapping[str, str] = DRIVER_OPTIONS
) -> tuple["taosws.Connection", str]:
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
    with errors_explained(tdengine):
        return taosws.connect(driver_address(tdengine), **driver_options(tdengine, options)), version


def driver_address(tdengine: TDengine) -> str:
    """TDengine's address as the driver takes it; with taosws+wss:// it would send a token without TLS."""
    user, password = quote(tdengine.user, safe=""), quote(tdengine.password, safe="")
    return f"{scheme(tdengine)}://{user}:{password}@{tdengine.url}"


def scheme(tdengine: TDengine) -> str:
    return "wss" if tdengine.has_tls else "ws"


def driver_options(tdengine: TDengine, basic: Mapping[str, str]) -> dict[str, str]:
    """What the driver is told besides. Raises Refused where TAOS_CA can't be read any more."""
    options = dict(basic)
    if tdengine.token:
        options["token"] = quote(tdengine.token, safe="")  # it goes into an address as it is
    if tdengine.has_tls:
        # Without these it takes any certificate; and without the next, TLS 1.3 alone.
        options |= {"tls_mode": "verify_identity", "tls_ca": read_certificates(authorities, tdengine)}
        options["tls_version"] = "tlsv1.2,tlsv1.3"
    return options


def consumer_options(tdengine: TDengine) -> dict[str, str]:
    """What the driver's Consumer is told, to get to the same place by the same way. Raises Refused."""
    host, _, port = tdengine.url.rpartition(":")
    options = {"websocket.scheme": scheme(tdengine), "ip": host, "port": port}
    options |= {"user": tdengine.user, "pass": tdengine.password}
    return {f"td.connect.{name}": text for name, text in options.items()} | driver_options(tdengine, {})


def read_certificates(read: Callable[[str], Any], tdengine: TDengine) -> Any:
    """What `read` makes of the file of authorities. Raises Refused."""
    try:
        return read(tdengine.ca)
    except CertificateFileError as error:
        raise Refused(str(error)) from None


def server_version(tdengine: TDengine) -> str:
    """The version that TDengine's REST interface gives, such as "3.3.7.5". Raises OutOfReach or Refused."""
    rows = ask_over_rest(tdengine, "SELECT SERVER_VERSION()")
    version = rows[0][0] if rows and rows[0] else None
    if not isinstance(version, str) or not re.match(r"\d+\.\d+\.\d+\.\d+", version):
        raise OutOfReach(f"what answers at {tdengine.url} is not TDengine's adapter")
    return version


def ask_over_rest(tdengine: TDengine, sql: str) -> list[list]:
    """The rows of TDengine's answer, within `rest.TIMEOUT`. Raises OutOfReach or Refused."""
    context = read_certificates(tls_context, tdengine) if tdengine.has_tls else None
    login = (tdengine.user, tdengine.password)
    try:
        return ask(tdengine.host, tdengine.port, *login, sql, tdengine.token, context)
    except RestError as error:
        raise explain(tdengine, error) from None
    except NotAdmitted:
        raise not_admitted(tdengine) from None
    except WantsTLS:
        raise OutOfReach(
            f"what answers at {tdengine.url} ends the connection: set TAOS_TLS=yes, if it speaks TLS"
        ) from None
    except ssl.SSLCertVerificationError as error:
        mistrust = describe_mistrust(error, tdengine.ca)
        raise Refused(f"the certificate of what answers at {tdengine.url} {mistrust}") from None
    except ssl.SSLError as error:
        raise OutOfReach(
            f"what answers at {tdengine.url} speaks no TLS as is needed here: {error.reason or error}"
        ) from None
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


def not_admitted(tdengine: TDengine) -> Refused:
    """The login is wrong."""
    if tdengine.token:
        return Refused(f"TDengine at {tdengine.url} does not take the token: check the one in TAOS_DSN")
    return Refused(
        f"TDengine at {tdengine.url} refuses user {tdengine.user}: check {tdengine.login_settings}"
    )


def explain(tdengine: TDengine, error: Exception) -> TDengineError:
    """The same error as one line for a person, by TDengine's error code (the `[0x…]` that it begins with)."""
    text = " ".join(str(error).split())
    found = re.match(r"\[(0x[0-9A-Fa-f]{4})\]:? ?(?:Internal error: )?`?(.*?)`?$", text)
    code, message = (found[1], found[2]) if found else ("", text)
    code, message = "0x" + code[2:].upper(), tdengine.without_secrets(message)
    if code in ("0x0357", "0x0351"):
        return not_admitted(tdengine)
    if code == NO_DATABASE and tdengine.table:
        return Absent(f"TDengine at {tdengine.url} has no database {tdengine.database} yet")
    if code == NO_TABLE and tdengine.table:
        return Absent(f"TDengine at {tdengine.url} has no table {tdengine.database}.{tdengine.table} yet")
    if code in NO_COLUMN and tdengine.table:
        return OtherColumns(f"{tdengine.database}.{tdengine.table} has other columns now: {message}")
    if code.startswith("0xE0"):
        return OutOfReach(f"TDengine at {tdengine.url} is gone or too slow: {message} [{code}]")
    return Refused(f"TDengine at {tdengine.url} says: {message} [{code}]")
