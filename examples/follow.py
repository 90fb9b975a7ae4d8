"""Prints each new reading in the live table whose current exceeds a threshold, in A, until Ctrl-C.

    venv/bin/python -m examples.follow [THRESHOLD] [ADDRESS]    in the folder above this one

A viewer without a screen: Perspective's own client, which asks the server over its WebSocket.
"""

import asyncio
import sys

import perspective
from tornado.websocket import websocket_connect

ADDRESS = "ws://localhost:8080/websocket"  # behind it ?token=… where the server wants one


async def follow(threshold: float, address: str) -> None:
    socket = await websocket_connect(address)
    client = perspective.AsyncClient(lambda request: socket.write_message(request, binary=True))
    reader = perspective.Server().new_local_client()  # for the Arrow that an update brings

    def show(_port: int, changed: bytes) -> None:
        """Called with the rows that an update changed."""
        table = reader.table(changed)
        view = table.view()
        for row in view.to_json():
            print(f"{row['location']}, group {row['groupid']}: {row['current']:.2f} A", flush=True)
        view.delete()
        table.delete()

    async def listen() -> None:
        while (answer := await socket.read_message()) is not None:
            await client.handle_response(answer)
        raise SystemExit("follow: the server has closed the connection")

    listening = asyncio.ensure_future(listen())
    table = await client.open_table("meters_values")
    view = await table.view(columns=["location", "groupid", "current"], filter=[["current", ">", threshold]])
    await view.on_update(show, mode="row")
    await listening


if __name__ == "__main__":
    threshold, address, *_ = [*sys.argv[1:], *["10", ADDRESS][len(sys.argv[1:]) :]]
    try:
        asyncio.run(follow(float(threshold), address))
    except KeyboardInterrupt:
        pass
    except OSError:
        raise SystemExit(f"follow: nothing answers at {address}") from None
