"""Owns the asking worker: a process that asks TDengine one question at a time, for whoever looks back."""

import pickle
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from tdengine_perspective.children import HANG_TIMEOUT, silence_driver, watchdog
from tdengine_perspective.engine import memory_in_use
from tdengine_perspective.history.messages import Begun, Failed, Learnt, Rows
from tdengine_perspective.history.words import NotAnswered
from tdengine_perspective.mirror.reading import learn_columns
from tdengine_perspective.mirror.schema import Schema
from tdengine_perspective.tdengine import (
    DRIVER_OPTIONS,
    Absent,
    OtherColumns,
    OutOfReach,
    TDengine,
    TDengineError,
    Unreadable,
    connect,
    errors_explained,
)

if TYPE_CHECKING:
    import taosws

ENDING = 5  # seconds that a query may take to end once TDengine was told to
AT_ONCE = 1  # seconds within which a connection fails that had been closed before
SCHEMA_AGE = 5  # seconds after which the columns are asked for again
MAX_CELLS = 1_500_000  # of an answer
MAX_TEXT = 64 << 20  # characters and bytes of the texts in it
MAX_MEMORY = 400 << 20  # bytes; a worker that has more ends, and the next question has a new one
NO_ROWS = pickle.dumps([])


class Asker:
    """One connection to TDengine, and the table's columns as it last found them."""

    def __init__(self, tdengine: TDengine, shows_subtable: bool, timeout: int, pipe: Connection):
        self.tdengine = tdengine
        self.shows_subtable = shows_subtable  # always, and not only where the rows need it
        self.timeout = timeout
        self.options = {**DRIVER_OPTIONS, "read_timeout": str(timeout + 2 * ENDING)}
        self.pipe = pipe
        self.connection: taosws.Connection | None = None
        self.schema: Schema | None = None
        self.as_bytes = False  # whether texts are to be read as bytes, since some are not UTF-8
        self.learnt_at = 0.0

    def answer(self, sql: str) -> Rows | Failed:
        """TDengine's answer to a SELECT; to nothing, no rows, once the columns are known."""
        is_new = self.connection is None
        began = time.monotonic()
        try:
            if is_new:
                with watchdog():
                    self.connection, _ = connect(self.tdengine, self.options)
            with errors_explained(self.tdengine):
                if not sql or self.schema is None or time.monotonic() - self.learnt_at > SCHEMA_AGE:
                    with watchdog():
                        self.learn(is_asked=not sql)
                self.pipe.send(Begun())
                with watchdog(self.timeout + ENDING + HANG_TIMEOUT):
                    return self.select(sql) if sql else Rows(NO_ROWS, 0.0)
        except NotAnswered as error:
            return Failed(str(error))
        except Unreadable as error:
            if self.as_bytes:
                return Failed(str(error))
            self.as_bytes = True
            return self.answer_anew(sql, error)
        except OtherColumns as error:
            return self.answer_anew("", error)
        except (OutOfReach, Absent) as error:
            with watchdog():
                self.connection = None
            if not is_new and time.monotonic() - began < AT_ONCE:  # TDengine has been away meanwhile
                return self.answer(sql)
            return Failed(str(error), is_problem=True)
        except TDengineError as error:
            return Failed(str(error))

    def answer_anew(self, sql: str, error: TDengineError) -> Failed:
        """Learn the columns anew, as which the question then has to be asked again."""
        self.learnt_at = 0.0
        self.schema = None
        self.answer("")
        return Failed(str(error))

    def learn(self, is_asked: bool) -> None:
        """Ask for the columns, and tell them where they are new or asked for, as by who missed them."""
        _, schema = learn_columns(self.connection, self.tdengine, self.as_bytes, self.shows_subtable)
        if is_asked or schema != self.schema:
            self.pipe.send(Learnt(schema))
        self.schema, self.learnt_at = schema, time.monotonic()

    def select(self, sql: str) -> Rows:
        began = time.monotonic()
        rows = limited(self.connection.query(sql))
        return Rows(pickle.dumps(rows), time.monotonic() - began)


def limited(result: Iterable[tuple]) -> list[tuple]:
    """The rows of an answer. Raises NotAnswered where they are too many to be held."""
    rows: list[tuple] = []
    texts = 0
    for row in result:
        rows.append(row)
        texts += sum(len(value) for value in row if type(value) in (str, bytes))
        if len(rows) * len(row) > MAX_CELLS or texts > MAX_TEXT:
            raise NotAnswered(
                f"that is too much at once: more than {len(rows):,} rows; take a shorter time, a filter, or "
                "groups"
            )
    return rows


def run(pipe: Connection, tdengine: TDengine, shows_subtable: bool, timeout: int) -> None:
    """The child process: answer each SELECT that comes through the pipe, until that is closed.

    timeout: seconds after which the other side gives a question up and has TDengine end it.
    """
    silence_driver()
    asker = Asker(tdengine, shows_subtable, timeout, pipe)
    try:
        while memory_in_use() < MAX_MEMORY:
            pipe.send(asker.answer(pipe.recv()))
    except (EOFError, OSError):
        return  # the answering process has ended
