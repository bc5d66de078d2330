"""What happens on this machine: sandbox, DNS, the process, published ports; the only importer of ``psutil``."""
