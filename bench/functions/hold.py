"""What the bench starts many of at once: it holds its call for as long as asked, and says which instance it is."""

import os
import time

INSTANCE = os.urandom(8).hex()


def handler(event, context):
    time.sleep(event.get("hold_ms", 0) / 1000)
    return {"greeting": "Hello from the edge!", "instance": INSTANCE}
