"""The byte paths: the stream to the proxy pod, SSH on it, and the relays; the only importer of ``paramiko`` and ``picows``."""
