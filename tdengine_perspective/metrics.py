"""Owns `/metrics`: what a server does and how it is, in Prometheus' text format."""

import time
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from tdengine_perspective.gate.refusals import RefusalLog
from tdengine_perspective.gate.viewers import Viewers
from tdengine_perspective.history.process import LookBack
from tdengine_perspective.mirror.state import State

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)  # bounds of a poll's buckets
STATUSES = ("waiting", "live", "stale")

Samples = Iterable[tuple[Iterable[str], float | None]]  # values by their labels; None: there is none


class Metrics(Collector):
    """The metrics of one server: the states of its tables, and those to look back into, by name."""

    def __init__(
        self,
        tables: Mapping[str, State],
        histories: Mapping[str, LookBack],
        viewers: Viewers,
        refusals: RefusalLog,
    ):
        self.tables = tables
        self.histories = histories
        self.viewers = viewers
        self.refusals = refusals
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        polls = Histogram(
            "tdengine_poll_seconds",
            "Time that a poll of TDengine took, reading included",
            ["table"],
            buckets=SECONDS,
            registry=self.registry,
        )
        for name, state in tables.items():
            state.observe_poll = polls.labels(name).observe
        self.registry.register(self)

    def text(self) -> bytes:
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """What is kept elsewhere, read when it is asked for."""
        states = self.tables.items()
        now = time.time()
        yield gauge(
            "perspective_table_status",
            "1 for what a table is: waiting (no data yet), live or stale",
            ["table", "status"],
            (((name, each), float(state.status == each)) for name, state in states for each in STATUSES),
        )
        yield gauge("perspective_table_rows", "Rows in a table", ["table"], per_table(states, "rows"))
        yield gauge(
            "perspective_table_newest_age_seconds",
            "How old a table's newest row is, by this machine's clock",
            ["table"],
            (((name,), None if s.newest is None else now - s.newest / 1000) for name, s in states),
        )
        yield counter(
            "tdengine_errors",
            "Polls that failed, by the kind of error",
            ["table", "kind"],
            (((name, kind), count) for name, state in states for kind, count in state.errors_by_kind.items()),
        )
        yield counter(
            "tdengine_reader_restarts",
            "Times that a reader process ended or hung and was started again",
            ["table"],
            per_table(states, "reader_restarts"),
        )
        yield counter(
            "perspective_pushed_updates",
            "Updates of a table by rows that TDengine pushed",
            ["table"],
            per_table(states, "pushes"),
        )
        yield gauge(
            "perspective_table_pushed",
            "Whether TDengine pushes a table's new rows (1), or they are polled (0)",
            ["table"],
            (((name,), float(state.is_push)) for name, state in states),
        )
        yield from self.of_looking_back()
        viewers = self.viewers
        yield gauge("perspective_viewers", "Viewers that are connected", [], [((), len(viewers.connected))])
        yield gauge("perspective_views", "Views that they have", [], [((), len(viewers.view_names))])
        yield counter("perspective_sent_bytes", "Bytes sent to viewers", [], [((), viewers.bytes_sent)])
        yield counter(
            "perspective_refusals",
            "What was refused, by its kind",
            ["kind"],
            (((kind,), count) for kind, count in self.refusals.counts.items()),
        )

    def of_looking_back(self) -> Iterator[Metric]:
        yield gauge(
            "perspective_viewers_looking_back",
            "Viewers that look back",
            ["table"],
            (((name,), len(history.viewers)) for name, history in self.histories.items()),
        )
        counts = [(name, history.counts) for name, history in self.histories.items()]
        for name, meaning, field in (
            ("tdengine_queries", "Queries for those who look back", "questions"),
            ("tdengine_query_seconds", "Time that TDengine took for those that it answered", "seconds"),
            (
                "tdengine_query_timeouts",
                "Queries beyond PERSPECTIVE_QUERY_TIMEOUT",
                "timeouts",
            ),
            ("tdengine_query_restarts", "Times that a process that looks back was started again", "restarts"),
        ):
            yield counter(name, meaning, ["table"], per_table(counts, field))


def per_table(states: Iterable[tuple[str, object]], what: str) -> Samples:
    return (((name,), getattr(state, what)) for name, state in states)


def gauge(name: str, meaning: str, labels: list[str], samples: Samples) -> Metric:
    return filled(GaugeMetricFamily(name, meaning, labels=labels), samples)


def counter(name: str, meaning: str, labels: list[str], samples: Samples) -> Metric:
    return filled(CounterMetricFamily(name, meaning, labels=labels), samples)


def filled(family: GaugeMetricFamily | CounterMetricFamily, samples: Samples) -> Metric:
    for labels, value in samples:
        if value is not None:
            family.add_metric(list(labels), value)
    return family
