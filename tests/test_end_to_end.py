"""The whole path with real processes: producer → TDengine → server → viewer."""

import asyncio
import gzip
import json
import signal
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import TDengine
from support import ROOT, Process, answers, free_port, python, wait_for
from viewers import Viewer

from tdengine_perspective.layouts import read_layout
from tdengine_perspective.settings import SettingError, Settings

COLUMNS = ["timestamp", "location", "groupid", "current", "voltage", "phase"]


class Server:
    """A running perspective_server.py."""

    def __init__(self, process: Process, port: int):
        self.process = process
        self.port = port

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def health(self) -> dict[str, Any]:
        status, _, body = self.get("/health")
        health = json.loads(body)
        are_live = all(table["status"] == "live" for table in health["tables"].values())
        assert status == (200 if are_live else 503)
        return health

    def wait_until_live(self, rows: int | None = None) -> dict[str, Any]:
        def live() -> dict[str, Any] | None:
            health = self.health()
            fits = health["status"] == "live" and rows in (None, health["rows"])
            return health if fits else None

        return wait_for(live, f"a live server with {rows or 'any'} rows")

    def shown(self, table: str = "meters_values", columns: Sequence[str] = COLUMNS) -> Counter:
        """The rows that a viewer gets, as a multiset of tuples in the order of the columns."""

        async def look(viewer: Viewer) -> dict[str, list]:
            opened = await viewer.client.open_table(table)
            view = await opened.view(columns=list(columns))
            return await view.to_columns()

        async def ask() -> dict[str, list]:
            async with Viewer(f"ws://127.0.0.1:{self.port}/websocket") as viewer:
                return await viewer.ask(look(viewer))

        found = asyncio.run(ask())
        return Counter(zip(*(found[name] for name in columns), strict=True))


@contextmanager
def serving(
    settings: dict[str, str], command: Sequence[str] = python("perspective_server.py")
) -> Iterator[Server]:
    port = free_port()
    with Process(command, {**settings, "PERSPECTIVE_PORT": str(port)}) as process:
        wait_for(lambda: answers(port) or not process.running(), "the server")
        yield Server(process, port)


@contextmanager
def written_once(tdengine: TDengine, database: str, *options: str) -> Iterator[dict[str, str]]:
    """Settings for a database into which a producer with these options has written."""
    settings = tdengine.settings(database)
    try:
        with Process(python("producer.py", *options, "--reset"), settings) as producer:
            assert producer.wait() == 0, producer.output
        yield settings
    finally:
        tdengine.connect().execute(f"DROP DATABASE IF EXISTS {database}")


@contextmanager
def written_all_the_time(tdengine: TDengine, database: str) -> Iterator[dict[str, str]]:
    """Settings for a server that polls as often as a producer writes into the database, every 100 ms."""
    settings = {**tdengine.settings(database), "PERSPECTIVE_REFRESH_RATE": "100"}
    try:
        with Process(python("producer.py", "--interval", "100", "--rows", "100", "--reset"), settings):
            yield settings
    finally:
        tdengine.connect().execute(f"DROP DATABASE IF EXISTS {database}")


@contextmanager
def serving_with(settings: dict[str, str], change: str) -> Iterator[Server]:
    """The real server, but with other limits: `change` is a line of Python that has the modules of these."""
    code = (
        "from tdengine_perspective import engine, web; "
        "from tdengine_perspective.gate import viewers, websocket; "
        f"{change}; import perspective_server; perspective_server.main()"
    )
    with serving(settings, python("-c", code)) as running:
        running.wait_until_live()
        yield running


def in_tdengine(tdengine: TDengine, database: str) -> Counter:
    """What the table is to hold, asked of TDengine itself."""
    connection = tdengine.connect()
    return Counter(
        connection.query(
            "SELECT CAST(ts AS BIGINT), location, groupid, current, voltage, phase "
            f"FROM {database}.meters WHERE ts >= NOW() - 12h ORDER BY ts DESC LIMIT 1000"
        )
    )


def rounded(rows: Counter) -> Counter:
    """FLOAT columns are of 32 bits: their values as text with the digits that those have."""
    return Counter(
        tuple(f"{value:.6g}" if isinstance(value, float) else value for value in row)
        for row in rows.elements()
    )


def test_viewers_get_the_newest_rows_once_each(tdengine: TDengine, database: str) -> None:
    settings = tdengine.settings(database)
    with serving(settings) as server:
        with Process(python("producer.py", "--interval", "70", "--count", "30"), settings) as producer:
            server.wait_until_live(rows=1000)
            assert producer.wait() == 0
        expected = rounded(in_tdengine(tdengine, database))
        assert expected.total() == len(expected) == 1000
        wait_for(lambda: rounded(server.shown()) == expected, "the table to equal the query")
        health = server.health()
        assert health["newest"].endswith("+00:00")


def test_tdengine_is_asked_directly_whatever_proxy_or_login_the_environment_has(
    tdengine: TDengine, database: str, tmp_path: Path
) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    names = ("http_proxy", "https_proxy", "all_proxy", "ws_proxy")
    proxies = {each: nowhere for name in names for each in (name, name.upper())}
    login = tmp_path / ".netrc"
    login.write_text("default login nobody password nothing\n")
    login.chmod(0o600)
    settings = {
        **tdengine.settings(database),
        **proxies,
        "NO_PROXY": "",
        "no_proxy": "",
        "HOME": str(tmp_path),
    }
    with Process(python("producer.py", "--count", "1"), settings) as producer:
        assert producer.wait() == 0, producer.output
    with serving(settings) as server:
        server.wait_until_live(rows=300)


def test_health_tells_what_a_monitor_needs(tdengine: TDengine, database: str) -> None:
    settings = tdengine.settings(database)
    with serving(settings) as server:
        assert server.health()["status"] == "waiting"
        with Process(python("producer.py", "--count", "1"), settings) as producer:
            assert producer.wait() == 0
        health = server.wait_until_live(rows=300)
    assert health.keys() == {
        "status",
        "tdengine",
        "table",
        "title",
        "history_table",
        "rows",
        "newest",
        "newest_ms_ago",
        "newest_up_to_now",
        "ahead",
        "ahead_from",
        "notices",
        "last_poll_ms_ago",
        "polls",
        "errors",
        "last_error",
        "reader_restarts",
        "viewers",
        "tables",
        "history",
        "dashboards",
        "older",
        "source",
        "not_pushed",
        "pushes",
    }
    assert health["tables"]["meters_values"]["rows"] == 300
    assert health["dashboards"] == [""]
    assert health["tdengine"]["url"] == f"localhost:{tdengine.port}"
    assert health["tdengine"]["version"].startswith("3.3.")
    assert health["tdengine"]["version"].endswith(".emulator") == tdengine.is_emulator
    assert health["polls"] > 0
    assert health["viewers"] == 0
    facts = ("viewers", "questions", "workers", "timeouts", "restarts")
    assert health["history"] == {"meters_history": dict.fromkeys(facts, 0)}  # nobody has looked back


def test_viewers_are_counted_while_they_are_there(tdengine: TDengine, database: str) -> None:
    with serving(tdengine.settings(database)) as server:

        async def look() -> int:
            async with Viewer(f"ws://127.0.0.1:{server.port}/websocket") as viewer:
                await viewer.client.get_hosted_table_names()
                health = await asyncio.to_thread(server.health)
                return health["viewers"]

        assert asyncio.run(look()) == 1
        wait_for(lambda: server.health()["viewers"] == 0, "the viewer to be gone")


def test_the_limit_and_the_tables_name_can_be_set(tdengine: TDengine, database: str) -> None:
    settings = {
        **tdengine.settings(database),
        "PERSPECTIVE_LIMIT": "20",
        "PERSPECTIVE_TABLE_NAME": "newest readings",
    }
    with serving(settings) as server, Process(python("producer.py", "--count", "2"), settings) as producer:
        assert producer.wait() == 0
        server.wait_until_live(rows=20)
        wait_for(lambda: server.shown("newest readings").total() == 20, "20 rows")


def test_the_server_gives_out_the_page_and_its_library(tdengine: TDengine, database: str) -> None:
    with serving(tdengine.settings(database)) as server:
        status, headers, page = server.get("/")
        assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        assert b"<perspective-viewer" in page
        for name, kind in [("main.js", "text/javascript"), ("page.css", "text/css")]:
            status, headers, body = server.get(f"/page/{name}")
            assert (status, headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
            assert headers["Cache-Control"] == "no-cache"
            assert body == (ROOT / "page" / name).read_bytes()
            status, _, body = server.get(f"/page/{name}", **{"If-None-Match": headers["Etag"]})
            assert (status, body) == (304, b"")
        path = "/perspective/perspective-anywidget.js"
        status, headers, library = server.get(path)
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, "*")
        status, headers, compressed = server.get(path, **{"Accept-Encoding": "gzip"})
        assert headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(compressed) == library
        status, _, body = server.get(path, **{"If-None-Match": headers["Etag"]})
        assert (status, body) == (304, b"")
        for missing in ("/perspective/", "/perspective/../../perspective/__init__.py", "/producer.py"):
            assert server.get(missing)[0] == 404


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_and_its_reader(tdengine: TDengine, database: str, number: int) -> None:
    with serving(tdengine.settings(database)) as server:
        server.process.wait_for_line("has no database")
        children = psutil.Process(server.process.pid).children(recursive=True)
        assert children
        server.process.signal(number)
        assert server.process.wait() == 0
        wait_for(lambda: not any(child.is_running() for child in children), "its children to end")
        assert "Traceback" not in server.process.output


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"PERSPECTIVE_LIMIT": "some"}, "PERSPECTIVE_LIMIT=some: must be a whole number"),
        ({"PERSPECTIVE_REFRESH_RATE": "0"}, "PERSPECTIVE_REFRESH_RATE=0: must be a whole number"),
        ({"PERSPECTIVE_PORT": "70000"}, "PERSPECTIVE_PORT=70000: must be a whole number"),
        ({"PERSPECTIVE_HOST": "no.such.host.invalid"}, "set PERSPECTIVE_HOST to an address of this machine"),
        ({"PERSPECTIVE_HOST": "bad..name"}, "Not the name of a host; set PERSPECTIVE_HOST to an address"),
        ({"PERSPECTIVE_HOST": "192.0.2.1"}, "set PERSPECTIVE_HOST to an address of this machine"),
        ({"PERSPECTIVE_ALLOWED_ORIGINS": "example"}, "PERSPECTIVE_ALLOWED_ORIGINS"),
        ({"PERSPECTIVE_WINDOW": "12"}, "PERSPECTIVE_WINDOW=12: must be a whole number and a unit"),
        (
            {"PERSPECTIVE_TABLE_NAME": "psp_demo"},
            "PERSPECTIVE_TABLE_NAME=psp_demo: must be a name of at most",
        ),
        ({"PERSPECTIVE_TABLE_NAME": "x" * 101}, "must be a name of at most 100 characters"),
        ({"PERSPECTIVE_TABLE_NAME": " meters"}, "without spaces around it"),
        (
            {"PERSPECTIVE_TABLE_NAME": "two\nlines"},
            "PERSPECTIVE_TABLE_NAME: must be text in UTF-8 without con",
        ),
        ({"TAOS_USER": "caf\udce9"}, "TAOS_USER: must be text in UTF-8 without control characters"),
        ({"TAOS_PASSWORD": "taosdata\r"}, "TAOS_PASSWORD: must be text in UTF-8 without control characters"),
        ({"TAOS_HOST": "localhost:6041"}, "and nothing else, such as TAOS_HOST=localhost TAOS_PORT=6041"),
        ({"TAOS_HOST": "https://td.example.org"}, "and nothing else, such as TAOS_HOST=td.example.org"),
        ({"TAOS_HOST": "[::1]:6041"}, "and nothing else, such as TAOS_HOST=::1 TAOS_PORT=6041"),
        ({"PERSPECTIVE_HOST": "0.0.0.0:80"}, "such as PERSPECTIVE_HOST=0.0.0.0 PERSPECTIVE_PORT=80"),
        ({"TAOS_TABLENAME": "power.meters"}, "write TAOS_DATABASE=power TAOS_TABLENAME=meters"),
        ({"TAOS_DATABASE": "`power`.`meters`"}, "write TAOS_DATABASE=power TAOS_TABLENAME=meters"),
        ({"TAOS_TABLENAME": "`meters`"}, "write TAOS_TABLENAME=meters"),
        ({"TAOS_TABLENAME": "é" * 97}, "must be a name of at most 192 bytes"),
        ({"PERSPECTIVE_LAYOUT": "/nowhere/x.json"}, "can't read /nowhere/x.json: No such file or directory"),
    ],
)
def test_a_malformed_setting_gets_one_clear_line(settings: dict[str, str], line: str) -> None:
    settings = {"PERSPECTIVE_PORT": str(free_port()), **settings}
    with Process(python("perspective_server.py"), settings) as process:
        assert process.wait() != 0
    assert line in process.output
    assert len(process.lines) == 1, process.output


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(SettingError) as caught:
        Settings.from_environment({"TAOS_HOST": "taosws://root:very secret@td.example.org:6041/power"})
    assert str(caught.value).endswith("such as TAOS_HOST=td.example.org TAOS_PORT=6041")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["localhost", "10.0.0.5", "::1", "fe80::1%eth0", "td_1.internal", "tdengine"]
)
def test_a_host_is_a_name_or_an_address(host: str) -> None:
    assert Settings.from_environment({"TAOS_HOST": host}).taos_host == host


def window(text: str) -> str:
    return Settings.from_environment({"PERSPECTIVE_WINDOW": text}).perspective_window


def test_a_window_is_a_number_and_a_unit_of_tdengine() -> None:
    for text in ("1a", "90s", "30m", "12h", "7d", "2w", "36500d"):
        assert window(text) == text
    for text in ("12", "h", "0h", "-1h", "1.5h", "1 h", "1y", "1n", "36501d", "99999999999999999999w", "1h;"):
        with pytest.raises(
            SettingError, match=f"^PERSPECTIVE_WINDOW={text}: must be a whole number and a unit"
        ):
            window(text)
    assert window("") == "12h"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "is no JSON"),
        (b"[{}, ", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b'[{"title": "\xff"}]', "is no JSON"),
        (b'[{"a": NaN}]', "is no JSON"),
        (b"{}", "must be a list of one to 4 viewer configurations"),
        (b"[]", "must be a list of one to 4 viewer configurations"),
        (b"[1]", "must be a list of one to 4 viewer configurations"),
        (b'"Datagrid"', "must be a list of one to 4 viewer configurations"),
        (b'{"a": 1}', "must be a list of one to 4 viewer configurations"),
        (b'{"viewers": {}}', "must be a list of one to 4 viewer configurations"),
        (b"[{}, {}, {}, {}, {}, {}]", "has 6 viewers, and the page has room for 4: take 2 out"),
    ],
)
def test_a_layout_that_is_none_is_refused_at_the_start(tmp_path: Path, content: bytes, line: str) -> None:
    file = tmp_path / "layout.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=rf"^PERSPECTIVE_LAYOUT: {file} {line}"):
        read_layout(str(file))


def test_the_page_gets_the_layout(tdengine: TDengine, database: str, tmp_path: Path) -> None:
    layout = [{"title": "Prices — 価格", "plugin": "Datagrid", "columns": ["price"]}, {}]
    file = tmp_path / "layout.json"
    file.write_text(json.dumps(layout), encoding="utf-8")
    settings = {
        **tdengine.settings(database),
        "PERSPECTIVE_LAYOUT": str(file),
        "PERSPECTIVE_ALLOWED_ORIGINS": "https://meters.example.org",
        "PERSPECTIVE_TOKEN": "long-enough",
    }
    with serving(settings) as server:
        page = {"Origin": "https://meters.example.org"}
        assert server.get("/layout", **page)[0] == 401
        assert server.get("/layout", Origin="https://other.example.org")[0] == 403
        status, headers, body = server.get("/layout", **page, Authorization="Bearer long-enough")
        assert (status, headers["Content-Type"], json.loads(body)) == (200, "application/json", layout)
        assert headers["Access-Control-Allow-Origin"] == "https://meters.example.org"


def test_columns_that_a_layout_names_and_the_table_lacks_are_told(
    tdengine: TDengine, database: str, tmp_path: Path
) -> None:
    layout = [
        {"columns": ["twice", None], "expressions": {"twice": '"current" * 2'}, "sort": [["ts", "asc"]]},
        {"group_by": ["place"], "split_by": ["location", "curent"], "columns": ["curent", {}, []]},
        {"filter": [["fase", ">", 1]], "sort": [["timestamp", "desc"]], "columns": 7, "expressions": "8"},
        {"columns": ["phase"]},
    ]
    file = tmp_path / "layout.json"
    file.write_text(json.dumps(layout))
    settings = {**tdengine.settings(database), "PERSPECTIVE_LAYOUT": str(file)}
    with Process(python("producer.py", "--count", "1"), settings) as producer:
        assert producer.wait() == 0
    with serving(settings) as server:
        server.wait_until_live()
        server.process.wait_for_line("PERSPECTIVE_LAYOUT: viewer 3")
        told = [line.partition("PERSPECTIVE_LAYOUT: ")[2] for line in server.process.lines]
    assert [line for line in told if line] == [
        f"viewer 1 has columns that {database}.meters lacks: ts",
        f"viewer 2 has columns that {database}.meters lacks: curent, place",
        f"viewer 3 has columns that {database}.meters lacks: fase",
    ]


def test_a_table_without_rows_in_the_window_is_told(tdengine: TDengine, database: str) -> None:
    connection = tdengine.connect()
    connection.execute(f"CREATE DATABASE {database}")
    connection.execute(f"CREATE TABLE {database}.meters (ts TIMESTAMP, v INT)")
    connection.execute(f"INSERT INTO {database}.meters VALUES (NOW - 1h, 1)")
    with serving({**tdengine.settings(database), "PERSPECTIVE_WINDOW": "5m"}) as server:
        line = server.process.wait_for_line("has no rows of the last 5m")
        why = line[line.index(f"{database}.meters ") :]
        wait_for(lambda: server.health()["polls"] > 3, "further polls")
        health = server.health()
        assert (health["status"], health["last_error"], health["errors"]) == ("waiting", why, 0)
        connection.execute(f"INSERT INTO {database}.meters VALUES (NOW, 2)")
        health = server.wait_until_live(rows=1)
        assert (health["last_error"], health["errors"]) == (None, 0)
    assert server.process.output.count(why) == 1


def test_data_on_screen_are_spoken_of_only_where_there_are_some(tdengine: TDengine, database: str) -> None:
    settings = tdengine.settings(database)
    with serving(settings) as server:
        line = server.process.wait_for_line("has no database")
        assert line.endswith(" yet; trying again")
        with Process(python("producer.py", "--count", "1"), settings) as producer:
            assert producer.wait() == 0
        server.wait_until_live(rows=300)
        tdengine.connect().execute(f"DROP DATABASE {database}")
        server.process.wait_for_line("; trying again, the last data stay on screen")


def test_without_a_layout_the_page_gets_null(tdengine: TDengine, database: str) -> None:
    with serving(tdengine.settings(database)) as server:
        status, _, body = server.get("/layout")
        assert (status, body) == (200, b"null")


def test_a_port_in_use_gets_one_clear_line(tdengine: TDengine) -> None:
    with Process(python("perspective_server.py"), {"PERSPECTIVE_PORT": str(tdengine.port)}) as process:
        assert process.wait() != 0
    assert f"can't listen on 127.0.0.1:{tdengine.port}: " in process.output
    assert "; set PERSPECTIVE_PORT to a free port" in process.output
    assert len(process.lines) == 1, process.output


def test_the_server_never_imports_the_blocking_driver() -> None:
    code = "import sys, perspective_server; sys.exit('taosws' in sys.modules)"
    with Process(python("-c", code)) as process:
        assert process.wait() == 0, process.output


def test_a_wrong_password_is_told_and_not_shown(tdengine: TDengine, database: str) -> None:
    with serving({**tdengine.settings(database), "TAOS_PASSWORD": "not-the-password"}) as server:
        server.process.wait_for_line("check TAOS_USER and TAOS_PASSWORD")
        health = server.health()
        assert health["status"] == "waiting"
        assert "check TAOS_USER and TAOS_PASSWORD" in health["last_error"]
        assert "not-the-password" not in server.process.output + json.dumps(health)
