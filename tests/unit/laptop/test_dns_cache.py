"""Answers are kept as long as their records say, and given back as the nameserver would say them then."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.laptop import dns_cache
from bridge.laptop.dns_cache import AnswerCache

NAME = b"\x05tasks\x02db\0"
A, SOA, OPT = 1, 6, 41
NXDOMAIN, SERVFAIL, TRUNCATED = 3, 2, 0x0200


def query(name: bytes = NAME, kind: int = A, number: int = 7) -> bytes:
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + name + struct.pack("!HH", kind, 1)


def record(kind: int, ttl: int, data: bytes) -> bytes:
    return b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, ttl, len(data)) + data


def soa(ttl: int, minimum: int) -> bytes:
    return record(SOA, ttl, b"\0\0" + struct.pack("!5I", 1, 2, 3, 4, minimum))


def answer(*records: bytes, authority: tuple[bytes, ...] = (), extra: tuple[bytes, ...] = (), flags: int = 0) -> bytes:
    counts = struct.pack("!6H", 7, 0x8180 | flags, 1, len(records), len(authority), len(extra))
    return counts + query()[12:] + b"".join((*records, *authority, *extra))


def address(ttl: int) -> bytes:
    return record(A, ttl, b"\x0a\1\2\3")


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def cache(time) -> AnswerCache:
    return AnswerCache(time)


def test_it_is_given_back_with_the_id_of_who_asks(cache):
    cache.put(query(), answer(address(30)))
    assert cache.get(query(number=0xBEEF)) == b"\xbe\xef" + answer(address(30))[2:]


@given(st.lists(st.integers(1, 3600), min_size=1, max_size=5), st.floats(0, 100))
def test_ttls_get_less_and_the_smallest_ends_it(ttls, passed):
    time = Time()
    cache = AnswerCache(time)
    cache.put(query(), answer(*map(address, ttls)))
    time.now += passed
    if passed >= min(*ttls, dns_cache.LONGEST):
        assert cache.get(query()) is None
    else:
        assert cache.get(query()) == answer(*(address(ttl - int(passed)) for ttl in ttls))


@pytest.mark.parametrize("other", [query(b"\x05Tasks\x02db\0"), query(kind=28), query() + b"\0\0\x29\4\0\0\0\0\0\0\0"])
def test_another_question_has_another_answer(cache, other):
    cache.put(query(), answer(address(30)))
    assert cache.get(other) is None


@pytest.mark.parametrize("rcode", [0, NXDOMAIN])
def test_that_there_is_none_is_kept_as_long_as_the_zone_says(cache, time, rcode):
    cache.put(query(), answer(authority=(soa(300, 5),), flags=rcode))
    time.now += 4
    assert cache.get(query()) is not None
    time.now += 1
    assert cache.get(query()) is None


def test_the_size_in_an_opt_record_is_no_ttl(cache, time):
    opt = b"\0" + struct.pack("!HHIH", OPT, 1232, 0x00008000, 0)
    cache.put(query(), answer(address(30), extra=(opt,)))
    time.now += 1
    assert cache.get(query()) == answer(address(29), extra=(opt,))


@pytest.mark.parametrize(
    "said",
    [
        answer(address(30), flags=SERVFAIL),
        answer(address(30), flags=TRUNCATED),
        answer(address(0)),
        answer(),  # no such record, and nobody says for how long
        answer(flags=NXDOMAIN),
        answer(address(30))[:-1],
        b"\0" * 11,
    ],
)
def test_what_may_not_be_kept_is_not(cache, said):
    cache.put(query(), said)
    assert cache.get(query()) is None


@given(st.binary(max_size=100))
def test_no_answer_breaks_it(said):
    cache = AnswerCache(Time())
    cache.put(query(), said)
    cache.get(query())


def test_it_does_not_grow_without_end(cache, monkeypatch):
    monkeypatch.setattr(dns_cache, "ENTRIES", 2)
    names = [b"\1" + letter + b"\0" for letter in (b"a", b"b", b"c")]
    for name in names[:2]:
        cache.put(query(name), answer(address(30)))
    cache.get(query(names[0]))
    cache.put(query(names[2]), answer(address(30)))
    assert [cache.get(query(name)) is not None for name in names] == [True, False, True]
