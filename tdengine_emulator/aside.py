"""Questions that take long: each goes on in a process of its own, a copy of the emulator at that moment.

So others are answered meanwhile, and KILL QUERY has something to end. A question gets a moment here first,
which most need not even use up.
"""

import asyncio
import os
import pickle
import re
import signal
import stat
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from tdengine_emulator.store import Store, TooLong
from tdengine_emulator.wire import TaosError

PATIENCE = 0.03  # seconds that others wait for one answer at most
STEPS_BETWEEN = 5_000  # of SQLite, after which it is asked whether to go on
QUESTION = re.compile(r"\s*+(?:/\*.*?\*/\s*+)*+select", re.IGNORECASE | re.DOTALL)
KILLED = TaosError(0x070B, "Query killed")
Work = Callable[[], Any]


class Asides:
    """The questions that are being answered by processes of their own."""

    def __init__(self, store: Store):
        self.store = store
        self.pids: set[int] = set()

    def answer(self, text: str, asker: tuple[str, str, int], work: Work) -> Any:
        """What the work gives, or, where that takes long, an awaitable of it."""
        if not QUESTION.match(text):
            return work()
        try:
            with self.store.patient_until(time.monotonic() + PATIENCE, STEPS_BETWEEN):
                return work()
        except TooLong:
            return self.answer_aside(text, asker, work)

    async def answer_aside(self, text: str, asker: tuple[str, str, int], work: Work) -> Any:
        """Raises TaosError where the work does, or where it was killed."""
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            do_and_end(work, write)
        os.close(write)
        self.pids.add(pid)
        number = self.store.add_query(text, asker, lambda: os.kill(pid, signal.SIGKILL))
        self.store.keep_log(True)
        try:
            content = await all_of(read)
        finally:
            os.close(read)
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # where nobody waits any more
            os.waitpid(pid, 0)
            self.pids.discard(pid)
            self.store.remove_query(number)
            self.store.keep_log(bool(self.pids))
        try:
            found = pickle.loads(content)
        except (EOFError, pickle.UnpicklingError):
            raise KILLED from None
        if isinstance(found, TaosError):
            raise TaosError(found.code, found.message)
        return found


def do_and_end(work: Work, write: int) -> None:
    """Do the work, write what it gives, and end, in the child."""
    status = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        leave_sockets()
        try:
            found = work()
        except TaosError as error:
            found = error
        with os.fdopen(write, "wb") as pipe:
            pickle.dump(found, pipe)
        status = 0
    finally:
        os._exit(status)


def leave_sockets() -> None:
    """Close the copies of the emulator's sockets: a client sees when the emulator has gone."""
    for name in os.listdir("/dev/fd"):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                os.close(int(name))


async def all_of(read: int) -> bytes:
    """All that comes out of a pipe until its end."""
    loop, parts = asyncio.get_running_loop(), []
    ended: Awaitable[None] = loop.create_future()

    def take() -> None:
        part = os.read(read, 1 << 20)
        parts.append(part)
        if not part:
            loop.remove_reader(read)
            ended.set_result(None)

    loop.add_reader(read, take)
    try:
        await ended
    finally:
        loop.remove_reader(read)
    return b"".join(parts)
