"""Owns the columns of a SELECT's result: TDengine's and Perspective's side, and how values get across."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from tdengine_perspective.mirror.schema import CALENDAR, ENGINES_OWN, TYPES, Column, Row

LONGEST_LABEL = 100  # characters; what stands in a query without a name of its own may be long
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class ResultSchema:
    """A result's columns, in their order."""

    columns: tuple[Column, ...]
    left_out: tuple[str, ...]  # columns that can't be shown, each with the reason

    @cached_property
    def places(self) -> dict[str, int]:
        """Where in a row the columns that are shown stand, by label."""
        return {column.label: place for place, column in enumerate(self.columns) if column.label}

    @cached_property
    def perspective(self) -> dict[str, str]:
        """The Perspective table's columns and their types."""
        kinds = {label: self.columns[place].kind for label, place in self.places.items()}
        return {label: "datetime" if kind == "TIMESTAMP" else TYPES[kind][0] for label, kind in kinds.items()}

    def as_json(self, rows: Sequence[Row], slots: Sequence[int]) -> str:
        """The rows as JSON columns, `__INDEX__` saying which slots they go to."""
        values = list(zip(*rows, strict=True))
        content: dict[str, Sequence] = {"__INDEX__": slots}
        for label, place in self.places.items():
            kind = self.columns[place].kind
            as_json = milliseconds if kind == "TIMESTAMP" else TYPES[kind][1]
            content[label] = as_json(values[place])
        return json.dumps(content)

    def newest(self, rows: Iterable[Row]) -> int | None:
        """The highest timestamp (ms since 1970) in the first column that has any."""
        place = next((at for at, column in enumerate(self.columns) if column.kind == "TIMESTAMP"), None)
        if place is None:
            return None
        return max((at for at in milliseconds([row[place] for row in rows]) if at is not None), default=None)


def schema_of(fields: Sequence[tuple[str, str]]) -> ResultSchema:
    """The columns by their names and types; a name that Perspective does not bear gets another."""
    columns, left_out = [], []
    labels: set[str] = set()
    for number, (name, kind) in enumerate(fields, 1):
        label = name
        if not name.strip() or len(name) > LONGEST_LABEL or any(part in name for part in ENGINES_OWN):
            label = f"column {number}"
        while label in labels:
            label += f" ({number})"
        if kind != "TIMESTAMP" and kind not in TYPES:
            left_out.append(f"{name}, of the type {kind}, which is not known here")
            label = ""
        else:
            labels.add(label)
        columns.append(Column(name, label, kind))
    return ResultSchema(tuple(columns), tuple(left_out))


def milliseconds(timestamps: Sequence[str | None]) -> list[int | None]:
    """Since 1970, of timestamps as the driver writes them; None outside the calendar."""
    return [None if text is None else millisecond(text) for text in timestamps]


def millisecond(text: str) -> int | None:
    try:
        since = (datetime.fromisoformat(text.replace(" +", "+").replace(" -", "-")) - EPOCH) // MILLISECOND
    except (ValueError, OverflowError):
        return None
    return since if CALENDAR[0] <= since <= CALENDAR[1] else None
