"""An emulator on which a query for `slow` runs until it is ended, as on TDengine: by its number in the list.

    PYTHONPATH=. venv/bin/python tests/slow_emulator.py --port PORT [--data DIR]

Such a query has no answer before, also when its client has gone.
"""

import itertools
import struct
import sys
from typing import Any

from tdengine_emulator import __main__, server, sql, wire
from tdengine_emulator.store import Column, Result, Store

SLOW = " slow "
numbers = itertools.count(1)
running: dict[str, tuple[server.Socket, int, str]] = {}  # by number: who asked, with which number, and what
execute = sql.execute
answer_query = server.Socket.do_binary_query


def execute_or_list(store: Store, text: str, *arguments: Any, **more: Any) -> Result:
    if "perf_queries" in text:
        rows = [(number, what) for number, (_, _, what) in running.items()]
        return Result([Column("kill_id", "BINARY", 26), Column("sql", "BINARY", 2048)], rows)
    if text.startswith("KILL QUERY"):
        socket, request, _ = running.pop(text.split("'")[1])
        socket.answer("binary_query", request, code=0x070B, message="Query killed")
        return Result()
    return execute(store, text, *arguments, **more)


def answer_unless_slow(socket: server.Socket, frame: bytes) -> dict[str, Any] | None:
    text = wire.parse_query(frame)
    if SLOW not in text:
        return answer_query(socket, frame)
    (request,) = struct.unpack_from("<Q", frame)
    running[f"{next(numbers)}:1"] = (socket, request, text.lower())
    return None


if __name__ == "__main__":
    sql.execute = execute_or_list
    server.Socket.do_binary_query = answer_unless_slow
    sys.exit(__main__.main())
