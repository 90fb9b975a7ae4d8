"""Owns the admission: who may connect, by the host that is asked for, the page that asks, and the token."""

import hmac
import re
from http import HTTPStatus
from urllib.parse import urlsplit

import tornado.httputil
import tornado.web

from tdengine_perspective.dsn import in_url, is_address, is_loopback
from tdengine_perspective.gate.refusals import RefusalLog
from tdengine_perspective.settings import SettingError, Settings

REMEDY = "(PERSPECTIVE_ALLOWED_ORIGINS)"
NOT_ALLOWED = f"Not allowed under this name or from this page {REMEDY}"  # what a browser shows instead
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
TOKEN_HEADER = "X-Perspective-Token"
# Where a token is needed, if there is one, and in which folder.
SECRET_PATHS = ("/health", "/history", "/layout", "/metrics", "/websocket")
SECRET_FOLDER = "/tables/"


class Admission:
    """Who may connect, by the settings. Raises SettingError for what makes no sense in them."""

    def __init__(self, settings: Settings, refusals: RefusalLog):
        self.host = settings.perspective_host
        self.port = settings.perspective_port
        self.token = settings.perspective_token
        self.refusals = refusals
        self.is_local = is_loopback(self.host)
        self.allowed_origins = {
            read_origin(origin)
            for origin in settings.perspective_allowed_origins.split(",")
            if origin.strip()
        }
        self.allowed_hosts = {urlsplit(origin).netloc for origin in self.allowed_origins}
        self.allowed_names = {name_in(host) for host in self.allowed_hosts}
        if not re.fullmatch(r"[A-Za-z0-9._~-]*", self.token):
            raise SettingError("PERSPECTIVE_TOKEN: only letters, digits and . _ ~ - can be in it")
        if self.token and len(self.token) < 8:
            raise SettingError("PERSPECTIVE_TOKEN: at least 8 characters, or whoever tries finds it")

    @property
    def who_can_read(self) -> str:
        """For the log at start: who gets to see the table."""
        if not self.is_local:
            who = f"everyone who can reach {in_url(self.host)}:{self.port}"
        elif self.allowed_origins:
            who = f"this machine and pages of {', '.join(sorted(self.allowed_origins))}"
        else:
            who = "this machine only"
        return f"{who}, with the token" if self.token else who

    def check(self, request: tornado.httputil.HTTPServerRequest) -> None:
        """Raises HTTPError 403 or 401 for a request that is not admitted; takes the token out of its uri."""
        # A header of its own, since a proxy's password takes Authorization.
        tokens = request.headers.get_list(TOKEN_HEADER)
        tokens += [
            header[7:] for header in request.headers.get_list("Authorization") if header[:7] == "Bearer "
        ]
        tokens += [token.decode("latin-1") for token in request.query_arguments.get("token", [])]
        request.uri = request.path  # Tornado logs it
        if not self.allows_host(request.host.lower()):
            self.refuse(request, HTTPStatus.FORBIDDEN, f"for the host {request.host[:100]!r} {REMEDY}")
        if request.path not in SECRET_PATHS and not request.path.startswith(SECRET_FOLDER):
            return
        if "Origin" in request.headers and not self.allows_origin(request):
            self.refuse(
                request,
                HTTPStatus.FORBIDDEN,
                f"from the origin {request.headers['Origin'][:100]!r} {REMEDY}",
            )
        # A browser asks with OPTIONS, and without the token, whether it may send the token.
        if self.token and request.method != "OPTIONS":
            matches = [hmac.compare_digest(token.encode(), self.token.encode()) for token in tokens]
            if not any(matches):
                self.refuse(
                    request, HTTPStatus.UNAUTHORIZED, "with a wrong token" if tokens else "without a token"
                )

    def allows_host(self, host: str) -> bool:
        """Whether a Host header names this server; a page whose name was rebound to us gives its own.

        On whatever port: a proxy may leave that out, or give its own.
        """
        name = name_in(host)
        # No name leads to an address, so that no other page's name can be behind it.
        is_own = name in (*LOCAL_NAMES, self.host.lower()) or (
            not self.is_local and is_address(name.strip("[]"))
        )
        return is_own or name in self.allowed_names

    def allows_origin(self, request: tornado.httputil.HTTPServerRequest) -> bool:
        """Whether the page that the request comes from may read the answer."""
        return self.allows_page(request.headers.get("Origin", ""), request.host)

    def allows_page(self, origin: str, asked: str) -> bool:
        """Whether a page of the origin may read what it asks of the host `asked`."""
        origin = origin.lower()
        if origin in self.allowed_origins:
            return True
        scheme, _, host = origin.partition("://")
        name = name_in(host)
        is_own = host == asked.lower() or (self.is_local and name in LOCAL_NAMES)
        # Where Host has no port, or a proxy's, it does not tell the page apart from others of that name.
        known_hosts = {*self.allowed_hosts, f"{name}:{self.port}"}
        is_other = name in self.allowed_names and host not in known_hosts
        return scheme in ("http", "https") and is_own and not is_other

    def refuse(self, request: tornado.httputil.HTTPServerRequest, status: HTTPStatus, why: str) -> None:
        self.refusals.counts[status.name.lower()] += 1
        self.refusals.note(f"refused {request.path[:100]!r} to {request.remote_ip} {why}")
        reason = NOT_ALLOWED if status == HTTPStatus.FORBIDDEN else None
        raise tornado.web.HTTPError(status, reason=reason)


def name_in(host: str) -> str:
    """The name or address in a Host header, without its port; "" where there is none."""
    found = re.fullmatch(r"(\[[0-9a-f:.]+\]|[^\[\]:@/\\]+)(?::\d+)?", host)
    return found[1] if found else ""


def read_origin(text: str) -> str:
    origin = text.strip().rstrip("/").lower()
    if origin != "null" and not re.fullmatch(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d+)?", origin):
        raise SettingError(
            f"PERSPECTIVE_ALLOWED_ORIGINS: {text.strip()!r} is no origin; write scheme, host, port, such as "
            "https://meters.example.org or http://10.0.0.5:8080, and commas between several"
        )
    # As a browser names it: without the port that its scheme has anyway.
    return re.sub(r"^(http://.+):80$|^(https://.+):443$", r"\1\2", origin)
