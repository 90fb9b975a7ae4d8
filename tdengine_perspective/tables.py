"""Owns the tables file: which Perspective tables a server keeps, each one's settings being those of its own.

TOML, a section a table, named as the Perspective table:

    [meters_latest]
    table = "power.meters"     # or query = "SELECT …"
    rows = "latest"            # the latest row of each subtable; or "newest", the newest rows of all

and besides `limit`, `window`, `refresh_rate`, `history` and, for a query, `key`, as docs/several-tables.md
describes them.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from tdengine_perspective.settings import (
    MOST_ROWS,
    SettingError,
    Settings,
    check_characters,
    perspective_name,
    time_span,
)

MOST_TABLES = 16
LONGEST_QUERY = 16_384  # characters
NEWEST, LATEST, QUERY = "newest", "latest", "query"
# What comes before a query's first word: blanks, comments, opening brackets.
BEFORE = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*", re.DOTALL)

READ = {each.name: each.metadata["read"] for each in fields(Settings)}  # as the environment's are read


@dataclass(frozen=True)
class TableSettings(Settings):
    """The settings of one table; its own stand in the place of the environment's."""

    section: str = field(default="", kw_only=True)  # of the file; "": there is no file
    rows: str = field(default=NEWEST, kw_only=True)  # NEWEST, LATEST or QUERY
    query: str = field(default="", kw_only=True)  # a SELECT
    key: tuple[str, ...] = field(default=(), kw_only=True)  # columns that tell a query's rows apart
    history: bool = field(default=True, kw_only=True)  # whether it can be looked back into

    @classmethod
    def of(cls, settings: Settings, **own: Any) -> Self:
        """The settings with a table's own in their place."""
        return cls(**{each.name: getattr(settings, each.name) for each in fields(settings)} | own)

    @property
    def table(self) -> str:
        return f"the query of {self.section}" if self.rows == QUERY else super().table

    @property
    def looks_back(self) -> bool:
        return self.history and self.rows != QUERY

    @property
    def is_pushed(self) -> bool:
        """Whether TDengine is to push the table's new rows: it can't those of what a query answers."""
        return self.perspective_subscribe == "yes" and self.rows != QUERY

    @property
    def title(self) -> str:
        return self.section or super().title

    def spell(self, name: str, value: object = None) -> str:
        if not self.section:
            return super().spell(name, value)
        shown = f'"{value}"' if isinstance(value, str) else value
        return f"[{self.section}] {name}" if value is None else f"[{self.section}] {name} = {shown}"


def read_tables(settings: Settings) -> list[TableSettings]:
    """The tables that the server keeps: those of the file, or the one of the environment without a file.

    Raises SettingError, in one line that names the section.
    """
    file = settings.perspective_tables
    if not file:
        return [TableSettings.of(settings)]
    try:
        sections = tomllib.loads(Path(file).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingError(f"PERSPECTIVE_TABLES: can't read {file}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise SettingError(f"PERSPECTIVE_TABLES: {file} is no TOML: {reason}") from None
    if not 1 <= len(sections) <= MOST_TABLES:
        raise SettingError(
            f"PERSPECTIVE_TABLES: {file} must have one to {MOST_TABLES} sections, a table each, "
            f"not {len(sections)}"
        )
    tables = []
    for name, section in sections.items():
        try:
            tables.append(read_section(settings, name, section))
        except SettingError as error:
            raise SettingError(f"PERSPECTIVE_TABLES: {file}: [{name}]: {error}") from None
    names = [*(table.perspective_table_name for table in tables)]
    names += [table.history_name for table in tables if table.looks_back]
    if twice := [name for number, name in enumerate(names) if name in names[:number]]:
        raise SettingError(
            f"PERSPECTIVE_TABLES: {file}: two tables would be called {twice[0]}, one to look back into: "
            "rename one, or give it history = false"
        )
    return tables


def read_section(settings: Settings, name: str, section: object) -> TableSettings:
    """A table's settings. Raises SettingError, without the section's name."""
    if not isinstance(section, dict):
        raise SettingError("must be a section of its own, with a table or a query")
    check_characters("the name", name)
    perspective_name("name", name)
    if not name:
        raise SettingError("needs a name")
    unknown = [key for key in section if key not in KEYS]
    if unknown:
        raise SettingError(f"has {unknown[0]}; there are {', '.join(KEYS)}")
    if ("table" in section) == ("query" in section):
        raise SettingError("must have either a table or a query")
    own = {"section": name, "perspective_table_name": name}
    for key, value in section.items():
        if "query" in section and key in ("rows", "window", "history"):
            raise SettingError(f"{key} is nothing for a query")
        own |= KEYS[key](key, value)
    if own.get("rows") == LATEST and "window" in section:
        raise SettingError("window is nothing for the latest row of each subtable")
    if "key" in section and "query" not in section:
        raise SettingError("key is for a query alone")
    if own.get("rows") in (LATEST, QUERY):
        own.setdefault("perspective_limit", MOST_ROWS)
    return TableSettings.of(settings, **own)


def text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise SettingError(f"{key} must be text")
    return value


def table_name(key: str, value: object) -> dict[str, str]:
    """`power.meters`, or a table of TAOS_DATABASE."""
    parts = text(key, value).split(".")
    if len(parts) > 2 or not all(parts) or "`" in value:
        raise SettingError(f'{key} = "{value}": must be a database and a table, such as "power.meters"')
    check_characters(key, value)
    names = ("taos_database", "taos_tablename")[-len(parts) :]
    return {name: READ[name](key, part) for name, part in zip(names, parts, strict=True)}


def select(key: str, value: object) -> dict[str, str]:
    query = text(key, value).strip().rstrip(";").rstrip()
    if len(query) > LONGEST_QUERY:
        raise SettingError(f"{key} can have {LONGEST_QUERY:,} characters")
    if not re.match(r"SELECT\b", query[BEFORE.match(query).end() :], re.IGNORECASE):
        raise SettingError(f"{key} must be a SELECT, and begins with {query[:20]!r}")
    return {"query": query, "rows": QUERY}


def which_rows(key: str, value: object) -> dict[str, str]:
    if value not in (NEWEST, LATEST):
        raise SettingError(f'{key} must be "{NEWEST}" or "{LATEST}"')
    return {"rows": value}


def number(name: str) -> Callable[[str, object], dict[str, int]]:
    """Reads a whole number within the bounds of a setting of the environment."""

    def read(key: str, value: object) -> dict[str, int]:
        shown = value if type(value) is int else repr(value)
        return {name: READ[name](key, f"{shown}")}

    return read


def span(key: str, value: object) -> dict[str, str]:
    return {"perspective_window": time_span(key, text(key, value))}


def column_names(key: str, value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise SettingError(f'{key} must be a list of columns, such as ["minute", "location"]')
    return {"key": tuple(value)}


def flag(key: str, value: object) -> dict[str, bool]:
    if not isinstance(value, bool):
        raise SettingError(f"{key} must be true or false")
    return {key: value}


# What a section may have, and what reads it: gives fields of TableSettings, or raises SettingError.
KEYS: Mapping[str, Callable[[str, object], dict[str, Any]]] = {
    "table": table_name,
    "query": select,
    "rows": which_rows,
    "limit": number("perspective_limit"),
    "window": span,
    "refresh_rate": number("perspective_refresh_rate"),
    "history": flag,
    "key": column_names,
}
