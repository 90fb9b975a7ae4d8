"""A reverse proxy below a path, as nginx would be one: python tests/reverse_proxy.py PORT SERVER_PORT.

It passes /meters/… on to 127.0.0.1:SERVER_PORT as /…, WebSockets too, with the Host that the viewer asked
for. Outside of /meters/ there is nothing. `--host` with a text gives that as the Host instead, in which $host
is the name alone that was asked for; `--no-upgrade` passes what asks for a WebSocket on as any other request.
`--login user:password` asks for that first. What was asked for stands in a header, also for /meters alone.
"""

import argparse
import asyncio
import base64

import tornado.web
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import WebSocketHandler, websocket_connect

PASSED_ON = ("Host", "Origin", "Authorization", "X-Perspective-Token", "Accept-Encoding", "If-None-Match")
PASSED_BACK = (
    "Content-Type",
    "Content-Encoding",
    "Content-Security-Policy",
    "X-Content-Type-Options",
    "Cache-Control",
    "Vary",
    "Etag",
    "Location",
)


class Passing(tornado.web.RequestHandler):
    def initialize(self, server: str, host: str, login: str) -> None:
        self.server = server
        self.host = host
        self.login = login

    def prepare(self) -> None:
        wanted = f"Basic {base64.b64encode(self.login.encode()).decode()}"
        if self.login and self.request.headers.get("Authorization") != wanted:
            self.set_status(401)
            self.set_header("WWW-Authenticate", 'Basic realm="meters"')
            self.finish()

    def passed_on(self, scheme: str, path: str, **options: bool) -> HTTPRequest:
        """The viewer's request as the server gets it."""
        headers = {name: self.request.headers[name] for name in PASSED_ON if name in self.request.headers}
        headers["X-Forwarded-Uri"] = self.request.uri or ""
        headers["Host"] = self.host.replace("$host", self.request.host_name) or self.request.host
        query = f"?{self.request.query}" if self.request.query else ""
        return HTTPRequest(f"{scheme}://{self.server}/{path}{query}", headers=headers, **options)


class AnswerHandler(Passing):
    async def get(self, path: str = "") -> None:
        request = self.passed_on("http", path, follow_redirects=False, decompress_response=False)
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        self.set_status(answer.code)
        for name in PASSED_BACK:
            if name in answer.headers:
                self.set_header(name, answer.headers[name])
        self.finish(answer.body)

    def compute_etag(self) -> None:
        return None  # the server's own


class SocketHandler(Passing, WebSocketHandler):
    def check_origin(self, origin: str) -> bool:
        return True  # the server looks at it

    async def open(self, path: str) -> None:
        self.to_server = await websocket_connect(self.passed_on("ws", path), max_message_size=1 << 30)
        self.pump = asyncio.create_task(self.pass_back())

    async def pass_back(self) -> None:
        while (message := await self.to_server.read_message()) is not None:
            await self.write_message(message, binary=isinstance(message, bytes))
        self.close(self.to_server.close_code, self.to_server.close_reason)

    async def on_message(self, message: str | bytes) -> None:
        await self.to_server.write_message(message, binary=isinstance(message, bytes))

    def on_close(self) -> None:
        self.to_server.close()


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("server_port", type=int)
    parser.add_argument("--host", default="")
    parser.add_argument("--login", default="")
    parser.add_argument("--no-upgrade", action="store_true")
    arguments = parser.parse_args()
    server = {
        "server": f"127.0.0.1:{arguments.server_port}",
        "host": arguments.host,
        "login": arguments.login,
    }
    routes = [(r"/meters/(.*)", AnswerHandler, server), (r"/meters", AnswerHandler, server)]
    if not arguments.no_upgrade:
        routes.insert(0, (r"/meters/(websocket|history)", SocketHandler, server))
    tornado.web.Application(routes).listen(arguments.port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
