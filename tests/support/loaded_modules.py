"""Which modules a command loads: each takes a quarter of a millisecond, so that tests hold their number."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]

_CODE = """\
import os, sys
import tiffin.builder.__main__ as program
parent, leave = os.getpid(), os._exit
def end(code):
    if os.getpid() == parent:
        print(code, *sorted(sys.modules), flush=True)
    leave(code)
os._exit = sys.exit = end
program.main()
"""


def modules_of(*words: str) -> list[str]:
    """Run a command, which has to end well; return the names of all modules it had at its end."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", _CODE, *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(CHECKOUT), *filter(None, sys.path)])},
    )
    code, *names = done.stdout.splitlines()[-1].split()
    assert code == "0", done.stderr
    return names
