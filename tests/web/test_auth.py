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

from exporter.web.auth import (
    MAX_REJECTED,
    MAX_WAITING,
    Authenticator,
    Credentials,
    TooManyChecksError,
    Users,
    parse_authorization,
)
from tests.support.clients import SECONDS


def hashed(password: str, cost: int = 4) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


SECRET = hashed("open:sesame")


def basic(name: str, password: str) -> str:
    return encoded(f"{name}:{password}".encode())


def encoded(credentials: bytes) -> str:
    return f"Basic {base64.b64encode(credentials).decode()}"


def accepts(hashes: dict[str, str], name: str, password: str) -> bool:
    return Users(hashes).verify(Credentials(name, password.encode()))


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
            users.verify(Credentials("Ali", b"a%d" % at))
        assert len(set(checked)) == 1
        for at in range(40):
            users.verify(Credentials(f"Ali{at}", b"a"))

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
            authenticator = Authenticator(Users({"Aladdin": SECRET}).verify, worker)
            header = basic(name, password)
            together = [authenticator.authenticate(header) for _ in range(3)]
            assert await asyncio.gather(*together) == [valid] * 3
            assert await authenticator.authenticate(header) == valid

        run(main)
        assert len(checked) == 1

    def test_credentials_that_look_alike_when_joined_are_not_the_same(
        self, worker: ThreadPoolExecutor, checked: list[str]
    ) -> None:
        async def main() -> None:
            authenticator = Authenticator(Users({"a": SECRET}).verify, worker)
            await authenticator.authenticate(basic("a", "bc"))
            await authenticator.authenticate(basic("ab", "c"))
            await authenticator.authenticate(basic("", "abc"))

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
            assert await authenticator.authenticate(basic("a", "right"))
            for at in range(MAX_REJECTED + 1):
                assert not await authenticator.authenticate(basic("a", f"{at}"))
            assert await authenticator.authenticate(basic("a", "right"))
            assert len(authenticator._results) == MAX_REJECTED + 1
            for password in ("1", "0"):  # the latter was evicted
                assert not await authenticator.authenticate(basic("a", password))

        run(main)
        assert verified.count(b"right") == 1
        assert (verified.count(b"0"), verified.count(b"1")) == (2, 1)

    def test_no_password_is_kept(self, worker: ThreadPoolExecutor) -> None:
        async def main() -> None:
            users = Users({"Aladdin": SECRET})
            digests: list[bytes] = []
            for _ in range(2):
                authenticator = Authenticator(users.verify, worker)
                await authenticator.authenticate(basic("Aladdin", "open:sesame"))
                digests.append(*authenticator._results)
            assert {len(digest) for digest in digests} == {32}
            assert digests[0] != digests[1], "a key of its own protects the digest"

        run(main)


class TestQueue:
    """Guessed passwords delay neither cached ones nor one another without limit."""

    def test_only_so_many_wait(self, worker: ThreadPoolExecutor) -> None:
        going, verified = threading.Event(), []

        def verify(credentials: Credentials) -> bool:
            verified.append(credentials.password)
            return credentials.password == b"right" or (going.wait(SECONDS) and False)

        async def main() -> None:
            authenticator = Authenticator(verify, worker)
            assert await authenticator.authenticate(basic("a", "right"))
            guesses = [
                asyncio.create_task(authenticator.authenticate(basic("a", f"{at}")))
                for at in range(MAX_WAITING)
            ]
            await asyncio.sleep(0)
            with pytest.raises(TooManyChecksError):
                await authenticator.authenticate(basic("a", "other"))
            assert await authenticator.authenticate(basic("a", "right"))
            assert not await authenticator.authenticate("")
            guesses.pop().cancel()  # a client that disconnects makes room
            await asyncio.sleep(0)
            other = asyncio.create_task(authenticator.authenticate(basic("a", "other")))
            going.set()
            assert not any(await asyncio.gather(*guesses, other))

        run(main)
        assert verified.count(b"right") == 1
        assert str(MAX_WAITING - 1).encode() not in verified
