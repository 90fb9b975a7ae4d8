"""Owns what is known of the mirror's source: live or stale, since when, and why. `/health` tells it."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from tdengine_perspective.mirror.messages import Poll, Pushed, Source, Times
from tdengine_perspective.mirror.notices import no_rows, nothing_in_window, too_many_ahead, too_many_rows
from tdengine_perspective.mirror.schema import Schema
from tdengine_perspective.tables import NEWEST, QUERY, TableSettings
from tdengine_perspective.tdengine import READ_TIMEOUT, TDengine

log = logging.getLogger(__name__)


def patience(settings: TableSettings) -> float:
    """Seconds without a poll until the table counts as stale: a large window takes longer to read."""
    reading = settings.perspective_limit / 25_000 if settings.rows == NEWEST else READ_TIMEOUT + 1
    return max(2, 5 * settings.perspective_refresh_rate / 1000, reading)


class State:
    """All on the event loop's thread."""

    def __init__(self, settings: TableSettings):
        self.settings = settings
        self.tdengine = TDengine.of(settings)
        self.patience = patience(settings)
        self.version: str | None = None
        self.rows = 0
        self.had_rows = settings.rows == QUERY  # whose answer may well have none
        self.newest: int | None = None  # timestamp, ms since 1970
        self.times: Times | None = None  # as of the last rows
        self.times_at = 0.0  # time.monotonic() of these
        self.older: int | None = None  # timestamp of the newest row, where all are older than the window
        self.left_out: tuple[str, ...] = ()  # columns, each with the reason
        self.polls = 0
        self.last_poll: float | None = None  # time.monotonic() of the last successful one
        self.pause = 0.0  # seconds beyond the beat that the next one is to come later
        self.errors_by_kind: Counter[str] = Counter()
        self.observe_poll: Callable[[float], None] = lambda seconds: None  # is told how long each one took
        self.error: str | None = None  # what is wrong now
        self.told: set[str] = set()  # errors logged since the last successful poll
        self.last_error: str | None = None
        self.nothing_to_show: str | None = None  # why, while TDengine answers and there is no row
        self.crowded: str | None = None  # what leaves little room for the rows of now, where something does
        self.reader_restarts = 0
        self.pushes = 0  # updates by rows that TDengine pushed
        self.is_push = False  # whether new rows are pushed now
        self.not_pushed: str | None = None  # why they are not, where that is trouble
        self.told_not_pushed: set[str] = set()  # the reasons that the log has, since they were pushed last

    def note_poll(self, poll: Poll, schema: Schema) -> None:
        """TDengine could be read, and the table holds what it has."""
        self.polls += 1
        self.rows = poll.rows
        self.had_rows = self.had_rows or poll.rows > 0
        self.newest = poll.newest
        self.times = poll.times
        self.older = poll.older.newest if poll.older and poll.rows == 0 else None
        self.note_what_is_not_shown(poll, schema)
        self.last_poll = self.times_at = time.monotonic()
        self.pause = poll.pause
        self.observe_poll(poll.took)
        if self.error:
            log.info("reading TDengine at %s again", self.tdengine.url)
        self.error = None
        self.told.clear()

    def note_pushed(self, pushed: Pushed) -> None:
        """The table holds what TDengine pushed. Of the other rows that says nothing."""
        self.pushes += 1
        self.rows, self.newest, self.had_rows = pushed.rows, pushed.newest, True
        self.times, self.times_at = pushed.times, time.monotonic()

    def note_source(self, source: Source) -> None:
        """Whether new rows are pushed from now on. Logged when it is news."""
        if source.is_push:
            log.info("TDengine at %s pushes new rows of %s", self.tdengine.url, self.settings.table)
            self.not_pushed = None
            self.told_not_pushed.clear()
        elif source.trouble and source.trouble not in self.told_not_pushed:
            log.warning(
                "TDengine does not push new rows of %s: %s; polling every %s ms, and trying again later",
                self.settings.table,
                source.trouble,
                self.settings.perspective_refresh_rate,
            )
            self.told_not_pushed.add(source.trouble)
        self.not_pushed = source.trouble or self.not_pushed
        self.is_push = source.is_push

    @property
    def errors(self) -> int:
        return self.errors_by_kind.total()

    def note_failure(self, error: str, kind: str) -> None:
        """TDengine can't be read: why. Logged when it is news."""
        self.errors_by_kind[kind] += 1
        if error not in self.told:
            log.warning("%s; trying again%s", error, ", the last data stay on screen" if self.rows else "")
            self.told.add(error)
        self.error = self.last_error = error

    def note_what_is_not_shown(self, poll: Poll, schema: Schema) -> None:
        """Why rows that somebody may look for are not in the table. Logged when it begins."""
        times, nothing, crowded = poll.times, None, None
        if poll.rows == 0 and self.settings.rows != NEWEST:
            nothing = no_rows(self.settings)
        elif poll.rows == 0:
            nothing = nothing_in_window(self.settings, poll.older, times.clock if times else 0)
        elif poll.has_more:
            crowded = too_many_rows(self.settings)
        elif times and times.ahead_in_table and poll.newest is not None:
            crowded = too_many_ahead(self.settings, schema, times, poll.newest)
        for before, now in ((self.nothing_to_show, nothing), (self.crowded, crowded)):
            if now and not before:
                log.warning(now)
        self.nothing_to_show, self.crowded = nothing, crowded

    def note_restart(self) -> None:
        self.reader_restarts += 1
        self.is_push = False
        self.note_failure("the reader process ended or hung and was started again", "Ended")

    @property
    def status(self) -> str:
        """`waiting`: no data yet; `live`; `stale`: what the table holds may be out of date."""
        if self.last_poll is None or not self.had_rows:
            return "waiting"
        is_late = time.monotonic() - self.last_poll > self.patience + self.pause
        return "stale" if self.error or is_late else "live"

    @property
    def notices(self) -> list[str]:
        """What of the table is not shown, and why."""
        left_out = [f"left out the column {column}" for column in self.left_out]
        return [text for text in (self.nothing_to_show, self.crowded, *left_out) if text]

    def health(self) -> dict[str, object]:
        """The answer of /health, but for the viewers."""
        last_poll_ms_ago = self.last_poll and round((time.monotonic() - self.last_poll) * 1000)
        times = self.times
        since = round((time.monotonic() - self.times_at) * 1000)
        clock = times.clock + since if times else None  # TDengine's, now
        return {
            "status": self.status,
            "tdengine": {"url": self.tdengine.url, "version": self.version},
            "table": self.settings.table,
            "title": self.settings.title,
            "history_table": self.settings.history_name if self.settings.looks_back else None,
            "rows": self.rows,
            "newest": as_iso(self.newest),
            "newest_ms_ago": clock and self.newest and clock - self.newest,
            "newest_up_to_now": as_iso(times and times.newest_up_to_now),
            "older": as_iso(self.older),
            "ahead": times.ahead if times else 0,
            "ahead_from": as_iso(times and times.ahead_from),
            "notices": self.notices,
            "last_poll_ms_ago": last_poll_ms_ago,
            "polls": self.polls,
            "errors": self.errors,
            "last_error": self.error or self.nothing_to_show or self.last_error,
            "reader_restarts": self.reader_restarts,
            "source": "push" if self.is_push else "poll",
            "not_pushed": self.not_pushed,
            "pushes": self.pushes,
        }


def as_iso(timestamp: int | None) -> str | None:
    """A timestamp (ms since 1970) as ISO 8601 has it."""
    if timestamp is None:
        return None
    return datetime.fromtimestamp(timestamp / 1000, UTC).isoformat("T", "milliseconds")
