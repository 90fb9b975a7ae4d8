"""What the table does not show is told: old rows, rows crowded out by the future. Devices are told apart."""

# ruff: noqa: F811, the fixture is test_own_tables'

import math
import re
from typing import Any

import pytest
from test_cost import counted
from test_mirror import METER, TWO_TIMES, Copy, Shape
from test_own_tables import make  # noqa: F401

from tdengine_perspective.mirror import notices
from tdengine_perspective.mirror.messages import Older, Times
from tdengine_perspective.mirror.notices import nothing_in_window, too_many_ahead, window_for
from tdengine_perspective.mirror.reader import OLDER_READ_INTERVAL, Reader
from tdengine_perspective.mirror.schema import Column, Schema
from tdengine_perspective.settings import SPAN_UNITS, SettingError, Settings, time_span
from tdengine_perspective.tables import TableSettings
from tdengine_perspective.tdengine import OutOfReach

DAY = 86_400_000  # ms
SAME = Shape("ms", "ts TIMESTAMP, v FLOAT", "groupid INT")  # all of its devices in one group


def milliseconds(span: str) -> int:
    return int(span[:-1]) * SPAN_UNITS[span[-1]]


# Devices


def test_a_row_of_a_supertable_says_which_subtable_it_is_of(make: Any) -> None:
    source = make(SAME)
    copy = Copy(source)
    start = source.clock() - 1000
    for number, meter in enumerate(["d0", "d1", "d2"]):
        source.insert(meter, [(start, float(number))], (1,))
    copy.poll()
    assert sorted(copy.rows()) == [(start, float(number), f"d{number}", 1) for number in range(3)]
    copy.assert_exact()
    copy.assert_quiet()


@pytest.mark.parametrize(
    ("shape", "table"), [(SAME, "d1"), (METER, "meters"), (METER, "d1"), (TWO_TIMES, "meters")]
)
def test_a_subtable_a_plain_table_and_the_meters_need_no_such_column(
    make: Any, shape: Shape, table: str
) -> None:
    copy = Copy(make(shape, table))
    copy.poll()
    assert "tbname" not in copy.mirror.table.columns()


@pytest.mark.parametrize("where", ["column", "tag"])
def test_a_column_or_tag_that_is_called_tbname_is_the_one_that_is_shown(make: Any, where: str) -> None:
    """TDengine takes that name in backquotes."""
    columns, tags = ("ts TIMESTAMP, v INT", "`tbname` VARCHAR(8)")
    if where == "column":
        columns, tags = ("ts TIMESTAMP, `tbname` VARCHAR(8)", "v INT")
    source = make(Shape("ms", columns, tags))
    table = f"{source.database}.meters"
    for number in range(2):
        tag, value = ((number, f"'name {number}'"), (f"'name {number}'", number))[where == "tag"]
        source.execute(
            f"INSERT INTO {source.database}.d{number} USING {table} TAGS ({tag}) VALUES (NOW, {value})"
        )
    copy = Copy(source)
    assert copy.poll().rows == 2
    view = copy.mirror.table.view(columns=["tbname", "v"], sort=[["v", "asc"]])
    assert view.to_columns() == {"tbname": ["name 0", "name 1"], "v": [0, 1]}
    view.delete()


def test_the_column_comes_with_the_first_other_column_and_goes_with_it(make: Any) -> None:
    """The meters' own are promised as they are."""
    source = make(METER)
    source.insert("d0", [(source.clock(), 1.0, 1, 1.0)])
    copy = Copy(source)
    for change, is_there in (("ADD COLUMN extra INT", True), ("DROP COLUMN extra", False)):
        copy.poll(whole_window=True)
        source.alter(change)
        copy.poll(whole_window=True)
        assert ("tbname" in copy.mirror.table.columns()) == is_there
        copy.assert_exact()


# Rows ahead


@pytest.mark.parametrize("precision", ["ms", "us", "ns"])
def test_rows_ahead_of_tdengines_clock_are_counted(make: Any, precision: str) -> None:
    source = make(Shape(precision, "ts TIMESTAMP, v INT", None))
    copy = Copy(source, limit=10)
    now = source.clock()
    ahead = now + 30_000 * source.units
    source.insert("meters", [(now - i, i) for i in range(4)])
    source.insert("meters", [(ahead + i * source.units, i) for i in range(3)])
    source.insert("meters", [(now + 5_000 * source.units, 7)])  # clocks differ by so much
    times = copy.poll().times
    assert (times.ahead, times.ahead_from) == (3, ahead // source.units)
    assert times.newest_up_to_now == now // source.units + 5_000
    assert abs(times.clock - now // source.units) < 10_000
    health = copy.mirror.state.health()
    assert (health["ahead"], health["notices"]) == (3, [])
    assert -40_000 < health["newest_ms_ago"] < 0
    assert health["newest"] > health["ahead_from"] > health["newest_up_to_now"]
    source.insert("meters", [(ahead + 60_000 * source.units, 1)])
    assert copy.poll_new().times.ahead == 4, "also where only new rows are read"


def test_without_rows_ahead_nothing_is_counted_in_the_table(make: Any) -> None:
    source = make(SAME)
    copy = Copy(source, limit=4)
    now = source.clock()
    source.insert("d0", [(now - i, 1.0) for i in range(9)], (1,))
    queries = counted(copy)
    copy.poll(whole_window=True)
    assert not [query for query in queries if "COUNT" in query or "LAST" in query]
    assert copy.mirror.state.health()["ahead"] == 0


@pytest.mark.parametrize("ahead", [2, 3, 5, 30])
def test_rows_ahead_that_leave_little_room_are_told_with_what_helps(make: Any, ahead: int) -> None:
    """Both remedies do: the limit, and the statement."""
    source = make(SAME)
    now = source.clock()
    source.insert("d0", [(now - i, 1.0) for i in range(20)], (1,))
    source.insert("d1", [(now + DAY + i, 1.0) for i in range(ahead)], (1,))
    copy = Copy(source, limit=5)
    copy.mirror.state.settings = TableSettings(taos_database=source.database, perspective_limit=5)
    copy.poll()
    told = copy.mirror.state.notices
    if ahead == 2:
        assert told == []
        return
    (text,) = told
    assert text.startswith(
        f"{ahead} rows of {source.database}.meters lie ahead of TDengine's clock, up to 20"
    )
    assert f"take {min(5, ahead)} of 5 places" in text
    limit = int(re.search(r"PERSPECTIVE_LIMIT=(\d+)", text)[1])
    larger = Copy(source, limit=limit)
    times = larger.poll().times
    assert times.ahead == ahead
    assert len(larger.rows()) - ahead >= 5
    assert not times.ahead_in_table, "and then there is no need to tell it"
    source.execute(re.search(r"DELETE FROM .*", text)[0])
    copy.poll(whole_window=True)
    assert copy.mirror.state.notices == []
    assert copy.mirror.state.health()["ahead"] == 0
    copy.assert_exact()


def test_more_rows_ahead_than_a_table_may_have_are_to_be_deleted() -> None:
    schema = Schema((Column("ts", "timestamp", "TIMESTAMP"),), (), 2, 1)
    text = too_many_ahead(Settings(), schema, Times(0, 1000, 1, 249_500, None), 1)
    assert "PERSPECTIVE_LIMIT" not in text
    assert "DELETE FROM `power`.`meters` WHERE `ts` > NOW() + 10s" in text


def test_what_leaves_little_room_is_logged_once(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    source = make(SAME)
    copy = Copy(source, limit=3)
    for number in range(5):
        source.insert("d1", [(source.clock() + DAY + number, 1.0)], (1,))
        copy.poll(whole_window=True)
    assert len([record for record in caplog.records if "lie ahead" in record.getMessage()]) == 1


# Old rows


@pytest.mark.parametrize("precision", ["ms", "us", "ns"])
@pytest.mark.parametrize("table", ["meters", "d1"])
def test_the_newest_of_the_old_rows_is_told(make: Any, precision: str, table: str) -> None:
    source = make(Shape(precision, "ts TIMESTAMP, v FLOAT", "groupid INT"), table)
    copy = Copy(source)
    assert copy.poll().older == Older(None)
    assert copy.mirror.state.health()["last_error"].endswith(", nor any older ones")
    newest = source.clock() - 40 * DAY * source.units
    source.insert("d1", [(newest - i, 1.0) for i in range(3)], (1,))
    copy.reader.next_older_read = -math.inf
    assert copy.poll(whole_window=True).older == Older(newest // source.units)
    text = copy.mirror.state.health()["last_error"]
    span = re.search(r"PERSPECTIVE_WINDOW=(\w+) shows it$", text)[1]
    assert Reader(source.tdengine, span, 10).poll(source.connection).rows == 3
    source.insert("d1", [(source.clock(), 1.0)], (1,))
    assert copy.poll(whole_window=True).older is None
    assert copy.mirror.state.health()["last_error"] is None


def test_old_rows_are_not_asked_for_at_each_poll(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make(SAME)
    copy = Copy(source)
    queries = counted(copy)
    now = [1000.0]
    monkeypatch.setattr("tdengine_perspective.mirror.reader.time.monotonic", lambda: now[0])
    for _ in range(30):
        copy.poll()
        now[0] += 0.3
    assert len([query for query in queries if "LAST" in query]) == 1
    now[0] += OLDER_READ_INTERVAL
    copy.poll()
    assert len([query for query in queries if "LAST" in query]) == 2


def test_a_table_too_large_to_say_in_time_is_polled_all_the_same(make: Any) -> None:
    source = make(SAME)
    copy = Copy(source)
    connection = copy.connection

    class Large:
        def query(self, sql: str) -> object:
            if "LAST" in sql:
                raise OutOfReach("too slow")
            return connection.query(sql)

    copy.connection = Large()
    assert copy.poll().older is None
    name = f"{source.database}.meters has no rows of the last 12h (PERSPECTIVE_WINDOW)"
    assert copy.mirror.state.health()["last_error"] == name


@pytest.mark.parametrize(
    "age", [0, 1, 3_600_000, 13 * 3_600_000, 47.5 * 3_600_000, 2 * DAY, 99 * DAY, 3421.3 * DAY, 36_498 * DAY]
)
def test_the_window_that_is_named_shows_the_row_for_a_while(age: float) -> None:
    span = window_for(age)
    assert time_span("PERSPECTIVE_WINDOW", span) == span
    assert age + SPAN_UNITS[span[-1]] <= milliseconds(span) <= 1.1 * age + 2 * SPAN_UNITS[span[-1]]


def test_a_row_too_old_for_any_window_is_told_without_one() -> None:
    assert window_for(36_500 * DAY) is None
    text = nothing_in_window(Settings(), Older(0), 37_000 * DAY)
    assert text.endswith("its newest is of 1970-01-01 00:00:00.000 UTC, too old for any window")
    with pytest.raises(SettingError):
        time_span("PERSPECTIVE_WINDOW", "36501d")


def test_a_moment_is_told_with_its_time_zone() -> None:
    assert notices.moment(1_500_000_009_999) == "2017-07-14 02:40:09.999 UTC"


# Names


@pytest.mark.parametrize(
    ("environment", "title"),
    [
        ({}, "Meters"),
        ({"TAOS_DATABASE": "test"}, "test.meters"),
        ({"TAOS_TABLENAME": "presses"}, "power.presses"),
        ({"TAOS_TABLENAME": "presses", "PERSPECTIVE_TABLE_NAME": "Mine"}, "Mine"),
        ({"TAOS_TABLENAME": "presses", "PERSPECTIVE_TABLE_NAME": "meters_values"}, "meters_values"),
        ({"PERSPECTIVE_TABLE_NAME": "Mine"}, "Mine"),
        ({"TAOS_TABLENAME": "presses", "PERSPECTIVE_TABLE_NAME": ""}, "power.presses"),
    ],
)
def test_the_page_is_headed_by_the_name_that_was_set_or_tdengines(
    environment: dict[str, str], title: str
) -> None:
    settings = Settings.from_environment(environment)
    assert settings.title == title
    name = environment.get("PERSPECTIVE_TABLE_NAME") or "meters_values"
    assert settings.perspective_table_name == name
