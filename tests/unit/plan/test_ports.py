import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import UsageError
from bridge.plan.ports import Expose, PortMap, internal_ports, port_maps, port_notes, selecting_services
from tests.unit.plan.worlds import container, deployment, ports, service, template_of

exposes = st.builds(Expose, pod=ports, laptop=ports)


def maps_of(template: dict, *services: dict, exposed: str = "") -> list[tuple[int, int, str, str]]:
    found = port_maps(template, "app", services, [Expose.parse(word) for word in exposed.split()])
    return [(one.pod, one.laptop, one.name, one.origin) for one in found]


def pod(*containers: dict, **fields: object) -> dict:
    return template_of(deployment(containers=list(containers), **fields))


@given(exposes)
def test_an_expose_is_read_back_from_what_it_is_written_as(expose: Expose) -> None:
    assert Expose.parse(str(expose)) == expose


def test_the_first_number_is_the_laptops() -> None:
    assert Expose.parse("8000:9001") == Expose(pod=9001, laptop=8000)
    assert Expose.parse("80") == Expose(pod=80, laptop=80)


@pytest.mark.parametrize(
    "text", ["", ":", "0", "65536", "1:2:3", "80-90", "-1", "+1", " 80", "http", "80:", ":80", "٣"]
)
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Expose.parse(text)


def test_container_ports_are_taken_to_the_same_port() -> None:
    template = pod(container("app", {"containerPort": 8080, "name": "http", "protocol": "TCP"}, 9000))
    assert maps_of(template) == [(8080, 8080, "http", "container"), (9000, 9000, "", "container")]


def test_a_services_numeric_target_port_is_taken_though_the_container_is_silent() -> None:
    assert maps_of(pod(container("app")), service("web", {"port": 80, "targetPort": 5000, "name": "http"})) == [
        (5000, 5000, "http", "service/web")
    ]


def test_a_service_without_target_port_means_its_own_port() -> None:
    assert maps_of(pod(container("app")), service("web", {"port": 81})) == [(81, 81, "", "service/web")]


def test_a_named_target_port_is_the_containers() -> None:
    template = pod(container("app", {"containerPort": 8080, "name": "http"}))
    assert maps_of(template, service("web", {"port": 80, "targetPort": "http"})) == [(8080, 8080, "http", "container")]


def test_a_named_port_of_another_container_stays_there() -> None:
    template = pod(container("app"), container("mesh", {"containerPort": 15000, "name": "http"}))
    assert maps_of(template, service("web", {"port": 80, "targetPort": "http"})) == []


def test_a_named_port_of_a_native_sidecar_stays_there() -> None:
    sidecar = container("mesh", {"containerPort": 15000, "name": "http"}, restartPolicy="Always")
    template = pod(container("app"), initContainers=[sidecar])
    assert maps_of(template, service("web", {"port": 80, "targetPort": "http"})) == []


def test_a_numeric_target_port_that_a_sidecar_declares_stays_there() -> None:
    template = pod(container("app", 8080), container("mesh", 15000))
    assert maps_of(template, service("web", {"port": 80, "targetPort": 15000})) == [(8080, 8080, "", "container")]


def test_a_sidecars_port_is_taken_when_it_is_exposed() -> None:
    template = pod(container("app", 8080), container("mesh", 15000))
    assert (15000, 3000, "", "--expose") in maps_of(template, exposed="3000:15000")


def test_a_port_that_both_declare_is_the_chosen_containers() -> None:
    template = pod(container("app", 8080), container("other", 8080))
    assert maps_of(template) == [(8080, 8080, "", "container")]


def test_a_port_of_a_finished_init_container_is_nobodys() -> None:
    template = pod(container("app"), initContainers=[container("setup", 7000)])
    assert maps_of(template, service("web", {"port": 7000})) == [(7000, 7000, "", "service/web")]


def test_expose_wins_and_keeps_the_name() -> None:
    template = pod(container("app", {"containerPort": 9001, "name": "http"}))
    assert maps_of(template, exposed="8000:9001") == [(9001, 8000, "http", "--expose")]


def test_expose_adds() -> None:
    assert maps_of(pod(container("app")), exposed="8000:9001 22") == [
        (9001, 8000, "", "--expose"),
        (22, 22, "", "--expose"),
    ]


def test_one_port_of_the_pod_goes_to_one_port_of_the_laptop() -> None:
    with pytest.raises(UsageError, match="9001 to both 1 and 2"):
        port_maps(pod(container("app")), "app", [], [Expose.parse("1:9001"), Expose.parse("2:9001")])


def test_two_ports_of_the_pod_may_share_one_of_the_laptop() -> None:
    assert len(maps_of(pod(container("app")), exposed="8000:9001 8000:9002")) == 2


def test_udp_and_sctp_are_left_out_with_a_note() -> None:
    template = pod(container("app", {"containerPort": 53, "protocol": "UDP"}, 53))
    dns = service("dns", {"port": 53, "protocol": "UDP"}, {"port": 99, "protocol": "SCTP"})
    assert maps_of(template, dns) == [(53, 53, "", "container")]
    notes = port_notes(template, "app", [dns])
    assert len(notes) == 3
    assert notes[0].startswith("UDP port 53 (container)")


def test_a_name_is_looked_up_with_its_protocol() -> None:
    template = pod(container("app", {"containerPort": 1, "name": "dns", "protocol": "UDP"}))
    assert maps_of(template, service("web", {"port": 53, "targetPort": "dns", "protocol": "TCP"})) == []


@pytest.mark.parametrize(
    "other",
    [
        service("other", {"port": 80}, selector={"app": "else"}),
        service("more", {"port": 80}, selector={"app": "web", "tier": "x"}),
        service("bare", {"port": 80}, selector={}),
        service("alias", {"port": 80}, type="ExternalName"),
    ],
)
def test_services_that_do_not_select_the_template_say_nothing(other: dict) -> None:
    assert selecting_services([other], {"app": "web"}) == ()


def test_a_headless_service_counts_and_one_without_ports_is_no_trouble() -> None:
    headless = service("db", {"port": 5432, "targetPort": 5432}, clusterIP="None")
    assert maps_of(pod(container("app")), headless, service("bare")) == [(5432, 5432, "", "service/db")]


def test_internal_ports_make_room() -> None:
    template = pod(container("app", 52022), container("mesh", 52024))
    found = internal_ports(template, [PortMap(52025, 1, "", "--expose")])
    assert (found.ssh, found.keeper, found.probe) == (52023, 52026, 52027)


service_ports = st.fixed_dictionaries(
    {"port": ports},
    optional={"targetPort": st.one_of(ports, st.just("named")), "protocol": st.sampled_from(["TCP", "UDP"])},
)
declared = st.lists(ports, max_size=4, unique=True)


@given(
    declared, declared, st.lists(service_ports, max_size=4), st.lists(exposes, max_size=3, unique_by=lambda e: e.pod)
)
def test_port_maps_hold_together(app: list, mesh: list, of_service: list, exposed: list) -> None:
    template = pod(container("app", *app), container("mesh", *mesh))
    found = port_maps(template, "app", [service("web", *of_service)], exposed)
    pods = [one.pod for one in found]
    assert len(set(pods)) == len(pods)
    assert {(one.pod, one.laptop) for one in exposed} <= {(one.pod, one.laptop) for one in found}
    assert set(app) <= set(pods)
    assert not (set(mesh) - set(app) - {one.pod for one in exposed}) & set(pods)
    internal = internal_ports(template, found)
    assert len({internal.ssh, internal.keeper, internal.probe} - set(pods) - set(mesh)) == 3
