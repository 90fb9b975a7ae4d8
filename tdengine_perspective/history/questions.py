"""Owns the questions that viewers' views have for TDengine: whose turn it is, and what is known already.

Equal questions are asked once, also for some seconds after they were answered. Viewers take turns, however
many questions each has.
"""

import pickle
import threading
import time
import uuid
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field

from tdengine_perspective.history.words import NotAnswered
from tdengine_perspective.mirror.schema import Schema

MAX_KEPT = 48 << 20  # bytes of answers
KEPT_FOR = 30  # seconds, at most
PATIENCE = 6  # so many times its time limit a question may wait for its turn

NOBODY = "the viewer has gone"


@dataclass(eq=False)
class Question:
    sql: str  # "": only the columns are asked for
    mark: str  # by which TDengine's list of running queries has it
    viewers: Counter[int] = field(default_factory=Counter)  # who waits for it, with how many views
    is_done: threading.Event = field(default_factory=threading.Event)
    rows: bytes | None = None
    seconds: float = 0.0
    failure: NotAnswered | None = None


@dataclass(frozen=True)
class Kept:
    at: float
    rows: bytes


class Problem(NotAnswered):
    """There is no answer because of TDengine, not because of what was asked."""


class Questions:
    """`ask` is for the threads that answer viewers; `take`, `answer`, `fail` for those that ask TDengine."""

    def __init__(self, timeout: int):
        self.timeout = timeout  # seconds, of a question once it is asked
        self.lock = threading.Condition()
        self.present: set[int] = set()
        self.waiting: OrderedDict[int, deque[Question]] = OrderedDict()  # by whose turn it is
        self.open: dict[str, Question] = {}
        self.running: set[Question] = set()
        self.kept: OrderedDict[str, Kept] = OrderedDict()
        self.kept_size = 0
        self.schema: Schema | None = None
        self.asked = 0
        self.seconds = 0.0  # that TDengine took for its answers

    def come(self, viewer: int) -> None:
        with self.lock:
            self.present.add(viewer)

    def leave(self, viewer: int) -> None:
        """A viewer goes, and its questions with it, unless somebody else waits for them, too."""
        with self.lock:
            self.present.discard(viewer)
            for question in list(self.open.values()):
                question.viewers.pop(viewer, None)
                if not question.viewers:
                    self.close(question, NotAnswered(NOBODY))
            for question in self.waiting.pop(viewer, ()):
                if question.viewers:
                    self.wait_in_turn(next(iter(question.viewers)), question)

    def ask(self, viewer: int, sql: str, keeps: float) -> tuple[list[tuple], float | None]:
        """The rows, and the seconds that TDengine took, unless the answer was at hand.

        keeps: how old, in seconds, an answer may be. Raises NotAnswered.
        """
        with self.lock:
            if viewer not in self.present:
                raise NotAnswered(NOBODY)
            kept = self.kept.get(sql)
            if kept and time.monotonic() - kept.at <= keeps:
                return pickle.loads(kept.rows), None
            question = self.open.get(sql)
            if question is None:
                question = self.open[sql] = Question(sql, f"look back {uuid.uuid4().hex}")
                self.wait_in_turn(viewer, question)
            question.viewers[viewer] += 1
        while not question.is_done.wait(PATIENCE * self.timeout):
            with self.lock:
                if question in self.running:
                    continue  # who asks it sees to its end
                question.viewers[viewer] -= 1
                question.viewers += Counter()  # without those of whom none waits any more
            raise Problem("too many look back at the same time: it will be asked again")
        if question.failure:
            raise question.failure
        return pickle.loads(question.rows), question.seconds

    def learn(self, viewer: int) -> Schema:
        """The table's columns. Raises NotAnswered."""
        if self.schema is None:
            self.ask(viewer, "", 0)
        return self.schema

    def wait_in_turn(self, viewer: int, question: Question) -> None:
        self.waiting.setdefault(viewer, deque()).append(question)
        self.lock.notify()

    def take(self) -> Question:
        """The next question, once there is one: of those who have the fewest running, who waited longest."""
        with self.lock:
            while True:
                self.lock.wait_for(lambda: self.waiting)
                busy = Counter(viewer for question in self.running for viewer in question.viewers)
                viewer = min(self.waiting, key=lambda viewer: busy[viewer])
                questions = self.waiting.pop(viewer)
                question = questions.popleft()
                if questions:
                    self.waiting[viewer] = questions  # behind the others
                if question.viewers:
                    self.running.add(question)
                    self.asked += bool(question.sql)
                    return question
                self.close(question, NotAnswered(NOBODY))

    def answer(self, question: Question, rows: bytes, seconds: float) -> None:
        question.rows, question.seconds = rows, seconds
        with self.lock:
            self.seconds += seconds
            self.keep(question.sql, rows)
            self.close(question)

    def fail(self, question: Question, failure: NotAnswered) -> None:
        with self.lock:
            self.close(question, failure)

    def close(self, question: Question, failure: NotAnswered | None = None) -> None:
        if not question.is_done.is_set():
            question.failure = failure
            question.is_done.set()
        if self.open.get(question.sql) is question:
            del self.open[question.sql]

    def stopped(self, question: Question) -> None:
        """Nobody asks it any more."""
        with self.lock:
            self.running.discard(question)

    def keep(self, sql: str, rows: bytes) -> None:
        self.forget(sql)
        if sql and len(rows) <= MAX_KEPT // 4:
            self.kept[sql] = Kept(time.monotonic(), rows)
            self.kept_size += len(rows)
        while self.kept_size > MAX_KEPT:
            self.forget(next(iter(self.kept)))

    def forget(self, sql: str) -> None:
        kept = self.kept.pop(sql, None)
        self.kept_size -= len(kept.rows) if kept else 0

    def forget_old_answers(self) -> None:
        """To be called every second or so."""
        with self.lock:
            while self.kept and time.monotonic() - next(iter(self.kept.values())).at > KEPT_FOR:
                self.forget(next(iter(self.kept)))

    def note_schema(self, schema: Schema) -> bool:
        """Take note of the table's columns. Returns whether they were others before."""
        with self.lock:
            before, self.schema = self.schema, schema
            while before != schema and self.kept:
                self.forget(next(iter(self.kept)))
            return before is not None and before != schema
