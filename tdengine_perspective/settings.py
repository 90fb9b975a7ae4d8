"""Owns the settings: what the environment says, as one frozen object.

A setting is declared once, here: its name (that of the field, in capitals), default, meaning and bounds.
What `--help` says and what the documentation's table has to say come from it.
"""

import os
import re
import textwrap
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from tdengine_perspective.certificates import CertificateFileError, authorities
from tdengine_perspective.dsn import DSNError, is_host, read_dsn

# TDengine's units of a span, in ms.
SPAN_UNITS = {"a": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
MOST_ROWS = 250_000  # of a table
LONGEST_SPAN = 36_500  # days: before 1677 there are no timestamps in ns
LONGEST_DATABASE, LONGEST_TABLE = 64, 192  # bytes of their names in TDengine
LONGEST_NAME = 100  # characters of a Perspective table's name


class SettingError(ValueError):
    """A setting that makes no sense: which, and what it has to be, in one line."""


class Default(str):
    """A text that nobody chose, for where a better one can be found than the same for everybody."""


def any_text(name: str, text: str) -> str:
    return text


def check_characters(name: str, text: str) -> None:
    """Raises SettingError for what is not UTF-8, and for control characters, such as the CR of a file."""
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise SettingError(f"{name}: must be text in UTF-8 without control characters")


def whole_number(lowest: int, highest: int) -> Callable[[str, str], int]:
    """Reads a whole number within bounds. Raises SettingError."""

    def read(name: str, text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not lowest <= int(text) <= highest:
            raise SettingError(f"{name}={text}: must be a whole number from {lowest} to {highest}")
        return int(text)

    return read


def time_span(name: str, text: str) -> str:
    """Reads a span as TDengine writes it, such as "12h". Raises SettingError."""
    found = re.fullmatch(r"([0-9]{1,15})([asmhdw])", text)
    if not found or not 1 <= int(found[1]) * SPAN_UNITS[found[2]] <= LONGEST_SPAN * SPAN_UNITS["d"]:
        raise SettingError(
            f"{name}={text}: must be a whole number and a unit, a (ms) s m h d or w, such as 12h, "
            f"at most {LONGEST_SPAN}d"
        )
    return text


def host_name(name: str, text: str) -> str:
    """Reads a host's name or address. Raises SettingError; its text does not repeat a password."""
    bare = text[1:-1] if re.fullmatch(r"\[.*:.*\]", text) else text  # IPv6, as in an address of the web
    if is_host(bare):
        return bare
    found = re.fullmatch(r"(?:\w+://)?(?:[^/]*@)?(\[[^\]/]+\]|[^\[\]/:@\s]+)(?::(\d+))?(?:[/?].*)?", text)
    such = f"{name}={found[1].strip('[]')}" if found else f"{name}=localhost"
    if found and found[2]:
        such += f" {name.replace('_HOST', '_PORT')}={found[2]}"
    raise SettingError(f"{name}: must be a host's name or address and nothing else, such as {such}")


def data_source_name(name: str, text: str) -> str:
    """Checks an address of TDengine. Raises SettingError; its text repeats nothing of it."""
    try:
        read_dsn(text)
    except DSNError as error:
        raise SettingError(f"{name} {error}") from None
    return text


def certificate_file(name: str, text: str) -> str:
    """Checks a file of authorities' certificates. Raises SettingError."""
    try:
        authorities(text)
    except CertificateFileError as error:
        raise SettingError(str(error)) from None
    return text


def yes_or_no(name: str, text: str) -> str:
    """Reads yes or no. Raises SettingError."""
    if text not in ("yes", "no"):
        raise SettingError(f"{name}={text}: must be yes or no")
    return text


def tdengine_name(longest: int) -> Callable[[str, str], str]:
    """Reads a name of TDengine's, of so many bytes. Raises SettingError."""

    def read(name: str, text: str) -> str:
        if len(text.encode()) <= longest and not re.search(r"[.`]", text):
            return text
        parts = text[: 2 * longest].replace("`", "").split(".")
        such = f"; write {name}={parts[0]}" if "`" in text and len(parts) == 1 and parts[0] else ""
        if len(parts) == 2 and all(parts):
            such = f"; write TAOS_DATABASE={parts[0]} TAOS_TABLENAME={parts[1]}"
        raise SettingError(
            f"{name}={text[:longest]}: must be a name of at most {longest} bytes without dots and "
            f"backquotes{such}"
        )

    return read


def perspective_name(name: str, text: str) -> str:
    """Reads a name that Perspective's engine, its viewers and the page bear. Raises SettingError."""
    if len(text) > LONGEST_NAME or "psp_" in text or text != text.strip():
        raise SettingError(
            f"{name}={text[:LONGEST_NAME]}: must be a name of at most {LONGEST_NAME} characters, without "
            "psp_, which Perspective keeps for itself, and without spaces around it"
        )
    return text


def setting(
    default: Any, meaning: str, read: Callable[[str, str], Any] = any_text, is_secret: bool = False
) -> Any:
    """A field of Settings. `read` makes the value of the variable's name and text, or raises SettingError."""
    return field(default=default, repr=not is_secret, metadata={"meaning": meaning, "read": read})


@dataclass(frozen=True)
class Settings:
    """What the producer and the server are to do; each field is an environment variable's in capitals.

    Two of them may be in one process: nothing else reads the environment.
    """

    taos_host: str = setting("localhost", "where taosAdapter answers", host_name)
    taos_port: int = setting(6041, "its port", whole_number(1, 65535))
    taos_user: str = setting("root", "TDengine's user")
    taos_password: str = setting("taosdata", "that user's password", is_secret=True)
    taos_tls: str = setting("no", "yes where taosAdapter speaks TLS there", yes_or_no)
    taos_ca: str = setting(
        "",
        "a PEM file of the authority that signed its certificate; else one that the system trusts",
        certificate_file,
    )
    taos_dsn: str = setting(
        "",
        "the place and login in one, instead of the above, such as taosws+wss://gw.example.org:443?token=…",
        data_source_name,
        is_secret=True,
    )
    taos_database: str = setting("power", "the database", tdengine_name(LONGEST_DATABASE))
    taos_tablename: str = setting("meters", "the table in it", tdengine_name(LONGEST_TABLE))
    perspective_host: str = setting("127.0.0.1", "where to listen", host_name)
    perspective_port: int = setting(8080, "the port to listen on", whole_number(1, 65535))
    perspective_table_name: str = setting(
        Default("meters_values"), "the Perspective table's name", perspective_name
    )
    perspective_refresh_rate: int = setting(300, "ms from poll to poll", whole_number(10, 3_600_000))
    perspective_limit: int = setting(1000, "rows in the table, at most", whole_number(1, MOST_ROWS))
    perspective_window: str = setting(
        "12h", "how old its rows may be; units: a for ms, s, m, h, d, w", time_span
    )
    perspective_subscribe: str = setting(
        "no", "yes: have TDengine push new rows, for which it gets a topic", yes_or_no
    )
    perspective_tables: str = setting(
        "", "a TOML file that names the tables to keep, instead of the one above"
    )
    perspective_layout: str = setting("", "a JSON file with the page's first arrangement")
    perspective_allowed_origins: str = setting(
        "", "other pages that may show it, such as https://meters.example.org; commas between several"
    )
    perspective_token: str = setting(
        "", "what viewers must know: ?token= in the page's address", is_secret=True
    )

    @property
    def has_tls(self) -> bool:
        """Whether TDengine is spoken to by TLS."""
        return read_dsn(self.taos_dsn).has_tls if self.taos_dsn else self.taos_tls == "yes"

    perspective_history_workers: int = setting(
        2, "processes that ask TDengine for those who look back; 0: nobody can", whole_number(0, 16)
    )
    perspective_query_timeout: int = setting(
        10, "seconds that a question of a look back may take", whole_number(1, 3600)
    )

    @property
    def table(self) -> str:
        """The table's full name in TDengine."""
        return f"{self.taos_database}.{self.taos_tablename}"

    @property
    def history_name(self) -> str:
        """The name under which viewers find all of the table, to look back."""
        return f"{self.perspective_table_name.removesuffix('_values')}_history"

    @property
    def title(self) -> str:
        """What the page calls the table: by the name that it was given, or by TDengine's."""
        if not isinstance(self.perspective_table_name, Default):
            return self.perspective_table_name
        return "Meters" if self.table == Settings().table else self.table

    def spell(self, name: str, value: object = None) -> str:
        """How a setting of the table is written where it is set: `name` is limit, window, refresh_rate."""
        variable = f"PERSPECTIVE_{name.upper()}"
        return variable if value is None else f"{variable}={value}"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The settings that the variables name; an empty one counts as not set. Raises SettingError."""
        found = {}
        for each in fields(cls):
            name = each.name.upper()
            text = environment.get(name)
            if text:
                check_characters(name, text)
                found[each.name] = each.metadata["read"](name, text)
        settings = cls(**found)
        settings.check()
        return settings

    def check(self) -> None:
        """Raises SettingError for what does not go together."""
        if self.taos_ca and not self.has_tls:
            raise SettingError("TAOS_CA: set TAOS_TLS=yes, too, or a TAOS_DSN with wss")


def describe_settings(prefix: str = "") -> str:
    """The settings whose variables begin so, for --help: each one's name, meaning and default."""
    chosen = [each for each in fields(Settings) if each.name.upper().startswith(prefix)]
    width = max(len(each.name) for each in chosen) + 4
    lines = []
    for each in chosen:
        default = f" ({each.default})" if each.default != "" else ""
        lines += textwrap.wrap(
            each.metadata["meaning"] + default,
            width=100,
            initial_indent=f"  {each.name.upper()}".ljust(width),
            subsequent_indent=" " * width,
        )
    return "\n".join(lines)
