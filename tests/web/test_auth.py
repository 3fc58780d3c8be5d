"""Basic authentication: which credentials are accepted, and what rejection costs."""

import asyncio
import base64
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web import auth
from exporter.web.auth import (
    MAX_REJECTED,
    MAX_WAITING,
    MAX_WRONG,
    Authenticator,
    Credentials,
    TooManyChecksError,
    TooManyWrongPasswordsError,
    Users,
    parse_authorization,
)
from exporter.web.peers import Peer
from tests.support.clients import SECONDS


def hashed(password: str, cost: int = 4) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


SECRET = hashed("open:sesame")
PEER = Peer(b"192.0.2.1")


def other_peer(number: int) -> Peer:
    return Peer(b"other %d" % number)


def basic(name: str, password: str) -> str:
    return encoded(f"{name}:{password}".encode())


def encoded(credentials: bytes) -> str:
    return f"Basic {base64.b64encode(credentials).decode()}"


def accepts(hashes: dict[str, str], name: str, password: str) -> bool:
    return Users(hashes)(Credentials(name, password.encode()))


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the hashes that bcrypt checks from now on."""
    hashes: list[str] = []
    check = bcrypt.checkpw

    def counting(password: bytes, hashed: bytes) -> bool:
        result = check(password, hashed)  # raises if it did not compute
        hashes.append(hashed.decode())
        return result

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    return hashes


class TestHeader:
    def test_the_example_of_the_rfc(self) -> None:
        credentials = parse_authorization("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")

        assert credentials == Credentials("Aladdin", b"open sesame")

    def test_the_first_colon_ends_the_name(self) -> None:
        credentials = parse_authorization(basic("Aladdin", "open:sesame"))

        assert credentials == Credentials("Aladdin", b"open:sesame")

    @pytest.mark.parametrize("scheme", ["basic", "BASIC", "Basic ", "bAsIc  "])
    def test_case_and_spaces_of_the_scheme_do_not_matter(self, scheme: str) -> None:
        header = basic("Aladdin", "open:sesame").replace("Basic", scheme)

        assert parse_authorization(header)

    @pytest.mark.parametrize(
        "header",
        [
            "",
            "Basic",
            "Basic ",
            "Basic =",
            "Basic QWxhZGRpbg",
            "Basic QWxhZGRpbg==",  # no colon
            "Basic QWxh\nZGRpbjo=",
            "Basic ÄÖÜ",
            "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            "QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            "Basic QWxhZGRpbjo= QWxhZGRpbjo=",
            encoded(b"Aladdin:\xff"),
        ],
    )
    def test_a_header_that_is_not_basic_has_no_credentials(self, header: str) -> None:
        assert parse_authorization(header) is None

    @given(st.text() | st.text().map("Basic {}".format) | st.binary().map(encoded))
    def test_any_header_has_credentials_or_none(self, header: str) -> None:
        credentials = parse_authorization(header)

        assert credentials is None or ":" not in credentials.name


class TestUsers:
    """The password decides, and only that of the name."""

    @pytest.mark.parametrize(
        ("name", "password"),
        [
            ("Aladdin", "open"),
            ("Aladdin", ""),
            ("Aladdin", "open:sesame "),
            ("aladdin", "open:sesame"),
            ("Ali", "open:sesame"),
            ("", "open:sesame"),
        ],
    )
    def test_other_names_and_passwords_are_rejected(
        self, name: str, password: str
    ) -> None:
        assert accepts({"Aladdin": SECRET}, "Aladdin", "open:sesame")
        assert not accepts({"Aladdin": SECRET}, name, password)

    def test_a_password_is_valid_for_its_own_user_only(self) -> None:
        hashes = {"one": hashed("1"), "two": hashed("2")}

        assert accepts(hashes, "one", "1")
        assert accepts(hashes, "two", "2")
        assert not accepts(hashes, "one", "2")
        assert not accepts(hashes, "two", "1")

    def test_names_and_passwords_are_utf_8(self) -> None:
        assert accepts({"Jörg": hashed("пароль")}, "Jörg", "пароль")

    @pytest.mark.parametrize("version", ["2a", "2b", "2y"])
    def test_hashes_of_every_tool_are_accepted(self, version: str) -> None:
        hashes = {"Aladdin": SECRET.replace("2b", version, 1)}

        assert accepts(hashes, "Aladdin", "open:sesame")

    def test_without_users_all_are_rejected(self) -> None:
        assert not accepts({}, "", "")

    def test_an_invalid_hash_accepts_no_password(self) -> None:
        assert not accepts({"Aladdin": "$2b$04$"}, "Aladdin", "")

    def test_a_password_has_at_most_the_bytes_that_bcrypt_checks(self) -> None:
        longest = "ä" * 36
        hashes = {"Aladdin": hashed(longest)}

        assert accepts(hashes, "Aladdin", longest)
        assert not accepts(hashes, "Aladdin", f"{longest}!")

    @given(st.text(max_size=12), st.text(max_size=40))
    def test_the_right_password_is_accepted(self, name: str, password: str) -> None:
        short = password.encode()[:72].decode(errors="ignore")

        assert accepts({name: hashed(short)}, name, short)


class TestCost:
    """A rejection costs the same, whatever the reason."""

    @pytest.mark.parametrize("name", ["Ali", "", "Aladdin ", "\0", "x" * 10_000])
    def test_an_unknown_name_costs_what_a_user_costs(
        self, checked: list[str], name: str
    ) -> None:
        assert not accepts({"Aladdin": SECRET}, name, "open:sesame")

        assert checked == [SECRET]

    def test_an_unknown_name_costs_the_same_each_time(self, checked: list[str]) -> None:
        users = Users({str(cost): hashed("x", cost) for cost in (4, 5, 6)})
        for at in range(40):
            users(Credentials("Ali", b"a%d" % at))
        assert len(set(checked)) == 1
        for at in range(40):
            users(Credentials(f"Ali{at}", b"a"))

        assert len(set(checked)) == 3, "equal costs would reveal an unknown name"

    def test_a_password_too_long_costs_what_a_wrong_one_costs(
        self, checked: list[str]
    ) -> None:
        assert not accepts({"Aladdin": SECRET}, "Aladdin", "x" * 73)

        assert checked == [SECRET]


@pytest.fixture
def worker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), SECONDS))


class TestCache:
    """A scraper sends the same credentials each time: they are checked once."""

    @pytest.mark.parametrize(
        ("name", "password", "valid"),
        [
            ("Aladdin", "open:sesame", True),
            ("Aladdin", "wrong", False),
            ("Ali", "open:sesame", False),
            ("Aladdin", "x" * 73, False),
        ],
    )
    def test_a_result_is_cached(
        self,
        worker: ThreadPoolExecutor,
        checked: list[str],
        name: str,
        password: str,
        *,
        valid: bool,
    ) -> None:
        async def main() -> None:
            authenticator = Authenticator(Users({"Aladdin": SECRET}), worker)
            header = basic(name, password)
            together = [authenticator.authenticate(header, PEER) for _ in range(3)]
            assert await asyncio.gather(*together) == [valid] * 3
            assert await authenticator.authenticate(header, PEER) == valid

        run(main)
        assert len(checked) == 1

    def test_credentials_that_look_alike_when_joined_are_not_the_same(
        self, worker: ThreadPoolExecutor, checked: list[str]
    ) -> None:
        async def main() -> None:
            authenticator = Authenticator(Users({"a": SECRET}), worker)
            await authenticator.authenticate(basic("a", "bc"), PEER)
            await authenticator.authenticate(basic("ab", "c"), PEER)
            await authenticator.authenticate(basic("", "abc"), PEER)

        run(main)
        assert len(checked) == 3

    def test_rejected_credentials_are_evicted_and_accepted_ones_are_not(
        self, worker: ThreadPoolExecutor
    ) -> None:
        verified: list[bytes] = []

        def verify(credentials: Credentials) -> bool:
            verified.append(credentials.password)
            return credentials.password == b"right"

        async def main() -> None:
            authenticator = Authenticator(verify, worker)
            assert await authenticator.authenticate(basic("a", "right"), PEER)
            for at in range(MAX_REJECTED + 1):
                guess, peer = basic("a", f"{at}"), other_peer(at)
                assert not await authenticator.authenticate(guess, peer)
            assert await authenticator.authenticate(basic("a", "right"), PEER)
            assert len(authenticator._results) == MAX_REJECTED + 1
            for password in ("1", "0"):  # the latter was evicted
                assert not await authenticator.authenticate(basic("a", password), PEER)

        run(main)
        assert verified.count(b"right") == 1
        assert (verified.count(b"0"), verified.count(b"1")) == (2, 1)

    def test_no_password_is_kept(self, worker: ThreadPoolExecutor) -> None:
        async def main() -> None:
            users = Users({"Aladdin": SECRET})
            digests: list[bytes] = []
            for _ in range(2):
                authenticator = Authenticator(users, worker)
                await authenticator.authenticate(basic("Aladdin", "open:sesame"), PEER)
                digests.append(*authenticator._results)
            assert {len(digest) for digest in digests} == {32}
            assert digests[0] != digests[1], "a key of its own protects the digest"

        run(main)


class Held:
    """
    Passwords of which each check waits for *go*; "right" is the right one.

    Attributes:
        checked: all that were checked, in order.
    """

    def __init__(self, worker: ThreadPoolExecutor) -> None:
        self.checked: list[bytes] = []
        self.go = threading.Semaphore(0)
        self.authenticator = Authenticator(self.verify, worker)

    def verify(self, credentials: Credentials) -> bool:
        assert self.go.acquire(timeout=SECONDS)
        self.checked.append(credentials.password)
        return credentials.password == b"right"

    async def begin(self, password: str, peer: Peer = PEER) -> asyncio.Task[bool]:
        header = basic("a", password)
        task = asyncio.create_task(self.authenticator.authenticate(header, peer))
        await asyncio.sleep(0)
        return task


class TestQueue:
    """Guessed passwords delay neither cached ones nor those of other peers."""

    def test_peers_have_their_turn_one_after_another(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main() -> None:
            held = Held(worker)
            guesses = [await held.begin(f"guess {at}") for at in range(10)]
            right = await held.begin("right", other_peer(1))
            held.go.release(11)
            assert await right
            assert not any(await asyncio.gather(*guesses))
            assert held.checked[:2] == [b"guess 0", b"right"]

        run(main)

    def test_a_peer_that_had_no_turn_is_before_those_that_had_one(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main() -> None:
            held = Held(worker)
            tasks = [await held.begin(f"{at}", other_peer(at)) for at in range(3)]
            held.go.release(3)
            await asyncio.gather(*tasks)
            tasks = [await held.begin(f"{at}b", other_peer(at)) for at in range(3)]
            tasks.append(await held.begin("right"))
            held.go.release(4)
            await asyncio.gather(*tasks)
            assert held.checked[3:] == [b"0b", b"right", b"2b", b"1b"]

        run(main)

    def test_of_too_many_the_last_in_turn_is_refused(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main() -> None:
            held = Held(worker)
            first = await held.begin("first", other_peer(999))
            peers = [other_peer(at // 2) for at in range(MAX_WAITING)]
            tasks = [await held.begin(f"{at}", peer) for at, peer in enumerate(peers)]
            right = await held.begin("right")
            with pytest.raises(TooManyChecksError):
                await tasks.pop(1)
            tasks.pop(0).cancel()  # a client that disconnects makes room
            await asyncio.sleep(0)
            tasks.append(await held.begin("more", other_peer(0)))
            held.go.release(MAX_WAITING + 1)
            assert await right
            assert not any(await asyncio.gather(first, *tasks))
            assert b"0" not in held.checked

        run(main)

    def test_cached_credentials_do_not_wait(self, worker: ThreadPoolExecutor) -> None:
        async def main() -> None:
            held = Held(worker)
            held.go.release()
            assert await (await held.begin("right"))
            guess = await held.begin("guess")
            assert await (await held.begin("right"))
            assert not await held.authenticator.authenticate("", PEER)
            held.go.release()
            assert not await guess

        run(main)

    def test_a_failed_check_does_not_affect_the_next(
        self, worker: ThreadPoolExecutor
    ) -> None:
        failures = [RuntimeError("a bug")]

        def verify(_credentials: Credentials) -> bool:
            if failures:
                raise failures.pop()
            return True

        async def main() -> None:
            authenticator = Authenticator(verify, worker)
            with pytest.raises(RuntimeError):
                await authenticator.authenticate(basic("a", "b"), PEER)
            assert await authenticator.authenticate(basic("a", "b"), PEER)

        run(main)


class TestAllowance:
    """A peer that guesses is refused without a check, and no other peer."""

    @pytest.fixture(autouse=True)
    def no_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(auth, "WRONG_SECONDS", 1000.0)

    def test_after_some_wrong_passwords_no_more_are_checked(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main() -> None:
            held = Held(worker)
            held.go.release(MAX_WRONG + 100)
            refused = 0
            for at in range(MAX_WRONG + 100):
                try:
                    assert not await (await held.begin(f"{at}"))
                except TooManyWrongPasswordsError:
                    refused += 1
            assert (refused, len(held.checked)) == (100, MAX_WRONG)
            assert await (await held.begin("right", other_peer(1)))

        run(main)

    def test_only_wrong_passwords_that_were_checked_count(
        self, worker: ThreadPoolExecutor
    ) -> None:
        async def main() -> None:
            held = Held(worker)
            held.go.release(2)
            assert await (await held.begin("right"))
            assert not await (await held.begin("wrong"))
            for _ in range(2 * MAX_WRONG):
                assert await (await held.begin("right"))
                assert not await (await held.begin("wrong"))
            being_checked = await held.begin("other", other_peer(1))
            for at in range(2 * MAX_WRONG):
                task = await held.begin(f"{at}")
                task.cancel()
                await asyncio.sleep(0)
            held.go.release(2)
            assert not await being_checked
            assert not await (await held.begin("new"))

        run(main)
