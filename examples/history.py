"""Prints each hour's means of a month: TDengine computes them, and they come as Arrow.

    venv/bin/python -m examples.history [ws://localhost:8080/history]    in the folder above this one

It asks the running perspective_server.py, over the WebSocket on which the page looks back.
"""

import asyncio
import sys

import nanoarrow as na
import perspective
from nanoarrow.ipc import InputStream
from tornado.websocket import WebSocketClientConnection, websocket_connect

HOURLY_MEANS = {
    "expressions": {"hour": "bucket(\"timestamp\", '1h')"},
    "group_by": ["hour", "location"],
    "group_rollup_mode": "flat",  # without rows for each hour and for all
    "columns": ["current", "voltage"],
    "aggregates": {"current": "mean", "voltage": "mean"},
}


async def look_back(client: perspective.AsyncClient) -> bytes:
    """The means as Arrow, in its IPC format."""
    (name,) = await client.get_hosted_table_names()
    table = await client.open_table(name)
    view = await table.view(**HOURLY_MEANS)
    return await view.to_arrow()


async def listen(socket: WebSocketClientConnection, client: perspective.AsyncClient) -> None:
    while (answer := await socket.read_message()) is not None:
        if isinstance(answer, bytes):  # text tells how long TDengine took
            await client.handle_response(answer)
    raise SystemExit(f"history: the server says: {socket.close_reason}")


async def main(url: str = "ws://localhost:8080/history") -> None:
    socket = await websocket_connect(f"{url}?time=30d", max_message_size=1 << 30)
    client = perspective.AsyncClient(lambda request: socket.write_message(bytes(request), binary=True))
    listening = asyncio.create_task(listen(socket, client))
    looking = asyncio.create_task(look_back(client))
    await asyncio.wait({looking, listening}, return_when=asyncio.FIRST_COMPLETED)
    means = await (looking if looking.done() else listening)
    for row in na.ArrayStream(InputStream.from_readable(means)).iter_tuples():
        print(*row)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
