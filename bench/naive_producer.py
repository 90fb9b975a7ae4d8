"""The naive producer that producer.py is measured against: a batch is rows of one meter, all stamped now.

    python bench/naive_producer.py ROWS SECONDS

It makes row dicts and a new statement for each batch of ROWS, as fast as it can, and prints how many rows it
wrote in how many seconds. measure.py starts it.
"""

import os
import random
import sys
import time

import taosws

TAOS_URL = os.environ["TAOS_URL"]
TAOS_DATABASE = os.environ["TAOS_DATABASE"]
LOCATIONS = ["San Francisco", "Los Angeles", "San Diego", "San Jose", "Palo Alto"]


def create_table(connection: taosws.Connection) -> None:
    connection.execute(f"CREATE DATABASE IF NOT EXISTS {TAOS_DATABASE}")
    connection.execute(f"USE {TAOS_DATABASE}")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS meters (ts TIMESTAMP, current FLOAT, voltage INT, phase FLOAT) "
        "TAGS (groupid INT, location BINARY(16))"
    )


def gen_data(rows: int) -> list[dict[str, float]]:
    multiplier = random.random() * random.randint(1, 50)
    return [
        {
            "ts": int(time.time() * 1000),
            "current": random.uniform(0, 75) + random.randrange(10) * multiplier,
            "voltage": random.randint(200, 225),
            "phase": random.uniform(0, 105) + random.randint(1, 3) * multiplier,
        }
        for _ in range(rows)
    ]


def insert_data(connection: taosws.Connection, data: list[dict[str, float]]) -> int:
    meter = random.randrange(len(LOCATIONS))
    statement = connection.statement()
    statement.prepare("INSERT INTO ? USING meters TAGS (?, ?) VALUES (?, ?, ?, ?)")
    statement.set_tbname_tags(
        f"d_bind_{meter}", [taosws.int_to_tag(meter), taosws.varchar_to_tag(LOCATIONS[meter])]
    )
    statement.bind_param(
        [
            taosws.millis_timestamps_to_column([row["ts"] for row in data]),
            taosws.floats_to_column([row["current"] for row in data]),
            taosws.ints_to_column([row["voltage"] for row in data]),
            taosws.floats_to_column([row["phase"] for row in data]),
        ]
    )
    statement.add_batch()
    statement.execute()
    return len(data)


def main() -> None:
    rows, seconds = int(sys.argv[1]), float(sys.argv[2])
    connection = taosws.connect(TAOS_URL, conn_retries="1", retry_backoff_ms="1", retry_backoff_max_ms="1")
    create_table(connection)
    began = time.monotonic()
    written = 0
    while time.monotonic() - began < seconds:
        written += insert_data(connection, gen_data(rows))
    print(f"wrote {written} rows in {time.monotonic() - began:.3f} s")


if __name__ == "__main__":
    main()
