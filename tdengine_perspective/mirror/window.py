"""Owns the window: the newest rows on display, by their age."""

import bisect

from tdengine_perspective.mirror.schema import Schema
from tdengine_perspective.mirror.slots import Key, Rows, Slots


class Window(Slots):
    """The newest rows, `limit` of them at most; a key begins with the timestamp, in the database's unit."""

    def __init__(self, schema: Schema, limit: int):
        super().__init__(schema)
        self.limit = limit
        self.newest: int | None = None  # timestamp, in the database's unit
        self._by_age: list[Key] = []  # the oldest first

    def merge(self, rows: Rows) -> str | None:
        """Take in rows (newest first), let the oldest beyond the limit go; returns the table's update."""
        changed = self._changed(rows)
        new = sorted(key for key in changed if key not in self.rows)
        if new:
            place = bisect.bisect(self._by_age, new[0])  # nearly always the end
            self._by_age[place:] = sorted(self._by_age[place:] + new)
        self.rows.update(rows)
        too_many = max(0, len(self.rows) - self.limit)
        for key in self._by_age[:too_many]:
            self._let_go(key)
        del self._by_age[:too_many]
        if rows:
            newest = next(iter(rows))[0]
            self.newest = newest if self.newest is None else max(newest, self.newest)
        return self._update([key for key in changed if key in self.rows])

    def replace(self, rows: Rows) -> tuple[str | None, bool]:
        """Hold exactly these rows (newest first); returns what Slots.replace does."""
        self._by_age = sorted(rows)
        self.newest = next(iter(rows))[0] if rows else None
        return super().replace(rows)

    def since(self, timestamp: int) -> list[Key]:
        """The keys of the rows later than that (in the database's unit), the oldest first."""
        return self._by_age[bisect.bisect(self._by_age, timestamp, key=lambda key: key[0]) :]

    def split_at(self, timestamp: float) -> tuple[int, int | None, int | None]:
        """How many rows are later than that, the first one of them, and the last row up to it.

        All in the database's unit.
        """
        place = bisect.bisect(self._by_age, timestamp, key=lambda key: key[0])
        later = self._by_age[place][0] if place < len(self._by_age) else None
        until = self._by_age[place - 1][0] if place else None
        return len(self._by_age) - place, later, until
