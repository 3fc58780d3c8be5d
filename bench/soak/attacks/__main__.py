"""Run an attack until SIGTERM, then print its counts: NAME, and Target as JSON."""

import faulthandler
import json
import signal
import sys
import threading

from bench.soak.attacks import ATTACKS
from bench.soak.attacks.attack import Counts, Target

if __name__ == "__main__":
    name, target = sys.argv[1:]
    stop, counts = threading.Event(), Counts()
    faulthandler.register(signal.SIGUSR1)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    ATTACKS[name](Target(*json.loads(target)), counts, stop)
    print(json.dumps(counts.values))
