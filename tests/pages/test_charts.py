"""Charts stay within their frame, whatever the values are."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.model import Reading, Unreadable
from exporter.pages.charts import HEIGHT, WIDTH, histogram
from exporter.reports.overview import WORST_FIRST, Deviation
from exporter.reports.report import Row, ValueGroup


def a_row(
    *values: tuple[Reading, int, Deviation],
    host: Reading | None = "65535",
    fresh: Reading | None = "4096",
) -> Row:
    return Row(
        sysctl="net.core.somaxconn",
        class_="constant",
        settable_by="pod",
        deviation="same",
        host=host,
        fresh=fresh,
        groups=tuple(
            ValueGroup(
                value=value, origin=None, count=count, deviation=deviation, owners=()
            )
            for value, count, deviation in values
        ),
    )


def test_numbers_are_placed_by_size() -> None:
    made = histogram(a_row(("128", 1, "modified"), ("4096", 9, "differs")))

    small, large = made.bars
    assert made.scale == "log"
    assert (small.kind, large.kind) == ("modified", "differs")
    assert small.x < large.x
    assert small.height < large.height == HEIGHT
    assert made.fresh == large.x + 3
    assert made.host
    assert made.host > made.fresh


def test_texts_and_lists_of_numbers_are_in_order() -> None:
    made = histogram(
        a_row(("9 1", 1, "same"), ("10 1", 2, "same"), host=None, fresh=None)
    )

    assert made.scale == "order"
    assert [bar.height for bar in made.bars] == [HEIGHT // 2, HEIGHT]
    assert made.host is made.fresh is None


def test_values_at_one_position_are_one_bar_of_the_worst_kind() -> None:
    both: list[tuple[Reading, int, Deviation]]
    both = [("5", 1, "differs"), ("5", 2, "modified")]
    for values in (both, both[::-1]):
        (bar,) = histogram(a_row(*values, host="5", fresh="5")).bars
        assert (bar.kind, bar.height) == ("modified", HEIGHT)


READING: st.SearchStrategy[Reading] = st.text(max_size=9) | st.integers().map(str)
READING |= st.just("9" * 400)
READING |= st.just(Unreadable(unreadable="missing"))


@given(
    st.lists(st.tuples(READING, st.integers(1, 10**6), st.sampled_from(WORST_FIRST))),
    st.none() | READING,
    st.none() | READING,
)
def test_everything_is_within_the_frame(
    values: list[tuple[Reading, int, Deviation]],
    host: Reading | None,
    fresh: Reading | None,
) -> None:
    made = histogram(a_row(*values, host=host, fresh=fresh))

    for bar in made.bars:
        assert 0 <= bar.x <= WIDTH - 6
        assert 0 < bar.height <= HEIGHT
        assert bar.y + bar.height == HEIGHT
    for x in (made.host, made.fresh):
        assert x is None or 0 <= x <= WIDTH
