"""python -m tdengine_emulator: TDengine's WebSocket and REST on a local port."""

import argparse
import asyncio
import logging
import signal
import sqlite3
import sys
from pathlib import Path

from tdengine_emulator.server import make_app
from tdengine_emulator.store import VERSION, Store


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tdengine_emulator", description="Stands in for TDengine in this demo."
    )
    parser.add_argument("--port", default="6041", help="port on 127.0.0.1 (default: 6041)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep the data here (default: in memory)")
    arguments = parser.parse_args()
    logging.basicConfig(format="%(name)s: %(message)s")
    if not (arguments.port.isdecimal() and 1 <= int(arguments.port) <= 65535):
        return failed(f"--port {arguments.port}: a port is a number from 1 to 65535")
    port = int(arguments.port)
    try:
        if arguments.data:
            arguments.data.mkdir(parents=True, exist_ok=True)
        store = Store(arguments.data)
    except (OSError, sqlite3.Error) as error:
        return failed(f"can't keep data in {arguments.data}: {error}")
    try:
        asyncio.run(serve(store, port))
    except OSError as error:
        return failed(f"can't listen on 127.0.0.1:{port}: {error.strerror}")
    finally:
        store.close()
    return 0


def failed(message: str) -> int:
    print(f"tdengine_emulator: {message}", file=sys.stderr)
    return 1


async def serve(store: Store, port: int) -> None:
    """Answer until SIGINT or SIGTERM."""
    server = make_app(store).listen(port, "127.0.0.1")
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    print(f"TDengine emulator {VERSION} (not TDengine itself) listens on 127.0.0.1:{port}", flush=True)
    await stop.wait()
    server.stop()


if __name__ == "__main__":
    sys.exit(main())
