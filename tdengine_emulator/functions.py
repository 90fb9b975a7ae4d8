"""TDengine's functions of one row's values: what type each gives, and what SQLite says for it."""

from collections.abc import Callable
from typing import NamedTuple

from tdengine_emulator.grammar import BIGINT, DOUBLE, NANOSECONDS, TIMESTAMP, Term, literal, unnamed
from tdengine_emulator.store import not_understood
from tdengine_emulator.wire import Column, TaosError, refuse_if

TEXTS = ("VARCHAR", "NCHAR")
FLOATS = ("FLOAT", "DOUBLE")
BYTES = ("VARBINARY", "GEOMETRY", "BLOB")
INTEGERS = [f"{size}INT{sign}" for sign in ("", " UNSIGNED") for size in ("TINY", "SMALL", "", "BIG")]
WIDER = [*INTEGERS, *FLOATS]  # each holds the numbers of those before it
LONGEST_TO_CHAR = 4094
ONE_UNIT = {unit: nanoseconds for unit, nanoseconds in NANOSECONDS.items() if unit != "b"}


class Function(NamedTuple):
    """How many arguments it takes, what writes it as a term, and what it gives."""

    fewest: int
    most: int
    write: Callable[[str, list[Term], int], Term]
    gives: str


def is_number(column: Column) -> bool:
    return column.kind in WIDER


def is_null(term: Term) -> bool:
    return term.text == "NULL"


def is_text(column: Column) -> bool:
    return column.kind in TEXTS


def wrong_type(name: str) -> TaosError:
    return TaosError(0x2802, f"Invalid parameter data type : {name}")


def check(name: str, terms: list[Term], is_right: Callable[[Column], bool]) -> None:
    """Raise TaosError unless all terms are NULL or of a right type."""
    if not all(is_null(term) or is_right(term.column) for term in terms):
        raise wrong_type(name)


def called(sql_name: str, terms: list[Term], *more: object) -> str:
    return f"{sql_name}({', '.join([*(term.text for term in terms), *map(str, more)])})"


def of_numbers(sql_name: str) -> Callable[[str, list[Term], int], Term]:
    """A DOUBLE of numbers."""

    def write(name: str, terms: list[Term], _: int) -> Term:
        check(name, terms, is_number)
        return Term(called(sql_name, terms), DOUBLE)

    return write


def of_same_type(sql_name: str) -> Callable[[str, list[Term], int], Term]:
    """A number of the first argument's type."""

    def write(name: str, terms: list[Term], _: int) -> Term:
        check(name, terms, is_number)
        column = terms[0].column._replace(name="")
        text = called(sql_name, terms)
        if column.kind == "FLOAT" and len(terms) > 1:
            text = f"as_float({text})"
        return Term(text, BIGINT if is_null(terms[0]) else column)

    return write


def of_text(sql_name: str, column: Column | None = None) -> Callable[[str, list[Term], int], Term]:
    """A text of the first argument's type, or a value of the column's type, of a text and numbers."""

    def write(name: str, terms: list[Term], _: int) -> Term:
        check(name, terms[:1], is_text)
        numbers = terms[1:] if sql_name != "index_part" else terms[2:]
        check(name, numbers, is_number)
        nchar = "_nchar" if terms[0].column.kind == "NCHAR" and sql_name == "bytes_in" else ""
        return Term(called(sql_name + nchar, terms), column or terms[0].column._replace(name=""))

    return write


def trimming(sql_name: str, strip: Callable[[str, str], str]) -> Callable[[str, list[Term], int], Term]:
    def write(name: str, terms: list[Term], _: int) -> Term:
        check(name, terms, is_text)
        if isinstance(terms[0].value, str):
            return literal(strip(terms[0].value, " "))
        return Term(called(sql_name, terms), terms[0].column._replace(name=""))

    return write


def concatenated(name: str, terms: list[Term], _: int) -> Term:
    check(name, terms, is_text)
    columns = [term.column for term in terms]
    kind = "NCHAR" if any(column.kind == "NCHAR" for column in columns) else "VARCHAR"
    if kind == "VARCHAR":
        length = sum(column.length + 2 for column in columns) - 2
    else:
        sizes = [c.block_bytes if c.kind == "NCHAR" else 4 * c.block_bytes for c in columns]
        length = (sum(sizes) - 2) // 4
    if name == "concat_ws":
        return Term(called("joined_with", terms), unnamed(kind, length))
    return Term(called("joined", terms), unnamed(kind, length))


def repeated(name: str, terms: list[Term], _: int) -> Term:
    check(name, terms[:1], is_text)
    check(name, terms[1:], is_number)
    column, count = terms[0].column, terms[1].value
    if not isinstance(count, int):
        raise not_understood("repeat of a number that is no literal")
    size = column.block_bytes * max(count, 1)
    length = (size - 2) // 4 if column.kind == "NCHAR" else size - 2
    return Term(called("repeated", terms), unnamed(column.kind, length))


def replaced(name: str, terms: list[Term], _: int) -> Term:
    check(name, terms, is_text)
    size, old, new = (term.column.block_bytes for term in terms)
    size += max(size // old * (new - old), 0)
    kind = terms[0].column.kind
    return Term(called("replaced", terms), unnamed(kind, (size - 2) // (4 if kind == "NCHAR" else 1)))


def extreme(sql_name: str, native: str) -> Callable[[str, list[Term], int], Term]:
    """GREATEST and LEAST: of the widest type among numbers, else as texts."""

    def write(name: str, terms: list[Term], _: int) -> Term:
        kinds = [term.column.kind for term in terms if not is_null(term)]
        if kinds and all(kind in WIDER for kind in kinds):
            column = unnamed(max(kinds, key=WIDER.index))
            return Term(called(sql_name if column.kind in FLOATS else native, terms), column)
        check(name, terms, is_text)
        length = max(term.column.length for term in terms)
        kind = "NCHAR" if "NCHAR" in kinds else "VARCHAR"
        return Term(called(native, terms), unnamed(kind, length))

    return write


def truncated_time(name: str, terms: list[Term], per_second: int) -> Term:
    """TIMETRUNCATE: to one of a unit, days and weeks in UTC."""
    time, unit, *_ = terms
    check(name, [time], lambda column: column.kind == "TIMESTAMP")
    is_one = unit.unit[:-1] == "1" and unit.unit[-1].lower() in ONE_UNIT
    refuse_if(not is_one, 0x280A, f"Invalid timzone format : {name}")
    if int(unit.text) <= 1:
        return Term(time.text, TIMESTAMP)
    return Term(f"({time.text} - {time.text} % {unit.text})", TIMESTAMP)


def window_start(time: str, step: int, offset: int) -> str:
    """The start of the window of `step` units that a time lies in; those before 1970 as well."""
    if step <= 1:
        return time
    moved = f"({time} - {offset})" if offset else time
    return f"({time} - ({moved} % {step} + {step}) % {step})"


def of_time(sql_name: str, column: Column, *more: object) -> Callable[[str, list[Term], int], Term]:
    def write(name: str, terms: list[Term], per_second: int) -> Term:
        check(name, terms[:1], lambda column: column.kind == "TIMESTAMP" or "INT" in column.kind)
        return Term(called(sql_name, terms[:1], per_second, *more, *(t.text for t in terms[1:])), column)

    return write


def time_difference(name: str, terms: list[Term], _: int) -> Term:
    """TIMEDIFF: in the database's units or whole units of the third argument."""
    first, second, *unit = terms
    check(name, [first, second], lambda column: column.kind == "TIMESTAMP" or "INT" in column.kind)
    text = f"({first.text} - {second.text})"
    return Term(f"({text} / {unit[0].text})" if unit and int(unit[0].text) > 1 else text, BIGINT)


def constant_pi(_name: str, _terms: list[Term], _: int) -> Term:
    return Term("3.141592653589793", DOUBLE)


MANY = 127
SCALARS = {
    "abs": Function(1, 1, of_same_type("absolute"), "the number without its sign, of its type"),
    "acos": Function(1, 1, of_numbers("acos"), "DOUBLE, NULL where it has no value"),
    "ascii": Function(1, 1, of_text("code_of", unnamed("TINYINT UNSIGNED")), "the first byte of a text"),
    "asin": Function(1, 1, of_numbers("asin"), "DOUBLE, NULL where it has no value"),
    "atan": Function(1, 1, of_numbers("atan"), "DOUBLE"),
    "ceil": Function(1, 1, of_same_type("ceiling"), "the next whole number above, of the number's type"),
    "char_length": Function(1, 1, of_text("characters_in", BIGINT), "a text's characters"),
    "concat": Function(2, 8, concatenated, "texts one behind the other, NCHAR if one is"),
    "concat_ws": Function(3, 9, concatenated, "texts with the first between them"),
    "cos": Function(1, 1, of_numbers("cos"), "DOUBLE"),
    "dayofweek": Function(1, 1, of_time("day_of_week", BIGINT, 1), "from 1 on Sunday, in UTC"),
    "degrees": Function(1, 1, of_numbers("degrees"), "DOUBLE"),
    "exp": Function(1, 1, of_numbers("exp"), "DOUBLE"),
    "floor": Function(1, 1, of_same_type("floor"), "the next whole number below, of the number's type"),
    "greatest": Function(2, MANY, extreme("highest", "max"), "the highest, NULL if one is"),
    "least": Function(2, MANY, extreme("lowest", "min"), "the lowest, NULL if one is"),
    "length": Function(1, 1, of_text("bytes_in", BIGINT), "a text's bytes"),
    "ln": Function(1, 1, of_numbers("ln"), "DOUBLE, NULL where it has no value"),
    "log": Function(1, 2, of_numbers("logarithm"), "DOUBLE, to the base of the second argument"),
    "lower": Function(1, 1, of_text("lower"), "a text in small letters, in VARCHAR those of ASCII"),
    "ltrim": Function(1, 1, trimming("left_trimmed", str.lstrip), "a text without the blanks before it"),
    "mod": Function(2, 2, of_numbers("modulo"), "DOUBLE, with the sign of the first number"),
    "pi": Function(0, 0, constant_pi, "DOUBLE"),
    "pow": Function(2, 2, of_numbers("power"), "DOUBLE"),
    "radians": Function(1, 1, of_numbers("radians"), "DOUBLE"),
    "repeat": Function(2, 2, repeated, "a text several times"),
    "replace": Function(3, 3, replaced, "a text with another in the place of a part"),
    "round": Function(1, 2, of_same_type("rounded"), "the number rounded, halves away from 0, of its type"),
    "rtrim": Function(1, 1, trimming("right_trimmed", str.rstrip), "a text without the blanks behind it"),
    "sign": Function(1, 1, of_same_type("sign"), "-1, 0 or 1, of the number's type"),
    "sin": Function(1, 1, of_numbers("sin"), "DOUBLE"),
    "sqrt": Function(1, 1, of_numbers("sqrt"), "DOUBLE, NULL where it has no value"),
    "substr": Function(2, 3, of_text("part_of"), "a text's part from a character (1 is the first) on"),
    "substring": Function(2, 3, of_text("part_of"), "as SUBSTR"),
    "substring_index": Function(3, 3, of_text("index_part"), "a text up to a delimiter"),
    "tan": Function(1, 1, of_numbers("tan"), "DOUBLE"),
    "timediff": Function(2, 3, time_difference, "the first time less the second, in a unit"),
    "timetruncate": Function(2, 3, truncated_time, "the time, cut to one of a unit such as `1h`"),
    "to_char": Function(
        2, 2, of_time("written_time", unnamed("VARCHAR", LONGEST_TO_CHAR)), "a time in a form, in UTC"
    ),
    "trim": Function(1, 1, trimming("trimmed", str.strip), "a text without blanks around it"),
    "truncate": Function(2, 2, of_same_type("truncated"), "the number cut to so many digits, of its type"),
    "upper": Function(1, 1, of_text("upper"), "a text in capitals, in VARCHAR those of ASCII"),
    "weekday": Function(1, 1, of_time("day_of_week", BIGINT, 0), "from 0 on Monday, in UTC"),
}
# Functions that TDengine has and the emulator has not learnt.
OTHERS = frozenset(
    [
        "bottom",
        "char",
        "corr",
        "crc32",
        "csum",
        "derivative",
        "diff",
        "elapsed",
        "forecast",
        "greatest",
        "histogram",
        "id",
        "interp",
        "irate",
        "leastsquares",
        "mavg",
        "rand",
        "sample",
        "statecount",
        "stateduration",
        "std",
        "sum",
        "stddev_samp",
        "stddev_pop",
        "tail",
        "to_iso8601",
        "to_json",
        "to_timestamp",
        "to_unixtimestamp",
        "today",
        "top",
        "twa",
        "unique",
        "var_pop",
        "week",
        "weekofyear",
        "client_version",
        "server_status",
        "current_user",
        "user",
        "st_asgeojson",
        "st_geomfromtext",
        "st_astext",
        "st_makepoint",
        "st_intersects",
        "st_contains",
        "st_containsproperly",
        "st_covers",
        "st_equals",
        "st_touches",
        "generate_surrogate_key",
        "ln",
        "percentile",
    ]
)


def scalar(name: str, terms: list[Term], per_second: int) -> Term:
    """The function of the terms; raises TaosError where it does not take them."""
    function = SCALARS[name]
    is_wrong = not function.fewest <= len(terms) <= function.most
    refuse_if(is_wrong, 0x2801, f"Invalid number of parameters : {name}")
    return function.write(name, terms, per_second)


# Conversions


def cast(term: Term, column: Column) -> Term:
    """CAST of a term to a type."""
    kind, to = term.column.kind, column.kind
    if is_null(term):
        return Term("NULL", column)
    refuse_if(kind in BYTES, 0x2802, "Invalid parameter data type : cast")
    is_refused = to == "VARBINARY" and (kind == "NCHAR" or "INT" in kind)
    refuse_if(is_refused, 0x2802, "Invalid function para type")
    if (kind, to) == ("VARCHAR", "VARBINARY"):
        content = f"CAST({term.text} AS BLOB)"  # of which SUBSTR is NULL where it is empty
        return Term(f"COALESCE(SUBSTR({content}, 1, {column.length}), {content})", column)
    is_odd = kind == "JSON" or (term.column.precision and to not in FLOATS)
    if is_odd or not (column.type.code or is_text(column)) or (is_text(term.column) and to == "TIMESTAMP"):
        raise not_understood(f"CAST from {kind} to {to}")
    if is_text(column):
        text = term.text if is_text(term.column) else f"as_text({term.text}, '{kind}')"
        cut = "cut_bytes" if to == "VARCHAR" else "cut_characters"
        return Term(f"{cut}({text}, {column.length})", column)
    text = f"number_of({term.text})" if is_text(term.column) else term.text
    if to == "BOOL":
        return Term(f"({text} <> 0)", column)
    if to in FLOATS:
        if kind not in FLOATS and not is_text(term.column):
            text = f"CAST({text} AS REAL)"
        return Term(f"as_float({text})" if to == "FLOAT" and kind != "FLOAT" else text, column)
    if "INT" in kind and "UNSIGNED" not in kind + to and term.column.length <= column.length:
        return Term(text, column)
    if kind in ("TIMESTAMP", "BOOL", "BIGINT") and to in ("BIGINT", "TIMESTAMP"):
        return Term(f"CAST({text} AS INTEGER)", column)
    return Term(f"whole({text}, {8 * column.length}, {int('UNSIGNED' in to)})", column)
