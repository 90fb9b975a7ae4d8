"""Owns the settings: what the environment says, as one frozen object.

A setting is declared once, here: its name (that of the field, in capitals), default, meaning and bounds.
What `--help` says and what the documentation's table has to say come from it.
"""

import os
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

# TDengine's units of a span, in ms.
SPAN_UNITS = {"a": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
MOST_ROWS = 250_000  # of a table
LONGEST_SPAN = 36_500  # days: before 1677 there are no timestamps in ns


class SettingError(ValueError):
    """A setting that makes no sense: which, and what it has to be, in one line."""


class Default(str):
    """A text that nobody chose, for where a better one can be found than the same for everybody."""


def any_text(name: str, text: str) -> str:
    return text


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


def setting(default: Any, meaning: str, read: Callable[[str, str], Any] = any_text) -> Any:
    """A field of Settings. `read` makes the value of the variable's name and text, or raises SettingError."""
    return field(default=default, metadata={"meaning": meaning, "read": read})


@dataclass(frozen=True)
class Settings:
    """What the producer and the server are to do; each field is an environment variable's in capitals.

    Two of them may be in one process: nothing else reads the environment.
    """

    taos_host: str = setting("localhost", "where taosAdapter answers")
    taos_port: int = setting(6041, "its port", whole_number(1, 65535))
    taos_user: str = setting("root", "TDengine's user")
    taos_password: str = setting("taosdata", "that user's password")
    taos_database: str = setting("power", "the database")
    taos_tablename: str = setting("meters", "the table in it")
    perspective_host: str = setting("127.0.0.1", "where to listen")
    perspective_port: int = setting(8080, "the port to listen on", whole_number(1, 65535))
    perspective_table_name: str = setting(Default("meters_values"), "the Perspective table's name")
    perspective_refresh_rate: int = setting(300, "ms from poll to poll", whole_number(10, 3_600_000))
    perspective_limit: int = setting(1000, "rows in the table, at most", whole_number(1, MOST_ROWS))
    perspective_window: str = setting(
        "12h", "how old its rows may be; units: a for ms, s, m, h, d, w", time_span
    )
    perspective_layout: str = setting("", "a JSON file with the page's first arrangement")
    perspective_allowed_origins: str = setting(
        "", "other pages that may show it, such as https://meters.example.org; commas between several"
    )
    perspective_token: str = setting("", "what viewers must know: ?token= in the page's address")

    @property
    def table(self) -> str:
        """The table's full name in TDengine."""
        return f"{self.taos_database}.{self.taos_tablename}"

    @property
    def title(self) -> str:
        """What the page calls the table: by the name that it was given, or by TDengine's."""
        if not isinstance(self.perspective_table_name, Default):
            return self.perspective_table_name
        return "Meters" if self.table == Settings().table else self.table

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The settings that the variables name; an empty one counts as not set. Raises SettingError."""
        found = {}
        for each in fields(cls):
            name = each.name.upper()
            if environment.get(name):
                found[each.name] = each.metadata["read"](name, environment[name])
        return cls(**found)


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
