"""TDengine's address in one line: what it may be, and that what is wrong with it is said without a secret."""

import random
import re
import string
from urllib.parse import quote

import pytest
from conftest import TDengine as Server
from support import Process, free_port, python

from tdengine_perspective.addresses import local_address, static_page, static_page_needs
from tdengine_perspective.dsn import DSN, SCHEMES, DSNError, read_dsn
from tdengine_perspective.settings import SettingError, Settings
from tdengine_perspective.tdengine import TDengine, connect, driver_address


@pytest.mark.parametrize(
    ("text", "dsn"),
    [
        (
            "taosws+wss://gw.example.org:443?token=abc",
            DSN(True, "gw.example.org", 443, "", "", "abc"),
        ),
        ("https://gw.example.org?token=abc", DSN(True, "gw.example.org", 443, "", "", "abc")),
        ("https://gw.example.org/?token=abc", DSN(True, "gw.example.org", 443, "", "", "abc")),
        ("WSS://gw.example.org", DSN(True, "gw.example.org", 443, "", "", "")),
        ("http://gw.example.org", DSN(False, "gw.example.org", 80, "", "", "")),
        ("ws://localhost", DSN(False, "localhost", 6041, "", "", "")),
        ("taosws://me@td_1", DSN(False, "td_1", 6041, "me", "", "")),
        ("taosws://me:a%40%2F%3A%C3%A9@10.0.0.5:6042", DSN(False, "10.0.0.5", 6042, "me", "a@/:é", "")),
        ("taosws://me:a:b@[::1]", DSN(False, "::1", 6041, "me", "a:b", "")),
        ("ws://[fe80::1]:6041?token=a%2Bb+c", DSN(False, "fe80::1", 6041, "", "", "a+b+c")),
    ],
)
def test_an_address_is_read(text: str, dsn: DSN) -> None:
    assert read_dsn(text) == dsn


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("secret", "must begin with taosws://, taosws+wss://"),
        ("secret://host", "must begin with"),
        ("taosws:/secret", "must begin with"),
        ("taosws://", "must name a host"),
        ("taosws://root:secret@", "must name a host"),
        ("taosws://root:secret@a b", "must name a host"),
        ("taosws://::1", "with one of IPv6 in brackets"),
        ("taosws://[secret]:1", "must name a host"),
        ("taosws://host:secret", "must name a host"),
        ("taosws://host:0", "a port from 1 to 65535"),
        ("taosws://host:99999", "a port from 1 to 65535"),
        ("taosws://root:sec@ret@host", "must have %40 for @"),
        ("taosws://root:sec/ret@host", "must have %40 for @"),
        ("taosws://root:sec#ret@host", "must have %40 for @"),
        ("taosws://root:sec?ret@host", "must name a host"),
        ("taosws://root:sec%ret@host", "must have %25 for %"),
        ("taosws://root:sec%ffret@host", "must have %25 for %"),
        ("taosws://root:secret@host/power", "TAOS_DATABASE names the database"),
        ("wss://host?tokn=secret", "nothing after the ? but token=…"),
        ("wss://host?secret", "nothing after the ? but token=…"),
        ("wss://host?token=", "nothing after the ? but token=…"),
        ("wss://host?token=a&tls_mode=secret", "nothing after the ? but token=…"),
    ],
)
def test_a_wrong_address_gets_one_line_that_repeats_nothing_of_it(text: str, why: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings.from_environment({"TAOS_DSN": text})
    said = str(caught.value)
    assert said.startswith("TAOS_DSN ")
    assert why in said
    assert "\n" not in said
    assert not re.search("secret|sec.?.?.?ret", said)


def try_to_read(text: str) -> DSN | DSNError:
    try:
        return read_dsn(text)
    except DSNError as error:
        return error


def test_whatever_is_given_is_read_or_refused_and_never_repeated() -> None:
    pieces = [
        "://",
        "@",
        ":",
        "/",
        "?",
        "token=",
        "#",
        "%",
        "%41",
        "[",
        "]",
        "::1",
        "&",
        "é",
        " ",
        "host",
        "",
    ]
    pieces += ["s3cr3t", *SCHEMES]
    for seed in range(20_000):
        chance = random.Random(seed)
        text = "".join(chance.choices(pieces, k=chance.randrange(12)))
        if chance.random() < 0.5:
            text = f"{chance.choice([*SCHEMES])}://{text}"
        read = try_to_read(text)
        if isinstance(read, DSNError):
            assert "s3cr3t" not in str(read), seed
        else:
            assert 1 <= read.port <= 65535, seed
            assert not set(read.host) & set("@/?#[] "), seed


def test_whatever_password_and_token_are_encoded_are_read_again() -> None:
    for seed in range(2_000):
        chance = random.Random(seed)
        user, password, token = (
            "".join(chance.choices(string.printable + "éß漢", k=chance.randrange(1, 9))) for _ in range(3)
        )
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        read = read_dsn(f"wss://{login}@host?token={quote(token, safe='')}")
        assert (read.user, read.password, read.token) == (user, password, token), seed


def test_what_the_address_leaves_out_the_other_settings_say() -> None:
    environment = {"TAOS_DSN": "wss://td:1", "TAOS_USER": "me", "TAOS_PASSWORD": "mine", "TAOS_HOST": "other"}
    tdengine = TDengine.of(Settings.from_environment(environment))
    assert (tdengine.url, tdengine.user, tdengine.password) == ("td:1", "me", "mine")


@pytest.mark.parametrize("settings", [{}, {"taos_dsn": "ws://host"}])
def test_authorities_without_tls_are_refused(settings: dict[str, str]) -> None:
    """Whoever names some thinks that nobody reads along."""
    with pytest.raises(SettingError, match=r"^TAOS_CA: set TAOS_TLS=yes, too, or a TAOS_DSN with wss$"):
        Settings(taos_ca="authority.pem", **settings).check()


def test_tls_is_yes_or_no() -> None:
    with pytest.raises(SettingError, match=r"^TAOS_TLS=true: must be yes or no$"):
        Settings.from_environment({"TAOS_TLS": "true"})


# IPv6


@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_address_of_ipv6_is_taken_with_brackets_and_without(host: str) -> None:
    settings = Settings.from_environment({"TAOS_HOST": host, "PERSPECTIVE_HOST": host})
    tdengine = TDengine.of(settings)
    assert tdengine.url == "[::1]:6041"
    assert driver_address(tdengine) == "ws://root:taosdata@[::1]:6041"
    assert local_address(settings) == "http://[::1]:8080/"
    assert static_page(settings) == "http://localhost:8081/prsp-viewer.html?server=[::1]:8080"
    assert static_page_needs(settings) == ""


def test_a_message_writes_ipv6_in_brackets() -> None:
    settings = {"TAOS_HOST": "::1", "TAOS_PORT": str(free_port()), "TAOS_DSN": ""}
    with Process(python("-m", "examples.weather", "1"), settings) as weather:
        assert weather.wait() == 1
    assert weather.output.startswith(f"weather: nothing answers at [::1]:{settings['TAOS_PORT']}")


def test_an_address_in_one_line_gets_there(tdengine: Server) -> None:
    there = {"TAOS_DSN": f"taosws://{tdengine.user}:{tdengine.password}@127.0.0.1:{tdengine.port}"}
    connection, version = connect(TDengine.of(Settings.from_environment(there)))
    assert list(connection.query("SELECT SERVER_VERSION()")) == [(version,)]
