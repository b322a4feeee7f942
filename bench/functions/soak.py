"""What the soak invokes: it does as its event says, and most of what it does is bad manners."""

import os
import sys
import time

hoard = []


def handler(event, context):
    do = event.get("do", "work")
    if do == "crash":
        os._exit(3)
    elif do == "leak":
        # A little of it is touched each time, until the limit.
        hoard.append(bytearray(os.urandom(1)) * (16 << 20))
    elif do == "hang":
        time.sleep(600)
    elif do == "daemon":
        if os.fork() == 0:
            os.setsid()
            while True:
                time.sleep(1)
    elif do == "flood":
        for _ in range(2_000):
            print("x" * 1_000)
        sys.stdout.flush()
    elif do == "litter":
        with open(f"/tmp/{time.time_ns()}", "wb") as file:
            file.write(bytes(4 << 20))
    return {"greeting": "Hello from the edge!"}
