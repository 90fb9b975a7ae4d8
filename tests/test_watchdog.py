"""A call that hangs with the interpreter lock held, as `taosws`'s calls do, ends its process in time."""

import ctypes
import signal
from multiprocessing.connection import Connection

from tdengine_perspective.children import start_child, watchdog

SLEEP = ctypes.PyDLL(None).usleep  # unlike time.sleep it keeps the interpreter lock
SECOND = 1_000_000  # µs


def hang(pipe: Connection) -> None:
    with watchdog(0.2):
        SLEEP(SECOND // 20)
    SLEEP(SECOND // 2)
    pipe.send("this was no call that the watchdog is for")
    with watchdog(0.2):
        SLEEP(60 * SECOND)


def test_a_hung_call_ends_its_process() -> None:
    process, pipe = start_child(hang)
    assert pipe.poll(20)
    assert pipe.recv()
    process.join(20)
    assert process.exitcode == -signal.SIGALRM
