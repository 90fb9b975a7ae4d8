"""What a viewer of the real server may do, and from where: everything that reads, nothing that writes."""

import asyncio
import http.client
import json
import random
import socket
import urllib.request
from collections.abc import Awaitable, Callable, Iterator

import perspective
import pytest
from conftest import TDengine
from support import Process, answers, free_port, python, wait_for
from test_end_to_end import Server, serving, written_once
from tornado.httpclient import HTTPClientError
from viewers import Viewer, wait_until_closed

from tdengine_perspective.engine import ENGINE_THREADS
from tdengine_perspective.gate.viewers import MAX_VIEWS_OF_ALL

TOKEN = "sesame-open"


@pytest.fixture(scope="module")
def filled(tdengine: TDengine) -> Iterator[dict[str, str]]:
    """Settings for a database with 600 rows."""
    with written_once(tdengine, "test_looking_only", "--count", "2") as settings:
        yield settings


@pytest.fixture(scope="module")
def server(filled: dict[str, str]) -> Iterator[Server]:
    with serving(filled) as running:
        running.wait_until_live(rows=600)
        yield running


@pytest.fixture(scope="module")
def proxied(filled: dict[str, str]) -> Iterator[Server]:
    """A server behind a proxy on several ports."""
    origins = "https://meters.example.org:8443,https://tls.example.org:443,http://plain.example.org:80/"
    with serving({**filled, "PERSPECTIVE_ALLOWED_ORIGINS": origins}) as running:
        yield running


def url(server: Server, token: str = "") -> str:
    return f"ws://127.0.0.1:{server.port}/websocket{'?token=' + token if token else ''}"


async def table_from_view(client: perspective.AsyncClient, table: "perspective.AsyncTable") -> None:
    await client.table(await table.view(), name="own")


WRITES: dict[str, Callable[[perspective.AsyncClient, "perspective.AsyncTable"], Awaitable]] = {
    "update": lambda client, table: table.update([{"voltage": 1}]),
    "replace": lambda client, table: table.replace([{"voltage": 1}]),
    "clear": lambda client, table: table.clear(),
    "remove": lambda client, table: table.remove([1]),
    "delete": lambda client, table: table.delete(),
    "table from a view": lambda client, table: table_from_view(client, table),
    "new table": lambda client, table: client.table([{"a": 1}], name="own"),
    "join": lambda client, table: client.join(table, table, "voltage", name="joined"),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_viewer_cannot_write(server: Server, write: str) -> None:
    before = server.shown()

    async def attempt() -> list[str]:
        async with Viewer(url(server)) as viewer:
            table = await viewer.client.open_table("meters_values")
            with pytest.raises(perspective.PerspectiveError, match="read-only"):
                await WRITES[write](viewer.client, table)
            return await viewer.client.get_hosted_table_names()

    assert asyncio.run(attempt()) == ["meters_values"]
    assert server.shown() == before


def test_a_port_that_a_viewer_asks_for_is_none_to_write_through(server: Server) -> None:
    before = server.shown()

    async def attempt() -> None:
        async with Viewer(url(server)) as viewer:
            table = await viewer.client.open_table("meters_values")
            port = await table.make_port()
            with pytest.raises(perspective.PerspectiveError, match="read-only"):
                await table.update([{"voltage": 1}], port_id=port)

    asyncio.run(attempt())
    assert server.shown() == before


def test_a_viewer_can_read_all_that_the_settings_panel_offers(server: Server) -> None:
    async def look() -> None:
        async with Viewer(url(server)) as viewer:
            table = await viewer.client.open_table("meters_values")
            assert await table.size() == 600
            view = await table.view(
                group_by=["location"],
                split_by=["groupid"],
                columns=["voltage", "double"],
                filter=[["voltage", ">", 100]],
                sort=[["voltage", "desc"]],
                expressions={"double": '"current" * 2'},
                aggregates={"voltage": "avg", "double": "max"},
            )
            assert await view.num_rows() == 11
            await view.collapse(0)
            assert await view.num_rows() == 1
            await view.expand(0)
            assert await view.num_rows() == 11
            assert (await view.to_csv()).count("\n") >= 11
            assert len(await view.to_arrow()) > 100
            assert len(json.loads(await view.to_json_string())) == 11
            assert "double" in await view.expression_schema()
            await view.delete()

    asyncio.run(look())


async def handshake(server: Server, headers: dict[str, str], token: str = "") -> int:
    """The status of an attempt to connect: 101 when it succeeded."""
    try:
        async with Viewer(url(server, token), headers):
            return 101
    except HTTPClientError as error:
        return error.code


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 101),
        ({"Origin": "http://localhost:8081"}, 101),
        ({"Origin": "http://127.0.0.1:9999"}, 101),
        ({"Origin": "http://[::1]:8081"}, 101),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),
        ({"Host": "rebound.example:8080"}, 403),
    ],
)
def test_only_this_machines_pages_may_connect(server: Server, headers: dict[str, str], status: int) -> None:
    assert asyncio.run(handshake(server, headers)) == status
    server.process.wait_for_line("to this machine only")
    if status == 403:
        server.process.wait_for_line("refused '/websocket' to 127.0.0.1")


def test_origins_can_be_allowed_and_a_token_asked_for(filled: dict[str, str]) -> None:
    settings = {"PERSPECTIVE_ALLOWED_ORIGINS": "https://meters.example.org, null", "PERSPECTIVE_TOKEN": TOKEN}
    with serving({**filled, **settings}) as server:
        server.process.wait_for_line(
            "to this machine and pages of https://meters.example.org, null, with the token: "
        )
        for origin in ("https://meters.example.org", "null"):
            assert asyncio.run(handshake(server, {"Origin": origin}, TOKEN)) == 101
        assert asyncio.run(handshake(server, {"Origin": "https://other.example.org"}, TOKEN)) == 403
        assert asyncio.run(handshake(server, {})) == 401
        assert asyncio.run(handshake(server, {}, "sesame-shut")) == 401
        status, headers, body = server.get("/health", Origin="https://meters.example.org")
        assert (status, headers["Access-Control-Allow-Origin"]) == (401, "https://meters.example.org")
        assert b"tdengine" not in body
        status, _, body = server.get("/health", Authorization=f"Bearer {TOKEN}")
        assert status in (200, 503)
        for text in (body.decode(), server.process.output):
            assert TOKEN not in text
            assert "sesame-shut" not in text
            assert "taosdata" not in text


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("meters.example.org", "https://meters.example.org:8443", 101),  # nginx: proxy_set_header Host $host
        ("meters.example.org:8443", "https://meters.example.org:8443", 101),  # $http_host
        ("meters.example.org:443", "https://meters.example.org:8443", 101),
        ("Meters.Example.Org", "https://meters.example.org:8443", 101),
        ("tls.example.org:443", "https://tls.example.org", 101),  # $host:$server_port
        ("tls.example.org", "https://tls.example.org", 101),
        ("plain.example.org:80", "http://plain.example.org", 101),
        ("meters.example.org", "", 101),
        ("meters.example.org", "https://meters.example.org", 403),  # another page of that name
        ("meters.example.org", "https://meters.example.org:9999", 403),
        ("meters.example.org", "https://evil.example", 403),
        ("evil.example", "https://meters.example.org:8443", 403),
        ("meters.example.org.evil.example", "", 403),
        ("meters.example.org:x", "", 403),
    ],
)
def test_an_allowed_name_is_allowed_whatever_the_port_in_host(
    proxied: Server, host: str, origin: str, status: int
) -> None:
    headers = {"Host": host, **({"Origin": origin} if origin else {})}
    assert asyncio.run(handshake(proxied, headers)) == status


def test_every_answer_has_the_headers_that_keep_a_page_safe(server: Server) -> None:
    perspective = "/perspective/perspective-anywidget.css"
    for path in ("/", "/page/main.js", "/health", perspective, "/nothing", "/perspective/../x"):
        _, headers, _ = server.get(path)
        assert headers["X-Content-Type-Options"] == "nosniff", path
        assert headers["Referrer-Policy"] == "no-referrer", path
        assert headers["Content-Security-Policy"].startswith("default-src 'none'"), path
        assert "Server" not in headers, path
    _, headers, _ = server.get("/")
    script = headers["Content-Security-Policy"].split("script-src ")[1].split(";")[0]
    assert "'unsafe-inline'" not in script
    assert "'unsafe-eval'" not in script


def test_a_server_for_other_machines_says_so_and_takes_no_local_pages(filled: dict[str, str]) -> None:
    with serving({**filled, "PERSPECTIVE_HOST": "0.0.0.0"}) as server:
        server.process.wait_for_line(f"to everyone who can reach 0.0.0.0:{server.port}")
        assert asyncio.run(handshake(server, {"Origin": f"http://127.0.0.1:{server.port}"})) == 101
        assert asyncio.run(handshake(server, {"Origin": "http://localhost:9999"})) == 403
        assert asyncio.run(handshake(server, {"Host": "rebound.example:8080"})) == 403


def test_a_page_of_a_file_server_here_may_be_allowed_beside_the_servers_own(filled: dict[str, str]) -> None:
    settings = {"PERSPECTIVE_HOST": "0.0.0.0", "PERSPECTIVE_ALLOWED_ORIGINS": "http://localhost:8081"}
    with serving({**filled, **settings}) as server:
        server.process.wait_for_line(f"serves http://localhost:{server.port}/ and http://")
        host = f"localhost:{server.port}"
        for origin, status in ((host, 101), ("localhost:8081", 101), ("localhost:9999", 403)):
            headers = {"Host": host, "Origin": f"http://{origin}"}
            assert asyncio.run(handshake(server, headers)) == status, origin


@pytest.mark.parametrize("header", ["X-Perspective-Token", "x-perspective-token"])
def test_the_token_may_come_beside_a_proxys_password(filled: dict[str, str], header: str) -> None:
    with serving({**filled, "PERSPECTIVE_TOKEN": TOKEN}) as server:
        password = {"Authorization": "Basic bWU6bWluZQ=="}
        assert server.get("/health", **password)[0] == 401
        assert server.get("/health", **password, **{header: "sesame-shut"})[0] == 401
        assert server.get("/health", **password, **{header: TOKEN})[0] in (200, 503)
        assert asyncio.run(handshake(server, password, TOKEN)) == 101
        assert asyncio.run(handshake(server, {**password, header: TOKEN})) == 101
        assert TOKEN not in server.process.output


def test_a_proxys_password_and_a_token_let_in_together_and_not_alone(filled: dict[str, str]) -> None:
    port = free_port()
    with (
        serving({**filled, "PERSPECTIVE_TOKEN": TOKEN}) as server,
        Process(
            python("tests/reverse_proxy.py", str(port), str(server.port), "--login", "me:mine")
        ) as process,
    ):
        wait_for(lambda: answers(port), "the proxy")
        proxy = Server(process, port)
        password, token = {"Authorization": "Basic bWU6bWluZQ=="}, {"X-Perspective-Token": TOKEN}
        assert proxy.get("/meters/health", **password, **token)[0] in (200, 503)
        assert proxy.get("/meters", **password)[0] == 200, "led to /meters/"
        for one in (password, token, {"Authorization": f"Bearer {TOKEN}"}):
            assert proxy.get("/meters/health", **one)[0] == 401

        async def look() -> list[str]:
            address = f"ws://127.0.0.1:{port}/meters/websocket?token={TOKEN}"
            async with Viewer(address, password) as viewer:
                return await viewer.client.get_hosted_table_names()

        wait_for(lambda: asyncio.run(look()) == ["meters_values"], "the table")


def test_a_page_of_another_origin_may_send_the_token(server: Server) -> None:
    """Its browser asks before."""
    answer = urllib.request.urlopen(
        urllib.request.Request(
            f"http://127.0.0.1:{server.port}/health",
            method="OPTIONS",
            headers={
                "Origin": "http://localhost:8081",
                "Access-Control-Request-Headers": "x-perspective-token",
            },
        )
    )
    assert "x-perspective-token" in answer.headers["Access-Control-Allow-Headers"].lower().split(", ")


@pytest.mark.parametrize(
    ("headers", "leads_to"),
    [
        ({"X-Forwarded-Uri": "/meters"}, "./meters/"),
        ({"X-Original-URI": "/a/meters?token=x"}, "./meters/"),
        ({"X-Forwarded-Uri": "/meters/"}, None),
        ({"X-Forwarded-Uri": "/"}, None),
        ({"X-Forwarded-Uri": "//evil.example/%0d%0a"}, None),
        ({"X-Forwarded-Uri": "https://evil.example/meters"}, "./meters/"),
        ({}, None),
    ],
)
def test_who_forgets_the_slash_behind_a_proxys_path_is_led_to_it(
    server: Server, headers: dict[str, str], leads_to: str | None
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", "/?server=x", headers=headers)
    answer = connection.getresponse()
    led = (302, f"{leads_to}?server=x") if leads_to else (200, None)
    assert (answer.status, answer.getheader("Location")) == led
    connection.close()


@pytest.mark.parametrize("change", ["health", "open"])
def test_the_token_and_the_password_stand_in_no_traceback(filled: dict[str, str], change: str) -> None:
    broken = {
        "health": "from tdengine_perspective.mirror.state import State; State.health = None",
        "open": "perspective_server.ViewerHandler.open = None",
    }[change]
    code = f"import perspective_server; {broken}; perspective_server.main()"
    settings = {**filled, "PERSPECTIVE_TOKEN": TOKEN}
    with serving(settings, python("-c", code)) as server:
        if change == "health":
            assert server.get(f"/health?token={TOKEN}")[0] == 500
            assert server.get("/health", Authorization=f"Bearer {TOKEN}")[0] == 500
        else:
            assert asyncio.run(handshake(server, {}, TOKEN)) == 101
        server.process.wait_for_line("Traceback")
        server.process.wait_for_line("TypeError")
        for line in (f"GET /health?token={TOKEN} HTTP/9.9", f"GET /health?token={TOKEN}", f"{TOKEN}"):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(f"{line}\r\nno header {TOKEN}\r\n\r\n".encode())
                wait_until_closed(connection)
        server.get(f"/nothing?token={TOKEN}")
        for secret in (TOKEN, "taosdata"):
            assert secret not in server.process.output


ELSEWHERE = [
    "/perspective",
    "/perspective/",
    "/perspective/perspective-anywidget.js/",
    "/perspective/perspective-anywidget.js/../../../__init__.py",
    "/perspective/../perspective/perspective-anywidget.js.map",
    "/perspective/..%2f..%2f__init__.py",
    "/perspective/%2e%2e/%2e%2e/__init__.py",
    "/perspective/perspective-anywidget.js%00",
    "/perspective//etc/passwd",
    "//etc/passwd",
    "/../../../../etc/passwd",
    "/page",
    "/page/",
    "/page/nothing.js",
    "/page/main.js/",
    "/page/main.js.map",
    "/page/main.js%00",
    "/page/MAIN.js",
    "/page//etc/passwd",
    "/page/../perspective_server.py",
    "/page/../page/main.js",
    "/page/..%2fprsp-viewer.html",
    "/page/%2e%2e/imgs/architecture.svg",
    "/prsp-viewer.html",
    "/producer.py",
    "/tests/",
    "/.git/config",
    "/static/",
    "/favicon.ico",
    "/websocket/",
]


@pytest.mark.parametrize("path", ELSEWHERE)
def test_there_is_nothing_else_to_be_had(server: Server, path: str) -> None:
    status, _, body = server.get(path)
    assert status == 404
    assert len(body) < 200


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/health", "/perspective/perspective-anywidget.css"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_sent_to_the_server(server: Server, method: str, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, body=b"x")
    assert connection.getresponse().status == 405
    connection.close()


def test_a_text_frame_or_what_is_no_request_ends_the_viewer_and_nobody_else(server: Server) -> None:
    async def attack() -> None:
        async with Viewer(url(server)) as witness:
            for frame in ("text", b"", b"\xff" * 100, b"\x08\x01", b"\x08\x01\x9a\x06\x00"):
                async with Viewer(url(server)) as viewer:
                    await viewer.socket.write_message(frame, binary=isinstance(frame, bytes))
                    assert await witness.client.get_hosted_table_names() == ["meters_values"]

    asyncio.run(attack())
    assert server.process.running()


def test_nulls_in_what_a_view_groups_by_keep_no_update_from_the_viewers(
    tdengine: TDengine, database: str
) -> None:
    connection = tdengine.connect()
    connection.execute(f"CREATE DATABASE {database}")
    connection.execute(
        f"CREATE TABLE {database}.meters (ts TIMESTAMP, `current` FLOAT, voltage INT, phase FLOAT) "
        "TAGS (groupid INT, location BINARY(16))"
    )
    tags = ["(NULL, 'a')", "(1, NULL)", "(NULL, NULL)", "(2, 'b')"]
    chance = random.Random(1)
    start = next(iter(connection.query("SELECT CAST(NOW() AS BIGINT)")))[0] - 60_000

    def write(step: int) -> None:
        """Newer rows of some meters, which take the slots of the oldest, whatever those are grouped by."""
        for meter in chance.sample(range(4), 2):
            first = start + 100 * step + 20 * meter
            rows = " ".join(
                f"({first + row}, {step}, {step}, {step})" for row in range(chance.randint(3, 12))
            )
            connection.execute(
                f"INSERT INTO {database}.d{meter} USING {database}.meters (groupid, location) "
                f"TAGS {tags[meter]} VALUES {rows}"
            )

    async def look(server: Server) -> None:
        async with Viewer(url(server)) as grouping, Viewer(url(server)) as other:
            await (await grouping.client.open_table("meters_values")).view(
                group_by=["location", "groupid"], columns=["voltage"]
            )
            flat = await (await other.client.open_table("meters_values")).view(columns=["voltage"])
            told: list[None] = []
            await flat.on_update(lambda *_: told.append(None))
            for step in range(10, 40):
                before = len(told)
                await asyncio.to_thread(write, step)
                await asyncio.to_thread(wait_for, lambda before=before: len(told) > before, f"update {step}")

    quick = {"PERSPECTIVE_LIMIT": "20", "PERSPECTIVE_REFRESH_RATE": "50"}
    with serving({**tdengine.settings(database), **quick}) as server:
        for step in range(10):
            write(step)
        server.wait_until_live(rows=20)
        asyncio.run(look(server))


def test_the_engine_has_a_thread_for_each_view_that_there_can_be() -> None:
    assert 2 * MAX_VIEWS_OF_ALL < ENGINE_THREADS, "and for a copy of each"
