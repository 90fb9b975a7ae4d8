"""Owns which expressions a viewer may have computed: those whose every part has one type, whatever the row.

Perspective 5.6 runs an expression for each row with ExprTK, whose loops run for seconds and whose vectors
reach anywhere in memory. It finds out the result's type by one trial; where another row gives another type,
a number is taken for the address of a text and the process ends. So `check` reads the expression as a
language of its own, a part of ExprTK's, and works out the types. What it lets through, the engine gets
unchanged.
"""

import re
from collections.abc import Mapping
from typing import NoReturn

MAX_LENGTH = 2000  # characters; the engine's time for long ones grows with the square
MAX_DEPTH = 50

TOKENS = re.compile(
    r"""(?P<space>\s+|//[^\n'"]*)
    |(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
    |(?P<column>"[^'"\\\n]+")
    |(?P<text>'(?:[^'"\\\n]|\\[^'"\\\n])+')
    |(?P<name>[A-Za-z_]\w*)
    |(?P<sign>:=|==|!=|<=|>=|<>|[-+*/%^<>=(){},;?:])""",
    re.VERBOSE | re.ASCII,
)
# The engine looks for these in the text of an expression, inside quotes, too, and changes what follows.
SEARCHING = ("match", "match_all", "search", "replace", "replace_all")
MISREAD = re.compile(
    r"(?:match|match_all|search|indexof|replace|replace_all|contains)\(|intern|COLUMN\d", re.ASCII
)

NUMBER, BOOLEAN, STRING, DATE, DATETIME = "number", "boolean", "string", "date", "datetime"
COLUMN_TYPES = {"integer": NUMBER, "float": NUMBER}  # the others are called what they are here
ANY = "any type"
PATTERN = "text in single quotes"

# The functions of one number.
MATHEMATICS = re.findall(
    r"\w+",
    """
    abs ceil floor round trunc frac sgn sqrt exp expm1 log log10 log2 log1p deg2rad rad2deg
    sin cos tan asin acos atan sinh cosh tanh erf erfc
    """,
)
# What a function takes and what it gives; "…" after the last argument that may come any number of times.
FUNCTIONS = {
    **dict.fromkeys(MATHEMATICS, ([NUMBER], NUMBER)),
    **dict.fromkeys(("min", "max", "avg", "sum"), ([NUMBER, "…"], NUMBER)),
    "pow": ([NUMBER, NUMBER], NUMBER),
    "percent_of": ([NUMBER, NUMBER], NUMBER),
    "clamp": ([NUMBER, NUMBER, NUMBER], NUMBER),
    "random": ([], NUMBER),
    "index": ([], NUMBER),
    "is_null": ([ANY], BOOLEAN),
    "is_not_null": ([ANY], BOOLEAN),
    "integer": ([ANY], NUMBER),
    "float": ([ANY], NUMBER),
    "boolean": ([ANY], BOOLEAN),
    "string": ([ANY], STRING),
    "date": ([NUMBER, NUMBER, NUMBER], DATE),
    "datetime": ([NUMBER], DATETIME),
    "today": ([], DATE),
    "now": ([], DATETIME),
    "hour_of_day": ([DATETIME], NUMBER),
    "day_of_week": ([DATETIME], STRING),
    "month_of_year": ([DATETIME], STRING),
    "length": ([STRING], NUMBER),
    "upper": ([STRING], STRING),
    "lower": ([STRING], STRING),
    "concat": ([STRING, "…"], STRING),
    "order": ([STRING, PATTERN, "…"], NUMBER),
    "substring": ([STRING, NUMBER, "…"], STRING),
    "match": ([STRING, PATTERN], BOOLEAN),
    "match_all": ([STRING, PATTERN], BOOLEAN),
    "search": ([STRING, PATTERN], STRING),
    "replace": ([STRING, PATTERN, STRING], STRING),
    "replace_all": ([STRING, PATTERN, STRING], STRING),
}
SPECIAL = ("bucket", "col", "not", "if")
RESERVED = {
    *FUNCTIONS,
    *SPECIAL,
    "else",
    "var",
    "true",
    "false",
    "and",
    "or",
    "xor",
    "nand",
    "nor",
    "pi",
    "null",
}
UNIT = re.compile(r"'\d{0,9}[smhDWMY]'", re.ASCII)

# How tightly signs bind.
LOGICAL = {"or": 1, "nor": 1, "xor": 1, "and": 2, "nand": 2}
COMPARING = dict.fromkeys(("==", "=", "!=", "<>", "<", "<=", ">", ">="), 3)
ARITHMETIC = {"+": 4, "-": 4, "*": 5, "/": 5, "%": 5, "^": 6}
STRENGTH = {**LOGICAL, **COMPARING, **ARITHMETIC}


class ExpressionError(ValueError):
    """What is wrong with an expression, in one line."""


def check(text: str, columns: Mapping[str, str]) -> str:
    """The type of an expression's result. `columns` are the table's, with their types in Perspective's words.

    Raises ExpressionError.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression can have {MAX_LENGTH:,} characters here")
    return Reader(text, columns).read()


def find_types(texts: Mapping[str, str], columns: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The types of columns and expressions, and what is wrong with an expression that has none, by name."""
    types = {name: COLUMN_TYPES.get(kind, kind) for name, kind in columns.items()}
    wrong = {}
    for name, text in texts.items():
        try:
            types[name] = check(text, columns)
        except ExpressionError as error:
            wrong[name] = str(error)
    return types, wrong


class Reader:
    """Reads one expression from left to right; each method reads a part and returns its type."""

    def __init__(self, text: str, columns: Mapping[str, str]):
        self.tokens: list[tuple[str, str]] = []  # kind, text
        self.at = 0
        self.depth = 0
        self.columns = columns
        self.variables: dict[str, str] = {}
        self.replacing = 0
        self.joining = 0
        end = 0
        for found in TOKENS.finditer(text):
            if found.start() != end:
                break
            end = found.end()
            if found.lastgroup in ("text", "column") and MISREAD.search(found[0]):
                raise ExpressionError(f"{found[0]} is misread by the engine")
            if found.lastgroup != "space":
                self.tokens.append((found.lastgroup or "", found[0]))
        if end != len(text):
            raise ExpressionError(f"can't read {text[end : end + 20]!r}")
        self.tokens.append(("end", "the end"))

    def read(self) -> str:
        kind = self.statements("the end")
        # Text that is joined with itself again and again fills the memory.
        if self.replacing > 1 or (self.variables and self.joining + self.replacing > 1):
            self.fail("text can grow only once (replace; concat where there are variables)")
        return kind

    def statements(self, end: str) -> str:
        kind = self.statement()
        while self.skip(";"):
            if self.next == end:
                break
            kind = self.statement()
        self.expect(end)
        return kind

    def statement(self) -> str:
        is_new = self.skip("var")
        if self.kind == "name" and self.tokens[self.at + 1][1] == ":=":
            name = self.take()
            self.take()
            if is_new == (name in self.variables) or name.lower() in RESERVED or name.lower()[:6] == "column":
                self.fail(f"{name} can't be a variable here")
            kind = self.expression()
            if self.variables.setdefault(name, kind) != kind:
                self.fail(f"{name} is a {self.variables[name]}, not a {kind}")
            return kind
        if is_new:
            self.fail("a variable needs a value: var x := 1")
        return self.expression()

    def expression(self) -> str:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail("too deep")
        kind = self.operation(1)
        if self.skip("?"):
            self.condition(kind)
            kind = self.expression()
            self.expect(":")
            self.same(kind, self.expression())
        self.depth -= 1
        return kind

    def operation(self, strength: int) -> str:
        left = self.operand()
        while STRENGTH.get(self.next, 0) >= strength and self.kind != "text":
            sign = self.take()
            right = self.operation(STRENGTH[sign] + 1)
            if sign in ARITHMETIC:
                self.expected(NUMBER, left, sign)
                self.expected(NUMBER, right, sign)
            elif sign in COMPARING:
                self.same(left, right)
                left = BOOLEAN
            else:
                self.condition(left)
                self.condition(right)
                left = BOOLEAN
        return left

    def operand(self) -> str:
        kind, token = self.kind, self.next
        if self.skip("-") or self.skip("+"):
            self.depth += 1
            if self.depth > MAX_DEPTH:
                self.fail("too deep")
            self.expected(NUMBER, self.operand(), token)
            self.depth -= 1
            return NUMBER
        if self.skip("("):
            inner = self.expression()
            self.expect(")")
            return inner
        self.take()
        if kind == "number":
            return NUMBER
        if kind == "text":
            return STRING
        if kind == "column":
            return self.column(token)
        if kind != "name":
            self.fail(f"can't read {token!r}" if kind != "end" else "it ends too early")
        if token in ("true", "false", "True", "False"):
            return BOOLEAN
        if token == "pi":
            return NUMBER
        if token in self.variables:
            return self.variables[token]
        if token == "if":
            return self.choice()
        self.expect("(", f"there is no {token!r} here")
        return self.call(token)

    def choice(self) -> str:
        """`if (…) …; else …`, `if (…) {…} else {…}` or `if (…, …, …)`."""
        self.expect("(")
        self.condition(self.expression())
        if self.skip(","):
            kind = self.expression()
            self.expect(",")
            self.same(kind, self.expression())
            self.expect(")")
            return kind
        self.expect(")")
        kind = self.branch()
        self.skip(";")
        self.expect("else", "an if needs an else here")
        self.same(kind, self.branch())
        return kind

    def branch(self) -> str:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail("too deep")
        kind = self.statements("}") if self.skip("{") else self.statement()
        self.depth -= 1
        return kind

    def call(self, name: str) -> str:
        if name == "col":
            if self.kind != "text":
                self.fail("col() takes a column in single quotes")
            token = self.take()
            self.expect(")")
            return self.column(token)
        if name not in FUNCTIONS and name not in SPECIAL:
            self.fail(f"there is no function {name}() here")
        arguments, starts = [], []
        while not self.skip(")"):
            if arguments:
                self.expect(",")
            starts.append(self.at)
            arguments.append(self.expression())
        literal = [kind == "text" for kind, _ in (self.tokens[start] for start in starts)]
        if name == "not":
            self.condition(arguments[0] if len(arguments) == 1 else "")
            return BOOLEAN
        if name == "bucket":
            if len(arguments) != 2:
                self.fail("bucket() takes 2 arguments")
            return self.bucket(arguments, (starts[0], starts[1] - 1), (starts[1], self.at - 1))
        self.replacing += name in ("replace", "replace_all")
        self.joining += name == "concat"
        expected, result = FUNCTIONS[name]
        if "…" in expected:
            expected = expected[:-1] + expected[-2:-1] * (len(arguments) - len(expected) + 1)
        if len(arguments) != len(expected):
            self.fail(f"{name}() takes {len(expected)} arguments")
        for number, (wanted, kind) in enumerate(zip(expected, arguments, strict=True)):
            if wanted == PATTERN and not (literal[number] and kind == STRING):
                self.fail(f"{name}() takes {PATTERN} there")
            if name in ("day_of_week", "month_of_year") and kind == DATE:
                continue
            if wanted not in (ANY, PATTERN):
                self.expected(wanted, kind, f"{name}()")
        if name in SEARCHING and any(kind == "text" for kind, _ in self.tokens[starts[0] : starts[1]]):
            self.fail(f"{name}() takes no text in its first argument: the engine misreads it")
        return result

    def bucket(self, arguments: list[str], what: tuple[int, int], width: tuple[int, int]) -> str:
        """A number by a plain number, or a time by a unit in quotes: the engine bears nothing else.

        Nor does it bear what is no number at all, such as 1 / 0; float(…) makes it one.
        """
        kind, token = self.tokens[width[0]] if width[1] - width[0] == 1 else ("", "")
        if arguments == [NUMBER, NUMBER] and kind == "number":
            if self.tokens[what[0]][0] in ("column", "number") and what[1] - what[0] == 1:
                return NUMBER
            if self.tokens[what[0]][1] in ("float", "integer") and self.closing(what[0] + 1) == what[1] - 1:
                return NUMBER
            self.fail("bucket() takes a column or float(…) here")
        if len(arguments) == 2 and arguments[0] in (DATE, DATETIME) and UNIT.fullmatch(token):
            return DATETIME if token[-2] in "smh" and arguments[0] == DATETIME else DATE
        self.fail("bucket() takes a number and a plain number, or a time and a unit such as '5m'")

    def closing(self, at: int) -> int:
        """Where the bracket that opens there is closed."""
        depth = 0
        while True:
            depth += {"(": 1, ")": -1}.get(self.tokens[at][1], 0)
            if depth == 0:
                return at
            at += 1

    def column(self, token: str) -> str:
        kind = self.columns.get(token[1:-1])
        return COLUMN_TYPES.get(kind, kind) if kind else self.fail(f"there is no column {token}")

    def same(self, kind: str, other: str) -> None:
        if kind != other:
            self.fail(f"here a {kind} and there a {other}")

    def expected(self, wanted: str, kind: str, where: str) -> None:
        if kind != wanted:
            self.fail(f"{where} takes a {wanted}, not a {kind}")

    def condition(self, kind: str) -> None:
        if kind not in (BOOLEAN, NUMBER):
            self.fail("a condition is true or false")

    @property
    def kind(self) -> str:
        return self.tokens[self.at][0]

    @property
    def next(self) -> str:
        return self.tokens[self.at][1]

    def take(self) -> str:
        token = self.next
        self.at = min(self.at + 1, len(self.tokens) - 1)
        return token

    def skip(self, token: str) -> bool:
        if self.next != token:
            return False
        self.take()
        return True

    def expect(self, token: str, otherwise: str = "") -> None:
        if not self.skip(token):
            self.fail(otherwise or f"{token} is missing before {self.next}")

    def fail(self, text: str) -> NoReturn:
        raise ExpressionError(text)
