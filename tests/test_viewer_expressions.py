"""Which expressions of a viewer the engine gets to compute, and of which type their results are."""

import perspective
import pytest

from tdengine_perspective.gate.expressions import (
    ANY,
    BOOLEAN,
    DATE,
    DATETIME,
    FLOAT,
    FUNCTIONS,
    MAX_DEPTH,
    MAX_LENGTH,
    NUMBER,
    PATTERN,
    SAME,
    STRING,
    ExpressionError,
    Reader,
    check,
    sources_of_null,
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
    # As Perspective's own documentation has it.
    'coalesce("current", 0)': NUMBER,
    'coalesce("groupid", "current", 0)': NUMBER,
    "coalesce(\"location\", 'nowhere')": STRING,
    'coalesce("timestamp", now())': DATETIME,
    'coalesce("on", false)': BOOLEAN,
    'inrange(1, "current", 5)': BOOLEAN,
    'inrange(1, "groupid", "current")': BOOLEAN,
    "inrange('a', \"location\", 'n')": BOOLEAN,
    'inrange(datetime(0), "timestamp", now())': BOOLEAN,
    "contains(\"location\", 'San')": BOOLEAN,
    "contains(upper(\"location\"), 'SAN')": BOOLEAN,
    "if (contains(\"location\", 'San')) 'there'; else 'elsewhere'": STRING,
    'var x := "current"; x += 1; x': NUMBER,
    "var x := 8; x -= 1; x *= 2; x /= 4; x %= 3; x": NUMBER,
    'var x := "groupid"; x += 1; x': NUMBER,
    'var x := "groupid"; x += 0.5; var y := x; y': NUMBER,
    "if (\"current\" > 5) 'a'; else if (\"current\" > 2) 'b'; else 'c'": STRING,
    'iclamp(0, "current", 1)': NUMBER,
    'abs(float("groupid"))': NUMBER,
    "root(8, 3) + logn(8, 2) + mod(8, 3) + mul(2, 3)": NUMBER,
    "asinh(1) + acosh(1) + atanh(0) + cot(1) + sinc(1) + deg2grad(1) + grad2deg(1)": NUMBER,
    # Integers stay integers, where nothing makes floats of them.
    '-"groupid"': NUMBER,
    'trunc("current")': NUMBER,
    'sgn("current")': NUMBER,
    'avg("groupid")': NUMBER,
    'avg("groupid", "groupid")': NUMBER,
    'if ("on") "groupid"; else integer("current")': NUMBER,
    '"on" ? length("location") : "current"': NUMBER,
    'var x := "groupid"; if ("on") { x := integer("current") } else { integer(1) }; x': NUMBER,
}


@pytest.mark.parametrize("text", GOOD)
def test_an_expression_has_this_type(text: str) -> None:
    assert check(text, COLUMNS) == GOOD[text]


@pytest.mark.parametrize("text", GOOD)
def test_the_engine_finds_the_same_type(text: str) -> None:
    """Down to integers and floats."""
    table = perspective.Server().new_local_client().table(COLUMNS)
    said = table.validate_expressions({"e": text})
    assert said["errors"] == {}
    assert said["expression_schema"]["e"] == Reader(text, COLUMNS).read()


ROWS = {
    "timestamp": [0, 3_600_000, None, 7_200_000],
    "day": ["2026-01-01", None, "2026-02-03", "2026-02-03"],
    "location": ["San Jose", "x", None, "Kansas"],
    "groupid": [1, -5, 7, None],
    "current": [1.5, None, 6.5, -0.5],
    "on": [True, False, None, True],
}
COMPUTED = {
    'coalesce("current", 0)': [1.5, 0, 6.5, -0.5],
    'coalesce("groupid", "current", 0)': [1, -5, 7, -0.5],
    "coalesce(\"location\", 'nowhere')": ["San Jose", "x", "nowhere", "Kansas"],
    'inrange(1, "current", 5)': [True, None, False, False],
    "contains(\"location\", 'San')": [True, False, None, False],
    'var x := "current"; x += 1; x': [2.5, None, 7.5, 0.5],
    'var x := "groupid"; x += 1; x': [2, -4, 8, None],
    "var x := 8; x -= 1; x *= 2; x /= 4; x %= 3; x": [0.5] * 4,
    'if ("groupid" > 0) "groupid"; else integer("current")': [1, None, 7, 0],
    'if ("groupid" > 0) float("groupid"); else "current"': [1, None, 7, -0.5],
    'abs(float("groupid"))': [1, 5, 7, None],
    'iclamp(0, "current", 2)': [2, None, 6.5, -0.5],
    'clamp(0, float("groupid"), 3)': [1, 0, 3, 0],  # the engine takes no number for 0 there
    "if (\"current\" > 5) 'a'; else if (\"current\" > 1) 'b'; else 'c'": ["b", "c", "a", "c"],
    'var x := 0; if ("groupid" > 0) { x += "current" } else { x := 9 }; x': [1.5, 9, 6.5, 9],
    'trunc("current") + sgn("current")': [2, None, 7, -1],
}


@pytest.mark.parametrize("text", COMPUTED)
def test_the_engine_computes_what_it_says(text: str) -> None:
    """For each row, whatever the rows before it, and when they change."""
    check(text, COLUMNS)
    table = perspective.Server().new_local_client().table(COLUMNS)
    table.update({"__INDEX__": [0, 1, 2, 3], **ROWS})
    view = table.view(expressions={"e": text}, columns=["e"])
    assert view.to_columns()["e"] == COMPUTED[text]
    table.update({"__INDEX__": [3, 2, 1, 0], **ROWS})
    assert view.to_columns()["e"] == COMPUTED[text][::-1]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_engine_bears_each_function_in_each_row(name: str) -> None:
    """With and without values in the rows, of each type that it takes."""
    columns = {NUMBER: ['"groupid"', '"current"', "0", "2"], FLOAT: ['"current"', "-1"]}
    columns |= {
        STRING: ['"location"', 'lower("location")'],
        DATETIME: ['"timestamp"'],
        PATTERN: ["'(a)'", "'(n|.s)'"],
    }
    columns[ANY] = ['"groupid"', '"current"', '"location"', '"timestamp"', '"day"', '"on"']
    expected, _ = FUNCTIONS[name]
    fixed = [wanted for wanted in expected if wanted != "…"]
    for first in range(6):
        taken = columns[fixed[0]][first % len(columns[fixed[0]])] if fixed else ""
        arguments = [
            taken if wanted == SAME else columns[wanted][first % len(columns[wanted])] for wanted in fixed
        ]
        for more in ([], arguments[-1:] * 3 if "…" in expected and name != "substring" else []):
            text = f"{name}({', '.join([*arguments, *more])})"
            kind = Reader(text, COLUMNS).read()
            table = perspective.Server().new_local_client().table(COLUMNS)
            table.update({"__INDEX__": [0, 1, 2, 3], **ROWS})
            view = table.view(expressions={"e": text}, columns=["e"])
            assert view.expression_schema() == {"e": kind}, text
            before = view.to_columns()["e"]
            table.update({"__INDEX__": [3, 2, 1, 0], **ROWS})
            if name not in ("random", "index", "now"):
                assert view.to_columns()["e"] == before[::-1], text


def test_what_has_no_value_for_some_rows_is_known() -> None:
    """Where each column that an expression names has a value, it has one, too, unless it is partial."""
    full = {name: [values[0]] * 2 for name, values in ROWS.items()}
    for text in GOOD:
        named, is_partial = sources_of_null(text, COLUMNS)
        assert named == {name for name in COLUMNS if f'"{name}"' in text or f"'{name}'" in text}
        table = perspective.Server().new_local_client().table(COLUMNS)
        table.update({"__INDEX__": [0, 1], **full})
        values = table.view(expressions={"e": text}, columns=["e"]).to_columns()["e"]
        assert is_partial or None not in values, text
    assert sources_of_null("search(\"location\", '(y)')", COLUMNS) == ({"location"}, True)
    assert sources_of_null('float("location")', COLUMNS) == ({"location"}, True)
    assert sources_of_null('datetime(bucket(float("timestamp"), 50))', COLUMNS) == ({"timestamp"}, False)


BAD = {
    # What the engine does not survive: loops, memory of its own, types that change from row to row.
    "while (true) { 1 }": "no 'while' here: an expression has no loops",
    "for (var i := 0; i < 10; i += 1) { i }": "no 'for' here: an expression has no loops",
    "repeat 1 until (true)": "no 'repeat' here: an expression has no loops",
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
    # Integers and floats in one column, of which the engine reads the one for the other.
    'if ("on") "groupid"; else "current"': r"here an integer and there a float: make both float\(…\)",
    'if ("on") "current"; else "groupid"': r"here a float and there an integer: make both float\(…\)",
    '"on" ? "groupid" : 1': "here an integer and there a float",
    'if ("on", "groupid", 0.5)': "here an integer and there a float",
    'var x := "groupid"; if ("on") { x += 1 } else { 2 }; x': "x is an integer, not a float: begin with",
    'var x := "groupid"; if ("on") { x := 1 } else { 2 }; x': "x is an integer, not a float: begin with",
    'var x := 0.5; if ("on") { x := "groupid" } else { 2 }; x': r"x is a float, not an integer",
    # Functions that give nothing for an integer, or something else.
    'abs("groupid")': r"abs\(\) takes a float, not an integer: use float\(…\)",
    'sin("groupid")': r"sin\(\) takes a float, not an integer",
    'clamp(0, "groupid", 3)': r"clamp\(\) takes a float, not an integer",
    'datetime("groupid")': r"datetime\(\) takes a float, not an integer",
    # The functions of Perspective's documentation, wrongly used.
    "coalesce(\"current\", 'none')": "here a number and there a string",
    'coalesce("timestamp", "day")': "here a datetime and there a date",
    'coalesce("current")': r"coalesce\(\) takes 2 arguments or more",
    'inrange(1, "location", 5)': "here a number and there a string",
    "inrange(1, 2)": r"inrange\(\) takes 3 arguments",
    'contains("location", "location")': r"contains\(\) takes text in single quotes there",
    "contains('San Jose', 'San')": r"contains\(\) takes no text in its first argument",
    "contains(\"groupid\", '1')": r"contains\(\) takes a string, not a number",
    "x += 1": "x can't be a variable here",
    "var x += 1": "a variable needs a value",
    "var x := 'a'; x += 'b'": r"\+= takes a number, not a string",
    "var x := 1; x += 'b'": r"\+= takes a number, not a string",
    'to_string("current")': r"no 'to_string' here: use string\(\)",
    "null": r"no 'null' here: use is_null\(\)",
    "indexof(\"location\", '(a)', 1)": r"no 'indexof' here: use match\(\) or search\(\)",
    # Text that the engine misreads.
    "contains(\"location\", '東京')": "letters of ASCII alone",
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
    "sqrt(1, 2)": r"sqrt\(\) takes 1 argument",
    "sqrt()": r"sqrt\(\) takes 1 argument",
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
