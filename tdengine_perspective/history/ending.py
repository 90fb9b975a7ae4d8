"""Owns the end of a query that takes too long, or that nobody waits for any more: TDengine is told to end it.

By itself it would go on computing: taosAdapter does not stop what its client has left.
"""

import contextlib
import threading
import time

from tdengine_perspective.tdengine import OutOfReach, TDengine, TDengineError, ask_over_rest, quote_text

LOOK_AGAIN = 0.3  # seconds
LOOK_FOR = 20  # seconds: TDengine lists a query 1.5 s after it has begun, or later where it is busy
RUNNING = "SELECT kill_id, `sql` FROM performance_schema.perf_queries"  # what SHOW QUERIES shows


def marked(sql: str, mark: str) -> str:
    """The statement with a mark, in small letters, by which it is found among those that run."""
    return f"/* {mark} */ {sql}"


def end_query(tdengine: TDengine, mark: str, seconds: float) -> bool:
    """End the query with that mark, once TDengine lists it. Returns whether it did so.

    Raises TDengineError where TDengine does not tell, as the emulator doesn't.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OutOfReach):  # it is busy
            for number, sql in ask_over_rest(tdengine, RUNNING):
                if mark in sql:
                    ask_over_rest(tdengine, f"KILL QUERY {quote_text(number)}")
                    return True
        time.sleep(LOOK_AGAIN)
    return False


def begin_to_end(tdengine: TDengine, mark: str, seconds: float = LOOK_FOR) -> threading.Thread:
    """The same in a thread of its own."""

    def end() -> None:
        with contextlib.suppress(TDengineError):  # it does not tell what runs, or it has ended meanwhile
            end_query(tdengine, mark, seconds)

    thread = threading.Thread(target=end, daemon=True)
    thread.start()
    return thread
