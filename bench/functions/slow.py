"""What the bench copies: importing it takes a second, as large packages do. Each instance draws its own name."""

import os
import time

time.sleep(1)
instance = None


def handler(event, context):
    global instance
    instance = instance or os.urandom(8).hex()
    time.sleep(event.get("hold_ms", 0) / 1000)
    return {"greeting": "Hello from the edge!", "instance": instance}
