"""Owns the addresses that are printed: each works where whoever reads it is."""

import contextlib
import socket

from tdengine_perspective.dsn import in_url, is_loopback
from tdengine_perspective.settings import Settings

STATIC_PAGE = "http://localhost:8081"  # of a file server that is started as the README says
# Addresses of every machine, and such as no machine has, which a route may lead to all the same.
EVERYWHERE = {"0.0.0.0": (socket.AF_INET, "192.0.2.1"), "::": (socket.AF_INET6, "2001:db8::1")}
THIS_MACHINE = {"0.0.0.0": "localhost", "127.0.0.1": "localhost", "::": "::1"}


def local_host(settings: Settings) -> str:
    """What this machine calls the server by."""
    return THIS_MACHINE.get(settings.perspective_host, settings.perspective_host)


def local_address(settings: Settings) -> str:
    """The dashboard's address on this machine."""
    return address(local_host(settings), settings)


def address_elsewhere(settings: Settings) -> str | None:
    """Its address on other machines, where it is another one and is known."""
    if settings.perspective_host not in EVERYWHERE:
        return None
    family, somewhere = EVERYWHERE[settings.perspective_host]
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as route:
        route.connect((somewhere, 9))  # sends nothing, but says from where it would
        return address(route.getsockname()[0], settings)
    return None


def address(host: str, settings: Settings) -> str:
    return f"http://{in_url(host)}:{settings.perspective_port}/"


def static_page(settings: Settings) -> str:
    """The address of the page where a file server gives it out on this machine."""
    place = local_address(settings).removeprefix("http://").rstrip("/")
    server = "" if place == "localhost:8080" else f"?server={place}"
    return f"{STATIC_PAGE}/prsp-viewer.html{server}"


def static_page_needs(settings: Settings) -> str:
    """The setting that lets that page have the data, "" where it gets them anyway."""
    allowed = settings.perspective_allowed_origins
    if is_loopback(settings.perspective_host):
        return ""
    if STATIC_PAGE in [origin.strip().rstrip("/").lower() for origin in allowed.split(",")]:
        return ""
    return f"PERSPECTIVE_ALLOWED_ORIGINS={f'{allowed},' if allowed else ''}{STATIC_PAGE}"
