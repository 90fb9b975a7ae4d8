"""Owns addresses of TDengine in one line, as its drivers take them and its Cloud gives them.

What is wrong with one is said without a word of it: a password or a token may stand anywhere in it.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from urllib.parse import unquote

# By the scheme: whether it means TLS, and the port where the address names none.
HTTP, HTTPS, ADAPTER = (False, 80), (True, 443), (False, 6041)
SCHEMES = {"taos": ADAPTER, "taosws": ADAPTER, "ws": HTTP, "http": HTTP, "wss": HTTPS, "https": HTTPS}
SCHEMES |= {
    f"{driver}+{protocol}": SCHEMES[protocol]
    for driver in ("taos", "taosws")
    for protocol in ("ws", "http", "wss", "https")
}
SHOWN = ("taosws", "taosws+wss", "ws", "wss", "http", "https")
SUCH = "such as taosws+wss://HOST:443?token=TOKEN or taosws://USER:PASSWORD@HOST:6041"


class DSNError(ValueError):
    """An address that makes no sense: why, in one line."""


@dataclass(frozen=True)
class DSN:
    """What an address says; "" for a user, a password or a token that it does not name."""

    has_tls: bool
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    token: str = field(repr=False)


def read_dsn(text: str) -> DSN:
    """Reads SCHEME://[USER[:PASSWORD]@]HOST[:PORT][?token=TOKEN]. Raises DSNError."""
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in SCHEMES:
        raise DSNError(f"must begin with {', '.join(map('{}://'.format, SHOWN))}, {SUCH}")
    has_tls, usual_port = SCHEMES[scheme.lower()]
    address, _, query = rest.partition("?")
    login, _, place = address.rpartition("@")
    if re.search(r"[@/#]", login) or "#" in rest:
        raise DSNError(
            "must have %40 for @, %2F for /, %3F for ? and %23 for # in its user, password or token"
        )
    place, _, path = place.partition("/")
    if path:
        raise DSNError("must have nothing after the port but ?token=…: TAOS_DATABASE names the database")
    found = re.fullmatch(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::([0-9]{1,5}))?", place)
    host = found[1].strip("[]") if found else ""
    if not is_host(host) or found[1].startswith("[") != (":" in host):
        raise DSNError(f"must name a host, or an address, with one of IPv6 in brackets, and a port, {SUCH}")
    port = int(found[2] or (6041 if host == "localhost" else usual_port))
    if not 1 <= port <= 65535:
        raise DSNError("must have a port from 1 to 65535")
    token = ""
    if query:
        name, _, value = query.partition("=")
        if name != "token" or not value or re.search("[&=]", value):
            raise DSNError("can have nothing after the ? but token=…, with %26 for & and %3D for = in it")
        token = decode(value)
    user, _, password = login.partition(":")
    return DSN(has_tls, host, port, decode(user), decode(password), token)


def decode(text: str) -> str:
    """What is percent-encoded."""
    try:
        if not re.search("%(?![0-9A-Fa-f]{2})", text):
            return unquote(text, errors="strict")
    except UnicodeDecodeError:
        pass
    raise DSNError("must have %25 for %, and UTF-8 in what is percent-encoded")


def is_host(text: str) -> bool:
    return re.fullmatch(r"[\w.-]+", text) is not None or is_address(text)


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def in_url(host: str) -> str:
    """A host's name or address as an address of the web has it: one of IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host
