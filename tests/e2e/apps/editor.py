"""An editor: `python editor.py FROM FOLDER` makes the folder with a copy of FROM as app.py, and edits that.

Each line of its input is what `EDIT` shall be; for each it says when that was saved (time.monotonic). Every other time
it saves as many editors do: by another file that takes the first one's place.
"""

import re
import shutil
import sys
import time
from pathlib import Path

source, folder = Path(sys.argv[1]), Path(sys.argv[2])
app = folder / "app.py"
folder.mkdir(parents=True)
shutil.copy(source, app)
print("ready", flush=True)
try:
    for number, line in enumerate(sys.stdin):
        text = re.sub(r"^EDIT = .*", f"EDIT = {line.strip()}", app.read_text(), flags=re.MULTILINE)
        target = app if number % 2 else folder / ".app.py.swp"
        target.write_text(text)
        target.replace(app)
        print(time.monotonic(), flush=True)
finally:
    shutil.rmtree(folder)
