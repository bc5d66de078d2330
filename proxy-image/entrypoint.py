"""Starts the keeper, the container's first process.

The image has the layout of a clone (``proxy-image/`` beside ``bridge/``), so that the same file starts it in both. It
only makes the two importable: the interpreter runs isolated (``-I -S``) and compiles this file at every start.
"""

import sys

_folder = __file__.rpartition("/")[0]
sys.path[:0] = [_folder, _folder.rpartition("/")[0]]

from keeper.main import main  # noqa: E402  # needs the path set above

sys.exit(main(sys.argv[1:]))
