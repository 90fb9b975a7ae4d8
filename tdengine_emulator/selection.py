"""SELECT as SQLite's SQL: what is read, its groups and windows, their order and how many of them.

A subquery or a part of a UNION is a Selection of its own, whose columns are all that the outer one sees.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from lark import Token, Tree

from tdengine_emulator.expressions import (
    AGGREGATES,
    BY_TIME,
    COLUMNS,
    Expressions,
    Window,
    as_type,
    comparable,
    has_aggregate,
    without_null,
)
from tdengine_emulator.functions import FLOATS, window_start
from tdengine_emulator.grammar import NANOSECONDS, Term
from tdengine_emulator.store import LONGEST_COLUMN_NAME, Table, TableName, not_understood, quoted
from tdengine_emulator.wire import Column, TaosError, refuse_if

OF_ONE_ROW = ({"last", "last_row"}, {"first"}, {"min"}, {"max"})  # columns beside these are that row's
COUNTING = {"count", "hyperloglog"}  # aggregates that give 0 where there are no rows
NO_PRIMARY = "Window query not supported, since not valid primary timestamp column as input"
CALENDAR = {"n": 1, "y": 12}


class Selected(NamedTuple):
    """A SELECT in SQLite's SQL, and what its columns are."""

    text: str
    fields: list[Column]
    precision: int
    moment: Column | None = None  # the first column, if that is rows' time


def selected(outer: Expressions, tree: Tree) -> Selected:
    """The whole query: a SELECT or UNION with its order and limits."""
    inner, order, slimit, limit = tree.children
    if inner.data == "query":
        return selected(outer, inner)
    kind = Union if inner.data == "union" else Selection
    scope = kind(outer.store, outer.text, outer.database, outer.parameters, outer.zone)
    scope.nanoseconds = outer.nanoseconds
    return scope.write(inner, order, slimit, limit)


class RowPick(NamedTuple):
    """What picks a row: the highest or lowest key of the rows for which a condition holds."""

    key: str
    is_lowest: bool
    condition: str


class Ordered(Expressions):
    """What ORDER BY and LIMIT need."""

    chosen: list[tuple[str, Term]]

    def write(self, tree: Tree, order: Tree | None, slimit: Tree | None, limit: Tree | None) -> Selected:
        raise NotImplementedError

    def sort_keys(self, order: Tree) -> Iterator[str]:
        for key in order.children:
            yield from self.sort_key_texts(*key.children)

    def sort_key_texts(self, tree: Tree, direction: Token | None, nulls: Token | None) -> Iterator[str]:
        """NULL comes first, then NaN, unless said otherwise or the other way round."""
        term, down = self.sorted_by(tree), f" {direction.upper()}" if direction else ""
        text = comparable(term)
        if nulls:
            yield f"{text} IS {'NOT ' if nulls.type == 'FIRST' else ''}NULL"
        if term.column.kind in FLOATS:
            yield f"iif({text} = 'NaN', -9e999, {text}){down}"
            yield f"{text} <> 'NaN'{down}"
        else:
            yield text + down

    def sorted_by(self, tree: Tree) -> Term:
        """What a sort key stands for: a column of the result by its number or name, or an expression."""
        number = place_named(tree, len(self.chosen))
        if number is not None:
            return self.named(self.chosen[number][0])
        if tree.data == "column" and str(tree.children[1]) in self.aliases:
            return self.named(str(tree.children[1]))
        return without_null(tree, self.visit(tree))

    def named(self, alias: str) -> Term:
        """A column of the result; a CAST of a time to a number is sorted as the time, which has an index.

        By the name alone SQLite would find a column of the table.
        """
        term, column = self.aliases[alias], self.known_columns().get(alias)
        if column and term.text == f"CAST({self.of_column(column).text} AS INTEGER)":
            return self.of_column(column)
        return term if column else term._replace(text=quoted(alias))


def place_named(tree: Tree, count: int) -> int | None:
    """The place in the select list that a whole number names."""
    if tree.data == "literal" and tree.children[0].type == "NUMBER" and tree.children[0].isdigit():
        number = int(tree.children[0])
        complaint = "ORDER BY / GROUP BY item must be the number of a SELECT-list expression"
        refuse_if(not 1 <= number <= count, 0x2609, complaint)
        return number - 1
    return None


def limited(limit: Tree | None) -> str:
    if not limit:
        return ""
    number, offset = numbers_of(limit)
    return f" LIMIT {number} OFFSET {offset}" if offset else f" LIMIT {number}"


def numbers_of(limit: Tree) -> tuple[int, int]:
    """How many rows LIMIT leaves, and how many it skips: `LIMIT 5, 3` is `LIMIT 3 OFFSET 5`."""
    number, *others = (whole_number(token) for token in limit.children[1::2])
    is_turned = bool(others) and limit.children[2] == ","
    return (others[0], number) if is_turned else (number, others[0] if others else 0)


def whole_number(token: Token) -> int:
    if not token.isdigit():
        raise not_understood(f"LIMIT {token}")
    return int(token)


class Union(Ordered):
    """UNION and UNION ALL: the types are the first part's, where that is not NULL."""

    def write(self, tree: Tree, order: Tree | None, slimit: Tree | None, limit: Tree | None) -> Selected:
        if slimit:
            raise not_understood("SLIMIT")
        parts = [selected(self, whole(part)) for part in tree.children if isinstance(part, Tree)]
        first = parts[0]
        is_same = all(len(part.fields) == len(first.fields) for part in parts)
        refuse_if(not is_same, 0x2634, "Query block has incorrect number of result columns")
        fields = [united(columns) for columns in zip(*(part.fields for part in parts), strict=True)]
        texts = [cast_to(part, fields) for part in parts]
        words = [
            "UNION ALL" if after is not None else "UNION"
            for word, after in zip(tree.children, tree.children[1:], strict=False)
            if isinstance(word, Token) and word.type == "UNION"
        ]
        text = texts[0] + "".join(f" {word} {part}" for word, part in zip(words, texts[1:], strict=True))
        self.columns = {field.name: field for field in fields}
        self.chosen = [(field.name, self.of_column(field)) for field in fields]
        self.aliases = dict(self.chosen)
        if order or limit:
            keys = f" ORDER BY {', '.join(self.sort_keys(order))}" if order else ""
            text = f"SELECT * FROM ({text}) AS o{keys}{limited(limit)}"
        return Selected(text, fields, max(part.precision for part in parts))


def whole(part: Tree) -> Tree:
    return part if part.data == "query" else Tree("query", [part, None, None, None])


def united(columns: tuple[Column, ...]) -> Column:
    typed = [column for column in columns if column.length or column.kind != "VARCHAR"] or [columns[0]]
    length = max(column.length for column in typed)
    has_size = not typed[0].type.code and not typed[0].precision
    return typed[0]._replace(name=columns[0].name, length=length if has_size else typed[0].length)


def cast_to(part: Selected, fields: list[Column]) -> str:
    """A part's SQL, its columns with the names and as the types of the whole."""
    if all(a.kind == b.kind for a, b in zip(part.fields, fields, strict=True)):
        return f"SELECT * FROM ({part.text})"
    places = [f"p{at}" for at in range(len(fields))]
    terms = [Term("NULL" if not a.length else f"o.{p}", a) for a, p in zip(part.fields, places, strict=True)]
    texts = [as_type(term, field).text for term, field in zip(terms, fields, strict=True)]
    named = f"SELECT {', '.join(f'NULL AS {place}' for place in places)} WHERE 0 UNION ALL {part.text}"
    aliased = [f"{text} AS {quoted(field.name)}" for text, field in zip(texts, fields, strict=True)]
    return f"SELECT {', '.join(aliased)} FROM ({named}) AS o"


class Selection(Ordered):
    """One SELECT."""

    precision = 0
    row_pick: RowPick | None = None  # what chooses the row of columns that stand beside an aggregate
    key_texts: frozenset[str] = frozenset()

    def write(self, tree: Tree, order: Tree | None, slimit: Tree | None, limit: Tree | None) -> Selected:
        distinct, items, name, _alias, where, partition, window, groups, having = parts_of(tree)
        if slimit:
            raise not_understood("SLIMIT")
        source = self.opened(name) if name else ""
        self.hoisted = {} if name else None
        called = aggregates_in(items, having, order)
        self.window = self.window_of(window) if window else None
        keys = [self.key_of(tree, items) for tree in key_trees(partition, groups)]
        self.key_texts = frozenset(term.text for term in keys)
        self.is_grouped = bool(keys or window)
        is_row_by_row = bool(partition) and not (called or window)  # and the partitions only count for LIMIT
        source, where_text = self.chosen_rows(source, where, key_trees(partition, groups), called)
        self.row_pick = self.pick_of(items, called)
        if not is_row_by_row:
            self.check(items, called)
        refuse_if(window and not called, 0x265E, "No valid function in window query")
        self.chosen = [pair for item in items.children for pair in self.visit(item)]
        fields = [term.column._replace(name=name, is_key=False) for name, term in self.chosen]
        has_json = any(field.kind == "JSON" for field in fields)
        refuse_if(bool(distinct) and has_json, 0x072E, "Json not support in group/partition by")

        text = f"SELECT {distinct or ''} {', '.join(f'{t.text} AS {quoted(n)}' for n, t in self.chosen)}"
        grouping = [] if is_row_by_row else [term.text for term in keys]
        grouping += [self.window.start] if self.window else []
        rest = f" GROUP BY {', '.join(grouping)}" if grouping else ""
        refuse_if(bool(having) and not (called or grouping), 0x260A, "Not a GROUP BY expression")
        conditions = [self.value_of(having.children[0]).text] if having else []
        is_of_rows = bool(called) and not grouping and not called & COUNTING  # which gives nothing of none
        is_by_index = is_of_rows and called <= BY_TIME and not conditions and not (where or order or limit)
        if is_of_rows and not is_by_index:
            conditions.append("COUNT(*) > 0")
        if where and self.is_never(where.children[1]):
            where_text, conditions = " WHERE 0", [*conditions, *(["0"] if called else [])]
        if conditions:
            rest += f" HAVING {' AND '.join(conditions)}"
        self.aliases = dict(reversed(self.chosen))
        is_limited_within = limit and not order and keys and (called or is_row_by_row)
        if order:
            rest += f" ORDER BY {', '.join(self.sort_keys(order))}"
        if not is_limited_within:
            rest += limited(limit)
        if name:
            used = column_names_in(items, where, partition, groups, order)
            tags = self.table.tags if self.table else []
            if self.table and distinct and used <= {"#tbname", *(tag.name for tag in tags)}:
                source = self.table.source_of_tags
            text += f" FROM {self.with_hoisted(source)} AS o{where_text}"
        text += rest
        if is_by_index and self.moment:  # which finds the newest time, unless the rows are counted as well
            end = f"{'MIN' if called == {'first'} else 'MAX'}({self.of_column(self.moment).text})"
            inner = text.replace("SELECT ", f'SELECT {end} AS "#end", ', 1)
            names = quoted(*(name for name, _ in self.chosen))
            text = f'SELECT {names} FROM ({inner} LIMIT 1) WHERE "#end" IS NOT NULL'
        if is_limited_within:
            text = self.limited_by_partition(text, keys, limit, is_row_by_row)
        moments = [
            field for field, (_, term) in zip(fields, self.chosen, strict=True) if self.is_moment(term)
        ]
        return Selected(text, fields, self.precision, moments[0] if moments else None)

    def is_moment(self, term: Term) -> bool:
        """Whether it is rows' time or that of windows."""
        known = [self.of_column(self.moment).text] if self.moment else []
        return term.text in [*known, *(self.window[:2] if self.window else ())]

    def is_never(self, condition: Tree) -> bool:
        """Whether TDengine sees beforehand that no row can be chosen: then it does not even count 0."""
        for part in conjuncts(condition):
            is_of_null = part.data == "compared" and any(
                side.data == "literal" and side.children[0].type == "NULL" for side in part.children[::2]
            )
            is_of_null = is_of_null or (part.data == "among" and self.visit(part).text == "(0)")
            if is_of_null:
                return True
            if not column_names_in(part) and not any(part.find_data("call")):
                text = self.visit(part).text
                if not self.store.rows(f"SELECT {text}").fetchone()[0]:
                    return True
        return False

    # What is read

    def opened(self, name: TableName | Tree) -> str:
        """Have the table's or the subquery's columns known; returns SQLite's FROM."""
        if isinstance(name, Tree):
            inner = selected(self, name.children[0])
            self.columns = {field.name: field for field in inner.fields}
            self.shown = list(self.columns.values())
            self.moment, self.precision = inner.moment, inner.precision
            source = f"({inner.text})"
        else:
            database = name.database or self.database
            self.table = table = self.store.existing(name._replace(database=database))
            self.shown = [*table.columns, *(table.tags if table.subtable is None else [])]
            self.moment, self.precision, source = table.columns[0], table.precision, table.source
        self.per_second = 1000 ** (self.precision + 1)
        return source

    def chosen_rows(
        self, source: str, where: Tree | None, keys: list[Tree], called: set[str]
    ) -> tuple[str, str]:
        """The source, and its WHERE.

        Where only tags make the groups, TDengine counts 0 for those that have no row: such rows are added,
        one a group, as by a database of one part.
        """
        table = self.table
        if table and table.tags and keys and "count" in called and not self.window:
            tags = {"#tbname", *(tag.name for tag in table.tags)}
            if column_names_in(*keys) <= tags:
                return self.with_empty_groups(table, source, where, tags, keys), ""
        return source, f" {self.visit(where).text}" if where else ""

    def with_empty_groups(
        self, table: Table, source: str, where: Tree | None, tags: set[str], keys: list[Tree]
    ) -> str:
        before, self.hoisted = self.hoisted, {}
        condition = f" {self.visit(where).text}" if where else ""
        text = f"{self.with_hoisted(source)} AS o{condition}"
        parts = conjuncts(where.children[1]) if where else []
        only = [self.visit(part).text for part in parts if column_names_in(part) <= tags]
        of_tags = f"{self.with_hoisted(table.source_of_tags)} AS o WHERE {' AND '.join(only) or '1'}"
        rows, shown = (quoted(*(column.name for column in part)) for part in (table.columns, table.tags))
        nulls = ", ".join(["NULL"] * len(table.columns))
        self.only_rows = self.of_column(table.columns[0]).text
        by = ", ".join(self.value_of(key).text for key in keys)
        place = f'ROW_NUMBER() OVER (PARTITION BY {by} ORDER BY "#is_added")'
        both = (
            f'SELECT {rows}, "#tbname", {shown}, 0 AS "#is_added" FROM {text} '
            f'UNION ALL SELECT {nulls}, "#tbname", {shown}, 1 FROM {of_tags}'
        )
        names = f'{rows}, "#tbname", {shown}'
        placed = (
            f'SELECT {names}, "#is_added", {place} AS "#place" FROM {self.with_hoisted(f"({both})")} AS o'
        )
        self.hoisted = before
        return f'(SELECT {names} FROM ({placed}) WHERE "#is_added" = 0 OR "#place" = 1)'

    # Groups and windows

    def key_of(self, tree: Tree, items: Tree) -> Term:
        """A key of the groups: an expression, or a column of the result by its number or alias."""
        number = place_named(tree, len(items.children))
        if number is not None:
            tree = items.children[number].children[0]
        elif tree.data == "column" and str(tree.children[1]) not in self.known_columns():
            for item in items.children:
                if item.children[1] == tree.children[1]:
                    tree = item.children[0]
        return self.value_of(tree)

    def window_of(self, tree: Tree) -> Window:
        """INTERVAL(step, offset): windows lie from 1970 in UTC; months and years by the calendar."""
        refuse_if(self.moment is None, 0x2650, NO_PRIMARY)
        moment, (step, offset) = self.of_column(self.moment).text, tree.children
        count, unit = int(step[:-1]), step[-1].lower()
        shortest = f"Interval cannot be less than 1 {('ms', 'us', 'ns')[self.precision]}"
        refuse_if(not count, 0x2615, shortest)
        if unit in CALENDAR:
            if offset:
                raise not_understood(f"INTERVAL({step}, {offset})")
            months = f"{moment}, {self.per_second}, {count * CALENDAR[unit]}"
            return Window(f"calendar_window({months})", f"calendar_window_end({months})")
        length, shift = (self.units(token) for token in (step, offset))
        refuse_if(length < 1, 0x2615, shortest)
        refuse_if(shift >= length, 0x262F, "Interval offset should be shorter than interval")
        start = window_start(moment, length, shift)
        return Window(start, f"({start} + {length})")

    def units(self, duration: Token | None) -> int:
        if duration is None:
            return 0
        nanoseconds = int(duration[:-1]) * NANOSECONDS[duration[-1].lower()]
        return nanoseconds * self.per_second // 1_000_000_000

    def limited_by_partition(self, text: str, keys: list[Term], limit: Tree, is_row_by_row: bool) -> str:
        """LIMIT without ORDER BY counts in each group: rows of groups, windows or rows of partitions."""
        number, offset = numbers_of(limit)
        if self.window is None and not is_row_by_row:
            return f"{text} LIMIT {0 if offset or not number else -1}"
        order = self.window.start if self.window else self.of_column(self.moment).text if self.moment else "1"
        place = f"ROW_NUMBER() OVER (PARTITION BY {', '.join(term.text for term in keys)} ORDER BY {order})"
        inner = text.replace("SELECT ", f'SELECT {place} AS "#place", ', 1)
        names = quoted(*(name for name, _ in self.chosen))
        return f'SELECT {names} FROM ({inner}) WHERE "#place" BETWEEN {offset + 1} AND {offset + number}'

    # Columns beside aggregates

    def pick_of(self, items: Tree, called: set[str]) -> RowPick | None:
        if not called or not any(called <= alike for alike in OF_ONE_ROW):
            return None
        calls = [call for call in items.find_data("call") if call.children[0].lower() in called]
        name = calls[0].children[0].lower()
        if name in BY_TIME and self.moment is None:
            return None
        argument = calls[0].children[2]
        is_only = len({self.written(call) for call in calls}) == 1 and isinstance(argument, Tree)
        term = self.value_of(argument) if isinstance(argument, Tree) else None
        if name in BY_TIME:
            condition = f"{term.text} IS NOT NULL" if is_only and term and name != "last_row" else ""
            return RowPick(self.of_column(self.moment).text, name == "first", condition)
        condition = f"{term.text} <> 'NaN'" if term.column.kind in FLOATS else ""
        return RowPick(comparable(term), name == "min", condition)

    def check(self, items: Tree, called: set[str]) -> None:
        """Raise TaosError where a column stands beside aggregates or groups that it is no part of."""
        if self.row_pick or not (called or self.is_grouped):
            return
        for item in items.children:
            refuse_if(self.is_grouped and item.children[0] == "*", 0x260A, "Not a GROUP BY expression")
            self.check_part(item.children[0])

    def check_part(self, part: Any) -> None:
        if not isinstance(part, Tree) or (part.data == "call" and part.children[0].lower() in AGGREGATES):
            return
        if part.data == "cols":
            return
        if part.data in COLUMNS:
            self.check_column(part)
            return
        if self.key_texts and self.value_of(part).text in self.key_texts and part.data != "literal":
            return
        for child in part.children:
            self.check_part(child)

    def check_column(self, part: Tree) -> None:
        term = self.visit(part)
        is_tag = self.table is not None and (term.column in self.table.tags or part.data == "tbname")
        if term.text in self.key_texts or (is_tag and 'o."#tbname"' in self.key_texts):
            return
        refuse_if(self.window is not None, 0x2667, f"Invalid usage of expr: {term.column.name}")
        refuse_if(self.is_grouped, 0x260A, "Not a GROUP BY expression")
        raise TaosError(0x260C, "Not a single-group group function")

    def picked(self, pick: RowPick, text: str) -> str:
        name = "value_at_lowest" if pick.is_lowest else "value_at"
        return self.aggregated(f"{name}({pick.key}, {text})", pick.condition)

    # The select list

    def item(self, what: Tree | Token, name: str | None) -> list[tuple[str, Term]]:
        """The names and terms of a part of the select list; *, LAST_ROW(*) and COLS are several."""
        if isinstance(what, Token):
            return [(column.name, self.of_column(column)) for column in self.shown]
        if what.data == "cols":
            return self.visit(what)
        if what.data == "call" and what.children[0].lower() in BY_TIME and what.children[2] == "*":
            return self.all_by_time(what.children[0].lower())
        term = self.item_term(what)
        if name or (what.data in COLUMNS and term.column.name):
            return [(name or term.column.name, term)]
        return [(self.written(what)[:LONGEST_COLUMN_NAME], term)]

    def all_by_time(self, name: str) -> list[tuple[str, Term]]:
        terms = [self.of_column(column) for column in self.table.columns] if self.table else []
        return [(f"{name}({term.column.name})", self.value_by_time(name, term)) for term in terms]

    def item_term(self, tree: Tree) -> Term:
        """The term of an item; beside an aggregate that picks a row it is that row's, if it is no group's."""
        term = without_null(tree, self.visit(tree))
        is_of_rows = self.row_pick and not has_aggregate(tree) and term.value is None
        if not self.row_pick or not is_of_rows or not column_names_in(tree):
            return term
        if self.is_of_group(tree, term):
            return term
        return term._replace(text=self.picked(self.row_pick, term.text))

    def is_of_group(self, tree: Tree, term: Term) -> bool:
        names = column_names_in(tree)
        return term.text in self.key_texts or all(f"o.{quoted(name)}" in self.key_texts for name in names)

    def cols(self, _word: Token, call: Tree, *items: Tree) -> list[tuple[str, Term]]:
        """COLS(MAX(x), a, b): columns of the row that the function picks."""
        name = call.children[0].lower()
        argument = call.children[2]
        if name not in BY_TIME | {"min", "max"} or not isinstance(argument, Tree):
            raise not_understood(f"COLS of {name}")
        before, self.row_pick = self.row_pick, self.pick_of(Tree("items", [call]), {name})
        found = [pair for item in items for pair in self.item(*item.children)]
        self.row_pick = before
        return found


def parts_of(tree: Tree) -> list[Any]:
    """The parts of a SELECT, each None where it is left out; it may be without any source."""
    parts = list(tree.children)
    return parts + [None] * (9 - len(parts))


def key_trees(partition: Tree | None, groups: Tree | None) -> list[Tree]:
    found = [item.children[0] for item in partition.children[1:]] if partition else []
    return found + (list(groups.children[1:]) if groups else [])


def aggregates_in(*trees: Tree | None) -> set[str]:
    """The aggregates that are called there, in lower case."""
    return {
        name
        for tree in trees
        if tree
        for call in tree.find_data("call")
        if (name := call.children[0].lower()) in AGGREGATES
    }


def conjuncts(tree: Tree) -> Iterator[Tree]:
    """What AND joins."""
    if tree.data == "boolean" and len(tree.children) == 3 and str(tree.children[1]).upper() == "AND":
        yield from conjuncts(tree.children[0])
        yield from conjuncts(tree.children[2])
    else:
        yield tree


def column_names_in(*trees: Tree | None) -> set[str]:
    """The names of all columns there; "*" where that stands for them."""
    parts = [part for tree in trees if tree for part in tree.iter_subtrees()]
    stars = {"*" for part in parts if part.data == "item" and part.children[0] == "*"}
    names = {
        "#tbname" if part.data == "tbname" else part.children[-1] for part in parts if part.data in COLUMNS
    }
    return stars | names
