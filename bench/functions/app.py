"""What the bench invokes: it greets, and says how long its own body took."""

import sys
from time import perf_counter_ns


def handler(event, context):
    start = perf_counter_ns()
    if event.get("about") == "interpreter":
        return {"executable": sys.executable, "version": sys.version.split()[0]}
    reply = {"greeting": "Hello from the edge!"}
    reply["handler_ns"] = perf_counter_ns() - start
    return reply
