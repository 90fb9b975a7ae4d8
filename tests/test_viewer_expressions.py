"""Which expressions of a viewer the engine gets to compute, and of which type their results are."""

import perspective
import pytest

from tdengine_perspective.gate.expressions import (
    BOOLEAN,
    DATE,
    DATETIME,
    FUNCTIONS,
    MAX_DEPTH,
    MAX_LENGTH,
    NUMBER,
    STRING,
    ExpressionError,
    check,
)

COLUMNS = {
    "timestamp": "datetime",
    "day": "date",
    "location": "string",
    "groupid": "integer",
    "current": "float",
    "on": "boolean",
}

GOOD = {
    "1": NUMBER,
    "1.5e-3": NUMBER,
    ".5": NUMBER,
    "pi": NUMBER,
    "-1": NUMBER,
    "- - +1": NUMBER,
    "'text'": STRING,
    "true": BOOLEAN,
    "False": BOOLEAN,
    '"current"': NUMBER,
    '"groupid"': NUMBER,
    '"location"': STRING,
    '"timestamp"': DATETIME,
    '"day"': DATE,
    '"on"': BOOLEAN,
    "col('location')": STRING,
    '"current" * 2 + 1 % 3 ^ 2': NUMBER,
    '"current" > 5': BOOLEAN,
    "\"location\" == 'a'": BOOLEAN,
    '"timestamp" < now()': BOOLEAN,
    '"current" > 5 and "groupid" != 2 or not("on")': BOOLEAN,
    '1 + 2 == 3 xor "on"': BOOLEAN,
    '"on" ? 1 : 2': NUMBER,
    "1 > 0 ? 'a' : 2 > 1 ? 'b' : 'c'": STRING,
    'if ("current" > 5) 1; else 2': NUMBER,
    "if (true) 'a'; else 'b'": STRING,
    "if (true, 1, 2)": NUMBER,
    "if (true) { var x := 1; x + 1 } else { 3 }": NUMBER,
    "var x := 1; x + 1": NUMBER,
    "var x := 'a'; x := 'b'; concat(x, 'c')": STRING,
    "// a remark\n1": NUMBER,
    "1;": NUMBER,
    "((1))": NUMBER,
    "min(1, 2, 3)": NUMBER,
    'sqrt(abs("current"))': NUMBER,
    "clamp(1, 2, 3)": NUMBER,
    'upper("location")': STRING,
    'length("location")': NUMBER,
    'concat("location", \' \', "location")': STRING,
    'substring("location", 0, 3)': STRING,
    "match(\"location\", '^San')": BOOLEAN,
    "search(\"location\", '(San)')": STRING,
    "replace(\"location\", 'San', 'x')": STRING,
    "order(\"location\", 'b', 'a')": NUMBER,
    'string("timestamp")': STRING,
    'integer("current")': NUMBER,
    'float("timestamp")': NUMBER,
    "boolean(1)": BOOLEAN,
    'is_null("location")': BOOLEAN,
    "date(2026, 11, 24)": DATE,
    "datetime(0)": DATETIME,
    "today()": DATE,
    'hour_of_day("timestamp")': NUMBER,
    'day_of_week("day")': STRING,
    'bucket("current", 5)': NUMBER,
    'bucket(float("timestamp"), 50)': NUMBER,
    "bucket(\"timestamp\", '5m')": DATETIME,
    "bucket(\"timestamp\", 'D')": DATE,
    "bucket(\"day\", 'M')": DATE,
    'datetime(bucket(float("timestamp"), 50))': DATETIME,
    "percent_of(1, 2)": NUMBER,
    "random() + index()": NUMBER,
}


@pytest.mark.parametrize("text", GOOD)
def test_an_expression_has_this_type(text: str) -> None:
    assert check(text, COLUMNS) == GOOD[text]


def test_the_engine_finds_the_same_types() -> None:
    """But for two things: to it, conditions are numbers or booleans, and numbers integers or floats."""
    table = perspective.Server().new_local_client().table(COLUMNS)
    names = {f"e{number}": text for number, text in enumerate(GOOD)}
    said = table.validate_expressions(names)
    assert said["errors"] == {}
    for name, text in names.items():
        kind = said["expression_schema"][name]
        assert {"integer": NUMBER, "float": NUMBER}.get(kind, kind) == GOOD[text], text


BAD = {
    # What the engine does not survive: loops, memory of its own, types that change from row to row.
    "while (true) { 1 }": "no function while",
    "for (var i := 0; i < 10; i += 1) { i }": "no function for",
    "repeat 1 until (true)": "no 'repeat' here",
    "var v[2]; v[100000000]": "can't read",
    "var v := 1; v[5]": "can't read '\\[5\\]'",
    "if (\"current\" > 1) 'a'; else 1": "here a string and there a number",
    "true ? 1 : 'a'": "here a number and there a string",
    "var x := 1; x := 'a'": "x is a number, not a string",
    "if (true) 1": "an if needs an else",
    "true & true": "can't read '&",  # a number to the engine, whereas "and" gives a boolean
    "return [1]": "can't read",
    "~{1; 2}": "can't read",
    "1; swap(1, 2)": "no function swap",
    "vlookup('current', 1)": "no function vlookup",
    "inrange(1, 2, 3)": "no function inrange",
    # Text that the engine misreads.
    "'match(1)'": "misread",
    '"COLUMN1"': "misread",
    "match('a', 'b')": "takes no text in its first argument",
    'match("location", "location")': "takes text in single quotes there",
    "match(\"location\", concat('a', 'b'))": "takes text in single quotes there",
    "concat('it''s')": "missing",
    # Text that grows without bound.
    "var x := 'a'; concat(x, x); concat(x, x)": "text can grow only once",
    """replace("location", 'a', 'bb') == replace("location", 'b', 'aa')""": "text can grow only once",
    # Types and arguments.
    "1 + 'a'": r"\+ takes a number, not a string",
    "-'a'": "- takes a number, not a string",
    "'a' ? 1 : 2": "a condition is true or false",
    "'a' and true": "a condition is true or false",
    "1 == 'a'": "here a number and there a string",
    '"timestamp" > "day"': "here a datetime and there a date",
    "upper(1)": r"upper\(\) takes a string, not a number",
    "sqrt(1, 2)": r"sqrt\(\) takes 1 arguments",
    "sqrt()": r"sqrt\(\) takes 1 arguments",
    "bucket(1 / 0, 5)": r"bucket\(\) takes",
    'bucket("current", "groupid")': r"bucket\(\) takes",
    "bucket(\"timestamp\", '5x')": r"bucket\(\) takes",
    'bucket("current", 0 - 5)': r"bucket\(\) takes",
    "bucket(\"location\", 'D')": r"bucket\(\) takes",
    'col("location")': "takes a column in single quotes",
    "not(1, 2)": "a condition is true or false",
    # What is no expression.
    "": "too early",
    " ": "too early",
    "1 +": "too early",
    "(1": r"\) is missing",
    "1)": "missing before",
    "1 2": "missing before",
    "1..2": "can't read",
    "0x1F": "can't read",
    "'": "can't read",
    "''": "can't read",
    "'a\nb'": "can't read",
    '"no such"': "no column",
    "col('no such')": "no column",
    "nothing": "no 'nothing' here",
    "nothing()": "no function nothing",
    "var := 1": "a variable needs a value",
    "var x": "a variable needs a value",
    "var sqrt := 1; 1": "sqrt can't be a variable",
    "var if := 1; 1": "if can't be a variable",
    "var column1 := 1; 1": "column1 can't be a variable",
    "var x := 1; var x := 2; x": "x can't be a variable",
    "x := 1": "x can't be a variable",
    "x": "no 'x' here",
    "1 € 2": "can't read",
    "１": "can't read",  # a digit, but no ASCII
    "\x00": "can't read",
}


@pytest.mark.parametrize("text", BAD)
def test_an_expression_is_refused_in_one_line_that_says_why(text: str) -> None:
    with pytest.raises(ExpressionError, match=BAD[text]) as refused:
        check(text, COLUMNS)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("nested", ["({})", "-{}", "if (true) {} else 1", "true ? {} : 1", "abs({})"])
def test_depth_and_length_are_limited(nested: str) -> None:
    text = "1"
    for _ in range(MAX_DEPTH // 3):
        text = nested.replace("{}", text, 1)
    assert check(text, COLUMNS) == NUMBER
    while len(text) < MAX_LENGTH - 50:
        text = nested.replace("{}", text, 1)
    with pytest.raises(ExpressionError, match="too deep"):
        check(text, COLUMNS)
    with pytest.raises(ExpressionError, match="2,000 characters"):
        check("1" * (MAX_LENGTH + 1), COLUMNS)


def test_each_function_refuses_a_wrong_number_of_arguments() -> None:
    for name, (expected, _) in FUNCTIONS.items():
        fixed = [argument for argument in expected if argument != "…"]
        with pytest.raises(ExpressionError):
            check(f"{name}({', '.join(['1'] * (len(fixed) + 1))}, '')", COLUMNS)
        if fixed:
            with pytest.raises(ExpressionError):
                check(f"{name}()", COLUMNS)
