"""What happens on this machine: the sandbox, its DNS, the process and its published ports; the only importer of ``psutil``."""
