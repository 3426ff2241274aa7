"""What runs a function as a cloud does: one line in is one invocation, one line out its answer."""

import json
import os
import sys

from examples.hosts.function import handler

for line in sys.stdin:
    event = json.loads(line)
    sku = event["product_id"]
    if handler(event) == "added":
        print(f"tracked {sku} in {os.getpid()}", flush=True)  # noqa: T201  whoever asked waits
