"""Collections are shared, never old, and few wait for them."""

import asyncio
import gzip
import itertools
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from exporter.exposition.chunk_table import Chunk
from exporter.exposition.renderer import Names, Renderer
from exporter.pages.query import PageRequest, RenderedPage
from exporter.privsep.channel import CollectionFailedError, PeerGoneError
from exporter.web.negotiation import ScrapeRequest, choose_format
from exporter.web.scrape_queue import (
    MAX_NAME_CHOICES,
    MAX_PAGES,
    MAX_WAITING,
    PageFailedError,
    Request,
    ResponseBuilder,
    ScrapeQueue,
    TooManyRequestsError,
)
from exporter.web.stats import ServerStats
from testing.lab import wait_until
from tests.support.builders import a_namespace, a_parcel, the_hosts_namespace
from tests.support.clients import SECONDS

PARCEL = msgspec.json.encode(a_parcel(the_hosts_namespace(), a_namespace()))
ENCODE, TYPE = choose_format("")
TEXT = ScrapeRequest(content_type=TYPE, encode=ENCODE)
ZIPPED = replace(TEXT, gzip=True)
OPEN_ENCODE, OPEN_TYPE = choose_format("application/openmetrics-text; version=1.0.0")
OPEN = ScrapeRequest(content_type=OPEN_TYPE, encode=OPEN_ENCODE, gzip=True)


class Node:
    """A collector whose collections end when they are let go; each has a number."""

    def __init__(self) -> None:
        self.collections = 0
        self.asked: list[tuple[float, Collection[Request]]] = []
        self.done: list[str] = []
        self.go = threading.Semaphore(0)
        self.draws = threading.Semaphore(0)
        self.error: Exception | None = None

    def __call__(
        self, seconds: float, forms: Collection[Request]
    ) -> dict[ScrapeRequest, bytes]:
        self.asked.append((seconds, forms))
        self.done.append("collection")
        assert self.go.acquire(timeout=SECONDS)
        self.collections += 1
        if self.error:
            raise self.error
        wanted = [form for form in forms if isinstance(form, ScrapeRequest)]
        return dict.fromkeys(wanted, str(self.collections).encode())

    def render_page(self, view: PageRequest) -> RenderedPage:
        self.done.append(view.owner)
        assert self.draws.acquire(timeout=SECONDS)
        if view.owner == "bad":
            raise PageFailedError
        return RenderedPage(body=f"{view.owner} of {self.collections}".encode())


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as one:
        yield one


class Scrapes:
    """Requests to a scraper, in the order they are made."""

    def __init__(self, node: Node, worker: ThreadPoolExecutor) -> None:
        self.node = node
        self.ended: list[Exception] = []
        self.scraper = ScrapeQueue(node, worker, self.ended.append)

    async def begin(
        self, form: ScrapeRequest | None = TEXT, seconds: float = SECONDS
    ) -> asyncio.Task[bytes]:
        task = asyncio.create_task(self.scraper.scrape(form, seconds))
        await asyncio.sleep(0)
        return task

    async def begin_view(
        self, who: str, seconds: float = SECONDS
    ) -> asyncio.Task[RenderedPage]:
        view = PageRequest(page="namespace", owner=who)
        task = asyncio.create_task(self.scraper.page(view, seconds))
        await asyncio.sleep(0)
        return task

    async def running(self, number: int = 1) -> None:
        await asyncio.to_thread(wait_until, lambda: len(self.node.asked) >= number)


def run(main: Callable[[Scrapes], Any], worker: ThreadPoolExecutor) -> Scrapes:
    scrapes = Scrapes(Node(), worker)
    asyncio.run(main(scrapes))
    return scrapes


def test_who_asks_during_a_collection_shares_the_next(
    worker: ThreadPoolExecutor,
) -> None:
    async def main(scrapes: Scrapes) -> None:
        first = await scrapes.begin()
        await scrapes.running()
        late = [await scrapes.begin() for _ in range(5)]
        scrapes.node.go.release(2)
        assert await first == b"1"
        assert await asyncio.gather(*late) == [b"2"] * 5

    assert run(main, worker).node.collections == 2


def test_what_is_wanted_by_several_is_made_once(worker: ThreadPoolExecutor) -> None:
    async def main(scrapes: Scrapes) -> None:
        first = await scrapes.begin(None)
        await scrapes.running()
        late = [await scrapes.begin(form) for form in (TEXT, ZIPPED, TEXT, None)]
        scrapes.node.go.release(2)
        await asyncio.gather(first, *late)
        assert [forms for _, forms in scrapes.node.asked] == [(), (TEXT, ZIPPED)]

    run(main, worker)


def test_who_is_late_is_told_and_keeps_nobody(worker: ThreadPoolExecutor) -> None:
    async def main(scrapes: Scrapes) -> None:
        first = await scrapes.begin(seconds=0.05)
        await scrapes.running()
        for one in (first, await scrapes.begin(seconds=0.05)):
            with pytest.raises(TimeoutError):
                await one
        scrapes.node.go.release()
        scrapes.node.go.release()
        last = await scrapes.begin()
        assert await last == b"2"  # nobody was left to want another in between

    run(main, worker)


def test_a_collection_may_take_as_long_as_the_most_patient_waits(
    worker: ThreadPoolExecutor,
) -> None:
    async def main(scrapes: Scrapes) -> None:
        first = await scrapes.begin()
        await scrapes.running()
        both = [await scrapes.begin(seconds=20), await scrapes.begin(seconds=60)]
        scrapes.node.go.release(2)
        await asyncio.gather(first, *both)
        assert 50 < scrapes.node.asked[1][0] <= 60

    run(main, worker)


def test_few_may_wait(worker: ThreadPoolExecutor) -> None:
    async def main(scrapes: Scrapes) -> None:
        every = [await scrapes.begin()]
        await scrapes.running()
        every += [await scrapes.begin() for _ in range(MAX_WAITING - 1)]
        with pytest.raises(TooManyRequestsError, match="64 requests"):
            await (await scrapes.begin())
        every.pop().cancel()  # who leaves makes room
        await asyncio.sleep(0)
        every.append(await scrapes.begin())
        scrapes.node.go.release(2)
        await asyncio.gather(*every)

    run(main, worker)


def test_many_choices_of_families_keep_nobody_from_the_whole(
    worker: ThreadPoolExecutor,
) -> None:
    def chosen(at: int) -> ScrapeRequest:
        return replace(TEXT, names=frozenset({str(at)}))

    async def main(scrapes: Scrapes) -> None:
        every = [await scrapes.begin()]
        await scrapes.running()
        every += [await scrapes.begin(chosen(at)) for at in range(MAX_NAME_CHOICES)]
        with pytest.raises(TooManyRequestsError, match="name"):
            await (await scrapes.begin(chosen(MAX_NAME_CHOICES)))
        every += [await scrapes.begin(form) for form in (TEXT, ZIPPED, chosen(0))]
        scrapes.node.go.release(2)
        await asyncio.gather(*every)

    run(main, worker)


@pytest.mark.parametrize("error", [CollectionFailedError(), TimeoutError()])
def test_a_failure_is_told_and_the_next_may_work(
    worker: ThreadPoolExecutor, error: Exception
) -> None:
    async def main(scrapes: Scrapes) -> None:
        scrapes.node.error = error
        scrapes.node.go.release()
        with pytest.raises(type(error)):
            await (await scrapes.begin())
        assert scrapes.scraper.last_success is None
        scrapes.node.error = None
        scrapes.node.go.release()
        assert await (await scrapes.begin()) == b"2"
        assert scrapes.scraper.last_success is not None

    assert not run(main, worker).ended


@pytest.mark.parametrize("error", [PeerGoneError("gone"), msgspec.DecodeError("bad")])
def test_without_a_sound_collector_the_process_ends(
    worker: ThreadPoolExecutor, error: Exception
) -> None:
    async def main(scrapes: Scrapes) -> None:
        scrapes.node.error = error
        scrapes.node.go.release()
        with pytest.raises(CollectionFailedError):
            await (await scrapes.begin())

    assert run(main, worker).ended == [error]


class TestViews:
    def test_a_scrape_waits_for_one_view_at_most(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main(scrapes: Scrapes) -> None:
            node = scrapes.node
            views = [await scrapes.begin_view(who) for who in "abc"]
            await scrapes.running()
            views += [await scrapes.begin_view(who) for who in "de"]
            node.go.release(10)
            for number in (1, 2):
                await asyncio.to_thread(drawing, node, number)
                scrape = await scrapes.begin()
                node.draws.release()
                await scrape
            node.draws.release(10)
            await asyncio.gather(*views)

        def drawing(node: Node, number: int) -> None:
            wait_until(lambda: len({*node.done} - {"collection"}) == number)

        order = run(main, worker).node.done
        assert [one for one in order if one != "collection"] == [*"abcde"]
        for first, second in itertools.pairwise(order[: order.index("c") + 1]):
            assert "collection" in {first, second}

    def test_a_view_is_drawn_once_and_is_not_older_than_who_asks(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main(scrapes: Scrapes) -> None:
            first = await scrapes.begin()
            await scrapes.running()
            same = [await scrapes.begin_view("a") for _ in range(5)]
            scrapes.node.go.release(2)
            scrapes.node.draws.release()
            assert await first == b"1"
            for one in await asyncio.gather(*same):
                assert one.body == b"a of 2"

        run(main, worker)

    def test_what_waits_to_be_drawn_is_drawn_of_the_newest(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main(scrapes: Scrapes) -> None:
            first = await scrapes.begin()
            await scrapes.running()
            views = [await scrapes.begin_view(who) for who in "ab"]
            scrapes.node.go.release(3)
            assert await first == b"1"
            await asyncio.to_thread(wait_until, lambda: "a" in scrapes.node.done)
            scrape = await scrapes.begin()
            scrapes.node.draws.release(2)
            assert await scrape == b"3"
            assert [one.body for one in await asyncio.gather(*views)] == [
                b"a of 2",
                b"b of 3",
            ]
            assert {*scrapes.node.asked[2][1]} == {
                TEXT,
                PageRequest(page="namespace", owner="b"),
            }

        run(main, worker)

    def test_who_leaves_is_not_drawn_for(self, worker: ThreadPoolExecutor) -> None:
        async def main(scrapes: Scrapes) -> None:
            late = await scrapes.begin_view("late", seconds=0.05)
            await scrapes.running()
            with pytest.raises(TimeoutError):
                await late
            scrapes.node.go.release(2)
            assert await (await scrapes.begin()) == b"2"

        assert run(main, worker).node.done == ["collection"] * 2

    def test_one_that_cannot_be_drawn_harms_nobody(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main(scrapes: Scrapes) -> None:
            bad = await scrapes.begin_view("bad")
            good, scrape = await scrapes.begin_view("good"), await scrapes.begin()
            scrapes.node.go.release(3)
            scrapes.node.draws.release(2)
            with pytest.raises(PageFailedError):
                await bad
            assert (await good).body
            assert await scrape

        assert not run(main, worker).ended

    def test_few_different_ones_may_wait(self, worker: ThreadPoolExecutor) -> None:
        async def main(scrapes: Scrapes) -> None:
            every = [await scrapes.begin_view(str(at)) for at in range(MAX_PAGES)]
            with pytest.raises(TooManyRequestsError, match="8 different pages"):
                await (await scrapes.begin_view("more"))
            every.append(await scrapes.begin_view("0"))
            scrape = await scrapes.begin()
            scrapes.node.go.release(20)
            scrapes.node.draws.release(20)
            await asyncio.gather(scrape, *every)

        run(main, worker)

    def test_a_failure_is_told_to_them_too(self, worker: ThreadPoolExecutor) -> None:
        async def main(scrapes: Scrapes) -> None:
            scrapes.node.error = CollectionFailedError()
            scrapes.node.go.release()
            with pytest.raises(CollectionFailedError):
                await (await scrapes.begin_view("a"))

        run(main, worker)


def nothing(_view: PageRequest, raw: bytes) -> RenderedPage:
    return RenderedPage(body=raw)


VIEW = PageRequest(page="node")


class TestPages:
    def pages(self) -> ResponseBuilder:
        return ResponseBuilder(
            lambda _: PARCEL, Renderer("1"), CollectorRegistry(), nothing
        )

    def test_a_view_is_of_the_last_collection_that_was_for_one(self) -> None:
        pages = self.pages()

        assert pages(1.0, (VIEW, TEXT)).keys() == {TEXT}
        assert pages.render_page(VIEW).body == PARCEL
        zipped = pages.render_page(replace(VIEW, gzip=True))
        assert gzip.decompress(zipped.body) == PARCEL
        pages(1.0, (TEXT,))
        assert pages.render_page(VIEW).body == b""

    def test_a_fault_of_ours_is_in_the_log_and_no_more(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fault(_view: PageRequest, _raw: bytes) -> RenderedPage:
            raise ZeroDivisionError

        pages = ResponseBuilder(
            lambda _: PARCEL, Renderer("1"), CollectorRegistry(), fault
        )

        with pytest.raises(PageFailedError):
            pages.render_page(VIEW)
        assert "ZeroDivisionError" in caplog.text

    def test_a_zipped_page_is_the_same(self) -> None:
        made = self.pages()(1.0, (TEXT, ZIPPED))

        assert gzip.decompress(made[ZIPPED]) == made[TEXT]

    def test_each_choice_is_rendered_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[object] = []
        real = Renderer.exposition

        def counted(one: Renderer, kind: str, names: Names) -> list[Chunk]:
            made.append((kind, names))
            return real(one, kind, names)

        monkeypatch.setattr(Renderer, "exposition", counted)
        few = replace(ZIPPED, names=frozenset({"netns_info"}))
        self.pages()(1.0, (ZIPPED, TEXT, few))
        assert made == [(TEXT.content_type, None), (TEXT.content_type, few.names)]

    def test_the_servers_own_families_are_chosen_too(self) -> None:
        own = CollectorRegistry(auto_describe=True)
        own.register(ServerStats())
        names = frozenset({"netns_info", "netns_exporter_connections"})
        few = replace(TEXT, names=names)

        page = ResponseBuilder(lambda _: PARCEL, Renderer("1"), own, nothing)(
            1.0, (few,)
        )[few].decode()

        assert {
            line.split(" ")[2] for line in page.splitlines() if "#" in line
        } == names

    def test_pages_of_one_collection_and_of_the_next_share_what_is_the_same(
        self,
    ) -> None:
        pages = self.pages()

        first, second, third = (pages(1.0, (ZIPPED, OPEN, TEXT)) for _ in range(3))

        assert first[TEXT] == second[TEXT] == third[TEXT]
        for made in (first, second, third):
            assert gzip.decompress(made[ZIPPED]) == made[TEXT]
            assert gzip.decompress(made[OPEN]).endswith(b"# EOF\n")

    def test_what_is_no_parcel_is_told(self) -> None:
        with pytest.raises(msgspec.DecodeError):
            ResponseBuilder(
                lambda _: b"{", Renderer("1"), CollectorRegistry(), nothing
            )(1.0, (TEXT,))
