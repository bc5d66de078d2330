import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.plan.environment import (
    SessionIdentity,
    cluster_environment,
    parse_environ,
    process_environment,
)

HERE = SessionIdentity(session="abcdefgh", namespace="shop", context="dev", target="deployment/web")

variable_names = st.binary(min_size=1, max_size=6).map(lambda name: b"X" + name.replace(b"\0", b"").replace(b"=", b""))
values = st.binary(max_size=20).map(lambda value: value.replace(b"\0", b""))
environments = st.dictionaries(variable_names, values)


def environ(variables: dict[bytes, bytes]) -> bytes:
    return b"".join(name + b"=" + value + b"\0" for name, value in variables.items())


def inside(
    laptop: dict[bytes, bytes] | None = None,
    pod: dict[bytes, bytes] | None = None,
    image: dict[bytes, bytes] | None = None,
) -> dict[bytes, bytes]:
    """The process's environment without the session's own variables."""
    result = process_environment(laptop or {}, environ(pod or {}), environ(image or {}), HERE)
    return {name: value for name, value in result.items() if not name.startswith(b"BRIDGE_")}


@given(environments)
def test_an_environ_is_read_byte_for_byte(variables: dict[bytes, bytes]) -> None:
    assert parse_environ(environ(variables)) == variables


def test_entries_that_are_no_variable_are_passed_over_and_the_first_of_a_name_counts() -> None:
    assert parse_environ(b"A=1\0junk\0=x\0\0A=2\0B==\0C=") == {b"A": b"1", b"B": b"=", b"C": b""}


@given(environments, environments, environments)
def test_the_pods_value_wins_then_the_images_then_the_laptops(laptop: dict, pod: dict, image: dict) -> None:
    assert inside(laptop, pod, image) == laptop | image | pod


def test_a_megabyte_and_many_lines_pass() -> None:
    huge = {b"CERTS": b"-----BEGIN\nA\r\n" * 80_000, b"JSON": b'{"a": "\xc3\xa4\\n"}'}
    assert inside(pod=huge) == huge


@pytest.mark.parametrize(
    "name", [b"PATH", b"HOME", b"TERM", b"USER", b"EDITOR", b"SSH_AUTH_SOCK", b"XDG_RUNTIME_DIR", b"VIRTUAL_ENV"]
)
def test_what_is_the_laptops_own_stays(name: bytes) -> None:
    assert inside({name: b"laptop"}, {name: b"pod"}, {name: b"image"}) == {name: b"laptop"}
    assert inside(pod={name: b"pod"}, image={name: b"image"}) == {}


@pytest.mark.parametrize("name", [b"LD_PRELOAD", b"JAVA_HOME", b"PYTHONHOME"])
def test_what_would_break_the_laptops_programs_does_not_come(name: bytes) -> None:
    assert inside({name: b"laptop"}, {name: b"pod"}, {name: b"image"}) == {name: b"laptop"}


def test_a_toolchains_paths_come_from_the_pods_spec_but_not_from_the_image() -> None:
    laptop = {b"PYTHONPATH": b"/home/ann/lib"}
    assert inside(laptop, image={b"PYTHONPATH": b"/usr/src"}) == laptop
    assert inside(laptop, {b"PYTHONPATH": b"/volume"}) == {b"PYTHONPATH": b"/volume"}


def test_the_kubeconfig_is_the_pods_where_its_spec_names_one_in_a_volume_but_not_one_of_the_image() -> None:
    laptop = {b"KUBECONFIG": b"/home/ann/.kube/config"}
    assert inside(laptop, image={b"KUBECONFIG": b"/root/.kube/config"}) == laptop
    assert inside(laptop, {b"KUBECONFIG": b"/volume/config"}) == {b"KUBECONFIG": b"/volume/config"}


def test_the_locale_is_the_developers_unless_the_pods_spec_says_so() -> None:
    laptop = {b"LANG": b"de_DE.UTF-8"}
    assert inside(laptop, image={b"LANG": b"C.UTF-8", b"LC_ALL": b"C"}) == laptop | {b"LC_ALL": b"C"}
    assert inside(laptop, {b"LANG": b"C.UTF-8"}) == {b"LANG": b"C.UTF-8"}


def test_what_the_spec_sets_is_not_the_images() -> None:
    assert inside(pod={b"MODE": b"spec"}, image={b"MODE": b"old", b"APP": b"image"}) == {
        b"MODE": b"spec",
        b"APP": b"image",
    }


def test_service_variables_of_a_service_that_is_gone_do_not_come_from_the_running_original() -> None:
    links = {
        b"REDIS_SERVICE_HOST": b"10.0.0.1", b"REDIS_SERVICE_PORT": b"6379", b"REDIS_SERVICE_PORT_RESP": b"6379",
        b"REDIS_PORT": b"tcp://10.0.0.1:6379", b"REDIS_PORT_6379_TCP": b"tcp://10.0.0.1:6379",
        b"REDIS_PORT_6379_TCP_ADDR": b"10.0.0.1",
    }  # fmt: skip
    own = {b"SERVER_PORT": b"8080", b"AUTH_SERVICE_HOST": b"auth.example.com"}
    assert inside(image=links | own) == own
    assert inside(pod=links) == links


@pytest.mark.parametrize("name", [b"HTTP_PROXY", b"https_proxy", b"NO_PROXY"])
def test_the_laptops_way_out_is_not_the_pods(name: bytes) -> None:
    assert inside({name: b"http://corporate:3128"}) == {}
    assert inside({name: b"http://corporate:3128"}, {name: b"http://cluster"}) == {name: b"http://cluster"}


def test_the_session_is_named_and_another_one_around_it_is_not() -> None:
    laptop = {b"BRIDGE_IMAGE": b"x", b"BRIDGE_SESSION": b"outer", b"BRIDGE_TARGET": b"deployment/outer"}
    joined = SessionIdentity(session="abcdefgh", namespace="shop", context="dev")
    result = process_environment(laptop, environ({b"BRIDGE_TO": b"nowhere"}), None, joined)
    assert result == {
        b"BRIDGE_SESSION": b"abcdefgh", b"BRIDGE_NAMESPACE": b"shop", b"BRIDGE_CONTEXT": b"dev",
        b"BRIDGE_TO": b"nowhere", b"BRIDGE_IMAGE": b"x",
    }  # fmt: skip


def test_the_target_is_named() -> None:
    assert HERE.variables()[b"BRIDGE_TARGET"] == b"deployment/web"


def test_files_get_the_clusters_variables_only() -> None:
    pod = environ({b"DB": b"x", b"PATH": b"/bin"})
    assert cluster_environment(pod, environ({b"APP": b"y"}), {b"EDITOR": b"vi"}) == {b"DB": b"x", b"APP": b"y"}
