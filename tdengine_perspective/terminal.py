"""Owns what the producer and its user say to each other: lines, the progress, and the signals that end it."""

import argparse
import signal
import sys
from collections.abc import Callable


class Stop(BaseException):
    """SIGINT or SIGTERM."""


def stop_on_signals() -> None:
    """Let the first SIGINT or SIGTERM raise Stop, and later ones do nothing."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, raise_stop)


def raise_stop(number: int, frame: object) -> None:
    for again in (signal.SIGINT, signal.SIGTERM):
        signal.signal(again, signal.SIG_IGN)
    raise Stop


def report(line: str) -> None:
    """Log one line on standard error, on a line of its own also where the progress is shown."""
    print(("\r\x1b[K" if sys.stderr.isatty() else "") + line, file=sys.stderr, flush=True)


def show_progress(written: int, seconds: float) -> None:
    """One line on a terminal, none anywhere else."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K{written:,} rows, {rate(written, seconds):,.0f} rows/s", end="", flush=True)


def show_result(written: int, seconds: float) -> None:
    """The producer's last line."""
    if sys.stdout.isatty():
        print("\r\x1b[K", end="")
    print(f"wrote {written} rows in {seconds:.1f} s ({rate(written, seconds):.0f} rows/s)", flush=True)


def rate(written: int, seconds: float) -> float:
    """Rows a second."""
    return written / max(seconds, 0.001)


def whole_number_option(lowest: int, highest: int) -> Callable[[str], int]:
    """The type of an option that is a whole number within bounds, for argparse."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {lowest} to {highest}, not {text!r}"
            )
        return int(text)

    return read
