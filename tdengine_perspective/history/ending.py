"""Owns the end of a query that takes too long, or that nobody waits for any more: TDengine is told to end it.

By itself it would go on computing: taosAdapter does not stop what its client has left.
"""

import threading
import time

from tdengine_perspective.tdengine import TDengine, TDengineError, ask_over_rest, quote_text

LOOK_AGAIN = 0.3  # seconds
LOOK_FOR = 5  # seconds: TDengine lists a query up to 1.5 s after it has begun
RUNNING = "SELECT kill_id, `sql` FROM performance_schema.perf_queries"  # what SHOW QUERIES shows


def marked(sql: str, mark: str) -> str:
    """The statement with a mark by which it is found among those that run."""
    return f"/* {mark} */ {sql}"


def end_query(tdengine: TDengine, mark: str, seconds: float = LOOK_FOR) -> bool:
    """End the query with that mark, once TDengine lists it. Returns whether it did so."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            for number, sql in ask_over_rest(tdengine, RUNNING):
                if f"/* {mark} */" in str(sql):
                    ask_over_rest(tdengine, f"KILL QUERY {quote_text(number)}")
                    return True
        except (TDengineError, ValueError):
            return False  # it is out of reach, or does not tell
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_AGAIN)


def begin_to_end(tdengine: TDengine, mark: str) -> threading.Thread:
    """The same in a thread of its own."""
    thread = threading.Thread(target=end_query, args=(tdengine, mark), daemon=True)
    thread.start()
    return thread
