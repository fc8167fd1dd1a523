"""`make bench-peers`: Holdfast's figures, then those of its peers, then how they compare."""

from __future__ import annotations

import os
import sys

from bench.__main__ import main

if __name__ == "__main__":
    os.environ["PEERS"] = " ".join(sys.argv[1:])
    sys.exit(main(["triggers", "runs", "steps", "peers"]))
