"""A plain script: a change of a cart a line."""

import json
import os
import signal
import sys

from alhena_async import CartEvent, Visitor
from alhena_async.sync import SyncAlhenaClient

signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # Python's own would deliver nothing

with SyncAlhenaClient.from_env() as alhena:
    for line in sys.stdin:
        change = json.loads(line)
        visitor = Visitor(**change.pop("visitor"))
        alhena.track(CartEvent.for_change(visitor, **change), timeout=30)
        print(f"tracked {change['product_id']} in {os.getpid()}", flush=True)
