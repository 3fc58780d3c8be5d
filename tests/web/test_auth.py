"""Who is let in by name and password, and what it costs to be kept out."""

import base64
from concurrent.futures import ThreadPoolExecutor

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web.auth import REMEMBERED, Users


def hashed(password: str, cost: int = 4) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


SECRET = hashed("open:sesame")


def basic(name: str, password: str) -> str:
    return encoded(f"{name}:{password}".encode())


def encoded(credentials: bytes) -> str:
    return f"Basic {base64.b64encode(credentials).decode()}"


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the hashes that bcrypt is asked about from now on."""
    asked: list[str] = []
    check = bcrypt.checkpw

    def counting(password: bytes, of: bytes) -> bool:
        result = check(password, of)  # it raises where it has not looked
        asked.append(of.decode())
        return result

    monkeypatch.setattr(bcrypt, "checkpw", counting)
    return asked


class TestCheck:
    """The password decides, and only that of the name."""

    def test_the_example_of_the_rfc(self) -> None:
        users = Users({"Aladdin": hashed("open sesame")})

        assert users.check("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")

    def test_the_first_colon_ends_the_name(self) -> None:
        assert Users({"Aladdin": SECRET}).check(basic("Aladdin", "open:sesame"))

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
    def test_anything_else_stays_outside(self, name: str, password: str) -> None:
        assert not Users({"Aladdin": SECRET}).check(basic(name, password))

    def test_a_password_opens_for_its_own_user_only(self) -> None:
        users = Users({"one": hashed("1"), "two": hashed("2")})

        assert users.check(basic("one", "1"))
        assert users.check(basic("two", "2"))
        assert not users.check(basic("one", "2"))
        assert not users.check(basic("two", "1"))

    @pytest.mark.parametrize("scheme", ["basic", "BASIC", "Basic ", "bAsIc  "])
    def test_case_and_spaces_of_the_scheme_do_not_matter(self, scheme: str) -> None:
        header = basic("Aladdin", "open:sesame").replace("Basic", scheme)

        assert Users({"Aladdin": SECRET}).check(header)

    def test_names_and_passwords_are_utf_8(self) -> None:
        assert Users({"Jörg": hashed("пароль")}).check(basic("Jörg", "пароль"))

    @pytest.mark.parametrize("version", ["2a", "2b", "2y"])
    def test_hashes_of_every_tool_are_taken(self, version: str) -> None:
        users = Users({"Aladdin": SECRET.replace("2b", version, 1)})

        assert users.check(basic("Aladdin", "open:sesame"))

    def test_without_users_nobody_is_let_in(self) -> None:
        assert not Users({}).check(basic("", ""))

    def test_a_hash_that_is_none_lets_nobody_in(self) -> None:
        assert not Users({"Aladdin": "$2b$04$"}).check(basic("Aladdin", ""))

    def test_a_password_is_as_long_as_bcrypt_can_see(self) -> None:
        longest = "ä" * 36
        users = Users({"Aladdin": hashed(longest)})

        assert users.check(basic("Aladdin", longest))
        assert not users.check(basic("Aladdin", f"{longest}!"))


class TestCost:
    """What does not match costs the same, whatever was wrong with it."""

    @pytest.mark.parametrize("name", ["Ali", "", "Aladdin ", "\0", "x" * 10_000])
    def test_an_unknown_name_costs_what_a_user_costs(
        self, checked: list[str], name: str
    ) -> None:
        assert not Users({"Aladdin": SECRET}).check(basic(name, "open:sesame"))

        assert checked == [SECRET]

    def test_an_unknown_name_costs_the_same_each_time(self, checked: list[str]) -> None:
        users = Users({str(cost): hashed("x", cost) for cost in (4, 5, 6)})
        for at in range(40):
            users.check(basic("Ali", f"a{at}"))
        assert len(set(checked)) == 1
        for at in range(40):
            users.check(basic(f"Ali{at}", "a"))

        assert len(set(checked)) == 3, "all unknown names cost the same: that tells"

    def test_a_password_too_long_costs_what_a_wrong_one_costs(
        self, checked: list[str]
    ) -> None:
        assert not Users({"Aladdin": SECRET}).check(basic("Aladdin", "x" * 73))

        assert checked == [SECRET]

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
    def test_what_is_no_basic_header_costs_nothing(
        self, checked: list[str], header: str
    ) -> None:
        assert not Users({"Aladdin": SECRET}).check(header)

        assert not checked


class TestMemory:
    """A scraper comes every few seconds: it pays once."""

    @pytest.mark.parametrize(
        ("name", "password", "good"),
        [
            ("Aladdin", "open:sesame", True),
            ("Aladdin", "wrong", False),
            ("Ali", "open:sesame", False),
            ("Aladdin", "x" * 73, False),
        ],
    )
    def test_what_was_asked_is_remembered(
        self, checked: list[str], name: str, password: str, *, good: bool
    ) -> None:
        users = Users({"Aladdin": SECRET})

        answers = [users.check(basic(name, password)) for _ in range(3)]

        assert answers == [good] * 3
        assert len(checked) == 1

    def test_what_looks_alike_when_joined_is_not_the_same(
        self, checked: list[str]
    ) -> None:
        users = Users({"a": SECRET, f"a{SECRET}": SECRET})
        users.check(basic("a", f"{SECRET}b"))
        users.check(basic(f"a{SECRET}", "b"))

        assert len(checked) == 2

    def test_no_more_than_so_many_are_remembered_and_the_least_used_go(
        self, checked: list[str]
    ) -> None:
        users = Users({"Aladdin": SECRET})
        good = basic("Aladdin", "open:sesame")
        users.check(good)
        for at in range(REMEMBERED):
            users.check(basic("Aladdin", f"wrong {at}"))
            assert users.check(good)

        assert len(checked) == REMEMBERED + 1
        assert len(users._results) == REMEMBERED
        users.check(basic("Aladdin", "wrong 0"))
        assert len(checked) == REMEMBERED + 2, "the least recently used was kept"

    def test_a_new_password_is_not_judged_by_what_was_said_of_the_old(self) -> None:
        users = Users({"Aladdin": SECRET})
        assert users.check(basic("Aladdin", "open:sesame"))

        users = Users({"Aladdin": hashed("new")})

        assert not users.check(basic("Aladdin", "open:sesame"))

    def test_no_password_is_kept(self) -> None:
        users = Users({"Aladdin": SECRET})
        users.check(basic("Aladdin", "open:sesame"))

        assert {len(key) for key in users._results} == {32}
        assert b"sesame" not in b"".join(users._results)
        assert users._results.keys().isdisjoint(_remembered_by_another())


def _remembered_by_another() -> list[bytes]:
    users = Users({"Aladdin": SECRET})
    users.check(basic("Aladdin", "open:sesame"))
    return list(users._results)


def test_threads_get_their_own_answers() -> None:
    users = Users({str(n): hashed(f"pass {n}") for n in range(8)})
    asked = [(at % 8, at % 7) for at in range(400)]

    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(
            lambda one: users.check(basic(str(one[0]), f"pass {one[1]}")), asked
        )

    assert list(answers) == [name == password for name, password in asked]


@given(st.text() | st.text().map("Basic {}".format) | st.binary().map(encoded))
def test_any_header_is_good_or_not(header: str) -> None:
    users = Users({"Aladdin": SECRET})

    assert users.check(header) is False


@given(st.text(max_size=12), st.text(max_size=40))
def test_whoever_knows_the_password_comes_in(name: str, password: str) -> None:
    name = name.replace(":", "")
    short = password.encode()[:72].decode(errors="ignore")

    assert Users({name: hashed(short)}).check(basic(name, short))
