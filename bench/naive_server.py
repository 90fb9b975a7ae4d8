"""Naive polling, as the TDengine walkthrough describes it: what perspective_server.py is measured against.

One Tornado process: every 300 ms it selects the newest 1,000 rows of the last 12 hours, parses their
timestamps, and puts row dicts into a Perspective table of 1,000 rows. measure.py starts it.
"""

import asyncio
import json
import os
from datetime import datetime

import perspective
import taosws
import tornado.ioloop
import tornado.web
from perspective.handlers.tornado import PerspectiveTornadoHandler

TAOS_URL = os.environ["TAOS_URL"]
TAOS_TABLE = f"{os.environ['TAOS_DATABASE']}.meters"
PERSPECTIVE_PORT = int(os.environ["PERSPECTIVE_PORT"])
PERSPECTIVE_TABLE_NAME = "meters_values"
PERSPECTIVE_REFRESH_RATE = 300  # ms
PERSPECTIVE_LIMIT = 1000  # rows
SCHEMA = {
    "timestamp": "datetime",
    "location": "string",
    "groupid": "integer",
    "current": "float",
    "voltage": "integer",
    "phase": "float",
}


class CustomJSONEncoder(json.JSONEncoder):
    def default(self, value: object) -> object:
        return value.isoformat() if isinstance(value, datetime) else super().default(value)


json.JSONEncoder.default = CustomJSONEncoder().default


def convert_ts(text: str) -> datetime:
    form = "%Y-%m-%d %H:%M:%S.%f %z" if "." in text else "%Y-%m-%d %H:%M:%S %z"
    return datetime.strptime(text, form)


def read_tdengine(connection: taosws.Connection) -> list[dict[str, object]]:
    result = connection.query(
        f"SELECT ts, location, groupid, current, voltage, phase FROM {TAOS_TABLE} "
        f"WHERE ts >= NOW() - 12h ORDER BY ts DESC LIMIT {PERSPECTIVE_LIMIT}"
    )
    return [
        {
            "timestamp": convert_ts(ts),
            "location": location,
            "groupid": groupid,
            "current": current,
            "voltage": voltage,
            "phase": phase,
        }
        for ts, location, groupid, current, voltage, phase in result
    ]


async def main() -> None:
    # Not in the walkthrough. Without the first, grouped views stop the engine for good on two cores; without
    # the options, every other connect of this driver takes seven seconds.
    perspective.set_num_cpus(2048)
    options = {"conn_retries": "1", "retry_backoff_ms": "1", "retry_backoff_max_ms": "1"}
    connection = taosws.connect(TAOS_URL, **options)
    server = perspective.Server()
    table = server.new_local_client().table(SCHEMA, limit=PERSPECTIVE_LIMIT, name=PERSPECTIVE_TABLE_NAME)
    tornado.web.Application(
        [(r"/websocket", PerspectiveTornadoHandler, {"perspective_server": server})]
    ).listen(PERSPECTIVE_PORT, "127.0.0.1")
    tornado.ioloop.PeriodicCallback(
        lambda: table.update(read_tdengine(connection)), PERSPECTIVE_REFRESH_RATE
    ).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
