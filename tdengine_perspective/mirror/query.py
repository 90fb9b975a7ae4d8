"""Owns the reading of what a SELECT answers: when to ask, and what tells its rows apart."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from tdengine_perspective.mirror.messages import Poll
from tdengine_perspective.mirror.result import ResultSchema, schema_of
from tdengine_perspective.mirror.schema import Row
from tdengine_perspective.mirror.slots import Rows, Slots
from tdengine_perspective.tdengine import Refused, TDengine, errors_explained

if TYPE_CHECKING:
    import taosws

QUERY_SHARE = 4  # a query may take one part in so many of the time
NAN = object()  # which equals itself


class QueryReader:
    """Keeps the rows of a SELECT's result, `limit` of them at most.

    `key` names the columns that tell its rows apart: a row with the same key is the same row, changed.
    Without it a row that is not as it was is another one.
    """

    def __init__(self, tdengine: TDengine, query: str, key: Sequence[str], limit: int):
        self.tdengine = replace(tdengine, table="")
        self.query = query
        self.key = key
        self.limit = limit
        self.slots: Slots | None = None
        self.newest: int | None = None  # timestamp, ms since 1970, when rows last changed

    def forget_time(self) -> None:
        """Each poll reads all there is."""

    def poll(self, connection: "taosws.Connection") -> Poll:
        """Ask the query. Raises TDengineError or taosws.Error."""
        began = time.monotonic()
        with errors_explained(self.tdengine):
            result = connection.query(self.query)
            schema = schema_of([(field.name(), field.type()) for field in result.fields])
            read = list(islice(result, self.limit + 1))
        is_new = self.slots is None or schema != self.slots.schema
        if is_new:
            self.slots = Slots(schema)
        update, whole = self.slots.replace(self.by_key(schema, read[: self.limit]))
        if update or whole:
            self.newest = schema.newest(self.slots.rows.values())
        return Poll(
            update,
            whole,
            len(self.slots.rows),
            self.newest,
            schema if is_new else None,
            has_more=len(read) > self.limit,
            pause=(time.monotonic() - began) * (QUERY_SHARE - 1),
        )

    def by_key(self, schema: ResultSchema, read: Sequence[Row]) -> Rows:
        """The rows by what tells them apart; by their number, too, where several are alike."""
        names = [column.name for column in schema.columns]
        missing = [name for name in self.key if name not in names]
        if missing:
            raise Refused(f"the query's result has no column {missing[0]}, which is to be in its key")
        places = [names.index(name) for name in self.key] or range(len(names))
        seen: Counter[tuple] = Counter()
        rows = {}
        for row in read:
            key = tuple(NAN if row[place] != row[place] else row[place] for place in places)
            seen[key] += 1
            rows[(*key, seen[key])] = row
        return rows
