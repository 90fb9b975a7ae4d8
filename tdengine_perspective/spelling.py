"""Owns telling a name that is not there from one that is there in other letters, capital or small.

TDengine makes a name small unless it stands in backquotes, as all names here do. So whoever typed `Power`
made `power`, and asks here for a database that there is not.
"""

from typing import TYPE_CHECKING

from tdengine_perspective.tdengine import Refused, TDengine, bytes_of, quote_text, readable

if TYPE_CHECKING:
    import taosws


def check_spelling(connection: "taosws.Connection", tdengine: TDengine) -> None:
    """Raises Refused where the database or the table is not there, but one that differs in case alone."""
    name = other_spelling(connection, tdengine.database, "ins_databases", "name")
    if name:
        raise Refused(
            f"TDengine at {tdengine.url} has no database {tdengine.database}, but {name}: "
            f"set TAOS_DATABASE={name}"
        )
    within = f"db_name = {quote_text(tdengine.database)} AND "
    for view, column in (("ins_stables", "stable_name"), ("ins_tables", "table_name")):
        name = other_spelling(connection, tdengine.table, view, column, within)
        if name:
            raise Refused(
                f"TDengine at {tdengine.url} has no table {tdengine.database}.{tdengine.table}, but "
                f"{tdengine.database}.{name}: set TAOS_TABLENAME={name}"
            )
        if name == "":
            return


def other_spelling(
    connection: "taosws.Connection", wanted: str, view: str, column: str, within: str = ""
) -> str | None:
    """A name of the view's that differs in case alone; "" where the wanted one is there, too."""
    pattern = quote_text(wanted.replace("\\", "_"))  # LIKE does not care for case; `_` is any character
    rows = connection.query(
        f"SELECT {bytes_of(column)} FROM information_schema.{view} WHERE {within}{column} LIKE {pattern}"
    )
    found = sorted(name for (text,) in rows if (name := readable(text)).lower() == wanted.lower())
    if wanted in found:
        return ""
    return found[0] if found else None
