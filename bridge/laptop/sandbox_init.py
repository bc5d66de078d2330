"""Starts init (see ``bridge.laptop.init``). Run as a script: ``python -I -S sandbox_init.py ...``.

``-I -S`` keeps the developer's PYTHON* variables, user site and .pth files out of it, and makes it start in a few
milliseconds; so this file says where the package is.
"""

import sys

if __name__ == "__main__":
    sys.path.insert(0, __file__.rsplit("/", 3)[0])
    from bridge.laptop.init.main import main

    main()
