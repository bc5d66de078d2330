"""The command line: flags become a Request, a result becomes text. It decides nothing.

stdout belongs to the process (and to results that another program reads); what bridge says goes to stderr. This module
imports next to nothing, so that ``bridge --help`` is quick; each command imports what it needs when it runs.
"""


def main() -> None:
    """Run the command line (the ``bridge`` program)."""
    from bridge.cli.app import app  # late: typer costs 50 ms that `python -m bridge.x` need not pay

    app(prog_name="bridge")
