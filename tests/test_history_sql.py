"""The statements that views of the look back become: their text, and what never gets into it."""

import json
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import perspective
import pytest

from tdengine_perspective.gate.protocol import Request
from tdengine_perspective.history.handler import History
from tdengine_perspective.history.messages import Answered
from tdengine_perspective.history.questions import Questions
from tdengine_perspective.history.sessions import MAX_SHOWN, Session
from tdengine_perspective.history.spans import Span
from tdengine_perspective.history.terms import Facts
from tdengine_perspective.history.words import NotAnswered
from tdengine_perspective.mirror.schema import Column, Schema
from tdengine_perspective.tdengine import bytes_of

COLUMNS = (
    Column("ts", "timestamp", "TIMESTAMP"),
    Column("current", "current", "FLOAT"),
    Column("voltage", "voltage", "INT"),
    Column("ok", "ok", "BOOL"),
    Column("odd ` name", "odd ` name", "INT"),
    Column("groupid", "groupid", "INT"),
    Column("location", "location", "VARCHAR"),
)
FACTS = Facts("`power`.`meters`", Schema(COLUMNS, (), 2, 1, 2))
FROM = "FROM `power`.`meters`"
MOST = "ORDER BY g0 LIMIT 200001"
DOUBLE = "CAST(`current` AS DOUBLE)"
FINITE = f"CASE WHEN {DOUBLE} BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308 THEN {DOUBLE} END"
PROBE = (  # how many subtables have NaN in it, and so no sum
    "SELECT SUM(CASE WHEN s0 IS NULL AND c0 > 0 THEN 1 ELSE 0 END) FROM "
    f"(SELECT SUM(`current`) s0, COUNT(`current`) c0 {FROM} PARTITION BY tbname)"
)


class Asked:
    """A history whose questions are noted, and answered with what there is for their beginnings."""

    def __init__(
        self, answers: dict[str, list[tuple]] | None = None, span: str = "all", facts: Facts = FACTS
    ):
        self.statements: list[str] = []
        self.answers = answers or {}
        self.history = History("meters_history", facts, Span.parse(span), self.ask)
        self.server = perspective.VirtualServer(self.history)
        self.client = perspective.Client(self.handle, lambda: None)
        self.table = self.client.open_table("meters_history")

    def ask(self, sql: str) -> list[tuple]:
        self.statements.append(sql)
        if sql in self.answers:
            return self.answers[sql]
        return [(0,)] if sql.startswith("SELECT COUNT(*) FROM") else []

    def handle(self, request: bytes) -> None:
        self.client.handle_response(self.server.handle_request(request))

    def make(self, **config: Any) -> "perspective.View":
        self.statements.clear()
        return self.table.view(**config)


def statements(span: str = "all", **config: Any) -> list[str]:
    asked = Asked(span=span)
    asked.make(**config)
    return asked.statements


def test_a_grouped_view_is_a_statement_a_level() -> None:
    items = "COUNT(*), AVG(`current`), AVG(`current`), COUNT(`current`)"  # NaN would show in the last two
    assert statements(
        group_by=["location", "groupid"], columns=["current"], aggregates={"current": "avg"}
    ) == [
        f"SELECT {items} {FROM}",
        f"SELECT `location` g0, {items} {FROM} GROUP BY `location` {MOST}",
        f"SELECT `location` g0, `groupid` g1, {items} {FROM} GROUP BY `location`, `groupid` {MOST}",
    ]


def test_a_chart_asks_for_its_groups_alone() -> None:
    assert statements(group_by=["location"], columns=["voltage"], group_rollup_mode="flat", span="1h") == [
        f"SELECT `location` g0, COUNT(*), SUM(`voltage`) {FROM} WHERE `ts` >= NOW() - 1h "
        f"GROUP BY `location` {MOST}"
    ]


def test_steps_of_time_are_intervals() -> None:
    assert statements(
        expressions={"step": "bucket(\"timestamp\", '5m')"},
        group_by=["step"],
        split_by=["location"],
        columns=["voltage"],
        group_rollup_mode="flat",
    ) == [
        f"SELECT CAST(_wstart AS BIGINT) g0, `location` g1, COUNT(*), SUM(`voltage`) {FROM} "
        f"PARTITION BY `location` INTERVAL(5m) {MOST}"
    ]


def test_what_is_at_the_ends_of_time_is_found_without_a_look_at_all_rows() -> None:
    assert statements(
        group_by=["location"],
        columns=["voltage", "timestamp"],
        aggregates={"voltage": ["max by", ["timestamp"]], "timestamp": "min"},
        group_rollup_mode="flat",
    ) == [
        "SELECT `location` g0, LAST(`ts`), COLS(LAST(`ts`), `voltage`), "
        f"COLS(FIRST(`ts`), CAST(`ts` AS BIGINT)) {FROM} GROUP BY `location` {MOST}"
    ]
    asked = Asked()
    asked.make(columns=["timestamp"]).get_min_max("timestamp")
    assert asked.statements[-1] == f"SELECT CAST(FIRST(`ts`) AS BIGINT), CAST(LAST(`ts`) AS BIGINT) {FROM}"


def test_a_column_that_is_sorted_by_is_asked_for_too() -> None:
    (whole, groups) = statements(
        group_by=["location"], columns=["voltage"], sort=[["groupid", "desc"]], aggregates={"groupid": "high"}
    )
    groupid = "CASE WHEN `ts` IS NOT NULL THEN `groupid` END"  # of rows, not of subtables
    assert whole == f"SELECT COUNT(*), SUM(`voltage`), MAX({groupid}) {FROM}"
    assert f"MAX({groupid})" in groups


def test_rows_are_fetched_a_page_at_a_time() -> None:
    count = f"SELECT COUNT(*) {FROM}"
    page = f"SELECT `voltage` {FROM} ORDER BY {FINITE} DESC, `ts`, tbname LIMIT 2 OFFSET 10"
    asked = Asked({count: [(1000,)], page: [(1,), (2,)]})
    view = asked.make(columns=["voltage"], sort=[["current", "desc"]])
    assert view.to_columns(start_row=10, end_row=12) == {"voltage": [1, 2]}
    assert asked.statements == [count, page]


def test_columns_with_nan_are_taken_without_it() -> None:
    asked_first = f"SELECT COUNT(*), SUM(`current`), AVG(`current`), COUNT(`current`) {FROM}"
    for mean, seen in ((1.0, False), (None, True), (float("nan"), True), (float("inf"), True)):
        asked = Asked({asked_first: [(2, 2.0, mean, 2)]})
        asked.make(group_by=["location"], columns=["current"], group_rollup_mode="total")
        once_more = [f"SELECT COUNT(*), SUM({FINITE}) {FROM}"] if seen else []
        assert asked.statements == [asked_first, *once_more]


def test_filters_leave_nan_out_from_the_beginning() -> None:
    asked = Asked({PROBE: [(3,)]})
    asked.make(columns=["voltage"], filter=[["current", ">", 1]])
    assert asked.statements == [PROBE, f"SELECT COUNT(*) {FROM} WHERE ({FINITE} > 1)"]


def test_tdengine_never_sorts_floats_that_may_be_nan() -> None:
    """Its process can end over them."""
    by_floats = [
        {"group_by": ["current"], "columns": []},
        {"group_by": ["e"], "columns": [], "expressions": {"e": 'sgn("current")'}},
        {"split_by": ["current"], "columns": ["voltage"]},
        {"columns": ["voltage"], "sort": [["current", "asc"]]},
        {"columns": ["voltage"], "sort": [["e", "desc abs"]], "expressions": {"e": '"voltage" ^ 9'}},
    ]
    for config in by_floats:
        asked = Asked({f"SELECT COUNT(*) {FROM}": [(10,)]})
        asked.make(**config).to_columns(start_row=0, end_row=2)
        for sql in asked.statements:
            order = sql.partition(" ORDER BY ")[2]
            assert not order or order.startswith(
                ("n ", "`ts`", "CASE WHEN CAST(", "CASE WHEN CAST(CASE WHEN CAST(")
            )


def test_the_last_rows_are_found_without_a_look_at_all() -> None:
    assert statements(
        group_by=["location"], columns=["current"], aggregates={"current": "last"}, group_rollup_mode="flat"
    ) == [f"SELECT `location` g0, LAST(`ts`), COLS(LAST(`ts`), `current`) {FROM} GROUP BY `location` {MOST}"]


FILTERS = {
    ("voltage", "==", 210.5): "`voltage` IN (210)",
    ("voltage", "!=", 210): "(`voltage` NOT IN (210) OR `voltage` IS NULL)",
    ("voltage", ">=", -1): "`voltage` >= -1",
    ("ok", "==", True): "`ok` = true",
    ("ok", "!=", True): "(`ok` = false OR `ok` IS NULL)",
    ("timestamp", ">", 1700000000000): "`ts` >= 1700000000001",
    ("timestamp", "<=", "2023-11-14T22:13:20Z"): "`ts` <= 1700000000000",
    ("location", "==", "San Jose"): "`location` IN ('San Jose')",
    ("location", "in", ("a", "b")): "`location` IN ('a', 'b')",
    ("location", "in", ()): "CASE WHEN `ts` IS NULL THEN 1 ELSE 0 END = 1",
    ("timestamp", "!=", 1700000000000): "(`ts` <= 1699999999999 OR `ts` >= 1700000000001)",
    ("location", "begins with", "50%_"): "`location` LIKE '50\\\\%\\\\_%'",
    ("location", "not contains", "a"): "`location` NOT LIKE '%a%'",
    ("location", "is null", None): "`location` IS NULL",
    ("odd ` name", "==", 1): "`odd `` name` IN (1)",
}


@pytest.mark.parametrize("term", FILTERS, ids=str)
def test_a_filter_is_a_condition(term: tuple) -> None:
    name, operator, value = term
    asked = statements(
        columns=["voltage"], filter=[[name, operator, list(value) if type(value) is tuple else value]]
    )
    assert asked[0] == f"SELECT COUNT(*) {FROM} WHERE ({FILTERS[term]})"


@pytest.mark.parametrize(
    ("operator", "condition"),
    [
        (">=", "CAST(`built` AS BIGINT) >= -5001"),
        ("<", "CAST(`built` AS BIGINT) <= -5002"),
        ("==", "(CAST(`built` AS BIGINT) >= -5001 AND CAST(`built` AS BIGINT) <= -5001)"),
        ("!=", "(CAST(`built` AS BIGINT) <= -5002 OR CAST(`built` AS BIGINT) >= -5000 OR `built` IS NULL)"),
    ],
)
def test_other_times_than_the_rows_are_compared_as_numbers(operator: str, condition: str) -> None:
    """TDengine finds no tag `>= -5001` where all are."""
    columns = (*COLUMNS, Column("built", "built", "TIMESTAMP"))
    asked = Asked(facts=Facts("`power`.`meters`", Schema(columns, (), 2, 1, 2)))
    asked.make(columns=["voltage"], filter=[["built", operator, -5001]])
    assert asked.statements[0] == f"SELECT COUNT(*) {FROM} WHERE ({condition})"


def test_filters_are_joined_by_or_within_the_span() -> None:
    asked = statements(
        columns=["voltage"], span="5m", filter=[["voltage", ">", 1], ["ok", "==", True]], filter_op="or"
    )
    assert asked[0].endswith(" WHERE `ts` >= NOW() - 5m AND ((`voltage` > 1) OR (`ok` = true))")


HOSTILE = [
    "'",
    "''; DROP DATABASE power; --",
    "\\",
    "\\'; DROP DATABASE power; --",
    "`",
    "a\nb",
    "%' OR '1'='1",
    "😀'",
    "\\\\' OR 1=1",
]


def literals(sql: str) -> list[str]:
    """The texts in a statement, as TDengine reads them. Fails where one does not end."""
    found, rest = [], sql
    while "'" in rest:
        _, _, rest = rest.partition("'")
        text = ""
        while not rest.startswith("'"):
            assert rest, f"a text without an end: {sql}"
            taken = 2 if rest.startswith("\\") else 1
            text += rest[taken - 1 : taken]
            rest = rest[taken:]
        found.append(text)
        rest = rest[1:]
    return found


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("operator", ["==", "!=", "<", "in", "not in"])
def test_a_viewers_text_is_nothing_but_a_literal(text: str, operator: str) -> None:
    value = [text] if "in" in operator else text
    for sql in statements(columns=["voltage"], filter=[["location", operator, value]]):
        assert set(literals(sql)) <= {text}


@pytest.mark.parametrize("text", HOSTILE)
def test_a_pattern_is_nothing_but_a_literal(text: str) -> None:
    for sql in statements(columns=["voltage"], filter=[["location", "contains", text]]):
        for pattern in literals(sql):
            assert pattern.startswith("%")
            assert pattern.endswith("%")


@pytest.mark.parametrize(
    "config",
    [
        {"columns": ["nothing` FROM x"]},
        {"group_by": ["ts"]},  # its name in TDengine; in Perspective it is the timestamp
        {"group_by": ["location"], "columns": ["voltage"], "aggregates": {"voltage": "sum(1); DROP"}},
        {"group_by": ["location"], "columns": ["voltage"], "aggregates": {"voltage": ["max by", ["x"]]}},
        {"columns": ["voltage"], "filter": [["nothing", "==", 1]]},
        {"columns": ["voltage"], "filter": [["voltage", "= 1 OR 1", 1]]},
        {"columns": ["voltage"], "filter": [["voltage", "==", "1; DROP"]]},
        {"columns": ["voltage"], "filter": [["location", "matches", "a"]]},
        {"columns": ["voltage"], "sort": [["nothing", "asc"]]},
        {"columns": ["e"], "expressions": {"e": "random()"}},
        {"columns": ["location"], "group_by": ["groupid"], "aggregates": {"location": "sum"}},
    ],
    ids=json.dumps,
)
def test_what_cant_be_had_is_refused_in_words(config: dict[str, Any]) -> None:
    asked = Asked()
    with pytest.raises(perspective.PerspectiveError):
        asked.make(**config)
    assert asked.statements == []
    assert asked.history.failure
    assert "\n" not in asked.history.failure
    assert "Traceback" not in asked.history.failure


def test_too_many_groups_are_refused_with_what_to_narrow() -> None:
    asked = Asked({f"SELECT `voltage` g0, COUNT(*) {FROM} GROUP BY `voltage` {MOST}": [(1, 1)] * 200_001})
    with pytest.raises(perspective.PerspectiveError):
        asked.make(group_by=["voltage"], columns=[], group_rollup_mode="flat")
    assert asked.history.failure == (
        "this view has more than 200,000 groups: choose a shorter time, filter, or group by less"
    )


def test_why_tdengine_did_not_answer_is_told() -> None:
    asked = Asked()

    def ask(sql: str) -> list[tuple]:
        raise NotAnswered("TDengine took longer than 10 s")

    asked.history.ask = ask
    with pytest.raises(perspective.PerspectiveError):
        asked.make(columns=["voltage"])
    assert asked.history.failure == "TDengine took longer than 10 s"


def test_what_was_found_is_kept_for_a_while() -> None:
    asked = Asked()
    view = asked.make(group_by=["location"], columns=["voltage"])
    view.num_rows()
    before = len(asked.statements)
    view.to_columns()
    view.num_rows()
    view.schema()
    assert len(asked.statements) == before


def test_the_tables_size_is_asked_for_once_in_a_while() -> None:
    asked = Asked({f"SELECT COUNT(*) {FROM}": [(12,)]})
    assert [asked.table.size() for _ in range(40)] == [12] * 40
    assert asked.statements == [f"SELECT COUNT(*) {FROM}"]


def test_the_rows_are_split_and_the_paths_are_those_of_the_engine() -> None:
    items = "COUNT(*), SUM(`voltage`)"
    both = f"SELECT `location` g0, `groupid` g1, {items} {FROM} GROUP BY `location`, `groupid` {MOST}"
    whole = f"SELECT `groupid` g0, {items} {FROM} GROUP BY `groupid` {MOST}"
    found = [("b", 1, 3, 6), (None, None, 1, 7), ("gone", 1, 0, None)]
    asked = Asked({whole: [(1, 3, 6), (None, 1, 7)], both: found})
    view = asked.make(group_by=["location"], split_by=["groupid"], columns=["voltage"])
    assert view.to_columns() == {
        "__ROW_PATH__": [[], [None], ["b"]],
        "null|voltage": [7, 7, None],
        "1|voltage": [6, None, 6],
    }
    assert view.schema() == {"voltage": "integer"}


def test_texts_that_are_not_utf_8_are_shown_with_replacement_characters() -> None:
    facts = Facts(FACTS.table, replace(FACTS.schema, as_bytes=True))
    found = [(b"caf\xe9", 3, b"CAF\xe9"), (b"San Jose", 1, b"SAN JOSE"), (None, 1, None)]
    upper = "CASE WHEN `ts` IS NOT NULL THEN CASE WHEN `location` <> '' THEN UPPER(`location`) END END"
    items = f"LAST(`ts`), COLS(FIRST(`ts`), {bytes_of(upper)})"
    groups = f"SELECT {bytes_of('`location`')} g0, {items} {FROM} GROUP BY `location` {MOST}"
    asked = Asked({groups: found}, facts=facts)
    view = asked.make(
        group_by=["location"],
        columns=["e"],
        expressions={"e": 'upper("location")'},
        aggregates={"e": "first"},
        group_rollup_mode="flat",
    )
    assert asked.statements == [groups]
    assert view.to_columns() == {
        "__ROW_PATH__": [[None], ["San Jose"], ["caf�"]],
        "e": [None, "SAN JOSE", "CAF�"],
    }


def test_bytes_are_not_sorted_by() -> None:
    columns = (*COLUMNS, Column("raw", "raw", "VARBINARY"))
    asked = Asked(facts=Facts(FACTS.table, replace(FACTS.schema, columns=columns)))
    with pytest.raises(perspective.PerspectiveError):
        asked.make(columns=["voltage"], sort=[["raw", "asc"]])
    assert asked.history.failure == "raw is of the type VARBINARY, by which TDengine does not sort"


def test_subtables_have_names() -> None:
    schema = replace(FACTS.schema, shows_subtable=True)
    for operator, holds in ((">", True), (">=", True), ("<", False), ("<=", False)):
        asked = Asked(facts=Facts(FACTS.table, schema))
        asked.make(columns=["voltage"], filter=[["tbname", operator, ""]])
        assert asked.statements[0].endswith(
            f"WHERE (CASE WHEN `ts` IS NULL THEN 1 ELSE 0 END = {int(not holds)})"
        )


def test_what_tags_give_without_a_row_does_not_count() -> None:
    """Where tags make the groups, TDengine has a row, all NULL but for its tags, where there is none."""
    (sql,) = statements(
        group_by=["location"],
        columns=["e"],
        expressions={"e": '"groupid" + 1'},
        group_rollup_mode="flat",
    )
    assert "SUM(CASE WHEN `ts` IS NOT NULL THEN (`groupid` + 1) END)" in sql


def test_groups_are_sorted_by_the_sum_behind_an_absolute_one() -> None:
    """As the engine does it."""
    items = "COUNT(*), SUM(`voltage`), SUM(`voltage`)"
    groups = f"SELECT `location` g0, {items} {FROM} GROUP BY `location` {MOST}"
    asked = Asked({groups: [("a", 1, 3, 3), ("b", 1, -5, -5), ("c", 1, None, None)]})
    view = asked.make(
        group_by=["location"],
        columns=["voltage"],
        aggregates={"voltage": "abs sum"},
        sort=[["voltage", "desc"]],
        group_rollup_mode="flat",
    )
    assert view.to_columns() == {"__ROW_PATH__": [["a"], ["b"], ["c"]], "voltage": [3, 5, None]}


def test_a_virtual_server_that_has_shown_many_views_is_made_anew() -> None:
    """It would grow by the columns of each."""
    handlers: list[History] = []
    told: SimpleQueue[Answered] = SimpleQueue()

    def make_handler(*arguments: Any) -> History:
        handlers.append(Asked(facts=FACTS).history)
        return handlers[-1]

    questions = Questions(10)
    questions.note_schema(FACTS.schema)
    session = Session(1, "meters_history", FACTS.table, Span.parse("all"), questions, make_handler, told.put)

    def answered(**request: Any) -> bool:
        session.handle(1, Request(msg_id=1, **request).SerializeToString())
        return not told.get(timeout=30).refusal

    for number in range(MAX_SHOWN + 1):
        view = f"view {number}"
        config = {"columns": {"columns": {"columns": ["voltage"]}}}
        assert answered(entity_id="meters_history", make_view={"view_id": view, "config": config})
        assert answered(entity_id=view, view_dimensions={})
        assert answered(entity_id=view, view_delete={})
    assert len(handlers) == 2
    session.close()
