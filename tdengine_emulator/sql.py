"""TDengine's SQL, as much of it as the demo and its tests use: text in, one statement object out.

sqlglot was tried and knows neither USING … TAGS, durations such as 12h, PARTITION BY nor SHOW STABLES, so this is a
small recursive-descent parser. It knows the grammar only: no tables, no types, no SQLite.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

TOKEN = re.compile(
    r"""(?P<space>\s+)
    | (?P<duration>\d+[a-z]\b)
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)
    | (?P<string>'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*")
    | (?P<quoted>`[^`]+`)
    | (?P<word>[a-z_]\w*)
    | (?P<mark><=|>=|<>|!=|[-+*/%(),.;=<>?])""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
ESCAPE = re.compile(r"\\(.)|''|\"\"", re.DOTALL)
CLAUSE_WORDS = frozenset("from where partition group order limit offset as and or not asc desc".split())
STATEMENT_WORDS = frozenset("select insert create drop alter delete use show desc describe".split())
UNDERSTOOD = (
    "CREATE/DROP/USE DATABASE, CREATE/DROP/DESCRIBE TABLE, ALTER TABLE … SET TAG, INSERT … USING … TAGS … VALUES, DELETE, "
    "SHOW DATABASES/STABLES/TABLES, SELECT with WHERE, GROUP BY, PARTITION BY, ORDER BY, LIMIT"
)


class SyntaxProblem(Exception):
    """The text is no statement that the emulator understands; `near` is the text from the word that is in the way."""

    def __init__(self, near: str, known: bool):
        self.near, self.known = near, known
        super().__init__(near)


@dataclass(frozen=True)
class Table:
    """A table's name, and its database where the statement gives one."""

    name: str
    database: str | None = None


@dataclass(frozen=True)
class Expression:
    """One node: `kind` is column, literal, duration, parameter, star, call, cast or operator.

    `value` is the name, the value, the operator or a cast's (type, length); `text` is how the statement wrote it.
    """

    kind: str
    value: Any = None
    arguments: tuple["Expression", ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Column:
    """A column or tag as CREATE TABLE gives it; `length` counts bytes (BINARY) or characters (NCHAR)."""

    name: str
    type: str
    length: int | None = None
    is_key: bool = False


@dataclass(frozen=True)
class CreateDatabase:
    name: str
    if_not_exists: bool
    options: dict[str, Any]


@dataclass(frozen=True)
class DropDatabase:
    name: str
    if_exists: bool


@dataclass(frozen=True)
class Use:
    name: str


@dataclass(frozen=True)
class CreateTable:
    table: Table
    if_not_exists: bool
    columns: list[Column]
    tags: list[Column]


@dataclass(frozen=True)
class DropTable:
    table: Table
    if_exists: bool
    supertable_only: bool


@dataclass(frozen=True)
class Describe:
    table: Table


@dataclass(frozen=True)
class Show:
    what: str
    database: str | None


@dataclass(frozen=True)
class SetTag:
    table: Table
    tag: str
    value: Expression


@dataclass(frozen=True)
class InsertInto:
    """One table's part of an INSERT; `table` is None where it is a parameter, `columns` None where all are meant."""

    table: Table | None
    using: Table | None
    tag_names: list[str] | None
    tags: list[Expression]
    columns: list[str] | None
    rows: list[list[Expression]]


@dataclass(frozen=True)
class CreateSubtables:
    parts: list[InsertInto]
    if_not_exists: bool


@dataclass(frozen=True)
class Insert:
    parts: list[InsertInto]


@dataclass(frozen=True)
class Delete:
    table: Table
    where: Expression | None


@dataclass(frozen=True)
class Select:
    items: list[tuple[Expression, str | None]]
    table: Table | None = None
    distinct: bool = False
    where: Expression | None = None
    partition: list[Expression] = field(default_factory=list)
    group: list[Expression] = field(default_factory=list)
    order: list[tuple[Expression, bool]] = field(default_factory=list)
    limit: tuple[int, int] | None = None


Statement = (
    CreateDatabase | DropDatabase | Use | CreateTable | CreateSubtables | DropTable | Describe | Show | SetTag
    | Insert | Delete | Select
)  # fmt: skip


@lru_cache(maxsize=256)
def parse(text: str) -> Statement:
    """The statement that the text is; raises SyntaxProblem."""
    return Parser(text).statement()


class Parser:
    def __init__(self, text: str):
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []  # kind, text, position
        self.at = 0
        position = 0
        while position < len(text):
            match = TOKEN.match(text, position)
            if match is None:
                self.tokens.append(("unknown", text[position], position))
                break
            if match.lastgroup != "space":
                self.tokens.append((match.lastgroup or "", match.group(), position))
            position = match.end()
        self.tokens.append(("end", "", len(text)))

    def problem(self) -> SyntaxProblem:
        known = self.tokens[0][1].lower() in STATEMENT_WORDS
        return SyntaxProblem(self.text[self.tokens[self.at][2] :].lower(), known)

    # Words and lists

    def next_is(self, *words: str) -> bool:
        """Whether the next tokens are these words or marks."""
        upcoming = self.tokens[self.at : self.at + len(words)]
        return [text.lower() for kind, text, _ in upcoming if kind in ("word", "mark")] == list(words)

    def accept(self, *words: str) -> bool:
        found = self.next_is(*words)
        if found:
            self.at += len(words)
        return found

    def expect(self, *words: str) -> None:
        if not self.accept(*words):
            raise self.problem()

    def take(self, *kinds: str) -> str:
        kind, text, _ = self.tokens[self.at]
        if kind not in kinds:
            raise self.problem()
        self.at += 1
        return text

    def name(self) -> str:
        text = self.take("word", "quoted")
        return text[1:-1] if text[0] == "`" else text.lower()

    def integer(self) -> int:
        text = self.take("number")
        if not text.isdigit():
            self.at -= 1
            raise self.problem()
        return int(text)

    def string(self) -> str:
        return ESCAPE.sub(lambda escape: escape.group(1) or escape.group()[0], self.take("string")[1:-1])

    def listed(self, item: Any) -> list[Any]:
        """Items separated by commas."""
        items = [item()]
        while self.accept(","):
            items.append(item())
        return items

    def in_brackets(self, item: Any) -> list[Any]:
        self.expect("(")
        items = self.listed(item)
        self.expect(")")
        return items

    def table(self) -> Table:
        first = self.name()
        return Table(self.name(), first) if self.accept(".") else Table(first)

    # Statements

    def statement(self) -> Statement:
        if self.accept("select"):
            result = self.select()
        elif self.accept("insert", "into"):
            result = Insert(self.insert_parts())
        elif self.accept("create", "database"):
            result = CreateDatabase(
                if_not_exists=self.accept("if", "not", "exists"), name=self.name(), options=self.options()
            )
        elif self.accept("create", "table") or self.accept("create", "stable"):
            result = self.create_table()
        elif self.accept("drop", "database"):
            result = DropDatabase(if_exists=self.accept("if", "exists"), name=self.name())
        elif self.next_is("drop", "table") or self.next_is("drop", "stable"):
            self.at += 1
            supertable_only = self.name() == "stable"
            result = DropTable(
                if_exists=self.accept("if", "exists"), table=self.table(), supertable_only=supertable_only
            )
        elif self.accept("use"):
            result = Use(self.name())
        elif self.accept("describe") or self.accept("desc"):
            result = Describe(self.table())
        elif self.accept("show"):
            result = self.show()
        elif self.accept("alter", "table"):
            table = self.table()
            self.expect("set", "tag")
            tag = self.name()
            self.expect("=")
            result = SetTag(table, tag, self.expression())
        elif self.accept("delete", "from"):
            result = Delete(self.table(), self.expression() if self.accept("where") else None)
        else:
            raise self.problem()
        self.accept(";")
        if self.tokens[self.at][0] != "end":
            raise self.problem()
        return result

    def options(self) -> dict[str, Any]:
        """PRECISION 'ns' KEEP 3650 and their like: names and values."""
        options = {}
        while self.tokens[self.at][0] == "word":
            name = self.name()
            kind, text, _ = self.tokens[self.at]
            options[name] = self.string() if kind == "string" else self.take("number", "duration")
        return options

    def show(self) -> Show:
        what = self.name()
        database = None
        if self.accept("."):
            database, what = what, self.name()
        elif self.accept("from"):
            database = self.name()
        if what not in ("databases", "stables", "tables"):
            self.at -= 1
            raise self.problem()
        return Show(what, database)

    def create_table(self) -> CreateTable | CreateSubtables:
        if_not_exists = self.accept("if", "not", "exists")
        table = self.table()
        if self.accept("using"):
            parts = [self.using(table)]
            while self.tokens[self.at][0] in ("word", "quoted"):
                self.accept("if", "not", "exists")
                table = self.table()
                self.expect("using")
                parts.append(self.using(table))
            return CreateSubtables(parts, if_not_exists)
        columns = self.in_brackets(self.column)
        tags = self.in_brackets(self.column) if self.accept("tags") else []
        return CreateTable(table, if_not_exists, columns, tags)

    def column(self) -> Column:
        name = self.name()
        type_name, length = self.type()
        return Column(name, type_name, length, self.accept("primary", "key"))

    def type(self) -> tuple[str, int | None]:
        name = self.name().upper()
        if self.accept("unsigned"):
            name += " UNSIGNED"
        return name, self.in_brackets(self.integer)[0] if self.next_is("(") else None

    def using(self, table: Table | None) -> InsertInto:
        using = self.table()
        tag_names = self.in_brackets(self.name) if self.next_is("(") else None
        self.expect("tags")
        return InsertInto(table, using, tag_names, self.in_brackets(self.expression), None, [])

    def insert_parts(self) -> list[InsertInto]:
        parts = []
        while not parts or self.tokens[self.at][0] in ("word", "quoted"):
            table = None if self.accept("?") else self.table()
            columns = self.in_brackets(self.name) if self.next_is("(") else None
            part = self.using(table) if self.accept("using") else InsertInto(table, None, None, [], None, [])
            columns = self.in_brackets(self.name) if self.next_is("(") else columns
            self.expect("values")
            rows = [self.in_brackets(self.expression)]
            while self.accept(",") or self.next_is("("):
                rows.append(self.in_brackets(self.expression))
            parts.append(InsertInto(table, part.using, part.tag_names, part.tags, columns, rows))
        return parts

    def select(self) -> Select:
        distinct = self.accept("distinct")
        items = self.listed(self.item)
        if not self.accept("from"):
            return Select(items)
        table = self.table()
        where = self.expression() if self.accept("where") else None
        partition = self.listed(self.expression) if self.accept("partition", "by") else []
        group = self.listed(self.expression) if self.accept("group", "by") else []
        order = self.listed(self.sort_key) if self.accept("order", "by") else []
        limit = None
        if self.accept("limit"):
            count, offset = self.integer(), 0
            if self.accept("offset"):
                offset = self.integer()
            elif self.accept(","):
                count, offset = self.integer(), count
            limit = (count, offset)
        return Select(items, table, distinct, where, partition, group, order, limit)

    def item(self) -> tuple[Expression, str | None]:
        if self.accept("*"):
            return Expression("star", text="*"), None
        expression = self.expression()
        kind, text, _ = self.tokens[self.at]
        if self.accept("as") or kind == "quoted" or (kind == "word" and text.lower() not in CLAUSE_WORDS):
            return expression, self.name()
        return expression, None

    def sort_key(self) -> tuple[Expression, bool]:
        """An expression, and whether the order is descending."""
        expression = self.expression()
        descending = self.accept("desc")
        if not descending:
            self.accept("asc")
        return expression, descending

    # Expressions, the loosest binding first

    def expression(self) -> Expression:
        return self.operators(("or",), lambda: self.operators(("and",), self.negation))

    def negation(self) -> Expression:
        start = self.at
        if self.accept("not"):
            return self.node("operator", "not", self.negation(), start=start)
        return self.comparison()

    def comparison(self) -> Expression:
        start = self.at
        left = self.sum()
        for mark in ("=", "<>", "!=", "<=", ">=", "<", ">"):
            if self.accept(mark):
                return self.node("operator", mark, left, self.sum(), start=start)
        if self.accept("is"):
            negated = self.accept("not")
            self.expect("null")
            return self.node("operator", "is not null" if negated else "is null", left, start=start)
        negated = "not " if self.accept("not") else ""
        if self.accept("in"):
            return self.node("operator", negated + "in", left, *self.in_brackets(self.sum), start=start)
        if self.accept("like"):
            return self.node("operator", negated + "like", left, self.sum(), start=start)
        if self.accept("between"):
            low = self.sum()
            self.expect("and")
            return self.node("operator", negated + "between", left, low, self.sum(), start=start)
        if negated:
            raise self.problem()
        return left

    def sum(self) -> Expression:
        return self.operators(("+", "-"), lambda: self.operators(("*", "/", "%"), self.factor))

    def operators(self, marks: tuple[str, ...], operand: Any) -> Expression:
        start = self.at
        left = operand()
        while mark := next((mark for mark in marks if self.accept(mark)), None):
            left = self.node("operator", mark, left, operand(), start=start)
        return left

    def factor(self) -> Expression:
        start = self.at
        if self.accept("-"):
            operand = self.factor()
            if operand.kind == "literal" and isinstance(operand.value, int | float):
                return self.node("literal", -operand.value, start=start)
            return self.node("operator", "negative", operand, start=start)
        if self.accept("("):
            inner = self.expression()
            self.expect(")")
            return self.node(inner.kind, inner.value, *inner.arguments, start=start)
        if self.accept("?"):
            return self.node("parameter", start=start)
        kind, text, _ = self.tokens[self.at]
        if kind == "string":
            return self.node("literal", self.string(), start=start)
        if kind == "number":
            self.at += 1
            return self.node("literal", int(text) if text.isdigit() else float(text), start=start)
        if kind == "duration":
            self.at += 1
            return self.node("duration", (int(text[:-1]), text[-1].lower()), start=start)
        if kind == "word" and self.tokens[self.at + 1][1] == "(":
            return self.call()
        for word, value in (("null", None), ("true", True), ("false", False)):
            if self.accept(word):
                return self.node("literal", value, start=start)
        if self.accept("now"):
            return self.node("call", "now", start=start)
        name = self.name()
        if name in CLAUSE_WORDS and kind == "word":
            self.at -= 1
            raise self.problem()
        if self.accept("."):
            name = self.name()
        return self.node("column", name, start=start)

    def call(self) -> Expression:
        start = self.at
        name = self.name()
        self.expect("(")
        if name == "cast":
            operand = self.expression()
            self.expect("as")
            target = self.type()
            self.expect(")")
            return self.node("cast", target, operand, start=start)
        arguments = []
        if self.accept("*"):
            arguments.append(Expression("star", text="*"))
        elif not self.next_is(")"):
            arguments = self.listed(self.expression)
        self.expect(")")
        return self.node("call", name, *arguments, start=start)

    def node(self, kind: str, value: Any = None, *arguments: Expression, start: int) -> Expression:
        _, last, position = self.tokens[self.at - 1]
        return Expression(kind, value, arguments, self.text[self.tokens[start][2] : position + len(last)])
