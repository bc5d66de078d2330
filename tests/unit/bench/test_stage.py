"""Who takes part in a run: on equal terms."""

from tests.bench.stage import pod
from tests.bench.ways import sshd_pod
from tests.e2e.workloads import deployment


def test_all_pods_ask_for_the_same_share_of_the_processor() -> None:
    """The proxy takes over what `web` asks for. If that were more, its sshd would go before its callers, ssh's not."""
    specs = [pod("target")["spec"], sshd_pod()["spec"], deployment("web")["spec"]["template"]["spec"]]
    asked = [container["resources"]["requests"]["cpu"] for spec in specs for container in spec["containers"]]
    assert asked == [asked[0]] * 3
