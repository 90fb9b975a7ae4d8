"""Owns what Perspective's engine needs of its process: threads, heaps, and an eye on its memory."""

import ctypes
import resource
from pathlib import Path

import perspective

# Perspective updates a table's grouped views in parallel, and each of these tasks waits for tasks of its own
# in the same pool. With as many grouped views as threads that can wait for ever: with a single page where
# there are two cores. So: more threads than all viewers together can have views. They start when needed.
ENGINE_THREADS = 2048

# With a heap for each of these threads, memory that is free again stays scattered over them all.
ENGINE_HEAPS = 2
M_ARENA_MAX = -8  # of glibc's malloc.h

MAX_MEMORY_GROWTH = 64 << 20  # bytes, see MemoryWatch


def prepare_engine() -> None:
    """Set what has to be set before the engine starts its threads."""
    perspective.set_num_cpus(ENGINE_THREADS)
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_ARENA_MAX, ENGINE_HEAPS)


def return_freed_memory() -> None:
    """Give the system back what was freed, which GNU's C library does only when it is told to."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def memory_in_use() -> int:
    """Bytes that this process has; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


class MemoryWatch:
    """Whether the process has grown much since it was smallest; never where the system does not tell."""

    def __init__(self) -> None:
        self.smallest = memory_in_use()

    def has_grown(self) -> bool:
        memory = memory_in_use()
        self.smallest = min(self.smallest, memory)
        return memory - self.smallest > MAX_MEMORY_GROWTH

    def begin_anew(self) -> None:
        """Count from what there is now."""
        self.smallest = memory_in_use()
