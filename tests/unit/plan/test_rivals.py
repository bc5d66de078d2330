from typing import Any

import pytest

from bridge.plan.rivals import rivals
from tests.unit.plan.worlds import deployment


def managed(**metadata: Any) -> tuple[str, ...]:
    item = deployment()
    item["metadata"] |= metadata
    return rivals(item)


def test_an_ordinary_workload_has_no_rivals() -> None:
    assert rivals(deployment()) == ()


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/web"}},
         "Argo CD application shop manages deployment/web: with self-heal on"),
        ({"labels": {"argocd.argoproj.io/instance": "shop"}}, "Argo CD application shop manages deployment/web"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}, "Flux kustomization apps manages deployment/web"),
        ({"labels": {"helm.toolkit.fluxcd.io/name": "shop"}}, "Flux release shop manages deployment/web"),
        ({"annotations": {"meta.helm.sh/release-name": "shop"}}, "Helm release shop has deployment/web: an upgrade"),
        ({"ownerReferences": [{"kind": "Other", "name": "x"}, {"kind": "Kafka", "name": "events", "controller": True}]},
         "kafka/events manages deployment/web"),
    ],
)  # fmt: skip
def test_who_manages_the_target_is_named(metadata: dict[str, Any], words: str) -> None:
    (line,) = managed(**metadata)
    assert line.startswith(words)


def test_each_is_named_once() -> None:
    tracked = {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/web"}
    owner = {"kind": "Kafka", "name": "events", "controller": True}
    lines = managed(labels={"argocd.argoproj.io/instance": "shop"}, annotations=tracked, ownerReferences=[owner])
    assert [line.split(" manages ")[0] for line in lines] == ["kafka/events", "Argo CD application shop"]
