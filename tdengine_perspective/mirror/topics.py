"""Owns what pushing leaves in TDengine: topics, and consumer groups on them, made and removed again.

Over REST, which has a time limit. While there is a topic, TDengine does not drop its table's database, nor a
supertable: so what nobody subscribes to any more has to go.
"""

import hashlib
import re
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from tdengine_perspective.mirror.schema import Schema
from tdengine_perspective.tdengine import Refused, TDengine, ask_over_rest, quote_text

OWN = re.compile(r"perspective_push_[0-9a-f]{12}")  # the names of topics that servers of this kind make


@dataclass(frozen=True)
class Topic:
    """A topic that has TDengine push the rows of a table as the reader reads them."""

    name: str
    select: str

    @classmethod
    def of(cls, tdengine: TDengine, schema: Schema) -> "Topic":
        """The same one for all who read these columns of the table, since a cluster has room for few."""
        select = f"SELECT {schema.select} FROM {tdengine.table_sql}"
        digest = hashlib.sha256(f"{select} {schema.result_kinds}".encode()).hexdigest()
        return cls(f"perspective_push_{digest[:12]}", select)

    def make(self, tdengine: TDengine) -> None:
        """Have TDengine hold the topic, of the table that is there now. Raises TDengineError.

        One that nobody subscribes to may be that of a table which was dropped, and would push nothing.
        """
        drop_topic(tdengine, self.name)
        ask_over_rest(tdengine, f"CREATE TOPIC IF NOT EXISTS {self.name} AS {self.select}")

    def leave(self, tdengine: TDengine, group: str) -> None:
        """Remove the group, whoever is in it, and the topic unless others subscribe to it."""
        for how in ("IF EXISTS FORCE", "IF EXISTS"):  # early versions have no FORCE
            with suppress(Refused):
                ask_over_rest(tdengine, f"DROP CONSUMER GROUP {how} {group} ON {self.name}")
                break
        drop_topic(tdengine, self.name)


def new_group() -> str:
    """A name for a consumer group of one's own."""
    return f"perspective_{uuid4().hex[:12]}"


def drop_topic(tdengine: TDengine, name: str) -> bool:
    """Drop groups that nobody is in and then, unless there are others, the topic. Raises OutOfReach.

    Returns whether it is gone.
    """
    groups = ask_over_rest(
        tdengine,
        "SELECT DISTINCT consumer_group FROM information_schema.ins_subscriptions "
        f"WHERE topic_name = {quote_text(name)} AND consumer_id IS NULL",
    )
    for (group,) in groups:
        with suppress(Refused):  # somebody is in it again
            ask_over_rest(tdengine, f"DROP CONSUMER GROUP IF EXISTS `{group}` ON {name}")
    try:
        ask_over_rest(tdengine, f"DROP TOPIC IF EXISTS {name}")
    except Refused:
        return False
    return True


def own_topics(tdengine: TDengine) -> Iterable[tuple[str, str]]:
    """The topics that servers of this kind have made, and each one's database. Raises TDengineError."""
    for name, database in ask_over_rest(
        tdengine, "SELECT topic_name, db_name FROM information_schema.ins_topics"
    ):
        if OWN.fullmatch(name):
            yield name, database


def drop_own_topics(tdengine: TDengine) -> None:
    """Drop the topics that killed servers left, and say which. Raises Refused where some are in use."""
    in_use = 0
    for name, database in own_topics(tdengine):
        if drop_topic(tdengine, name):
            print(f"dropped the topic {name} of {database}")
        else:
            print(f"the topic {name} of {database} is in use", file=sys.stderr)
            in_use += 1
    if in_use:
        raise Refused(f"{in_use} topics are in use: end the servers that subscribe first")
