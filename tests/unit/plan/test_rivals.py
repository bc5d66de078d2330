from bridge.plan.rivals import rivals
from tests.unit.plan.worlds import deployment


def test_an_ordinary_workload_has_no_rivals() -> None:
    assert rivals(deployment()) == ()


def test_operators_argo_and_flux_are_named() -> None:
    item = deployment()
    item["metadata"] |= {
        "ownerReferences": [{"kind": "Kafka", "name": "events", "controller": True}, {"kind": "Other", "name": "x"}],
        "annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/web"},
        "labels": {"kustomize.toolkit.fluxcd.io/name": "apps"},
    }
    assert [line.split(" manages ")[0] for line in rivals(item)] == [
        "kafka/events",
        "Argo CD application shop",
        "Flux kustomization apps",
    ]
