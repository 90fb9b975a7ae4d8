"""Owns what is known of the mirror's source: live or stale, since when, and why. `/health` tells it."""

import logging
import time
from datetime import UTC, datetime

from tdengine_perspective.mirror.messages import Poll
from tdengine_perspective.settings import Settings
from tdengine_perspective.tdengine import TDengine

log = logging.getLogger(__name__)


def patience(settings: Settings) -> float:
    """Seconds without a poll until the table counts as stale: a large window takes longer to read."""
    return max(2, 5 * settings.perspective_refresh_rate / 1000, settings.perspective_limit / 25_000)


class State:
    """All on the event loop's thread."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.tdengine = TDengine.of(settings)
        self.patience = patience(settings)
        self.version: str | None = None
        self.rows = 0
        self.had_rows = False
        self.newest: int | None = None  # timestamp, ms since 1970
        self.polls = 0
        self.last_poll: float | None = None  # time.monotonic() of the last successful one
        self.errors = 0
        self.error: str | None = None  # what is wrong now
        self.told: set[str] = set()  # errors logged since the last successful poll
        self.last_error: str | None = None
        self.nothing_to_show: str | None = None  # why, while TDengine answers and there has been no row
        self.reader_restarts = 0

    def note_poll(self, poll: Poll) -> None:
        """TDengine could be read, and the table holds what it has."""
        self.polls += 1
        self.rows = poll.rows
        self.had_rows = self.had_rows or poll.rows > 0
        if self.had_rows:
            self.nothing_to_show = None
        else:
            self.note_nothing_to_show(
                f"{self.tdengine.database}.{self.tdengine.table} has no rows of the last "
                f"{self.settings.perspective_window} (PERSPECTIVE_WINDOW)"
            )
        self.newest = poll.newest
        self.last_poll = time.monotonic()
        if self.error:
            log.info("reading TDengine at %s again", self.tdengine.url)
        self.error = None
        self.told.clear()

    def note_failure(self, error: str) -> None:
        """TDengine can't be read: why. Logged when it is news."""
        self.errors += 1
        if error not in self.told:
            log.warning("%s; trying again%s", error, ", the last data stay on screen" if self.rows else "")
            self.told.add(error)
        self.error = self.last_error = error

    def note_nothing_to_show(self, reason: str) -> None:
        """There is nothing to show although TDengine answers: why. Logged when it is news."""
        if reason != self.nothing_to_show:
            log.warning(reason)
        self.nothing_to_show = reason

    def note_restart(self) -> None:
        self.reader_restarts += 1
        self.note_failure("the reader process ended or hung and was started again")

    @property
    def status(self) -> str:
        """`waiting`: no data yet; `live`; `stale`: what the table holds may be out of date."""
        if self.last_poll is None or not self.had_rows:
            return "waiting"
        return "stale" if self.error or time.monotonic() - self.last_poll > self.patience else "live"

    def health(self) -> dict[str, object]:
        """The answer of /health, but for the viewers."""
        newest = self.newest and datetime.fromtimestamp(self.newest / 1000, UTC).isoformat(
            "T", "milliseconds"
        )
        return {
            "status": self.status,
            "tdengine": {"url": self.tdengine.url, "version": self.version},
            "rows": self.rows,
            "newest": newest,
            "last_poll_ms_ago": self.last_poll and round((time.monotonic() - self.last_poll) * 1000),
            "polls": self.polls,
            "errors": self.errors,
            "last_error": self.error or self.nothing_to_show or self.last_error,
            "reader_restarts": self.reader_restarts,
        }
