"""Makes the keeper importable: it lives beside the package, because it goes into the image."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3] / "proxy-image"))
