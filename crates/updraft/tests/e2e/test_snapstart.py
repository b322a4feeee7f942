"""SnapStart: instances that are copies of one which was initialised when its version was published."""

import concurrent.futures
import re
import time

import pytest
from botocore.exceptions import ClientError

from harness import wait_until, zip_of

RUNTIME = "python3.12"
SNAP_START = {"ApplyOn": "PublishedVersions"}

# The official client's module, as a package would bring it; a test below runs that itself.
REGISTRY = """
_before, _after = [], []
def register_before_snapshot(function, *arguments, **named):
    _before.append((function, arguments, named))
    return function
def register_after_restore(function, *arguments, **named):
    _after.append((function, arguments, named))
    return function
def get_before_snapshot():
    return _before
def get_after_restore():
    return _after
"""

CODE = """
import os, random, socket, ssl, time, uuid
from snapshot_restore_py import register_after_restore, register_before_snapshot

time.sleep(1)
MARK = uuid.uuid4().hex
EVENTS = []
register_before_snapshot(lambda: EVENTS.append("before 1"))
register_before_snapshot(lambda: EVENTS.append("before 2"))
register_after_restore(EVENTS.append, "after 1")
register_after_restore(EVENTS.append, "after 2")
random.seed(7)
context = ssl.create_default_context()
open("/tmp/kept", "w").write(MARK)
IN_INIT = (os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], os.environ["AWS_LAMBDA_LOG_STREAM_NAME"])
calls = 0

def handler(event, context):
    global calls
    calls += 1
    time.sleep(event.get("sleep", 0))
    return {
        "mark": MARK, "kept": open("/tmp/kept").read(), "events": EVENTS, "calls": calls,
        "random": random.random(), "uuid": uuid.uuid4().hex, "tls": ssl.RAND_bytes(16).hex(), "host": socket.gethostname(),
        "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], "in_init": IN_INIT,
        "stream": context.log_stream_name, "variable": os.environ["AWS_LAMBDA_LOG_STREAM_NAME"],
        "version": context.function_version, "number": os.getpid(),
    }
"""


def package(code=CODE):
    return zip_of({"app.py": code, "snapshot_restore_py.py": REGISTRY})


def publish(client, name):
    """Publishes and waits until the version is active."""
    version = client.publish_version(FunctionName=name)
    number = version["Version"]

    def settled():
        state = client.get_function_configuration(FunctionName=name, Qualifier=number)
        return state["State"] != "Pending" and state

    return version, wait_until(settled, f"{name}:{number} is settled")


def made(platform, client, name, code=CODE):
    platform.create(name, package(code), runtime=RUNTIME, SnapStart=SNAP_START, MemorySize=256)
    return publish(client, name)


def test_instances_are_copies_with_what_must_be_their_own(platform, client, name):
    first, settled = made(platform, client, name)
    assert first["State"] == "Pending" and first["SnapStart"]["ApplyOn"] == "PublishedVersions"
    assert (settled["State"], settled["SnapStart"]) == (
        "Active",
        {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"},
    ), platform.log()[-2000:]
    latest = client.get_function_configuration(FunctionName=name)
    assert latest["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(platform.invoke, f"{name}:1", {"sleep": 2}, LogType="Tail") for _ in range(6)]
        answers = [future.result() for future in futures]
    values = [answer.expect_ok() for answer in answers]
    assert {value["calls"] for value in values} == {1}, "each is another instance"
    assert len({value["mark"] for value in values}) == 1, "all have what was made once"
    for value in values:
        assert value["kept"] == value["mark"]
        assert value["events"] == ["before 2", "before 1", "after 1", "after 2"]
        assert (value["type"], value["in_init"][0]) == ("snap-start", "snap-start")
        assert value["stream"] == value["variable"] != value["in_init"][1]
        assert (value["version"], value["number"]) == ("1", 2)
    for own in ("random", "uuid", "tls", "host", "stream"):
        assert len({value[own] for value in values}) == len(values), own
    for answer in answers:
        report = next(line for line in answer.log.splitlines() if line.startswith("REPORT"))
        assert "Init Duration" not in report
        restored = re.search(r"\tRestore Duration: ([0-9.]+) ms\tBilled Restore Duration: ([0-9]+) ms", report)
        assert restored, report
    # `$LATEST` starts as ever.
    own = platform.invoke(name, {}, LogType="Tail")
    assert own.expect_ok()["type"] == "on-demand" and "Init Duration" in own.log
    assert own.expect_ok()["mark"] != values[0]["mark"]


def test_the_official_clients_hooks_run(platform, client, name):
    snapshot_restore_py = pytest.importorskip("snapshot_restore_py")
    code = zip_of(
        {
            "app.py": CODE.replace("time.sleep(1)", ""),
            "snapshot_restore_py.py": open(snapshot_restore_py.__file__, encoding="utf-8").read(),
        }
    )
    platform.create(name, code, runtime=RUNTIME, SnapStart=SNAP_START)
    publish(client, name)
    assert platform.invoke(f"{name}:1").expect_ok()["events"] == ["before 2", "before 1", "after 1", "after 2"]


def test_what_cannot_be_copied_starts_like_any_other(platform, client, name):
    code = "import threading, time, os\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
    code += "def handler(event, context):\n    return os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']\n"
    _, settled = made(platform, client, name, code)
    assert (settled["State"], settled["SnapStart"]["OptimizationStatus"]) == ("Active", "Off")
    answer = platform.invoke(f"{name}:1", LogType="Tail")
    assert answer.expect_ok() == "on-demand" and "Init Duration" in answer.log


def test_a_function_that_fails_to_initialise_fails_its_version(platform, client, name):
    _, settled = made(platform, client, name, "raise RuntimeError('no such luck')\n")
    assert settled["State"] == "Failed" and "no such luck" in settled["StateReason"], settled


def test_hooks_that_raise_are_told(platform, client, name):
    code = CODE + "\ndef fail():\n    raise ValueError('not after')\nregister_after_restore(fail)\n"
    _, settled = made(platform, client, name, code)
    assert settled["State"] == "Active"
    answer = platform.invoke(f"{name}:1")
    assert answer.error and answer.value["errorMessage"] == "not after", answer.text


def test_what_does_not_go_together_is_refused(platform, client, name):
    platform.create(name, package(), runtime=RUNTIME)
    client.update_function_configuration(FunctionName=name, SnapStart=SNAP_START)
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    publish(client, name)
    for call, arguments, words in [
        (client.update_function_configuration, {"Runtime": "nodejs22.x"}, "nodejs22.x is not supported for SnapStart"),
        (
            client.put_provisioned_concurrency_config,
            {"Qualifier": "1", "ProvisionedConcurrentExecutions": 1},
            "Provisioned Concurrency is not supported",
        ),
    ]:
        with pytest.raises(ClientError) as caught:
            call(FunctionName=name, **arguments)
        assert caught.value.response["Error"]["Code"] == "InvalidParameterValueException"
        assert words in caught.value.response["Error"]["Message"]


def test_after_a_kill_nothing_is_left_and_the_copies_come_back(private):
    platform = private()
    client = platform.client()
    made(platform, client, "f")
    mark = platform.invoke("f:1").expect_ok()["mark"]
    platform.kill()
    platform.start()
    began = time.monotonic()
    again = platform.invoke("f:1", LogType="Tail")
    assert again.expect_ok()["mark"] != mark, "it was initialised anew"
    assert "Restore Duration" in again.log, (again.log, time.monotonic() - began)
    assert client.get_function_configuration(FunctionName="f", Qualifier="1")["State"] == "Active"
