"""Owns the rows that a Perspective table holds: each in a numbered slot, and what an update has to bring."""

from tdengine_perspective.mirror.schema import Row, Schema

Key = tuple  # what tells a row from all others
Rows = dict[Key, Row]


class Slots:
    """The rows on display, each in a numbered slot of the Perspective table.

    A new row takes the slot of one that left: so the table never grows, and an update overwrites in place.
    `schema` makes JSON columns of rows.
    """

    def __init__(self, schema: Schema):
        self.schema = schema
        self.rows: Rows = {}
        self._slots: dict[Key, int] | None = None  # None: what the table holds is not known yet
        self._free: list[int] = []

    def merge(self, rows: Rows) -> str | None:
        """Take in rows, in the place of those with the same key; returns the table's update."""
        changed = self._changed(rows)
        self.rows.update(rows)
        return self._update(changed)

    def replace(self, rows: Rows) -> tuple[str | None, bool]:
        """Hold exactly these rows.

        Returns the table's update, and whether that replaces all of the table's content: where there are
        fewer rows now, since a Perspective table without an index can't lose single rows, and at the first
        time.
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
        return self._update(changed), whole

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
