"""Writes what three weather stations measure into TDengine, once a second, until Ctrl-C.

    venv/bin/python -m examples.weather [SECONDS]    in the folder above this one

The shortest producer for a table of one's own. It ends when TDengine goes away; producer.py has what it takes
to go on.
"""

import os
import random
import sys
import time
from dataclasses import replace

import taosws

from tdengine_perspective.settings import SettingError, Settings
from tdengine_perspective.tdengine import TDengine, TDengineError, connect

STATIONS = ["Harbour", "Airport", "Summit"]


def main() -> None:
    seconds = int(sys.argv[1]) if sys.argv[1:] else 1_000_000_000
    settings = Settings.from_environment()
    tdengine = replace(TDengine.of(settings), table="stations")
    if not os.environ.get("TAOS_DATABASE"):
        tdengine = replace(tdengine, database="weather")
    connection, _version = connect(tdengine)
    connection.execute(f"CREATE DATABASE IF NOT EXISTS `{tdengine.database}`")
    connection.execute(f"USE `{tdengine.database}`")
    connection.execute(
        f"CREATE TABLE IF NOT EXISTS `{tdengine.table}` "
        "(ts TIMESTAMP, temperature FLOAT, humidity INT) TAGS (station VARCHAR(32))"
    )
    statement = connection.stmt2_statement()
    statement.prepare(f"INSERT INTO ? USING `{tdengine.table}` (station) TAGS (?) VALUES (?, ?, ?)")
    for _ in range(seconds):
        now = time.time_ns() // 1_000_000  # ms since 1970
        statement.bind([readings(number, [now]) for number in range(len(STATIONS))])
        statement.execute()
        time.sleep(1)


def readings(number: int, timestamps: list[int]) -> object:
    """A station's share of a batch: its subtable, the values of its tags, and columns: ms, °C, %."""
    return taosws.stmt2_bind_param_view(
        f"station_{number}",
        [taosws.varchar_to_tag(STATIONS[number])],
        [
            taosws.millis_timestamps_to_column(timestamps),
            taosws.floats_to_column([random.gauss(15 - 5 * number, 1) for _ in timestamps]),
            taosws.ints_to_column([random.randint(50, 70) for _ in timestamps]),
        ],
    )


if __name__ == "__main__":
    try:
        main()
    except (SettingError, TDengineError, taosws.Error) as error:
        raise SystemExit(f"weather: {error}") from None
    except KeyboardInterrupt:
        pass
