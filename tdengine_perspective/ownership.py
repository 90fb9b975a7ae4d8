"""Owns what the producer refuses to write into: whatever is somebody else's."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from tdengine_perspective.tdengine import (
    HAS_TOPIC,
    Refused,
    TDengine,
    bytes_of,
    describe,
    quote_text,
    readable,
)

if TYPE_CHECKING:
    import taosws


def drop_table(connection: "taosws.Connection", tdengine: TDengine) -> None:
    """Drop the table. Raises Refused, naming its database's topics, where TDengine keeps it for one."""
    import taosws

    try:
        connection.execute(f"DROP TABLE IF EXISTS {tdengine.table_sql}")
    except taosws.Error as error:
        if HAS_TOPIC.lower() not in str(error).lower():
            raise
        topics = connection.query(
            "SELECT topic_name FROM information_schema.ins_topics "
            f"WHERE db_name = {quote_text(tdengine.database)}"
        )
        names = ", ".join(sorted(name for (name,) in topics))
        raise Refused(
            f"{tdengine.database}.{tdengine.table} can't be dropped while a topic reads it ({names}): end "
            "servers with PERSPECTIVE_SUBSCRIBE=yes, then python perspective_server.py --drop-topics removes "
            "what they left; a topic of something else goes by DROP TOPIC"
        ) from None


def check_precision(connection: "taosws.Connection", tdengine: TDengine) -> None:
    """Raises Refused where the database's timestamps are not in ms."""
    for (precision,) in connection.query(
        "SELECT `precision` FROM information_schema.ins_databases "
        f"WHERE name = {quote_text(tdengine.database)}"
    ):
        if precision != "ms":
            raise Refused(
                f"{tdengine.database} has timestamps in {precision}, and the producer writes ms: "
                "choose another TAOS_DATABASE"
            )


def check_subtables(
    connection: "taosws.Connection", tdengine: TDengine, own: Collection[str], append: bool
) -> None:
    """Raises Refused where a subtable's name is taken, since that is unique in a database.

    Unless `append`, also where the supertable holds other subtables than `own`: they are somebody's.
    """
    tables = (
        f"SELECT {bytes_of('table_name')}, {bytes_of('stable_name')} FROM information_schema.ins_tables "
        f"WHERE db_name = {quote_text(tdengine.database)}"
    )
    found = connection.query(f"{tables} AND table_name IN ({', '.join(map(quote_text, own))})")
    for name, owner in (map(readable, row) for row in found):
        if owner != tdengine.table:
            whose = f"{tdengine.database}.{owner}" if owner else "no supertable"
            raise Refused(f"{tdengine.database}.{name} belongs to {whose}: choose another TAOS_DATABASE")
    if append:
        return
    found = connection.query(f"{tables} AND stable_name = {quote_text(tdengine.table)} LIMIT {len(own) + 1}")
    for name, _ in (map(readable, row) for row in found):
        if name not in own:
            raise Refused(
                f"{tdengine.database}.{tdengine.table} holds subtables that are not the producer's ({name}): "
                "choose another TAOS_DATABASE, or --append to write beside them"
            )


def check_columns(connection: "taosws.Connection", tdengine: TDengine, own: Sequence[str]) -> None:
    """Raises Refused where the table has other columns and tags than these: its data is somebody's."""
    found = [row[0] for row in describe(connection, tdengine)]
    if found != list(own):
        raise Refused(
            f"{tdengine.database}.{tdengine.table} exists with other columns ({', '.join(found)}): choose "
            "another TAOS_DATABASE, or --reset to drop that table and its data"
        )
