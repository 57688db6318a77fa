"""A run's process that does nothing and hears nothing: it writes its number beside the run, and stays."""

import json
import os
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    folder = Path(json.loads(sys.stdin.buffer.readline())["folder"])
    draft = folder.with_suffix(".draft")
    draft.write_text(str(os.getpid()))
    draft.rename(folder.with_suffix(".pid"))
    time.sleep(600)
