"""Owns the log of refusals, of which a viewer could cause as many as it likes."""

import logging
import time
from collections import Counter

MAX_LOG_LINES = 20  # a minute: a viewer must not fill the disk

log = logging.getLogger(__name__)


class RefusalLog:
    """Logs refusals, until there were too many of them in a minute."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()  # of all refusals, by their kind
        self.minute = 0.0
        self.lines = 0

    def note(self, text: str) -> None:
        if time.monotonic() - self.minute > 60:
            self.minute, self.lines = time.monotonic(), 0
        self.lines += 1
        if self.lines <= MAX_LOG_LINES:
            log.warning(text)
        elif self.lines == MAX_LOG_LINES + 1:
            log.warning("more refusals in this minute are not logged")
