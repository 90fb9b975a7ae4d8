"""Owns the Perspective table that follows TDengine."""

import json
import logging
from collections.abc import Callable, Collection
from typing import Any

import perspective

from tdengine_perspective.engine import MemoryWatch, return_freed_memory
from tdengine_perspective.mirror.messages import Connected, Ended, Failed, Message, Poll, Pushed, Source
from tdengine_perspective.mirror.schema import Schema
from tdengine_perspective.mirror.state import State
from tdengine_perspective.tables import TableSettings

log = logging.getLogger(__name__)


class Mirror:
    """The table, once TDengine has told its columns, and its source's `state`. All on the loop's thread.

    send_viewers_away(reason): called before the table is deleted, as it can't be while there are views of it.
    check_columns(names): called with the columns of each table that is made.
    note_nulls(names): called with the columns in which there are NULLs, those of an update or of all rows.
    """

    def __init__(
        self,
        client: perspective.Client,
        settings: TableSettings,
        send_viewers_away: Callable[[str], None] = lambda reason: None,
        check_columns: Callable[[Collection[str]], None] = lambda names: None,
        note_nulls: Callable[[Collection[str]], None] = lambda names: None,
    ):
        self.client = client
        self.settings = settings
        self.send_viewers_away = send_viewers_away
        self.check_columns = check_columns
        self.note_nulls = note_nulls
        self.table: perspective.Table | None = None
        self.schema: Schema | None = None
        self.state = State(settings)
        self.memory = MemoryWatch()
        self.failed_renewal: perspective.PerspectiveError | None = None
        self.damaged: set[str] = set()  # columns of which the log has said that they have text out of UTF-8

    def take(self, message: Message) -> None:
        """Act on what the reader says. Raises PerspectiveError where the table has to be filled anew."""
        if self.failed_renewal:
            error, self.failed_renewal = self.failed_renewal, None
            raise error
        match message:
            case Connected():
                self.state.version = message.version
            case Poll():
                if message.schema is not None and message.schema != self.schema:
                    self.make_table(message.schema)
                self.tell_damage(message)
                self.update_table(message)
                self.state.note_poll(message, self.schema)
            case Pushed():
                self.tell_damage(message)
                self.update_table(message)
                self.state.note_pushed(message)
            case Source():
                self.state.note_source(message)
            case Failed():
                self.state.note_failure(message.error, message.kind)
            case Ended():
                self.state.note_restart()

    def make_table(self, schema: Schema) -> None:
        """Make the table, anew where it is there with other columns; the viewers then have to come again."""
        known = self.schema.left_out if self.schema else ()
        self.state.left_out = schema.left_out
        for column in schema.left_out:
            if column not in known:
                log.warning("%s: left out the column %s", self.settings.table, column)
        columns = list(schema.perspective.items())
        if self.table is None or columns != list(self.schema.perspective.items()):
            if self.table is not None:
                log.info("%s has other columns now", self.settings.table)
                self.send_viewers_away("the table's columns have changed")
                self.table.delete()
            self.table = self.client.table(dict(columns), name=self.settings.perspective_table_name)
            self.state.rows = 0
            self.check_columns(schema.perspective)
        self.schema = schema

    def tell_damage(self, poll: Poll | Pushed) -> None:
        """Log, once each, in which columns there is text that is not UTF-8."""
        for column in sorted(poll.damaged - self.damaged):
            log.warning(
                "%s: not all text in %s is UTF-8; what is not is shown as �", self.settings.table, column
            )
        self.damaged |= poll.damaged

    def update_table(self, poll: Poll | Pushed) -> None:
        """Hand the change to the table, as one update; the viewers hear of it from the engine."""
        if poll.update and "null" in poll.update:
            columns = json.loads(poll.update)
            self.note_nulls([name for name, values in columns.items() if None in values])
            if poll.whole or self.state.rows == 0:
                return replace_rows(self.table, columns)
        if poll.whole and poll.update:
            self.table.replace(poll.update, format="columns")
        elif poll.update:
            self.table.update(poll.update, format="columns")
        elif poll.whole and self.state.rows:
            self.table.clear()

    def renew_table_when_due(self) -> None:
        """Have the engine forget what viewers filled the memory with; to be called once a second or so.

        It keeps all text that an expression ever made, and all text and patterns in expressions, until the
        table is replaced.
        """
        if self.table is None or not self.memory.has_grown():
            return
        # With the rows' own places in the table, where the next updates will look for them.
        columns = [*self.table.columns(), "__INDEX__"]
        everything = self.table.view(columns=columns, expressions={"__INDEX__": "index()"})
        try:
            replace_rows(self.table, everything.to_columns())
        except perspective.PerspectiveError as error:  # nobody knows what the table holds now
            self.failed_renewal = error
        everything.delete()  # or each later update would compute it, too
        return_freed_memory()
        self.memory.begin_anew()


def replace_rows(table: perspective.Table, columns: dict[str, list[Any]]) -> None:
    """Have the table hold these rows alone, as one update; `__INDEX__` says which slots they go to.

    Row by row, without the NULLs: where the engine gets the first rows of an empty table as columns, or as
    Arrow, their NULLs are others to it than those that come later, and what is grouped by them goes wrong.
    And Arrow with `__INDEX__` it reads on several threads, one of which may move what the others look at.
    """
    names = list(columns)
    rows = [
        {name: exact(value) for name, value in zip(names, row, strict=True) if value is not None}
        for row in zip(*columns.values(), strict=True)
    ]
    if rows:
        table.replace(json.dumps(rows), format="json")
    else:
        table.clear()


def exact(value: Any) -> Any:
    """A float as text, which Perspective reads to the last bit, and JSON's numbers only nearly."""
    return repr(value) if type(value) is float else value
