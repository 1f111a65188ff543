"""Counting, and the text that Prometheus reads: limits on labels, threads, spelling."""

import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from offgrid.metrics import MOST_SERIES, OTHER, Counter, Family, Histogram, exposition

SEEN = Family("seen_total", "counter", "Seen.", ("who",))
SIZES = Family("sizes", "histogram", "Sizes.", ("who",), (1, 2.5))


def parsed(*readings) -> dict[str, float]:
    """`name{label="value"}` → value, as prometheus_client understands the text."""
    text = exposition(readings).decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(s.name, *(v for _, v in sorted(s.labels.items()))): s.value for s in samples}


def test_counting_in_many_threads_loses_nothing():
    counter, histogram = Counter(SEEN), Histogram(SIZES)

    def count():
        for i in range(1000):
            counter.add(1, str(i % 3))
            histogram.observe(i % 4, "a")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counter.sum() == 8000
    assert counter.sum("who", "0") == 8 * 334
    assert histogram.read()[1][("a",)].counts == [4000, 2000, 2000]


@pytest.mark.parametrize("instrument", [Counter(SEEN), Histogram(SIZES)], ids=["counter", "histogram"])
def test_label_values_without_end_are_counted_together(instrument):
    count = instrument.add if isinstance(instrument, Counter) else instrument.observe
    for i in range(3 * MOST_SERIES):
        count(1, str(i))
    values = instrument.read()[1]
    assert len(values) == MOST_SERIES + 1
    rest = values[(OTHER,)]
    assert (rest if isinstance(rest, (int, float)) else rest.count) == 2 * MOST_SERIES


def test_a_histogram_is_cumulative_and_ends_with_everything():
    histogram = Histogram(SIZES)
    for value, n in ((0.5, 1), (1, 2), (2, 3), (99, 4)):
        histogram.observe(value, "a", n=n)
    values = parsed(histogram.read())
    assert [values["sizes_bucket", le, "a"] for le in ("1", "2.5", "+Inf")] == [3, 6, 10]
    assert values["sizes_count", "a"] == 10
    assert values["sizes_sum", "a"] == 0.5 + 2 + 6 + 396


@pytest.mark.parametrize("name", ['a "b"', "a\\b", "a\nb", "a}b{", "Ω é 人", "", "a,b=c"])
def test_label_values_come_back_as_they_were(name):
    counter = Counter(SEEN)
    counter.add(2, name)
    assert parsed(counter.read()) == {("seen_total", name): 2}


def test_a_counter_without_labels_begins_at_0_and_a_family_without_values_is_left_out():
    plain, labelled = Counter(Family("plain_total", "counter", "Plain.")), Counter(SEEN)
    assert exposition([plain.read(), labelled.read()]) == (
        b"# HELP plain_total Plain.\n# TYPE plain_total counter\nplain_total 0\n"
    )


def test_what_was_read_does_not_change_any_more():
    counter, histogram = Counter(SEEN), Histogram(SIZES)
    counter.add(1, "a")
    histogram.observe(1, "a")
    readings = counter.read(), histogram.read()
    before = exposition(readings)
    counter.add(1, "a")
    histogram.observe(1, "a")
    assert exposition(readings) == before != exposition([counter.read(), histogram.read()])
