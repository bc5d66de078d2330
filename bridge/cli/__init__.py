"""The command line: flags become a Request, a result becomes text. It decides nothing.

stdout belongs to the process (and to results that another program reads); what bridge says goes to stderr. This module
imports next to nothing, so that ``bridge --help`` is quick; each command imports what it needs when it runs.
"""

import os
import sys


def main() -> None:
    """Run the command line (the ``bridge`` program)."""
    if sys.stderr is None:  # closed by the shell (2>&-): what is said goes nowhere, and no socket takes its number
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115  # pathlib is for later; until the program's end
    from bridge.cli.app import app  # late: typer costs 50 ms that `python -m bridge.x` need not pay

    app(prog_name="bridge")
