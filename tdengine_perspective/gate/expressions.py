"""Owns which expressions a viewer may have computed: those whose every part has one type, whatever the row.

Perspective 5.6 runs an expression for each row with ExprTK, whose loops run for seconds and whose vectors
reach anywhere in memory. It finds out the result's type by one trial; where another row gives another type,
a number is taken for the address of a text and the process ends, and an integer for a float of quite another
value. So `check` reads the expression as a language of its own, a part of ExprTK's, and works out the types.
What it lets through, the engine gets unchanged. docs/expressions.md, which lists it all, is made from the
tables here by gate/describe.py.
"""

import re
from collections.abc import Mapping
from typing import Any, NoReturn

MAX_LENGTH = 2000  # characters; the engine's time for long ones grows with the square
MAX_DEPTH = 50

TOKENS = re.compile(
    r"""(?P<space>\s+|//[^\n'"]*)
    |(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
    |(?P<column>"[^'"\\\n]+")
    |(?P<text>'(?:[^'"\\\n]|\\[^'"\\\n])+')
    |(?P<name>[A-Za-z_]\w*)
    |(?P<sign>[-+*/%]=|:=|==|!=|<=|>=|<>|[-+*/%^<>=(){},;?:])""",
    re.VERBOSE | re.ASCII,
)
# The engine looks for these in the text of an expression, inside quotes, too, and changes what follows.
SEARCHING = ("match", "match_all", "search", "replace", "replace_all", "contains")
MISREAD = re.compile(
    r"(?:match|match_all|search|indexof|replace|replace_all|contains)\(|intern|COLUMN\d", re.ASCII
)

NUMBER, BOOLEAN, STRING, DATE, DATETIME = "number", "boolean", "string", "date", "datetime"
INTEGER, FLOAT = "integer", "float"  # the two kinds of number, which the engine does not bring together
NUMBERS = (NUMBER, INTEGER, FLOAT)
ANY = "any type"
SAME = "the same type as the first"  # but numbers of both kinds go together
PATTERN = "text in single quotes"

# The functions of one number; of an integer these of the second list give nothing at all.
MATHEMATICS = re.findall(
    r"\w+",
    """
    ceil floor round frac sqrt exp expm1 log log10 log2 log1p deg2rad rad2deg deg2grad grad2deg cot sinc
    """,
)
MATHEMATICS_OF_FLOATS = re.findall(
    r"\w+",
    """
    abs sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf erfc
    """,
)
# What a function takes and what it gives; "…" after the last argument that may come any number of times. What
# gives NUMBER gives the kind of number that it takes, if it is one argument, or else a float.
FUNCTIONS = {
    **dict.fromkeys(MATHEMATICS, ([NUMBER], FLOAT)),
    **dict.fromkeys(MATHEMATICS_OF_FLOATS, ([FLOAT], FLOAT)),
    **dict.fromkeys(("trunc", "sgn"), ([NUMBER], INTEGER)),
    **dict.fromkeys(("min", "max"), ([NUMBER, "…"], FLOAT)),
    **dict.fromkeys(("avg", "sum", "mul"), ([NUMBER, "…"], NUMBER)),
    **dict.fromkeys(("pow", "root", "logn", "mod", "percent_of"), ([NUMBER, NUMBER], FLOAT)),
    **dict.fromkeys(("clamp", "iclamp"), ([FLOAT, FLOAT, FLOAT], FLOAT)),
    "inrange": ([ANY, SAME, SAME], BOOLEAN),
    "random": ([], FLOAT),
    "index": ([], INTEGER),
    "coalesce": ([ANY, SAME, "…"], SAME),
    "is_null": ([ANY], BOOLEAN),
    "is_not_null": ([ANY], BOOLEAN),
    "integer": ([ANY], INTEGER),
    "float": ([ANY], FLOAT),
    "boolean": ([ANY], BOOLEAN),
    "string": ([ANY], STRING),
    "date": ([NUMBER, NUMBER, NUMBER], DATE),
    "datetime": ([FLOAT], DATETIME),
    "today": ([], DATE),
    "now": ([], DATETIME),
    "hour_of_day": ([DATETIME], FLOAT),
    "day_of_week": ([DATETIME], STRING),
    "month_of_year": ([DATETIME], STRING),
    "length": ([STRING], FLOAT),
    "upper": ([STRING], STRING),
    "lower": ([STRING], STRING),
    "concat": ([STRING, "…"], STRING),
    "order": ([STRING, PATTERN, "…"], FLOAT),
    "substring": ([STRING, NUMBER, "…"], STRING),
    "contains": ([STRING, PATTERN], BOOLEAN),
    "match": ([STRING, PATTERN], BOOLEAN),
    "match_all": ([STRING, PATTERN], BOOLEAN),
    "search": ([STRING, PATTERN], STRING),
    "replace": ([STRING, PATTERN, STRING], STRING),
    "replace_all": ([STRING, PATTERN, STRING], STRING),
}
OF_DATES_TOO = ("hour_of_day", "day_of_week", "month_of_year")
# What has no result for some values, or none that is a number.
PARTIAL = {
    *("sqrt", "exp", "expm1", "log", "log10", "log2", "log1p", "cot", "tan", "asin", "acos", "sinh", "cosh"),
    *("acosh", "atanh", "pow", "root", "logn", "mod", "percent_of", "integer", "date", "search", "substring"),
    *("/", "%", "^", "/=", "%="),
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
ASSIGNING = (":=", "+=", "-=", "*=", "/=", "%=")

# What ExprTK or Perspective's documentation has, and this does not; and what to write instead, if there is.
LOOPS = ("for", "while", "repeat", "break", "continue", "return")
INSTEAD = {
    "to_string": "string()",
    "to_integer": "integer()",
    "to_float": "float()",
    "to_boolean": "boolean()",
    "indexof": "match() or search()",
    "null": "is_null()",
}


# A part of an expression: the type of its value, what it is, the number of the token where it begins, and its
# own parts, or a name or text. A bare tuple: nearly all that is made is thrown away at once.
Node = tuple[str, str, int, Any]


class ExpressionError(ValueError):
    """What is wrong with an expression, in one line, and where in its text."""

    def __init__(self, text: str, place: int = 0):
        super().__init__(text)
        self.place = place


def check(text: str, columns: Mapping[str, str]) -> str:
    """The type of an expression's result. `columns` are the table's, with their types in Perspective's words.

    Raises ExpressionError.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression can have {MAX_LENGTH:,} characters here")
    return family(Reader(text, columns).read())


def family(kind: str) -> str:
    """A type, but for numbers, which are all alike to whoever does not compute with them."""
    return NUMBER if kind in NUMBERS else kind


def find_types(texts: Mapping[str, str], columns: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The types of columns and expressions, and what is wrong with an expression that has none, by name."""
    types = {name: family(kind) for name, kind in columns.items()}
    wrong = {}
    for name, text in texts.items():
        try:
            types[name] = check(text, columns)
        except ExpressionError as error:
            wrong[name] = str(error)
    return types, wrong


def sources_of_null(text: str, columns: Mapping[str, str]) -> tuple[set[str], bool]:
    """The columns from which a NULL can come into the result, and whether there may be none without that."""
    reader = Reader(text, columns)
    reader.read()
    return reader.named, reader.is_partial


class Reader:
    """Reads one expression from left to right; each method reads a part and returns its Node.

    What nodes are, and what their parts: `number`, `text`, `column`, `variable` (as they are written),
    `constant` (its value), `pi`; `negative` and signs (operands); `if` (condition, one, other); `assign`
    (name, value); `sequence` (all but the last for what they assign); functions by their names (arguments).
    """

    def __init__(self, text: str, columns: Mapping[str, str]):
        self.tokens: list[tuple[str, str]] = []  # kind, text
        self.text = text
        self.at = 0
        self.depth = 0
        self.columns = columns
        self.named: set[str] = set()  # columns
        self.is_partial = False  # whether there may be no result although all of these have a value
        self.variables: dict[str, str] = {}
        self.replacing = 0
        self.joining = 0
        self.branches = 0  # that this place is within
        end = 0
        for found in TOKENS.finditer(text):
            if found.start() != end:
                break
            end = found.end()
            if found.lastgroup == "text" and not found[0].isascii():
                raise ExpressionError(
                    f"{found[0]}: the engine reads letters of ASCII alone there", found.start()
                )
            if found.lastgroup in ("text", "column") and MISREAD.search(found[0]):
                raise ExpressionError(f"{found[0]} is misread by the engine", found.start())
            if found.lastgroup != "space":
                self.tokens.append((found.lastgroup or "", found[0]))
        if end != len(text):
            raise ExpressionError(f"can't read {text[end : end + 20]!r}", end)
        self.tokens.append(("end", "the end"))

    def read(self) -> str:
        """The type of the expression's value."""
        return self.read_tree()[0]

    def read_tree(self) -> Node:
        tree = self.statements("the end")
        # Text that is joined with itself again and again fills the memory.
        if self.replacing > 1 or (self.variables and self.joining + self.replacing > 1):
            self.fail("text can grow only once (replace; concat where there are variables)")
        return tree

    def statements(self, end: str) -> Node:
        place = self.at
        node = self.statement()
        parts = [node]
        while self.skip(";"):
            if self.next == end:
                break
            node = self.statement()
            parts.append(node)
        self.expect(end)
        return (node[0], "sequence", place, parts) if len(parts) > 1 else node

    def statement(self) -> Node:
        place = self.at
        is_new = self.skip("var")
        if self.kind == "name" and self.tokens[self.at + 1][1] in ASSIGNING:
            name = self.take()
            sign = self.take()
            is_changed = sign != ":="
            if is_changed and is_new:
                self.fail("a variable needs a value: var x := 1")
            if is_new == (name in self.variables) or name.lower() in RESERVED or name.lower()[:6] == "column":
                self.fail(f"{name} can't be a variable here")
            value = self.expression()
            self.is_partial |= sign in PARTIAL
            if is_changed:
                before = (self.variables[name], "variable", place, name)
                self.expected(NUMBER, before[0], sign)
                self.expected(NUMBER, value[0], sign)
                value = (FLOAT, sign[0], place, (before, value))
            self.assign(name, value[0])
            return (value[0], "assign", place, (name, value))
        if is_new:
            self.fail("a variable needs a value: var x := 1")
        return self.expression()

    def assign(self, name: str, kind: str) -> None:
        """Note a variable's type, which is one and the same in all rows."""
        before = self.variables.setdefault(name, kind)
        if family(before) != family(kind):
            self.fail(f"{name} is a {family(before)}, not a {family(kind)}")
        if before != kind and self.branches:  # in a branch, it would be this in one row and that in another
            self.fail(f"{name} is {article(before)}, not {article(kind)}: begin with float(…)")
        self.variables[name] = kind

    def expression(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail("too deep")
        node = self.operation(1)
        if self.skip("?"):
            condition = node
            self.condition(condition[0])
            node = self.expression()
            self.expect(":")
            other = self.expression()
            self.exactly(node[0], other[0])
            node = (node[0], "if", condition[2], (condition, node, other))
        self.depth -= 1
        return node

    def operation(self, strength: int) -> Node:
        left = self.operand()
        while True:
            kind, sign = self.tokens[self.at]
            if STRENGTH.get(sign, 0) < strength or kind == "text":
                return left
            self.at += 1
            right = self.operation(STRENGTH[sign] + (sign != "^"))  # 2 ^ 3 ^ 2 is 2 ^ 9
            if sign in ARITHMETIC:
                self.expected(NUMBER, left[0], sign)
                self.expected(NUMBER, right[0], sign)
                left = (FLOAT, sign, left[2], (left, right))
                self.is_partial |= sign in PARTIAL
            elif sign in COMPARING:
                self.same(left[0], right[0])
                left = (BOOLEAN, sign, left[2], (left, right))
            else:
                self.condition(left[0])
                self.condition(right[0])
                left = (BOOLEAN, sign, left[2], (left, right))

    def operand(self) -> Node:
        place = self.at
        kind, token = self.tokens[place]
        if token in ("-", "+"):
            self.at += 1
            self.depth += 1
            if self.depth > MAX_DEPTH:
                self.fail("too deep")
            operand = self.operation(STRENGTH["^"])  # -2 ^ 2 is -4
            self.expected(NUMBER, operand[0], token)
            self.depth -= 1
            return (operand[0], "negative", place, (operand,)) if token == "-" else operand
        if token == "(":
            self.at += 1
            inner = self.expression()
            self.expect(")")
            return inner
        self.take()
        if kind == "number":
            return (FLOAT, "number", place, token)
        if kind == "text":
            return (STRING, "text", place, token)
        if kind == "column":
            return (self.column(token), "column", place, token[1:-1])
        if kind != "name":
            self.fail(f"can't read {token!r}" if kind != "end" else "it ends too early")
        if token in ("true", "false", "True", "False"):
            return (BOOLEAN, "constant", place, token in ("true", "True"))
        if token == "pi":
            return (FLOAT, "pi", place, ())
        if token in self.variables:
            return (self.variables[token], "variable", place, token)
        if token == "if":
            return self.choice(place)
        if token in LOOPS:
            self.fail(f"there is no {token!r} here: an expression has no loops")
        if token in INSTEAD:
            self.fail(f"there is no {token!r} here: use {INSTEAD[token]}")
        self.expect("(", f"there is no {token!r} here")
        return self.call(token, place)

    def choice(self, place: int) -> Node:
        """`if (…) …; else …`, `if (…) {…} else {…}` or `if (…, …, …)`."""
        self.expect("(")
        condition = self.expression()
        self.condition(condition[0])
        if self.skip(","):
            node = self.expression()
            self.expect(",")
            other = self.expression()
            self.exactly(node[0], other[0])
            self.expect(")")
            return (node[0], "if", place, (condition, node, other))
        self.expect(")")
        node = self.branch()
        self.skip(";")
        self.expect("else", "an if needs an else here")
        other = self.branch()
        self.exactly(node[0], other[0])
        return (node[0], "if", place, (condition, node, other))

    def branch(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail("too deep")
        self.branches += 1
        node = self.statements("}") if self.skip("{") else self.statement()
        self.branches -= 1
        self.depth -= 1
        return node

    def call(self, name: str, place: int) -> Node:
        if name == "col":
            if self.kind != "text":
                self.fail("col() takes a column in single quotes")
            token = self.take()
            self.expect(")")
            return (self.column(token), "column", place, token[1:-1])
        if name not in FUNCTIONS and name not in SPECIAL:
            self.fail(f"there is no function {name}() here")
        arguments, starts, nodes = [], [], []
        while not self.skip(")"):
            if arguments:
                self.expect(",")
            starts.append(self.at)
            node = self.expression()
            nodes.append(node)
            arguments.append(node[0])
        literal = [kind == "text" for kind, _ in (self.tokens[start] for start in starts)]
        if name == "not":
            self.condition(arguments[0] if len(arguments) == 1 else "")
            return (BOOLEAN, name, place, nodes)
        if name == "bucket":
            if len(arguments) != 2:
                self.fail("bucket() takes 2 arguments")
            kind = self.bucket(arguments, (starts[0], starts[1] - 1), (starts[1], self.at - 1))
            return (kind, name, place, nodes)
        self.replacing += name in ("replace", "replace_all")
        self.joining += name == "concat"
        self.is_partial |= name in PARTIAL or (name == "float" and arguments[:1] == [STRING])
        expected, result = FUNCTIONS[name]
        if "…" in expected:
            least = len(expected) - 1
            expected = expected[:-1] + expected[-2:-1] * (len(arguments) - least)
            if len(arguments) < least:
                self.fail(f"{name}() takes {least} arguments or more")
        if len(arguments) != len(expected):
            self.fail(f"{name}() takes {len(expected)} {'argument' if len(expected) == 1 else 'arguments'}")
        for number, (wanted, kind) in enumerate(zip(expected, arguments, strict=True)):
            if wanted == PATTERN and not (literal[number] and kind == STRING):
                self.fail(f"{name}() takes {PATTERN} there")
            if name in OF_DATES_TOO and kind == DATE:
                continue
            if wanted == SAME:
                self.same(arguments[0], kind)
            elif wanted not in (ANY, PATTERN):
                self.expected(wanted, kind, f"{name}()")
        if name in SEARCHING and any(kind == "text" for kind, _ in self.tokens[starts[0] : starts[1]]):
            self.fail(f"{name}() takes no text in its first argument: the engine misreads it")
        if result == SAME:
            result = FLOAT if arguments[0] in NUMBERS else arguments[0]
        elif result == NUMBER:
            result = arguments[0] if len(arguments) == 1 else FLOAT
        return (result, name, place, nodes)

    def bucket(self, arguments: list[str], what: tuple[int, int], width: tuple[int, int]) -> str:
        """A number by a plain number, or a time by a unit in quotes: the engine bears nothing else.

        Nor does it bear what is no number at all, such as 1 / 0; float(…) makes it one.
        """
        kind, token = self.tokens[width[0]] if width[1] - width[0] == 1 else ("", "")
        if arguments[0] in NUMBERS and kind == "number":
            if self.tokens[what[0]][0] in ("column", "number") and what[1] - what[0] == 1:
                return FLOAT
            if self.tokens[what[0]][1] in ("float", "integer") and self.closing(what[0] + 1) == what[1] - 1:
                return FLOAT
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
        self.named.add(token[1:-1])
        return self.columns.get(token[1:-1]) or self.fail(f"there is no column {token}")

    def same(self, kind: str, other: str) -> None:
        if family(kind) != family(other):
            self.fail(f"here {article(family(kind))} and there {article(family(other))}")

    def exactly(self, kind: str, other: str) -> None:
        """Of the same type, so that a row's value is never of another than the next one's."""
        self.same(kind, other)
        if kind != other:
            self.fail(f"here {article(kind)} and there {article(other)}: make both float(…)")

    def expected(self, wanted: str, kind: str, where: str) -> None:
        if wanted == FLOAT and kind == INTEGER:
            self.fail(f"{where} takes a float, not an integer: use float(…)")
        if family(kind) != family(wanted):
            self.fail(f"{where} takes a {family(wanted)}, not a {family(kind)}")

    def condition(self, kind: str) -> None:
        if kind != BOOLEAN and kind not in NUMBERS:
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
        if self.tokens[self.at][1] != token:
            return False
        self.take()
        return True

    def expect(self, token: str, otherwise: str = "") -> None:
        if not self.skip(token):
            self.fail(otherwise or f"{token} is missing before {self.next}")

    def fail(self, text: str) -> NoReturn:
        raise ExpressionError(text, self.place_of(self.at))

    def place_of(self, token: int) -> int:
        """Where in the text a token begins, by its number."""
        begins = [found.start() for found in TOKENS.finditer(self.text) if found.lastgroup != "space"]
        return begins[token] if token < len(begins) else len(self.text)


def article(kind: str) -> str:
    return f"an {kind}" if kind == INTEGER else f"a {kind}"
