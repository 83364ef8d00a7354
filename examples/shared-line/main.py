"""What `make shared-line` shows: a bot, a mailbox watcher and a soft phone share one registration at a real SIP server.

python examples/shared-line/main.py [--pause SECONDS]

Everything stays on 127.0.0.1. The exit status is 0 when everything happened that should.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "demo"))  # the narration and the child processes are its

from story import main

if __name__ == "__main__":
    sys.exit(main(__doc__))
