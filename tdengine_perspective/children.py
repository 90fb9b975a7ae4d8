"""Owns child processes that may be killed: starting them, waiting for them, and the watchdog within them.

`taosws` holds the interpreter lock through every network call and `taosws.connect` never gives up, so no
thread, timer or signal handler of the same process can end a hung call. `watchdog` can, by ending the
process; the parent starts it anew.
"""

import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import current_process, get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

CHILD_SILENCE = 12  # seconds without a word, more than HANG_TIMEOUT, after which a child is given up
HANG_TIMEOUT = 10  # seconds after which a call that ignores its time limit ends its process


def start_child(target: Callable[..., None], *arguments: Any) -> tuple[BaseProcess, Connection]:
    """Run `target(pipe, *arguments)` in a process of its own; returns it and this side's end of the pipe.

    When this process ends, however it ends, the child finds its pipe closed.
    """
    spawn = get_context("spawn")  # a forked child hangs once taosws has been used
    pipe, end = spawn.Pipe()
    process = spawn.Process(target=target, args=(end, *arguments), daemon=True)
    # Ctrl-C reaches every process of the terminal's foreground. This one decides what it means, so the child
    # starts with it blocked. Starting the tracker first, as it would unblock the signal in between.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    end.close()
    return process, pipe


def may_have_children() -> None:
    """Let this child start children of its own, each of which ends when it finds its pipe closed."""
    current_process().daemon = False


def limit_waits(pipe: Connection, seconds: int) -> None:
    """Let the pipe raise OSError where it waits so long: a child may stop halfway through a message."""
    with socket.socket(fileno=os.dup(pipe.fileno())) as end:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            end.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", seconds, 0))


def silence_driver() -> None:
    """Send standard error nowhere: `taosws` prints a backtrace for what it then raises anyway."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


@contextmanager
def watchdog(seconds: float = HANG_TIMEOUT) -> Iterator[None]:
    """End this process if the block takes longer; the parent starts it anew.

    It's the system that does it, by SIGALRM, which nobody here handles: no Python would run in a hung call.
    """
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
