"""Collections are shared, never old, and few wait for them."""

import asyncio
import gzip
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from exporter.chunks import Chunk
from exporter.exposition import Names, Renderer
from exporter.privsep import CollectionFailedError, PeerGoneError
from exporter.scraper import (
    MAX_FILTERED,
    MAX_WAITING,
    Pages,
    Scraper,
    TooManyError,
)
from exporter.tally import Tally
from exporter.wishes import Wanted, negotiate
from tests.builders import a_namespace, a_parcel, the_hosts_namespace
from tests.clients import SECONDS
from tests.lab import wait_until

PARCEL = msgspec.json.encode(a_parcel(the_hosts_namespace(), a_namespace()))
ENCODE, TYPE = negotiate("")
TEXT = Wanted(content_type=TYPE, encode=ENCODE)
ZIPPED = replace(TEXT, gzip=True)
OPEN_ENCODE, OPEN_TYPE = negotiate("application/openmetrics-text; version=1.0.0")
OPEN = Wanted(content_type=OPEN_TYPE, encode=OPEN_ENCODE, gzip=True)


class Node:
    """A collector whose collections end when they are let go; each has a number."""

    def __init__(self) -> None:
        self.collections = 0
        self.asked: list[tuple[float, Collection[Wanted]]] = []
        self.go = threading.Semaphore(0)
        self.error: Exception | None = None

    def __call__(
        self, seconds: float, forms: Collection[Wanted]
    ) -> dict[Wanted, bytes]:
        self.asked.append((seconds, forms))
        assert self.go.acquire(timeout=SECONDS)
        self.collections += 1
        if self.error:
            raise self.error
        return dict.fromkeys(forms, str(self.collections).encode())


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as one:
        yield one


class Scrapes:
    """Requests to a scraper, in the order they are made."""

    def __init__(self, node: Node, worker: ThreadPoolExecutor) -> None:
        self.node = node
        self.ended: list[Exception] = []
        self.scraper = Scraper(node, worker, self.ended.append)

    async def begin(
        self, form: Wanted | None = TEXT, seconds: float = SECONDS
    ) -> asyncio.Task[bytes]:
        task = asyncio.create_task(self.scraper.page(form, seconds))
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
        with pytest.raises(TooManyError, match="64 requests"):
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
    def chosen(at: int) -> Wanted:
        return replace(TEXT, names=frozenset({str(at)}))

    async def main(scrapes: Scrapes) -> None:
        every = [await scrapes.begin()]
        await scrapes.running()
        every += [await scrapes.begin(chosen(at)) for at in range(MAX_FILTERED)]
        with pytest.raises(TooManyError, match="name"):
            await (await scrapes.begin(chosen(MAX_FILTERED)))
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
        assert scrapes.scraper.succeeded is None
        scrapes.node.error = None
        scrapes.node.go.release()
        assert await (await scrapes.begin()) == b"2"
        assert scrapes.scraper.succeeded is not None

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


class TestPages:
    def pages(self) -> Pages:
        return Pages(lambda _: PARCEL, "1", CollectorRegistry())

    def test_a_zipped_page_is_the_same(self) -> None:
        made = self.pages()(1.0, (TEXT, ZIPPED))

        assert gzip.decompress(made[ZIPPED]) == made[TEXT]

    def test_each_choice_is_rendered_once(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[object] = []
        real = Renderer.page

        def counted(one: Renderer, kind: str, names: Names) -> list[Chunk]:
            made.append((kind, names))
            return real(one, kind, names)

        monkeypatch.setattr(Renderer, "page", counted)
        few = replace(ZIPPED, names=frozenset({"netns_info"}))
        self.pages()(1.0, (ZIPPED, TEXT, few))
        assert made == [(TEXT.content_type, None), (TEXT.content_type, few.names)]

    def test_the_servers_own_families_are_chosen_too(self) -> None:
        own = CollectorRegistry(auto_describe=True)
        own.register(Tally())
        names = frozenset({"netns_info", "netns_exporter_connections"})
        few = replace(TEXT, names=names)

        page = Pages(lambda _: PARCEL, "1", own)(1.0, (few,))[few].decode()

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
            Pages(lambda _: b"{", "1", CollectorRegistry())(1.0, (TEXT,))
