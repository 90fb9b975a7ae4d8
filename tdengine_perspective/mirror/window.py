"""Owns the window: the rows on display, and the difference between what was read and what the table holds."""

import bisect

from tdengine_perspective.mirror.schema import Row, Schema

Key = tuple  # timestamp (in the database's unit, since 1970), subtable, the second key where there is one
Rows = dict[Key, Row]


class Window:
    """The rows on display, each in a numbered slot of the Perspective table.

    A new row takes the slot of one that left: so the table never grows, and an update overwrites in place.
    """

    def __init__(self, schema: Schema, limit: int):
        self.schema = schema
        self.limit = limit
        self.rows: Rows = {}
        self.newest: int | None = None  # timestamp, in the database's unit
        self._slots: dict[Key, int] | None = None  # None: what the table holds is not known yet
        self._free: list[int] = []
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
        """Hold exactly these rows (newest first).

        Returns the table's update, and whether that replaces all of the table's content: where the window
        shrank, since a Perspective table without an index can't lose single rows, and at the first time.
        """
        whole = self._slots is None or len(rows) < len(self.rows)
        if whole:
            self._slots, self._free = {}, []
            changed = list(rows)
        else:
            changed = self._changed(rows)
            for key in self.rows.keys() - rows.keys():
                self._let_go(key)
        self.rows = rows
        self._by_age = sorted(rows)
        self.newest = next(iter(rows))[0] if rows else None
        return self._update(changed), whole

    def split_at(self, timestamp: float) -> tuple[int, int | None, int | None]:
        """How many rows are later than that, the first one of them, and the last row up to it.

        All in the database's unit.
        """
        place = bisect.bisect(self._by_age, timestamp, key=lambda key: key[0])
        later = self._by_age[place][0] if place < len(self._by_age) else None
        until = self._by_age[place - 1][0] if place else None
        return len(self._by_age) - place, later, until

    def _changed(self, rows: Rows) -> list[Key]:
        """The keys of the rows that are new or not as they were."""
        held = self.rows
        return [
            key
            for key, row in rows.items()
            if (old := held.get(key)) != row and (old is None or not is_same(old, row))
        ]

    def _let_go(self, key: Key) -> None:
        del self.rows[key]
        if key in self._slots:
            self._free.append(self._slots.pop(key))

    def _update(self, keys: list[Key]) -> str | None:
        """The rows as JSON columns; None for no rows."""
        if not keys:
            return None
        for key in keys:
            if key not in self._slots:
                self._slots[key] = self._free.pop() if self._free else len(self._slots)
        return self.schema.as_json([self.rows[key] for key in keys], [self._slots[key] for key in keys])


def is_same(old: Row, new: Row) -> bool:
    """Whether rows are equal although NaN, of which there may be some, never equals itself."""
    return all(a == b or (a != a and b != b) for a, b in zip(old, new, strict=True))
