"""Expressions of viewers, as TDengine computes them: their SQL, and where one can't be had."""

import pytest

from tdengine_perspective.gate.expressions import check
from tdengine_perspective.history.expressions import NotCompiled, compile_one, find_types
from tdengine_perspective.history.terms import Facts, Term
from tdengine_perspective.mirror.schema import Column, Schema

COLUMNS = (
    Column("ts", "timestamp", "TIMESTAMP"),
    Column("current", "current", "FLOAT"),
    Column("voltage", "voltage", "INT"),
    Column("phase", "phase", "DOUBLE"),
    Column("note", "note", "NCHAR"),
    Column("ok", "ok", "BOOL"),
    Column("raw", "raw", "VARBINARY"),
    Column("location", "location", "VARCHAR"),
)
FACTS = Facts("`power`.`meters`", Schema(COLUMNS, (), 2, 1, 1))
FINE = Facts("`power`.`meters`", Schema(COLUMNS, (), 2, 1000, 1))  # in µs

SQL = {
    '"voltage" + 1': "(`voltage` + 1)",
    '"current" * "phase"': "((CAST(`current` AS DOUBLE)) * `phase`)",
    "2 ^ 3 ^ 2": "POW(2, (POW(3, 2)))",
    "-2 ^ 2": "-(POW(2, 2))",
    '"phase" / 2': "CASE WHEN 2 <> 0 THEN `phase` / 2 END",
    "concat(\"location\", ' it')": "CONCAT(`location`, ' it')",
    "bucket(\"timestamp\", '5m')": (
        "CAST(FLOOR(CAST((CAST(`ts` AS BIGINT)) / 60000 AS BIGINT) / 5) AS BIGINT) * 5 * 60000"
    ),
    '"voltage" > 210': "CASE WHEN `voltage` > 210 THEN true ELSE false END",
    'is_null("note")': "CASE WHEN (CAST(`note` AS VARCHAR(16384))) IS NULL THEN true ELSE false END",
    'var x := "voltage"; x += 1; x': "(`voltage` + 1)",
    'if ("ok") 1; else 2': "CASE WHEN `ok` = true THEN CAST(1 AS DOUBLE) ELSE CAST(2 AS DOUBLE) END",
}


def compiled(text: str, facts: Facts) -> Term:
    return compile_one(text, facts)[0]


@pytest.mark.parametrize("text", SQL)
def test_an_expression_is_sql(text: str) -> None:
    assert compiled(text, FACTS).sql == SQL[text]


@pytest.mark.parametrize("text", SQL)
def test_its_type_is_that_of_the_live_side(text: str) -> None:
    kind = compiled(text, FACTS).kind
    assert ("number" if kind in ("integer", "float") else kind) == check(text, FACTS.schema.perspective)


def test_steps_of_the_tables_time_can_be_intervals() -> None:
    assert compiled("bucket(\"timestamp\", '5m')", FACTS).step == "5m"
    assert compiled("bucket(\"timestamp\", 'h')", FACTS).step == "1h"
    assert compiled("bucket(datetime(float(\"timestamp\")), '5m')", FACTS).step is None
    assert compiled("bucket(\"timestamp\", '1D')", FACTS).step is None  # which depends on the time zone


def test_the_pages_steps_can_be_intervals() -> None:
    steps = 'datetime(bucket(float("timestamp"), {}))'
    assert compiled(steps.format(15000), FACTS).step == "15000a"
    assert compiled(steps.format(15000), FINE).step == "15000a"
    assert compiled(steps.format(5), FACTS).step is None  # shorter than TDengine takes
    assert compiled(steps.format(10.5), FACTS).step is None
    assert compiled('datetime(bucket(float("voltage"), 15000))', FACTS).step is None


def test_a_column_under_another_name_is_the_column() -> None:
    assert compiled('"current"', FACTS) == FACTS.terms["current"]


def test_a_time_is_in_ms_whatever_the_databases_precision() -> None:
    one_less = "CASE WHEN `ts` < TIMETRUNCATE(`ts`, 1a) THEN 1000 ELSE 0 END"
    whole = f"CAST(ROUND((CAST(TIMETRUNCATE(`ts`, 1a) AS BIGINT) - {one_less}) / 1000) AS BIGINT)"
    assert compiled('float("timestamp")', FINE).sql == f"CAST(({whole}) AS DOUBLE)"


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ('erf("current")', 0, 0, "erf"),
        ('1 +\n  erf("current")', 1, 2, "erf"),
        ('1 + "voltage"; match("location", \'^San\')', 0, 15, "patterns"),
        ('"nothing"', 0, 9, "no column"),
        ("1 +", 0, 3, "too early"),
        ("bucket(\"timestamp\", '7m')", 0, 20, "no step"),
        ('string("phase")', 0, 0, "string"),
        ("1 + random()", 0, 4, "random"),
        ('length(string("raw"))', 0, 14, "VARBINARY"),
        ("replace_all(\"location\", 'a.', 'b')", 0, 24, "no pattern"),
        ("x" * 3000, 0, 0, "characters"),
    ],
)
def test_what_cant_be_had_is_said_at_its_place(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(NotCompiled, match=rf"^[^\n]*{words}[^\n]*$") as refused:
        compiled(text, FACTS)
    assert (refused.value.line, refused.value.column) == (line, column)


def test_the_types_of_some_are_found_beside_what_is_wrong_with_others() -> None:
    types, wrong = find_types({"good": '"voltage" > 1', "bad": "random()"}, FACTS)
    assert types == {"good": "boolean"}
    assert wrong["bad"]["line"] == wrong["bad"]["column"] == 0


@pytest.mark.parametrize("text", ["'it\\'", "'a\\\\b'"])
def test_a_backslash_does_not_get_into_sql(text: str) -> None:
    with pytest.raises(NotCompiled):
        compiled(text, FACTS)


def test_variables_that_grow_are_refused_in_time() -> None:
    text = 'var x := "phase"; ' + "x := if (x > 1, x + x, x * x); " * 20 + "x"
    with pytest.raises(NotCompiled, match="too much"):
        compiled(text, FACTS)
