"""Owns the answering process, which makes the answers for all viewers that look back.

It never imports `taosws`, whose calls would hold up its threads: asking workers, its children, ask TDengine.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import Connection

from tdengine_perspective.engine import memory_in_use, prepare_engine
from tdengine_perspective.history.ending import begin_to_end
from tdengine_perspective.history.messages import Alive, Asked, ColumnsChanged, Left, Open
from tdengine_perspective.history.questions import Questions
from tdengine_perspective.history.sessions import MakeHandler, Session
from tdengine_perspective.history.spans import Span
from tdengine_perspective.history.workers import Worker
from tdengine_perspective.tables import LATEST, TableSettings
from tdengine_perspective.tdengine import TDengine

NICENESS = 10  # also of the asking workers: the live side goes first
BEAT = 1  # seconds from one sign of life to the next
BUSY = 20  # seconds that making one answer may take, besides asking TDengine
MAX_MEMORY = 768 << 20  # bytes
LAST_WORDS = 2  # seconds to have TDengine end what still runs

log = logging.getLogger(__name__)


class Answering:
    """The viewers' sessions, and those who ask TDengine for them."""

    def __init__(self, pipe: Connection, settings: TableSettings, make_handler: MakeHandler):
        self.pipe = pipe
        self.settings = settings
        self.make_handler = make_handler
        self.tdengine = TDengine.of(settings)
        self.questions = Questions(settings.perspective_query_timeout)
        self.sessions: dict[int, Session] = {}
        self.lock = threading.Lock()
        self.workers = [
            Worker(self.tdengine, settings.rows == LATEST, self.questions, self.columns_changed)
            for _ in range(settings.perspective_history_workers)
        ]

    def tell(self, message: object) -> None:
        """To the server, from any thread. Where that has gone, the main thread hears of it, too."""
        with contextlib.suppress(OSError), self.lock:
            self.pipe.send(message)

    def columns_changed(self) -> None:
        self.tell(ColumnsChanged())

    def listen(self) -> None:
        """Take what the server says, until it has gone or has enough."""
        while True:
            match self.pipe.recv():
                case Open(viewer, span):
                    self.sessions[viewer] = Session(
                        viewer,
                        self.settings.history_name,
                        self.tdengine.table_sql,
                        Span.parse(span),
                        self.questions,
                        self.make_handler,
                        self.tell,
                    )
                case Asked(viewer, number, frame):
                    self.sessions[viewer].handle(number, frame)
                case Left(viewer):
                    self.sessions.pop(viewer).close()
                case None:
                    return

    def give_signs_of_life(self) -> None:
        """As long as there is life: the server starts a silent process anew."""
        while not self.is_stuck() and memory_in_use() < MAX_MEMORY:
            workers = self.workers
            self.tell(
                Alive(
                    self.questions.asked,
                    self.questions.seconds,
                    sum(worker.timeouts for worker in workers),
                    sum(worker.restarts for worker in workers),
                    sum(worker.process is not None for worker in workers),
                )
            )
            self.questions.forget_old_answers()
            time.sleep(BEAT)
        end_all()

    def is_stuck(self) -> bool:
        limit = time.monotonic() - BUSY
        lanes = [lane for session in list(self.sessions.values()) for lane in list(session.lanes)]
        return any(since is not None and since < limit for since in (lane.busy_since for lane in lanes))

    def end_queries(self) -> None:
        """Have TDengine end what runs, as far as it can be had at once."""
        with self.questions.lock:
            marks = [question.mark for question in self.questions.running if question.sql]
        threads = [begin_to_end(self.tdengine, mark, LAST_WORDS) for mark in marks]
        limit = time.monotonic() + LAST_WORDS
        for thread in threads:
            thread.join(max(0, limit - time.monotonic()))


def end_all() -> None:
    """End this process and its workers, whatever these are at."""
    os.killpg(os.getpid(), signal.SIGKILL)


def run(pipe: Connection, settings: TableSettings, make_handler: MakeHandler) -> None:
    """The child process: answer what comes through the pipe, until that is closed."""
    os.setpgid(0, 0)  # so that its workers end with it, see end_all
    multiprocessing.current_process().daemon = False  # so that it may have children
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    os.nice(NICENESS)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Perspective prints what a handler raises, at length
    prepare_engine()
    answering = Answering(pipe, settings, make_handler)
    threading.Thread(target=answering.give_signs_of_life, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # the server has ended
        answering.listen()
    answering.end_queries()
    end_all()
