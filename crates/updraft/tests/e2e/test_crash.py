"""Kill -9 in the middle of a storm: everything acknowledged is there afterwards, and nothing half-made is."""

import base64
import hashlib
import random
import threading
import time
import urllib.request

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from harness import PYTHON, ROLE, wait_until, zip_of

ROUNDS = 4
WORKERS = 6
FUNCTIONS_PER_WORKER = 4


def code(version):
    return zip_of({"app.py": f"def handler(event, context):\n    return {version}\n"})


def sha256(version):
    return base64.b64encode(hashlib.sha256(code(version)).digest()).decode()


class Ledger:
    """What one worker was told, for each of its functions: what is certain, and what may have happened besides.

    A worker changes its functions one request at a time, so at most the last request of each is uncertain.
    """

    def __init__(self, worker):
        self.names = [f"storm-{worker}-{number}" for number in range(FUNCTIONS_PER_WORKER)]
        # The version and description a function surely has, or None where it surely does not exist.
        self.certain = dict.fromkeys(self.names)
        # The state it may have instead, if the answer to a request was cut off.
        self.possible = {}
        self.acknowledged = 0


def storm(platform, ledger, seed, over, failures):
    """Creates, updates, deletes and invokes until the platform is gone."""
    try:
        rng, client = random.Random(seed), platform.client(read_timeout=20, connect_timeout=5)
        while not over.is_set():
            name = rng.choice(ledger.names)
            if name in ledger.possible:
                continue
            change(rng, client, ledger, name)
    except (BotoCoreError, OSError, urllib.request.HTTPError):
        pass
    except ClientError as error:
        # A dying platform may say so in words; anything else is a failure of the test.
        if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
            failures.append(error)
    except AssertionError as error:
        failures.append(error)


def change(rng, client, ledger, name):
    state = ledger.certain[name]
    version = rng.randrange(1_000_000)
    if state is None:
        wanted, call = (version, "new"), lambda: client.create_function(
            FunctionName=name,
            Runtime=PYTHON,
            Handler="app.handler",
            Role=ROLE,
            Code={"ZipFile": code(version)},
            Description="new",
            Timeout=20,
        )
    else:
        kind = rng.random()
        if kind < 0.35:
            wanted, call = (version, state[1]), lambda: client.update_function_code(
                FunctionName=name, ZipFile=code(version)
            )
        elif kind < 0.6:
            text = f"description {version}"
            wanted, call = (state[0], text), lambda: client.update_function_configuration(
                FunctionName=name, Description=text
            )
        elif kind < 0.75:
            wanted, call = None, lambda: client.delete_function(FunctionName=name)
        else:
            answer = client.invoke(FunctionName=name)["Payload"].read()
            assert answer == str(state[0]).encode(), (name, answer, state)
            return
    ledger.possible[name] = wanted
    call()
    ledger.certain[name] = ledger.possible.pop(name)
    ledger.acknowledged += 1
    if wanted is not None:
        settle(client, name)


def settle(client, name):
    """Waits until the change is in force, so that the next one is not refused and an invoke sees it."""

    def settled():
        now = client.get_function_configuration(FunctionName=name)
        assert now["State"] != "Failed" and now.get("LastUpdateStatus") != "Failed", now
        return now["State"] == "Active" and now.get("LastUpdateStatus") == "Successful"

    wait_until(settled, f"{name} is in force")


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_to_kill_9(private):
    platform = private()
    ledgers = [Ledger(worker) for worker in range(WORKERS)]
    seed = int.from_bytes(random.randbytes(4))
    print(f"seed {seed}")
    rng = random.Random(seed)
    for round_number in range(ROUNDS):
        before = sum(ledger.acknowledged for ledger in ledgers)
        over, failures = threading.Event(), []
        threads = [
            threading.Thread(target=storm, args=(platform, ledger, rng.random(), over, failures)) for ledger in ledgers
        ]
        for thread in threads:
            thread.start()
        wait_until(
            lambda: failures or sum(ledger.acknowledged for ledger in ledgers) >= before + 20,
            "the storm has had 20 changes acknowledged",
        )
        time.sleep(rng.random() / 5)
        platform.kill()
        over.set()
        for thread in threads:
            thread.join()
        assert not failures, failures
        platform.start()
        client = platform.client()
        for ledger in ledgers:
            check(platform, client, ledger)
        ours = {name for ledger in ledgers for name, state in ledger.certain.items() if state}
        pages = client.get_paginator("list_functions").paginate()
        assert {function["FunctionName"] for page in pages for function in page["Functions"]} == ours, round_number


def check(platform, client, ledger):
    """Each function is as the worker was last told, or as its cut-off request wanted it; and it is whole."""
    for name in ledger.names:
        allowed = [ledger.certain[name], *([ledger.possible.pop(name)] if name in ledger.possible else [])]
        try:
            client.get_function(FunctionName=name)
        except client.exceptions.ResourceNotFoundException:
            assert None in allowed, f"{name} is gone; acknowledged was {allowed}"
            ledger.certain[name] = None
            continue
        settle(client, name)
        got = client.get_function(FunctionName=name)
        configuration = got["Configuration"]
        found = [state for state in allowed if state and sha256(state[0]) == configuration["CodeSha256"]]
        found = [state for state in found if state[1] == configuration["Description"]]
        assert found, (name, configuration, allowed)
        with urllib.request.urlopen(got["Code"]["Location"]) as answer:
            assert answer.read() == code(found[0][0])
        assert platform.invoke(name, client=client).expect_ok() == found[0][0]
        ledger.certain[name] = found[0]


@pytest.mark.slow
def test_logs_and_running_calls_do_not_outlive_a_kill(private):
    platform = private()
    text = "import time\ndef handler(event, context):\n    print('begun', flush=True)\n    time.sleep(300)\n"
    platform.create("long", zip_of({"app.py": text}), Timeout=400)
    outcome = []

    def call():
        try:
            outcome.append(platform.invoke("long"))
        except (BotoCoreError, OSError) as error:
            outcome.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    wait_until(lambda: "begun" in platform.updraft("logs", "long", check=False).stdout, "the call has begun")
    # Platform.kill itself checks that no process stays behind.
    platform.kill()
    caller.join()
    assert isinstance(outcome[0], Exception)
    platform.start()
    assert platform.client().get_function(FunctionName="long")["Configuration"]["State"] in ("Pending", "Active")
