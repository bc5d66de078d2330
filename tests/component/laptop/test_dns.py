"""The DNS server against real nameservers: they close, they are silent, they are gone."""

import asyncio
import socket
import struct
from typing import Self

import pytest

from bridge.laptop.dns import CONNECTIONS, DnsServer, Resolver
from bridge.laptop.dns_message import Query, identifier
from tests.component.laptop.peers import AAAA, A, Nameserver, encode_name

DB = "tasks-db.ns.svc.cluster.local"
SERVFAIL, NXDOMAIN = 2, 3
A_WHILE = 0.1
"""Seconds until a query is old: nothing is put behind it any more. (Time that passes is what is tested.)"""


def question(name: str, kind: int = A, number: int = 1) -> bytes:
    return struct.pack("!6H", number, 0x0100, 1, 0, 0, 0) + encode_name(name) + struct.pack("!HH", kind, 1)


def rcode(answer: bytes) -> int:
    return answer[3] & 0xF


class Client:
    """Asks over UDP."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        self._sock.connect(address)

    async def ask(self, query: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._sock, query)
        return await asyncio.wait_for(loop.sock_recv(self._sock, 65536), 10)

    def close(self) -> None:
        self._sock.close()


class World:
    """A DnsServer on a loopback socket; each nameserver's address is that of a port, or of nobody."""

    def __init__(self, nameservers: dict[str, int], timeout: float, round_trip: float) -> None:
        self.dials: list[str] = []
        self._ports = nameservers
        self._timeout = timeout
        self._round_trip = round_trip

    async def _dial(self, factory, host, port):
        assert port == 53
        self.dials.append(host)
        await asyncio.sleep(self._round_trip)
        if not self._ports[host]:
            raise ConnectionRefusedError(host)
        return await asyncio.get_running_loop().create_connection(factory, "127.0.0.1", self._ports[host])

    async def ask_all(self, *names: str) -> list[bytes]:
        """Ask for all at once, in this order."""
        clients = [Client(self._sock.getsockname()) for _ in names]
        try:
            return await asyncio.gather(*(each.ask(question(name)) for each, name in zip(clients, names, strict=True)))
        finally:
            for each in clients:
                each.close()

    async def __aenter__(self) -> Self:
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self._sock.setblocking(False)
        self._server = DnsServer(self._dial, self._ports, sockets=[self._sock], timeout=self._timeout)
        await self._server.start()
        self.client = Client(self._sock.getsockname())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()
        self.client.close()
        self._sock.close()


def with_server(scenario, nameservers: dict[str, int], timeout: float = 5.0, round_trip: float = 0.0) -> None:
    async def run() -> None:
        async with World(nameservers, timeout, round_trip) as world:
            await scenario(world)

    asyncio.run(run())


@pytest.fixture
def own() -> Nameserver:
    with Nameserver() as server:
        yield server


def test_many_queries_share_one_connection(own):
    async def scenario(world: World) -> None:
        for number in range(50):
            answer = await world.client.ask(question(f"{number}.any.example", number=number))
            assert (identifier(answer), answer[-4:]) == (number, socket.inet_aton("10.1.2.3"))
        assert world.dials == ["a"]

    with_server(scenario, {"a": own.port})
    assert own.connections == 1


def test_queries_at_once_share_one_connection(own):
    async def scenario(world: World) -> None:
        answers = await world.ask_all(*(f"{number}.any.example" for number in range(20)))
        assert {rcode(each) for each in answers} == {0}
        assert world.dials == ["a"]

    with_server(scenario, {"a": own.port})
    assert own.connections == 1


def test_a_slow_name_does_not_hold_up_the_others(own):
    async def scenario(world: World) -> None:
        waiting = asyncio.ensure_future(world.ask_all("slow.example"))
        await asyncio.sleep(A_WHILE)
        for number in range(5):
            assert rcode(await world.client.ask(question(f"{number}.any.example"))) == 0
        assert not waiting.done()
        assert (await waiting)[0][-4:] == socket.inet_aton("10.1.2.4")

    with_server(scenario, {"a": own.port})
    assert own.connections == 2


def test_on_a_long_link_what_takes_a_round_trip_is_not_late(own):
    async def scenario(world: World) -> None:
        waiting = asyncio.ensure_future(world.ask_all("slow.example"))
        await asyncio.sleep(0.3 + A_WHILE)
        await world.client.ask(question(DB))
        await waiting
        assert world.dials == ["a"]

    with_server(scenario, {"a": own.port}, round_trip=0.3)


def test_where_no_other_connection_can_be_opened_a_query_waits_behind_the_slow_one(own):
    async def scenario(world: World) -> None:
        waiting = asyncio.ensure_future(world.ask_all("slow.example"))
        await asyncio.sleep(A_WHILE)
        world._ports["a"] = 0
        assert rcode(await world.client.ask(question(DB))) == 0
        assert world.dials == ["a", "a"]
        assert rcode((await waiting)[0]) == 0

    with_server(scenario, {"a": own.port})


def test_connections_that_nobody_needs_any_more_are_closed_but_one(own):
    async def scenario(world: World) -> None:
        resolver = Resolver(world._dial, ["a"], idle=0.3)
        slow = [asyncio.ensure_future(resolver.resolve(Query.parse(question("slow.example"))))]
        for _ in range(2):
            await asyncio.sleep(A_WHILE)
            slow.append(asyncio.ensure_future(resolver.resolve(Query.parse(question("slow.example")))))
        assert all(await asyncio.gather(*slow))
        assert (world.dials, own.open) == (["a"] * 4, 4)
        await own.wait_for_closed(2)
        assert own.open == 2  # the World's own server has one, too
        await resolver.resolve(Query.parse(question(DB)))
        assert (len(world.dials), own.open) == (4, 2)
        resolver.close()

    with_server(scenario, {"a": own.port})


def test_a_nameserver_that_closes_between_queries_is_connected_again(own):
    own.close_after = 1

    async def scenario(world: World) -> None:
        for number in range(5):
            assert rcode(await world.client.ask(question(f"{number}.any.example"))) == 0

    with_server(scenario, {"a": own.port})
    assert own.connections >= 5


def test_a_nameserver_that_closes_all_connections_at_once_is_connected_again(own):
    own.close_after = 1

    async def scenario(world: World) -> None:
        waiting = asyncio.ensure_future(world.ask_all("slow.example"))
        await asyncio.sleep(A_WHILE)
        assert rcode(await world.client.ask(question("1.any.example"))) == 0
        assert rcode((await waiting)[0]) == 0
        assert world.dials == ["a", "a"]
        assert rcode(await world.client.ask(question("2.any.example"))) == 0

    with_server(scenario, {"a": own.port})


def test_the_next_nameserver_answers_when_one_is_gone_and_is_asked_first_then(own):
    async def scenario(world: World) -> None:
        for number in range(3):
            assert rcode(await world.client.ask(question(f"{number}.any.example"))) == 0
        assert world.dials.count("gone") <= 2  # ahead of the first query, and at it

    with_server(scenario, {"gone": 0, "a": own.port})


def test_what_was_answered_a_moment_ago_is_not_asked_again(own):
    async def scenario(world: World) -> None:
        for number in range(5):
            answer = await world.client.ask(question(DB, number=number))
            assert (identifier(answer), answer[-4:]) == (number, socket.inet_aton("10.1.2.3"))
        await world.client.ask(question(DB, AAAA))  # another question; its answer has no record, and no SOA
        await world.client.ask(question(DB, AAAA))

    with_server(scenario, {"a": own.port})
    assert own.asked == [DB, DB, DB]


def test_what_many_ask_at_once_is_asked_once(own):
    async def scenario(world: World) -> None:
        clients = [Client(world._sock.getsockname()) for _ in range(10)]
        asked = [client.ask(question("slow.example", number=n)) for n, client in enumerate(clients)]
        answers = await asyncio.gather(*asked)
        assert [identifier(each) for each in answers] == list(range(10))
        assert {each[-4:] for each in answers} == {socket.inet_aton("10.1.2.4")}
        for client in clients:
            client.close()

    with_server(scenario, {"a": own.port})
    assert own.asked == ["slow.example"]


def test_a_silent_nameserver_gives_servfail_in_time(own):
    async def scenario(world: World) -> None:
        assert rcode(await world.client.ask(question("never.example"))) == SERVFAIL
        assert rcode(await world.client.ask(question(DB))) == 0

    with_server(scenario, {"a": own.port}, timeout=0.3)


def test_a_connection_that_went_silent_is_given_up_with_the_query_that_waited(own):
    own.silent = 1

    async def scenario(world: World) -> None:
        assert rcode(await world.client.ask(question(DB))) == SERVFAIL
        assert rcode(await world.client.ask(question(DB))) == 0
        assert world.dials == ["a", "a"]

    with_server(scenario, {"a": own.port}, timeout=0.3)


def test_a_connection_with_a_query_that_is_never_answered_is_not_kept(own):
    """Though it is not silent: what was asked before is answered."""

    async def scenario(world: World) -> None:
        answers = await world.ask_all(DB, "never.example")
        assert [rcode(each) for each in answers] == [0, SERVFAIL]
        assert rcode(await world.client.ask(question("1.any.example"))) == 0
        assert world.dials == ["a", "a"]

    with_server(scenario, {"a": own.port}, timeout=0.3)


def test_what_waits_on_a_silent_connection_is_asked_again_on_another(own):
    own.silent = CONNECTIONS

    async def scenario(world: World) -> None:
        waiting = []
        for number in range(CONNECTIONS):
            waiting.append(asyncio.ensure_future(world.ask_all(f"{number}.any.example")))
            await asyncio.sleep(A_WHILE)
        await asyncio.sleep(1)  # which it has left when that one is given up
        assert rcode(await world.client.ask(question(DB))) == 0  # all were busy: it was behind the youngest
        assert {rcode(answer) for (answer,) in await asyncio.gather(*waiting)} == {SERVFAIL}
        assert len(world.dials) == CONNECTIONS + 1
        assert own.asked.count(DB) == 1

    with_server(scenario, {"a": own.port}, timeout=3)


def test_no_nameserver_at_all_gives_servfail_at_once():
    async def scenario(world: World) -> None:
        assert rcode(await world.client.ask(question(DB))) == SERVFAIL

    with_server(scenario, {"gone": 0})


def test_a_missing_name_and_a_missing_type_pass_through(own):
    async def scenario(world: World) -> None:
        assert rcode(await world.client.ask(question("nothing.example"))) == NXDOMAIN
        answer = await world.client.ask(question(DB, AAAA))
        assert (rcode(answer), struct.unpack_from("!H", answer, 6)[0]) == (0, 0)

    with_server(scenario, {"a": own.port})


def test_what_is_no_query_is_dropped_and_the_next_is_answered(own):
    async def scenario(world: World) -> None:
        loop = asyncio.get_running_loop()
        for garbage in (b"", b"x", b"\xff" * 300):
            await loop.sock_sendall(world.client._sock, garbage)
        assert identifier(await world.client.ask(question(DB, number=9))) == 9

    with_server(scenario, {"a": own.port})
