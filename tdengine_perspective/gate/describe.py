"""Owns docs/expressions.md, which lists what a viewer may compute: made from the tables in expressions.

    python -m tdengine_perspective.gate.describe > docs/expressions.md

Nothing imports this when the server runs.
"""

from tdengine_perspective.gate import rules
from tdengine_perspective.gate.expressions import (
    ANY,
    FUNCTIONS,
    INSTEAD,
    LOOPS,
    MATHEMATICS,
    MATHEMATICS_OF_FLOATS,
    MAX_DEPTH,
    MAX_LENGTH,
    PATTERN,
    SAME,
    SEARCHING,
)

# What a function gives, and an expression with it. The names are those of the dashboard's own table.
EXAMPLES = {
    "trunc": ("a number without what is behind its point", 'trunc("current")'),
    "sgn": ("-1, 0 or 1", 'sgn("current" - 10)'),
    "min": ("the least of some numbers", 'min("current", 10)'),
    "max": ("the greatest", 'max("current", "phase")'),
    "avg": ("their mean", 'avg("current", "phase")'),
    "sum": ("their sum", 'sum("current", "phase", 1)'),
    "mul": ("their product", 'mul("current", "voltage")'),
    "pow": ("a power, also written with `^`", 'pow("current", 2)'),
    "root": ("the n-th root", 'root("current", 3)'),
    "logn": ("the logarithm to a base", 'logn("current", 2)'),
    "mod": ("the remainder, also written with `%`", 'mod("current", 5)'),
    "percent_of": ("how many percent the first is of the second", 'percent_of("current", 75)'),
    "clamp": ("a number, or the bound that it lies beyond", 'clamp(0, "current", 20)'),
    "iclamp": ("a number outside of two bounds, or the nearer of them", 'iclamp(0, "current", 20)'),
    "inrange": ("whether the second lies from the first to the third", 'inrange(1, "current", 5)'),
    "random": ("a random number from 0 to 1", "random()"),
    "index": ("the row's place in the table", "index()"),
    "coalesce": ("the first that is not NULL", 'coalesce("current", 0)'),
    "is_null": ("whether there is no value", 'is_null("location")'),
    "is_not_null": ("whether there is one", 'is_not_null("location")'),
    "integer": (
        "an integer, without what is behind the point; NULL if it can't be one",
        'integer("current")',
    ),
    "float": ("a float; of a time, ms since 1970", 'float("timestamp") / 1000'),
    "boolean": ("whether it is there and not 0", 'boolean("current")'),
    "string": ("text", 'string("groupid")'),
    "date": ("a date of year, month and day", "date(2026, 11, 24)"),
    "datetime": ("a time of ms since 1970", 'datetime(float("timestamp") + 3600000)'),
    "today": ("the date", "today()"),
    "now": ("the time", 'float(now()) - float("timestamp")'),
    "hour_of_day": ("0 to 23", 'hour_of_day("timestamp")'),
    "day_of_week": ("such as `3 Tuesday`", 'day_of_week("timestamp")'),
    "month_of_year": ("such as `11 November`", 'month_of_year("timestamp")'),
    "length": ("how long a text is", 'length("location")'),
    "upper": ("in capitals", 'upper("location")'),
    "lower": ("in small letters", 'lower("location")'),
    "concat": ("texts joined", 'concat("location", \' \', string("groupid"))'),
    "order": ("the place in a list, to sort by", "order(\"location\", 'Campbell', 'Cupertino')"),
    "substring": ("from a place on, and how many characters", 'substring("location", 0, 3)'),
    "contains": ("whether a text is in another", "contains(\"location\", 'San')"),
    "match": ("whether a part of it matches a pattern", "match(\"location\", '^San')"),
    "match_all": ("whether all of it does", "match_all(\"location\", '[A-Z].*')"),
    "search": ("what the pattern's first group matches, or NULL", "search(\"location\", '(San|Los)')"),
    "replace": ("with the first match replaced", "replace(\"location\", 'San ', 'S. ')"),
    "replace_all": ("with each match replaced", "replace_all(\"location\", 'a', 'o')"),
}

HEAD = """\
# Expressions

What a viewer may compute: columns of one's own, by *New Column* in a viewer's settings, or in a layout's
`expressions`. They are expressions of [Perspective](https://perspective-dev.github.io)'s, but not all that
its documentation has: the engine runs an expression for each row, and some end its process, hold all
viewers up, or show a number for another one. What this server does not take, it refuses in one line, and
nothing else changes. This page is made from its tables by `python -m tdengine_perspective.gate.describe`, and
held to them by a test. What all of this is tells [README.md](../README.md).

## Values

| | |
| --- | --- |
| `"current"`, `col('current')` | a column |
| `1`, `1.5e-3`, `pi` | a float |
| `'San'` | text in single quotes; letters without accents, as the engine knows no others here |
| `true`, `false` | a boolean |
| `// remark` | nothing |

A value is a float, an integer, a boolean, text, a date or a time, and has the same type in each row.
Integers are columns of that type, and what the functions below say; arithmetic makes floats. Where two
branches meet they have to be of one type: `if ("groupid" > 5) float("groupid"); else "current"`.

## Signs

| | |
| --- | --- |
| `+` `-` `*` `/` `%` `^` | of numbers |
| `==` `=` `!=` `<>` `<` `<=` `>` `>=` | of two of the same type |
| `and` `or` `xor` `nand` `nor` `not(…)` | of conditions |
| `"current" > 5 ? 1 : 2` | one or the other |
| `if ("current" > 5) 1; else if ("current" > 2) 2; else 3` | the same; with an `else`, always |
| `var x := "current"; x := 2 * x; x` | variables; the last value is the expression's |
| `x += 1` `x -= 1` `x *= 2` `x /= 2` `x %= 2` | change a variable that is a number |
| `bucket("current", 5)` | a number, rounded down to a multiple of a plain number |
| `bucket("timestamp", '5m')` | a time, rounded down to such a step: `s` `m` `h` `D` `W` `M` `Y` |
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *functions(), *refused(), *limits()])


def functions() -> list[str]:
    rows = [
        f"| `{name}({arguments(name)})` | {FUNCTIONS[name][1]} | {what} | `{escaped(example)}` |"
        for name, (what, example) in EXAMPLES.items()
    ]
    return [
        "## Functions",
        "",
        "`…` stands for more of the same. A function of a NULL is NULL, but for those that ask for it.",
        "",
        f"Of one number: {listed(MATHEMATICS)}. Of one float: {listed(MATHEMATICS_OF_FLOATS)}, which give",
        "nothing of an integer: `abs(float(…))`. All of them give a float.",
        "",
        "| function | gives | what | such as |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
        f"A pattern is {PATTERN}, and the first argument of {listed(SEARCHING)} has no text in it. Text can",
        "grow only once in an expression: one `replace`, or where there are variables one `concat`.",
        "",
    ]


def arguments(name: str) -> str:
    names = {PATTERN: "'…'", ANY: "any", SAME: "alike"}
    return ", ".join(names.get(wanted, wanted) for wanted in FUNCTIONS[name][0])


def refused() -> list[str]:
    instead = [f"`{name}` (use `{use}`)" for name, use in INSTEAD.items()]
    return [
        "## What is not taken",
        "",
        f"- Loops: {listed(LOOPS)}. They would hold up every viewer.",
        "- Vectors, `switch`, `swap`, `vlookup`, `intern`: they reach memory of others, or change types.",
        f"- Of other names: {', '.join(instead)}.",
        "- A mean (`avg`, `mean`) of what is no number, as a column's aggregate.",
        "",
    ]


def limits() -> list[str]:
    return [
        "## How much",
        "",
        f"A view can have {rules.MAX_EXPRESSIONS} expressions, of {rules.MAX_EXPRESSIONS_LENGTH:,}",
        f"characters together. One expression can have {MAX_LENGTH:,}, and be {MAX_DEPTH} levels deep.",
    ]


def listed(names: list[str] | tuple[str, ...]) -> str:
    return " ".join(f"`{name}`" for name in names)


def escaped(text: str) -> str:
    """As a table's cell takes it."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(page())
