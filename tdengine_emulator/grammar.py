"""SQL's text into trees: sql.lark's rules, with names, types and rows of literals made of what they say."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from lark import Lark, Token, Transformer, Tree, UnexpectedInput, UnexpectedToken, v_args

from tdengine_emulator.store import TableName, not_understood
from tdengine_emulator.wire import MAX_INTEGER, TYPES, Column, TaosError, refuse_if

MAX_LENGTH = 1024 * 1024
ESCAPED = re.compile(r"\\(.)|''|\"\"", re.DOTALL)
QUOTES = re.compile(r"""(`[^`]*+`?|'(?:[^'\\]|\\.)*+'?|"(?:[^"\\]|\\.)*+"?)|[^`'"]+""", re.DOTALL)
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "x": "\\x", "%": "\\%", "_": "\\_"}
NANOSECONDS = {"b": 1, "u": 1_000, "a": 1_000_000} | {
    unit: seconds * 1_000_000_000
    for unit, seconds in {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}.items()
}
# What TDengine understands behind a table, and the emulator does not.
CLAUSES = ("_", "join", "inner", "left", "right", "full", "asof", "state_window", "session", "event_window")
CLAUSES += ("count_window", "anomaly_window", "range", "every", "fill", "sliding")


def unnamed(kind: str, length: int = 0) -> Column:
    """A column of the type, as what an expression gives."""
    return Column("", kind, length or TYPES[kind].size)


BOOL, BIGINT, DOUBLE, TIMESTAMP = map(unnamed, ("BOOL", "BIGINT", "DOUBLE", "TIMESTAMP"))


class Term(NamedTuple):
    """A piece of SQLite's SQL; what it is in TDengine, named if it is a column; a literal's value.

    A duration has its own text, such as 1h, as `unit`.
    """

    text: str
    column: Column = BOOL
    value: Any = None
    unit: str = ""


PLAIN = re.compile(
    r"""(-?[\d.][\d.e+-]*)|('(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")|([a-z]+)""", re.IGNORECASE | re.DOTALL
)
PLAIN_WORDS = {"null": Term("NULL"), "true": Term("", BOOL, True), "false": Term("", BOOL, False)}


def parse(text: str) -> Tree:
    """The statement's tree, by the grammar's rules; raises TaosError."""
    refuse_if(len(text.encode()) > MAX_LENGTH, 0x0219, "SQL statement too long")
    try:
        return PARSER.parse(text)
    except UnexpectedInput as error:
        if isinstance(error, UnexpectedToken) and error.token.type == "$END" and text.strip():
            raise TaosError(0x2601, "Incomplete SQL statement") from None
        at = error.pos_in_stream or 0
        rest = without_case(text[at:].strip())
        if isinstance(error, ReservedWord) and is_inserted_into(text, at, error.token):
            raise TaosError(0x0216, f"syntax error near '{rest}' (table_name is expected)") from None
        is_plain = len(rest) == len(text.strip())
        if isinstance(error, ReservedWord):  # which may begin what TDengine understands, and the emulator not
            is_plain = not (rest.startswith(CLAUSES) or text.lstrip()[:4].lower() == "show")
        if isinstance(error, UnexpectedToken) and error.token.type in ("DISTINCT", "INTERVAL"):
            is_plain = True
        refuse_if(is_plain, 0x2600, f'syntax error near "{rest}"')
        raise not_understood(f'syntax error near "{rest}"') from None


def without_case(text: str) -> str:
    """SQL as TDengine repeats it: small, but for what stands in quotes."""
    return QUOTES.sub(lambda found: found[1] or found[0].lower(), text)


def is_inserted_into(text: str, at: int, word: str) -> bool:
    """Whether the word there is a whole table name in an INSERT."""
    is_insert = text.lstrip()[:6].lower() == "insert"
    return is_insert and text[:at].rstrip()[-1:] != "." != text[at + len(word) :].lstrip()[:1]


@v_args(inline=True)
class NamesAndTypes(Transformer):
    """Names, types and what is made of them: the rules that mean the same wherever they stand."""

    def option(self, word: Token, value: Token) -> tuple[str, Any]:
        """An option of a database: days for a duration."""
        if value.type == "DURATION":
            days = int(value[:-1]) * NANOSECONDS[value[-1].lower()] / NANOSECONDS["d"]
            return word.lower(), int(days) if days.is_integer() else str(value)
        if value.type == "NUMBER" and not value.isdigit():
            raise UnexpectedToken(value, ())
        return word.lower(), int(value) if value.type == "NUMBER" else unescaped(value)

    def if_needed(self) -> bool:
        return True

    key = if_needed

    def any_name(self, token: Token) -> str:
        return token.update("NAME", token[1:-1] if token.type == "QUOTED" else token.lower())

    def name(self, token: Token) -> str:
        if token.type == "WORD" and token.lower() in RESERVED_WORDS:
            raise ReservedWord(token, ())
        return self.any_name(token)

    def names(self, *names: Any) -> list[Any]:
        return list(names)

    columns = names

    def plain_row(self, row: Token) -> list["Term"]:
        """Literals alone, which have no text but of NULL: as a tree they would take ten times as long."""
        terms = []
        for number, string, word in PLAIN.findall(row):
            if number:
                terms.append(
                    Term("", BIGINT, int(number) if number.lstrip("-").isdigit() else Decimal(number))
                )
            elif string:
                terms.append(Term("", BOOL, unescaped(string)))
            else:
                terms.append(PLAIN_WORDS[word.lower()])
        return terms

    def table(self, first: str, second: str | None) -> TableName:
        return TableName(second, first) if second else TableName(first, None)

    def type(self, word: Token, unsigned: Token | None, *numbers: Token | None) -> Column:
        """An unnamed column of the type: its length counts bytes, for NCHAR characters."""
        kind = {"BINARY": "VARCHAR", "INTEGER": "INT"}.get(word.upper(), word.upper())
        kind += " UNSIGNED" if unsigned else ""
        size, scale = (int(number or 0) for number in numbers)
        if kind == "DECIMAL" and scale <= size <= 38 and size:
            return unnamed(kind if size > 18 else "DECIMAL64")._replace(precision=size, scale=scale)
        if kind not in TYPES or "DECIMAL" in kind or not (TYPES[kind].size or size):
            raise UnexpectedToken(word, ())
        return unnamed(kind, TYPES[kind].size or size)

    def defined(self, name: str, column: Column, is_key: bool | None) -> Column:
        return column._replace(name=name, is_key=bool(is_key))


class ReservedWord(UnexpectedToken):
    """A name that has to stand in backquotes."""


RESERVED_WORDS = frozenset(Path(__file__).with_name("reserved-words.txt").read_text().lower().split())
GRAMMAR = Path(__file__).with_name("sql.lark").read_text()
TABLES = Path(__file__).with_name("__pycache__") / "sql.lark"  # made from it once, since that takes a while
PARSER = Lark(
    GRAMMAR, parser="lalr", transformer=NamesAndTypes(), propagate_positions=True, cache=str(TABLES)
)


def unescaped(quoted_text: str) -> str:
    return ESCAPED.sub(lambda found: ESCAPES.get(found[1], found[1]) or found[0][0], quoted_text[1:-1])


def literal(value: Any) -> Term:
    if value is None:
        return Term("NULL", unnamed("VARCHAR"))
    if isinstance(value, bool):
        return Term(str(int(value)), BOOL, value)
    if isinstance(value, int):
        return Term(f"'{value}'" if MAX_INTEGER < value < 2**64 else str(value), BIGINT, value)
    if isinstance(value, float | Decimal):
        return Term(repr(float(value)), DOUBLE, value)
    if isinstance(value, bytes):
        return Term(f"X'{value.hex()}'", unnamed("VARBINARY", len(value)), value)
    return Term("'" + value.replace("'", "''") + "'", unnamed("VARCHAR", len(value.encode())), value)
