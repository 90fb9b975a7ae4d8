"""Owns the dashboards of a server: the layout file, or each of a folder's, read anew when it changes."""

import logging
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from tdengine_perspective.layouts import read_layout, warn_of_missing_columns
from tdengine_perspective.settings import SettingError
from tdengine_perspective.tables import TableSettings

# What is at an address of the server's own, and can be no dashboard's name.
TAKEN = ("health", "history", "layout", "metrics", "page", "perspective", "tables", "websocket")
NAME = re.compile(r"[A-Za-z0-9_-]{1,60}", re.ASCII)

log = logging.getLogger(__name__)


class Dashboards:
    """The layouts by name, in the order of the names. Without a folder there is one, and its name is "".

    Raises SettingError for a single file that is no layout, and for a folder without a file that could be
    one. A file of a folder that is none is said in its place.
    """

    def __init__(self, place: str, tables: Sequence[TableSettings] = ()):
        self.place = place
        self.tables = tables
        self.histories = {
            table.history_name: table.perspective_table_name for table in tables if table.looks_back
        }
        self.is_folder = Path(place).is_dir() if place else False
        self.read: dict[str, tuple[float, str]] = {}  # when the file was changed, and the layout
        self.told: set[str] = set()  # names of files that the log has said to be none of a dashboard
        if not self.is_folder:
            self.layout("")
        elif not self.names:
            raise SettingError(f"PERSPECTIVE_LAYOUT: {place} has no file NAME.json, a dashboard each, in it")

    @property
    def names(self) -> list[str]:
        """The first one is what the page begins with."""
        if not self.is_folder:
            return [""]
        files = sorted(Path(self.place).glob("*.json"))
        for file in files:
            if not is_name(file.stem) and file.name not in self.told:
                self.told.add(file.name)
                log.warning(
                    "PERSPECTIVE_LAYOUT: left out %s: a dashboard's name has letters, digits, - and _, and "
                    "is none of %s",
                    file.name,
                    ", ".join(TAKEN),
                )
        return [file.stem for file in files if is_name(file.stem)]

    def layout(self, name: str) -> str:
        """What read_layout gives, of the file as it is now. Raises SettingError; KeyError for no name."""
        if name not in self.names:
            raise KeyError(name)
        file = Path(self.place) / f"{name}.json" if self.is_folder else Path(self.place)
        changed = file.stat().st_mtime if self.place and file.exists() else 0.0
        if name not in self.read or self.read[name][0] != changed:
            self.read[name] = (changed, read_layout(str(file) if self.place else "", self.histories))
        return self.read[name][1]

    def warn_of_missing_columns(self, columns: Collection[str], table: TableSettings) -> None:
        """Log what the layouts name and the table lacks, of the viewers that are of it."""
        others = [other.perspective_table_name for other in self.tables if other is not table]
        for name in self.names:
            try:
                warn_of_missing_columns(self.layout(name), columns, table.table, others)
            except SettingError as error:
                log.warning("%s", error)


def is_name(text: str) -> bool:
    return NAME.fullmatch(text) is not None and text not in TAKEN
