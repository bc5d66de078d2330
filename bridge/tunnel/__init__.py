"""The byte paths: the stream to the proxy pod, SSH on it, the relays; the only importer of ``paramiko``, ``picows``."""
