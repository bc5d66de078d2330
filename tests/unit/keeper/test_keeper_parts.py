"""The keeper's decisions that need no I/O: options, sshd's configuration, who waits for whom, whose child is whose."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keeper import sshd
from keeper.options import ConfigurationError, parse
from keeper.readiness import Readiness
from keeper.supervisor import descendants


def test_options_are_those_of_the_containers_args():
    words = "--ssh-port 1022 --keeper-port 1023 --probe-port 1024 --listen 80 --listen 9001 --hold 0.5 --drain 3"
    options = parse(words.split())
    assert (options.ssh_port, options.keeper_port, options.probe_port) == (1022, 1023, 1024)
    assert options.listen == (80, 9001)
    assert (options.hold, options.drain) == (0.5, 3)


@pytest.mark.parametrize("port", ["0", "65536", "-1", "1.0", " 80", "\uff18\uff10", "x", ""])
def test_what_is_no_port_is_refused(port):
    with pytest.raises(ConfigurationError, match="not a port"):
        parse(["--listen", port])


@pytest.mark.parametrize("seconds", ["nan", "-1", "inf", "x", "3601"])
def test_what_is_no_time_is_refused(seconds):
    with pytest.raises(ConfigurationError, match="not a number of seconds"):
        parse(["--hold", seconds])


def test_a_session_without_inbound_ports_may_listen_on_none():
    assert "PermitListen none" in sshd.configuration(parse([])).splitlines()
    assert "PermitListen 80 81" in sshd.configuration(parse(["--listen", "80", "--listen", "81"])).splitlines()


def test_no_setting_of_sshd_is_said_twice():
    lines = sshd.configuration(parse([])).splitlines()
    names = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert len(names) == len(set(names))


def test_a_probe_is_asked_of_who_is_there_and_answered_once():
    readiness, asked, answers = Readiness(), [], []
    readiness.connected(asked.append)
    number = readiness.probe(answers.append)
    assert asked == [number]
    readiness.answered(number, ready=True)
    readiness.answered(number, ready=False)
    assert answers == [True]


def test_a_probe_that_waits_is_asked_of_each_who_comes():
    readiness, first, second = Readiness(), [], []
    number = readiness.probe(lambda ready: None)
    readiness.connected(first.append)
    readiness.connected(second.append)
    assert first == second == [number]


def test_a_probe_that_is_withdrawn_is_neither_asked_nor_answered():
    readiness, asked, answers = Readiness(), [], []
    number = readiness.probe(answers.append)
    readiness.withdraw(number)
    readiness.connected(asked.append)
    readiness.answered(number, ready=True)
    assert (asked, answers) == ([], [])


def test_who_was_replaced_takes_nothing_away_when_it_goes():
    readiness, first, second = Readiness(), [], []
    one, two = first.append, second.append
    readiness.connected(one)
    readiness.connected(two)
    readiness.disconnected(one)
    readiness.probe(lambda ready: None)
    assert (first, len(second)) == ([], 1)
    readiness.disconnected(two)
    readiness.probe(lambda ready: None)
    assert len(second) == 1


def test_descendants_are_found_through_any_number_of_generations():
    parents = {10: 1, 11: 10, 12: 11, 13: 1, 1: 0, 20: 2}
    assert descendants(10, parents) == [11, 12]
    assert descendants(1, parents) == [10, 11, 12, 13]
    assert descendants(99, parents) == []


@given(st.dictionaries(st.integers(1, 30), st.integers(0, 30)), st.integers(0, 30))
def test_descendants_are_closed_under_parentage(parents, ancestor):
    found = set(descendants(ancestor, parents))
    assert ancestor not in found
    for pid, parent in parents.items():
        if parent in found | {ancestor} and pid != ancestor:
            assert pid in found
