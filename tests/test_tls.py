"""TDengine behind TLS and a token, as in the Cloud: every program gets there, and nobody else reads along."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import taosws
from conftest import TDengine
from support import Process, answers, free_port, python, wait_for
from test_end_to_end import serving
from test_push import end
from tls_terminator import make_authority, make_certificate

from tdengine_perspective.settings import Settings
from tdengine_perspective.tdengine import Refused, TDengineError, connect, consumer_options, errors_explained
from tdengine_perspective.tdengine import TDengine as Place

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="makes certificates with openssl")

TOKEN = "a token/with+what=has&to?be#encoded%41"
ENCODED = "a%20token%2Fwith%2Bwhat%3Dhas%26to%3Fbe%23encoded%2541"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_authority(tmp_path_factory.mktemp("certificates"), "authority")


@pytest.fixture(scope="module")
def certificate(authority: Path) -> Path:
    return make_certificate(authority, "localhost")


@contextmanager
def terminator(tdengine: TDengine, certificate: Path, *options: str) -> Iterator[int]:
    """Its port."""
    port = free_port()
    command = python("tests/tls_terminator.py", str(port), str(tdengine.port), str(certificate), *options)
    with Process(command) as process:
        wait_for(lambda: answers(port) or not process.running(), "the TLS terminator")
        assert process.running(), process.output
        yield port


@pytest.fixture(scope="module")
def by_tls(tdengine: TDengine, certificate: Path) -> Iterator[int]:
    with terminator(tdengine, certificate) as port:
        yield port


@pytest.fixture(scope="module")
def by_token(tdengine: TDengine, certificate: Path) -> Iterator[int]:
    with terminator(tdengine, certificate, "--token", TOKEN) as port:
        yield port


def place(**settings: str) -> Place:
    return Place.of(Settings.from_environment({name.upper(): text for name, text in settings.items()}))


def answer(**settings: str) -> str:
    """What TDengine answers over the driver's connection, or why there is none."""
    try:
        connection, version = connect(place(**settings))
    except TDengineError as error:
        return str(error)
    assert list(connection.query("SELECT SERVER_VERSION()")) == [(version,)]
    return "connected"


# Every program


def ways(by_tls: int, by_token: int, authority: Path) -> list[dict[str, str]]:
    """The settings of the ways through the two."""
    ca = {"TAOS_CA": str(authority)}
    return [
        {"TAOS_PORT": str(by_tls), "TAOS_TLS": "yes", **ca},
        {"TAOS_DSN": f"taosws+wss://root:t%61osdata@localhost:{by_tls}", **ca},
        {"TAOS_DSN": f"wss://localhost:{by_token}?token={ENCODED}", **ca},
    ]


@pytest.mark.parametrize("way", [0, 1, 2], ids=["TAOS_TLS", "TAOS_DSN", "token"])
def test_every_program_goes_that_way_and_shows_no_secret(
    database: str, by_tls: int, by_token: int, authority: Path, way: int
) -> None:
    settings = {**ways(by_tls, by_token, authority)[way], "TAOS_DATABASE": database}
    with Process(python("producer.py", "--count", "3", "--interval", "20"), settings) as producer:
        assert producer.wait() == 0, producer.output
    said = [producer.output]
    with serving(settings) as server, Process(python("producer.py"), settings) as producing:
        health = server.wait_until_live()
        assert health["tdengine"]["version"]
        wait_for(lambda: server.health()["rows"] > 900, "the rows of the second producer, too")
        for process in (server.process, producing):
            family = psutil.Process(process.pid)
            said += [" ".join(each.cmdline()) for each in (family, *family.children(recursive=True))]
        said += [server.process.output, producing.output, json.dumps(server.health())]
    with Process(python("-m", "examples.weather", "1"), settings) as weather:
        assert weather.wait() == 0, weather.output
    for secret in (TOKEN, ENCODED, "taosdata", "t%61osdata"):
        assert secret not in "\n".join([*said, weather.output])


@pytest.mark.parametrize("way", [0, 1, 2], ids=["TAOS_TLS", "TAOS_DSN", "token"])
def test_rows_are_pushed_that_way_too(
    database: str, by_tls: int, by_token: int, authority: Path, way: int
) -> None:
    settings = {**ways(by_tls, by_token, authority)[way], "TAOS_DATABASE": database}
    settings["PERSPECTIVE_SUBSCRIBE"] = "yes"
    with serving(settings) as server, Process(python("producer.py"), settings):
        server.wait_until_live()
        wait_for(lambda: server.health()["pushes"] > 0, "rows that TDengine pushed")
        health = server.health()
        end(server)  # which leaves no topic
    said = [server.process.output, json.dumps(health)]
    for secret in (TOKEN, ENCODED, "taosdata", "t%61osdata"):
        assert secret not in "\n".join(said)


# A certificate is checked


@pytest.fixture(scope="module")
def other_authority(authority: Path) -> Path:
    return make_authority(authority.parent, "another")


def test_without_the_authority_the_certificate_is_refused(by_tls: int, other_authority: Path) -> None:
    refused = f"the certificate of what answers at localhost:{by_tls} is of "
    said = answer(taos_port=str(by_tls), taos_tls="yes")
    assert said.startswith(f"{refused}no authority that this system trusts: name its file in TAOS_CA")
    said = answer(taos_port=str(by_tls), taos_tls="yes", taos_ca=str(other_authority))
    assert said.startswith(f"{refused}none of the authorities in TAOS_CA")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda authority: make_certificate(authority, "localhost", days=-1), "has expired: renew it there"),
        (
            lambda authority: make_certificate(authority, "elsewhere.example.org"),
            "is for another host: call it by a name that the certificate has",
        ),
    ],
    ids=["expired", "another host's"],
)
def test_a_wrong_certificate_is_told_in_one_line_and_no_login_is_sent(
    tdengine: TDengine, authority: Path, make: Callable[[Path], Path], why: str
) -> None:
    with terminator(tdengine, make(authority)) as port:
        settings = {"TAOS_PORT": str(port), "TAOS_TLS": "yes", "TAOS_CA": str(authority)}
        with Process(python("producer.py", "--count", "1"), settings) as producer:
            assert producer.wait() == 1
        told = f"the certificate of what answers at localhost:{port} {why}"
        assert producer.lines[0] == f"producer: {told}"
        with serving(settings) as server:
            server.process.wait_for_line(f"{told}; trying again")
            assert server.health()["last_error"] == told


def test_the_driver_checks_the_certificate_itself(
    monkeypatch: pytest.MonkeyPatch, tdengine: TDengine, by_tls: int, authority: Path, other_authority: Path
) -> None:
    """Whatever was asked before, it sends no login to whom it does not trust; by itself it would."""
    version = "3.3.7.5"
    monkeypatch.setattr("tdengine_perspective.tdengine.server_version", lambda place: version)
    assert "gone or too slow" in answer_of_driver(by_tls, other_authority)
    assert answer_of_driver(by_tls, authority) == "connected"
    with terminator(tdengine, make_certificate(authority, "elsewhere.example.org")) as port:
        assert "gone or too slow" in answer_of_driver(port, authority)


def test_a_consumer_checks_the_certificate_itself(
    by_tls: int, authority: Path, other_authority: Path
) -> None:
    assert "Topic not exist" in answer_to_consumer(taos_port=str(by_tls), taos_ca=str(authority))
    assert "gone or too slow" in answer_to_consumer(taos_port=str(by_tls), taos_ca=str(other_authority))


def answer_to_consumer(**settings: str) -> str:
    """Why there are no rows of a topic that there is not."""
    there = place(taos_tls="yes", **settings)
    with pytest.raises(TDengineError) as error, errors_explained(there):
        taosws.Consumer(consumer_options(there) | {"group.id": "none"}).subscribe(["none"])
    return str(error.value)


def answer_of_driver(port: int, authority: Path) -> str:
    try:
        connect(place(taos_port=str(port), taos_tls="yes", taos_ca=str(authority)))
    except TDengineError as error:
        return str(error)
    return "connected"


def test_tls_of_the_version_before_does_as_well(
    tdengine: TDengine, certificate: Path, authority: Path
) -> None:
    """Not every gateway has 1.3, and the driver by itself would want that."""
    with terminator(tdengine, certificate, "--tls-1.2") as port:
        assert answer(taos_port=str(port), taos_tls="yes", taos_ca=str(authority)) == "connected"


def test_the_driver_sends_no_token_without_tls(monkeypatch: pytest.MonkeyPatch, authority: Path) -> None:
    """As it does with some spellings of the address."""
    monkeypatch.setattr("tdengine_perspective.tdengine.server_version", lambda place: "3.3.7.5")
    port = free_port()
    with Process(python("-c", LISTENER, str(port))) as listener:  # the driver lets no other thread run
        wait_for(lambda: answers(port), "the listener")
        said = answer(taos_dsn=f"taosws+wss://localhost:{port}?token={ENCODED}", taos_ca=str(authority))
        assert "gone or too slow" in said
        said = answer_to_consumer(
            taos_dsn=f"taosws+wss://localhost:{port}?token={ENCODED}", taos_ca=str(authority)
        )
        assert "gone or too slow" in said
        listener.wait_for_line("1603")  # as TLS begins
        assert set(listener.lines) <= {"", "1603"}


# Prints the first two bytes of what comes, each connection's on a line, and closes it.
LISTENER = """
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
    while True:
        connection, _ = listener.accept()
        with connection:
            print(connection.recv(2).hex(), flush=True)
"""


# What else is wrong gets one line


def test_a_wrong_token_is_told_and_not_repeated(by_token: int, authority: Path) -> None:
    dsn = f"taosws+wss://localhost:{by_token}?token=not-the-token"
    said = answer(taos_dsn=dsn, taos_ca=str(authority))
    assert said == f"TDengine at localhost:{by_token} does not take the token: check the one in TAOS_DSN"


def test_a_wrong_password_in_the_address_is_told_and_not_repeated(tdengine: TDengine) -> None:
    said = answer(taos_dsn=f"taosws://root:not%20it@{tdengine.host}:{tdengine.port}")
    assert (
        said == f"TDengine at {tdengine.host}:{tdengine.port} refuses user root: check the login in TAOS_DSN"
    )


def test_who_forgets_tls_is_told(by_tls: int) -> None:
    said = answer(taos_port=str(by_tls))
    assert (
        said == f"what answers at localhost:{by_tls} ends the connection: set TAOS_TLS=yes, if it speaks TLS"
    )


def test_tls_where_there_is_none_is_told(tdengine: TDengine) -> None:
    said = answer(taos_port=str(tdengine.port), taos_tls="yes")
    at = f"at localhost:{tdengine.port}"
    assert said.startswith((f"what answers {at} speaks no TLS", f"TDengine {at} does not answer within 3 s"))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda folder: folder / "nowhere.pem", "can't read"),
        (lambda folder: folder, "can't read"),
        (lambda folder: folder / "authority.key", "holds no certificate in the form PEM"),
        (lambda folder: folder / "localhost-2.pem", "holds no certificate of an authority"),
    ],
)
def test_a_file_of_authorities_that_is_none_is_told(
    certificate: Path, make: Callable[[Path], Path], why: str
) -> None:
    with Process(
        python("perspective_server.py"), {"TAOS_CA": str(make(certificate.parent)), "TAOS_TLS": "yes"}
    ) as server:
        assert server.wait() == 1
    (line,) = server.lines
    assert line.startswith("perspective_server: TAOS_CA: ")
    assert why in line


def test_a_file_of_authorities_that_is_lost_later_is_told(
    by_tls: int, authority: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "authority.pem"
    copy.write_text(authority.read_text())
    there = place(taos_port=str(by_tls), taos_tls="yes", taos_ca=str(copy))
    copy.unlink()
    with pytest.raises(Refused, match=rf"^TAOS_CA: can't read {copy}: No such file or directory$"):
        connect(there)


def test_what_the_driver_says_is_told_without_password_and_token() -> None:
    there = place(taos_dsn=f"ws://me:a%20secret@localhost?token={ENCODED}")
    text = f"ws://localhost/ws?token={ENCODED} me:a%20secret a secret {TOKEN} !"
    assert there.without_secrets(text) == "ws://localhost/ws?token=… me:… … … !"
    assert "secret" not in repr(there)
    assert "token'" not in repr(there)
