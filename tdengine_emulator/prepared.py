"""Prepared statements: what is bound to them, held against the table that it is for, until it is written."""

from contextlib import suppress
from functools import cached_property
from typing import Any

from tdengine_emulator import sql
from tdengine_emulator.store import MISSING, Located, Result, Store
from tdengine_emulator.values import TYPES, Column, TaosError, as_json_tag, converted, refuse_if, too_long
from tdengine_emulator.wire import BoundTable, Values

TYPE_MISMATCH = (0x0200, "column type mis-match with buffer type")


class Prepared:
    """A prepared statement, version 1 or 2: its text and the tables (a SELECT: the parameters) bound so far.

    As in TDengine, one that has failed goes on failing; the client prepares a new one.
    """

    def __init__(self, store: Store, text: str, database: str | None):
        self.store, self.text, self.database = store, text, database
        self.is_insert = text.lstrip()[:6].lower() == "insert"
        self.table, self.tags = "", []
        self.bound: list[BoundTable] = []
        self.result: Result | None = None
        self.failure: TaosError | None = None

    @cached_property
    def insert(self) -> sql.Insert:
        """The statement's INSERT; it goes on to mean the columns that its table has now."""
        try:
            insert = sql.prepared_insert(self.store, self.text, self.database)
            with suppress(TaosError):
                located = insert.locate(self.store)
                insert.column_names = [column.name for column in located.columns]
                insert.tag_names = [tag.name for tag in located.tags]
            return insert
        except (TaosError, ValueError, RecursionError):
            raise TaosError(0x0216, "Syntax error in SQL") from None

    def fields(self) -> list[dict[str, Any]] | None:
        """What an INSERT's parameters stand for, in their order; None for a SELECT."""
        if not self.is_insert:
            if "?" not in self.text:
                raise TaosError(0x2600, "syntax error near")
            return None
        insert = self.insert
        try:
            located = insert.locate(self.store)
        except TaosError as error:
            code = 0x022B if error.code == MISSING[0] else error.code
            raise TaosError(code, error.message.partition(":")[0]) from None
        precision = located.table.database.number
        fields = [] if insert.table.name else [bound_field(Column("tbname", TYPES["VARCHAR"], 269), 4)]
        for kind, columns, values in ((2, located.tags, insert.tags), (1, located.columns, insert.rows[0])):
            for column, value in zip(columns, values, strict=False):
                if value is None:
                    of_time = column.type.name == "TIMESTAMP"
                    fields.append(bound_field(column, kind, precision if of_time else 0))
        return fields

    def bind(self, tables: list[BoundTable]) -> dict[str, Any]:
        """Keep the tables for `execute`; raises TaosError where they do not fit."""
        if self.failure:
            raise self.failure
        for table in tables if self.is_insert else ():
            try:
                check(self.insert.locate(self.store, table.name or ""), table)
            except TaosError as error:
                if error.code != MISSING[0]:  # a table that is gone shows when it comes to execute
                    self.failure = error
                    raise
        self.bound += tables
        return {}

    def set_table(self, name: str) -> dict[str, Any]:
        """Version 1: the table that rows are for, from now on."""
        self.insert.locate(self.store, name)
        self.table = name
        return {}

    def bind_rows(self, columns: list[Values]) -> dict[str, Any]:
        """Version 1: rows for the table, with the tags, that were set before."""
        located = self.insert.locate(self.store, self.table)
        per_second = located.table.database.per_second
        tags = [
            (tag.type, [converted(value, tag, per_second)])
            for tag, value in zip(located.tags, self.tags, strict=False)
        ]
        return self.bind([BoundTable(self.table, tags, columns)])

    def execute(self) -> int:
        """Do it with what is bound; returns the number of affected rows."""
        if self.failure:
            raise self.failure
        bound, self.bound = self.bound, []
        if not self.is_insert:
            parameters = [values[0] for table in bound for _, values in table.columns]
            self.result = sql.execute(self.store, self.text, self.database, parameters)
            self.result.rows = list(self.result.rows)
            return 0
        if not bound:
            raise TaosError(0x022A, "Stmt API usage error")
        try:
            with sql.beyond_understanding(), self.store.transaction():
                return sum(self.write(table) for table in bound)
        except TaosError:
            self.failure = TaosError(0x0117, "Invalid pointer")
            raise

    def write(self, table: BoundTable) -> int:
        tags = [values[0] for _, values in table.tags]
        columns = [values for _, values in table.columns]
        return self.store.upsert(self.insert.locate(self.store, table.name or ""), tags, columns)


def bound_field(column: Column, kind: int, precision: int = 0) -> dict[str, Any]:
    size = column.type.size if column.precision else column.block_bytes
    about = {"name": column.name, "field_type": column.type.number, "precision": precision, "scale": 0}
    return about | {"bytes": size, "bind_type": kind}


def check(located: Located, table: BoundTable) -> None:
    """Raise TaosError where the bound tags and columns are not those of the table."""
    counts = (len(table.columns), len(table.tags))
    refuse_if(counts != (len(located.columns), len(located.tags)), 0xFFFF, "stmt column count not match")
    rows = len(table.columns[0][1])
    refuse_if(not rows, *sql.UNBOUND)
    for tag, (type_, values) in zip(located.tags, table.tags, strict=True):
        is_json = tag.type.name == "JSON" and type_.name in ("JSON", "VARCHAR")
        refuse_if(not (is_json or tag.type == type_) or len(values) != 1, *TYPE_MISMATCH)
        is_too_long = too_long(values[0], tag)
        refuse_if(is_too_long and tag.type.name == "VARCHAR", 0x0200, "tag length is too big")
        refuse_if(is_too_long, 0x2653, "Value too long for column/tag")
        if is_json:
            values[0] = as_json_tag(values[0])
    for column, (type_, values) in zip(located.columns, table.columns, strict=True):
        refuse_if(len(values) != rows, 0x0200, "row number in each bind param should be the same")
        refuse_if(column.type != type_, *TYPE_MISMATCH)
        if column.precision:
            raise sql.not_understood("a bound DECIMAL")
        is_too_long = not type_.code and any(too_long(value, column) for value in values)
        refuse_if(is_too_long, 0x2653, f"Value too long for column/tag: {column.name}")
    refuse_if(None in table.columns[0][1], 0x267B, "Primary key column should not be null")
