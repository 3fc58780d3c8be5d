"""Collections are shared and never older than a request, and few requests wait."""

import asyncio
import itertools
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from exporter.pages.query import PageRequest, RenderedPage
from exporter.privsep.channel import CollectionFailedError, PeerGoneError
from exporter.web.negotiation import ScrapeRequest, choose_format
from exporter.web.peers import Peer
from exporter.web.responses import PageFailedError, Request
from exporter.web.scrape_queue import (
    MAX_NAME_CHOICES,
    MAX_PAGES,
    MAX_WAITING,
    ScrapeQueue,
    TooManyRequestsError,
)
from testing.lab import wait_until
from tests.support.clients import SECONDS

ENCODE, TYPE = choose_format("")
TEXT = ScrapeRequest(content_type=TYPE, encode=ENCODE)
GZIP = replace(TEXT, gzip=True)
PEER = Peer(b"192.0.2.1")


def other_peer(number: int) -> Peer:
    return Peer(b"other %d" % number)


def selection(number: int) -> ScrapeRequest:
    return replace(TEXT, names=frozenset({str(number)}))


class FakeResponder:
    """
    Collections that end when *go* is released, pages when *render* is.

    Attributes:
        calls: of collect(): seconds and requests.
        most_selections: made from one collection.
        done: what was begun, in order: "collection", or the owner of a page.
    """

    def __init__(self) -> None:
        self.collections = 0
        self.calls: list[tuple[float, Collection[Request]]] = []
        self.done: list[str] = []
        self.go = threading.Semaphore(0)
        self.render = threading.Semaphore(0)
        self.error: Exception | None = None
        self.most_selections = 1000

    def collect(
        self, seconds: float, requests: Collection[Request]
    ) -> dict[ScrapeRequest, bytes]:
        self.calls.append((seconds, requests))
        self.done.append("collection")
        assert self.go.acquire(timeout=SECONDS)
        self.collections += 1
        if self.error:
            raise self.error
        scrapes = [item for item in requests if isinstance(item, ScrapeRequest)]
        complete = [scrape for scrape in scrapes if not scrape.is_selection]
        selections = [scrape for scrape in scrapes if scrape.is_selection]
        made = complete + selections[: self.most_selections]
        return dict.fromkeys(made, str(self.collections).encode())

    def render_page(self, request: PageRequest) -> RenderedPage:
        self.done.append(request.owner)
        assert self.render.acquire(timeout=SECONDS)
        if request.owner == "bad":
            raise PageFailedError
        return RenderedPage(body=f"{request.owner} of {self.collections}".encode())


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


class Scrapes:
    """Requests to a queue, in the order in which they are made."""

    def __init__(self, responder: FakeResponder, worker: ThreadPoolExecutor) -> None:
        self.responder = responder
        self.fatal: list[Exception] = []
        self.queue = ScrapeQueue(responder, worker, self.fatal.append)

    async def begin(
        self,
        request: ScrapeRequest | None = TEXT,
        seconds: float = SECONDS,
        peer: Peer = PEER,
    ) -> asyncio.Task[bytes]:
        task = asyncio.create_task(self.queue.scrape(request, seconds, peer))
        await asyncio.sleep(0)
        return task

    async def begin_page(
        self, owner: str, seconds: float = SECONDS, peer: Peer = PEER
    ) -> asyncio.Task[RenderedPage]:
        request = PageRequest(page="namespace", owner=owner)
        task = asyncio.create_task(self.queue.page(request, seconds, peer))
        await asyncio.sleep(0)
        return task

    async def running(self, number: int = 1) -> None:
        """Wait until so many collections have begun."""
        await asyncio.to_thread(wait_until, lambda: len(self.responder.calls) >= number)


def run(main: Callable[[Scrapes], Any], worker: ThreadPoolExecutor) -> Scrapes:
    scrapes = Scrapes(FakeResponder(), worker)
    asyncio.run(main(scrapes))
    return scrapes


def test_requests_during_a_collection_share_the_next(
    worker: ThreadPoolExecutor,
) -> None:
    async def main(scrapes: Scrapes) -> None:
        first = await scrapes.begin()
        await scrapes.running()
        late = [await scrapes.begin() for _ in range(5)]
        scrapes.responder.go.release(2)
        assert await first == b"1"
        assert await asyncio.gather(*late) == [b"2"] * 5

    assert run(main, worker).responder.collections == 2


def test_equal_requests_are_made_once(worker: ThreadPoolExecutor) -> None:
    async def main(scrapes: Scrapes) -> None:
        first = await scrapes.begin(None)
        await scrapes.running()
        late = [await scrapes.begin(request) for request in (TEXT, GZIP, TEXT, None)]
        scrapes.responder.go.release(2)
        await asyncio.gather(first, *late)
        assert [requests for _, requests in scrapes.responder.calls] == [
            (),
            (TEXT, GZIP),
        ]

    run(main, worker)


def test_a_request_past_its_deadline_ends_and_delays_none(
    worker: ThreadPoolExecutor,
) -> None:
    async def main(scrapes: Scrapes) -> None:
        first = await scrapes.begin(seconds=0.05)
        await scrapes.running()
        for task in (first, await scrapes.begin(seconds=0.05)):
            with pytest.raises(TimeoutError):
                await task
        scrapes.responder.go.release()
        scrapes.responder.go.release()
        last = await scrapes.begin()
        assert await last == b"2"  # no request was left for another in between

    run(main, worker)


def test_a_collection_has_the_time_of_the_longest_deadline(
    worker: ThreadPoolExecutor,
) -> None:
    async def main(scrapes: Scrapes) -> None:
        first = await scrapes.begin()
        await scrapes.running()
        both = [await scrapes.begin(seconds=20), await scrapes.begin(seconds=60)]
        scrapes.responder.go.release(2)
        await asyncio.gather(first, *both)
        assert 50 < scrapes.responder.calls[1][0] <= 60

    run(main, worker)


class TestSelections:
    """Selections by name[] have their turn by peer, and delay no complete scrape."""

    def test_of_too_many_the_last_in_turn_is_refused(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main(scrapes: Scrapes) -> None:
            first = await scrapes.begin()
            await scrapes.running()
            greedy = [await scrapes.begin(selection(0)) for _ in range(MAX_WAITING)]
            with pytest.raises(TooManyRequestsError, match="128 requests"):
                await (await scrapes.begin(selection(0)))
            complete = [await scrapes.begin() for _ in range(MAX_WAITING)]
            honest = await scrapes.begin(selection(0), peer=other_peer(0))
            with pytest.raises(TooManyRequestsError):
                await greedy.pop()
            greedy.pop().cancel()  # a client that disconnects makes room
            await asyncio.sleep(0)
            greedy.append(await scrapes.begin(selection(0)))
            scrapes.responder.go.release(2)
            await asyncio.gather(first, honest, *complete, *greedy)

        run(main, worker)

    def test_only_so_many_are_made_from_one_collection(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main(scrapes: Scrapes) -> None:
            first = await scrapes.begin()
            await scrapes.running()
            tasks = [
                await scrapes.begin(selection(at))
                for at in range(2 * MAX_NAME_CHOICES + 1)
            ]
            complete = [await scrapes.begin(request) for request in (TEXT, GZIP)]
            scrapes.responder.go.release(4)
            assert await first == b"1"
            assert await asyncio.gather(*complete) == [b"2"] * 2
            bodies = await asyncio.gather(*tasks)
            each = [bodies.count(b"%d" % number) for number in (2, 3, 4)]
            assert each == [MAX_NAME_CHOICES, MAX_NAME_CHOICES, 1]

        run(main, worker)

    def test_a_peer_that_had_no_turn_is_before_those_that_had_one(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main(scrapes: Scrapes) -> None:
            async def begin_many(start: int) -> list[asyncio.Task[bytes]]:
                return [
                    await scrapes.begin(selection(start + at), peer=other_peer(at))
                    for at in range(2 * MAX_NAME_CHOICES)
                ]

            many = await begin_many(0)
            scrapes.responder.go.release(4)
            await asyncio.gather(*many)
            first = await scrapes.begin()
            await scrapes.running(len(scrapes.responder.calls) + 1)
            again = await begin_many(100)
            honest = await scrapes.begin(selection(99))
            done = scrapes.responder.collections
            scrapes.responder.go.release(20)
            await first
            assert await honest == b"%d" % (done + 2)
            await asyncio.gather(*again)

        run(main, worker)

    def test_one_that_is_left_out_waits_for_the_next_collection(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main(scrapes: Scrapes) -> None:
            scrapes.responder.most_selections = 1
            tasks = [await scrapes.begin(selection(at)) for at in range(3)]
            scrapes.responder.go.release(3)
            assert sorted(await asyncio.gather(*tasks)) == [b"1", b"2", b"3"]

        run(main, worker)


@pytest.mark.parametrize("error", [CollectionFailedError(), TimeoutError()])
def test_a_failed_collection_does_not_affect_the_next(
    worker: ThreadPoolExecutor, error: Exception
) -> None:
    async def main(scrapes: Scrapes) -> None:
        scrapes.responder.error = error
        scrapes.responder.go.release()
        with pytest.raises(type(error)):
            await (await scrapes.begin())
        assert scrapes.queue.last_success is None
        scrapes.responder.error = None
        scrapes.responder.go.release()
        assert await (await scrapes.begin()) == b"2"
        assert scrapes.queue.last_success is not None

    assert not run(main, worker).fatal


@pytest.mark.parametrize("error", [PeerGoneError("gone"), msgspec.DecodeError("bad")])
def test_without_a_usable_collector_the_process_ends(
    worker: ThreadPoolExecutor, error: Exception
) -> None:
    async def main(scrapes: Scrapes) -> None:
        scrapes.responder.error = error
        scrapes.responder.go.release()
        with pytest.raises(CollectionFailedError):
            await (await scrapes.begin())

    assert run(main, worker).fatal == [error]


class TestPages:
    def test_a_scrape_waits_for_one_page_at_most(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main(scrapes: Scrapes) -> None:
            responder = scrapes.responder
            pages = [await scrapes.begin_page(owner) for owner in "abc"]
            await scrapes.running()
            pages += [await scrapes.begin_page(owner) for owner in "de"]
            responder.go.release(10)
            for number in (1, 2):
                await asyncio.to_thread(rendering, responder, number)
                scrape = await scrapes.begin()
                responder.render.release()
                await scrape
            responder.render.release(10)
            await asyncio.gather(*pages)

        def rendering(responder: FakeResponder, number: int) -> None:
            wait_until(lambda: len({*responder.done} - {"collection"}) == number)

        order = run(main, worker).responder.done
        assert [step for step in order if step != "collection"] == [*"abcde"]
        for first, second in itertools.pairwise(order[: order.index("c") + 1]):
            assert "collection" in {first, second}

    def test_a_page_waits_for_one_collection_at_most(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main(scrapes: Scrapes) -> None:
            page = await scrapes.begin_page("a")
            await scrapes.running()
            scrape = await scrapes.begin()
            scrapes.responder.go.release(2)
            scrapes.responder.render.release()
            await asyncio.gather(page, scrape)

        assert run(main, worker).responder.done == ["collection", "a", "collection"]

    def test_a_page_is_rendered_once_and_not_older_than_its_requests(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main(scrapes: Scrapes) -> None:
            first = await scrapes.begin()
            await scrapes.running()
            same = [await scrapes.begin_page("a") for _ in range(5)]
            scrapes.responder.go.release(2)
            scrapes.responder.render.release()
            assert await first == b"1"
            for page in await asyncio.gather(*same):
                assert page.body == b"a of 2"

        run(main, worker)

    def test_a_page_that_waits_is_rendered_from_the_newest_snapshot(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main(scrapes: Scrapes) -> None:
            first = await scrapes.begin()
            await scrapes.running()
            pages = [await scrapes.begin_page(owner) for owner in "ab"]
            scrapes.responder.go.release(3)
            assert await first == b"1"
            await asyncio.to_thread(wait_until, lambda: "a" in scrapes.responder.done)
            scrape = await scrapes.begin()
            scrapes.responder.render.release(2)
            assert await scrape == b"3"
            assert [page.body for page in await asyncio.gather(*pages)] == [
                b"a of 2",
                b"b of 3",
            ]
            assert {*scrapes.responder.calls[2][1]} == {
                TEXT,
                PageRequest(page="namespace", owner="b"),
            }

        run(main, worker)

    def test_a_page_past_its_deadline_is_not_rendered(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main(scrapes: Scrapes) -> None:
            late = await scrapes.begin_page("late", seconds=0.05)
            await scrapes.running()
            with pytest.raises(TimeoutError):
                await late
            scrapes.responder.go.release(2)
            assert await (await scrapes.begin()) == b"2"

        assert run(main, worker).responder.done == ["collection"] * 2

    def test_a_page_that_fails_affects_no_other_request(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main(scrapes: Scrapes) -> None:
            bad = await scrapes.begin_page("bad")
            good, scrape = await scrapes.begin_page("good"), await scrapes.begin()
            scrapes.responder.go.release(3)
            scrapes.responder.render.release(2)
            with pytest.raises(PageFailedError):
                await bad
            assert (await good).body
            assert await scrape

        assert not run(main, worker).fatal

    def test_only_so_many_different_pages_may_wait(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main(scrapes: Scrapes) -> None:
            tasks = [await scrapes.begin_page(str(at)) for at in range(MAX_PAGES)]
            with pytest.raises(TooManyRequestsError, match="8 different pages"):
                await (await scrapes.begin_page("more"))
            tasks.append(await scrapes.begin_page("0"))
            scrape = await scrapes.begin()
            scrapes.responder.go.release(20)
            scrapes.responder.render.release(20)
            await asyncio.gather(scrape, *tasks)

        run(main, worker)

    def test_a_failed_collection_is_the_error_of_its_pages(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main(scrapes: Scrapes) -> None:
            scrapes.responder.error = CollectionFailedError()
            scrapes.responder.go.release()
            with pytest.raises(CollectionFailedError):
                await (await scrapes.begin_page("a"))

        run(main, worker)
