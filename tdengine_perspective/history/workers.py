"""Owns the asking workers as the answering process sees them: started when needed, anew when they hang."""

import contextlib
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from tdengine_perspective.children import CHILD_SILENCE, start_child
from tdengine_perspective.history import asking
from tdengine_perspective.history.ending import begin_to_end, marked
from tdengine_perspective.history.messages import Begun, Failed, Learnt, Rows
from tdengine_perspective.history.questions import Problem, Question, Questions
from tdengine_perspective.history.words import NotAnswered
from tdengine_perspective.tdengine import TDengine

LOOK = 0.1  # seconds from one look whether somebody still waits to the next
ATTEMPTS = 2  # at a question, with a new worker each


class Worker:
    """One asking worker, and the thread that gives it questions."""

    def __init__(
        self,
        tdengine: TDengine,
        shows_subtable: bool,
        questions: Questions,
        columns_changed: Callable[[], None],
    ):
        self.tdengine = tdengine
        self.shows_subtable = shows_subtable
        self.questions = questions
        self.columns_changed = columns_changed
        self.process: BaseProcess | None = None
        self.pipe: Connection | None = None
        self.timeouts = 0
        self.restarts = 0
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self) -> None:
        with contextlib.suppress(OSError):  # it is tried again when there is a question
            self.start()
        while True:
            question = self.questions.take()
            try:
                self.attend_to(question)
            finally:
                self.questions.stopped(question)

    def attend_to(self, question: Question) -> None:
        for _ in range(ATTEMPTS):
            try:
                if self.process is None:
                    self.start()
                self.pipe.send(question.sql and marked(question.sql, question.mark))
                return self.wait(question)
            except (EOFError, OSError):
                self.give_up(not self.has_ended_by_itself())
        self.questions.fail(question, Problem("the processes that ask TDengine end; it will be tried again"))

    def start(self) -> None:
        self.process, self.pipe = start_child(
            asking.run, self.tdengine, self.shows_subtable, self.questions.timeout
        )

    def wait(self, question: Question) -> None:
        """Wait for a question's answer, its time limit, or that nobody wants it any more.

        Raises EOFError or OSError where the worker ends.
        """
        limit = time.monotonic() + CHILD_SILENCE  # before it begins it has to start and to connect
        begun = False
        while time.monotonic() < limit and question.viewers:
            if not self.pipe.poll(LOOK):
                continue
            match self.pipe.recv():
                case Begun():
                    begun, limit = True, time.monotonic() + self.questions.timeout
                case Learnt(schema):
                    if self.questions.note_schema(schema):
                        self.columns_changed()
                case Rows(pickled, seconds):
                    return self.questions.answer(question, pickled, seconds)
                case Failed(text, is_problem):
                    failure = Problem(text) if is_problem else NotAnswered(text)
                    return self.questions.fail(question, failure)
        if question.viewers:
            self.timeouts += begun
            self.questions.fail(question, self.too_slow() if begun else self.too_silent())
        self.end(question)

    def end(self, question: Question) -> None:
        """Have TDengine end the query, so that the worker is free again; or start a new worker."""
        if question.sql:
            begin_to_end(self.tdengine, question.mark)
        limit = time.monotonic() + asking.ENDING
        while time.monotonic() < limit:
            if self.pipe.poll(LOOK) and isinstance(self.pipe.recv(), Rows | Failed):
                return
        self.give_up()

    def give_up(self, is_restart: bool = True) -> None:
        """Kill the worker; the next question gets a new one."""
        self.restarts += is_restart
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.pipe.close()
        self.process = self.pipe = None

    def has_ended_by_itself(self) -> bool:
        """Whether the worker has ended because it had grown too large."""
        if self.process is None:
            return False
        self.process.join(1)
        return self.process.exitcode == 0

    def too_slow(self) -> Problem:
        return Problem(
            f"TDengine takes longer than {self.questions.timeout} s for this (PERSPECTIVE_QUERY_TIMEOUT): "
            "take a shorter time, or a filter"
        )

    def too_silent(self) -> Problem:
        return Problem(f"no answer from TDengine at {self.tdengine.url} for {CHILD_SILENCE} s")
