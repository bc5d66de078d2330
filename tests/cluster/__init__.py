"""A real Kubernetes and the laptop beside it: `python -m tests.cluster`. See README.md in this folder."""
