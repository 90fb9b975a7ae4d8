"""A live table as CSV and as Arrow, for programs that are no viewers."""

import csv
import io
import urllib.parse
from collections import Counter
from collections.abc import Iterator

import perspective
import pytest
from conftest import TDengine
from support import Process, python
from test_end_to_end import COLUMNS, Server, serving, serving_with

TOKEN = "a-token-of-the-test"


@pytest.fixture
def server(tdengine: TDengine, database: str) -> Iterator[Server]:
    settings = {**tdengine.settings(database), "PERSPECTIVE_TABLE_NAME": "the meters"}
    with Process(python("producer.py", "--count", "2", "--rows", "50"), settings) as producer:
        assert producer.wait() == 0
    with serving(settings) as running:
        running.wait_until_live(rows=100)
        yield running


def test_csv_has_the_rows_that_viewers_get(server: Server) -> None:
    status, headers, body = server.get(f"/tables/{urllib.parse.quote('the meters')}.csv")
    assert (status, headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
    rows = list(csv.DictReader(io.StringIO(body.decode())))
    found = Counter((row["location"], int(row["groupid"]), int(row["voltage"])) for row in rows)
    assert found == server.shown("the meters", ["location", "groupid", "voltage"])
    assert set(rows[0]) == set(COLUMNS)


def test_arrow_has_the_rows_that_viewers_get(server: Server) -> None:
    status, headers, body = server.get("/tables/the%20meters.arrow")
    assert (status, headers["Content-Type"]) == (200, "application/vnd.apache.arrow.stream")
    columns = perspective.Server().new_local_client().table(body).view().to_columns()
    assert set(columns) == set(COLUMNS)
    assert Counter(zip(*(columns[name] for name in COLUMNS), strict=True)) == server.shown("the meters")


@pytest.mark.parametrize("path", ["other.csv", "the%20meters.json", "", "a/b.csv"])
def test_what_there_is_not_is_404(server: Server, path: str) -> None:
    assert server.get(f"/tables/{path}")[0] == 404


def test_the_token_guards_them(tdengine: TDengine, database: str) -> None:
    with serving({**tdengine.settings(database), "PERSPECTIVE_TOKEN": TOKEN}) as server:
        for path in ("/tables/meters_values.csv", "/tables/other.csv"):
            assert server.get(path)[0] == 401
            assert server.get(path, Authorization=f"Bearer {TOKEN}")[0] == 404, "the table isn't there yet"


def test_a_table_too_large_for_an_answer_is_refused_in_words(tdengine: TDengine, database: str) -> None:
    settings = tdengine.settings(database)
    with Process(python("producer.py", "--count", "1", "--rows", "50"), settings) as producer:
        assert producer.wait() == 0
    change = "from tdengine_perspective import downloads; downloads.MAX_CELLS = 299"
    with serving_with(settings, change) as server:
        status, _, body = server.get("/tables/meters_values.csv")
        assert status == 413
        assert b"More than 299 cells" in body
