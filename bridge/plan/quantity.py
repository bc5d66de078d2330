"""Kubernetes quantities: ``250m`` of a CPU, ``64Mi`` of memory.

Grammar (apimachinery ``pkg/api/resource``): a decimal number, then nothing, a decimal suffix (n u m k M G T P E), a
binary one (Ki Mi Gi Ti Pi Ei), or an exponent (``e3``, ``E3``). Exact: no floats.
"""

import re
from decimal import Decimal

_QUANTITY = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]+))?")
_FACTORS = {
    suffix: Decimal(10) ** power for suffix, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
}
_FACTORS |= {f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", start=1)}


def parse_quantity(text: str | float) -> Decimal:
    """Return the amount: CPUs, bytes, pieces. Raise ValueError for what the API server would not take either."""
    match = _QUANTITY.fullmatch(str(text))
    if not match:
        raise ValueError(f"{text!r} is no quantity")
    number, suffix, exponent = match.groups()
    factor = _FACTORS[suffix] if suffix else Decimal(10) ** int(exponent or 0)
    return Decimal(number) * factor


def at_least(text: str, floor: str) -> str:
    """Return the larger of two quantities, as it was written."""
    return text if parse_quantity(text) >= parse_quantity(floor) else floor


def at_most(text: str, cap: str) -> str:
    """Return the smaller of two quantities, as it was written."""
    return text if parse_quantity(text) <= parse_quantity(cap) else cap
