"""Start the soak apart from the machine, in a network namespace of its own."""

import os
import sys

from testing.isolation import ISOLATED

if __name__ == "__main__":
    command = (sys.executable, "-m", "bench.soak.cli", *sys.argv[1:])
    os.execvp(ISOLATED[0], (*ISOLATED, "unshare", "--net", *command))
