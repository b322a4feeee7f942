"""What a node, an account and a function may use, and what callers beyond that are told."""

import json
import threading

from botocore.exceptions import BotoCoreError, ClientError

from harness import DEADLINE_S, wait_until, zip_of

WHO = "import uuid\nwho = str(uuid.uuid4())\ndef handler(event, context):\n    return who\n"
WAITING = """
import time
def handler(event, context):
    print("begun", flush=True)
    if event.get("wait"):
        time.sleep(100)
    return "done"
"""


class Caller(threading.Thread):
    """Invokes with an event that keeps the function busy, and keeps what came of it."""

    def __init__(self, platform, name, client=None):
        super().__init__(daemon=True)
        self.client, self.platform, self.name_, self.outcome = client or platform.client(), platform, name, None
        self.start()

    def run(self):
        try:
            self.outcome = self.platform.invoke(self.name_, {"wait": True}, client=self.client)
        except (ClientError, BotoCoreError, OSError) as error:
            self.outcome = error

    def refusal(self):
        return self.outcome.response if isinstance(self.outcome, ClientError) else None


def begun(platform, name):
    return platform.updraft("logs", name, check=False).stdout.count("begun")


def expect_429(response):
    assert response["Error"]["Code"] == "TooManyRequestsException", response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert response["Type"] == "User"
    assert response["Reason"]


def test_an_account_has_so_many_calls_at_once(private):
    platform = private(arguments=["--concurrency-max", "3", "--drain-s", "1"])
    assert platform.client().get_account_settings()["AccountLimit"]["ConcurrentExecutions"] == 3
    platform.create("busy", zip_of({"app.py": WAITING}), Timeout=120)
    callers = [Caller(platform, "busy") for _ in range(3)]
    wait_until(lambda: begun(platform, "busy") == 3, "three calls run")
    for _ in range(20):
        try:
            platform.invoke("busy")
            raise AssertionError("a fourth call ran")
        except ClientError as error:
            expect_429(error.response)
    assert platform.request("GET", "/healthz")[0] == 200
    assert all(caller.outcome is None for caller in callers)
    assert begun(platform, "busy") == 3


def test_a_flood_beyond_instances_and_queue_is_refused_and_then_over(private):
    arguments = ["--function-instances-max", "2", "--queue-max", "3", "--queue-wait-s", "60", "--drain-s", "1"]
    platform = private(arguments=arguments)
    client = platform.client()
    platform.create("busy", zip_of({"app.py": WAITING}), Timeout=10)
    # With one client, so that all have asked long before the first call is over.
    callers = [Caller(platform, "busy", client) for _ in range(60)]
    wait_until(lambda: sum(1 for caller in callers if caller.refusal()) >= 55, "all but five are refused")
    for caller in callers:
        if refusal := caller.refusal():
            expect_429(refusal)
    # Other functions are not concerned.
    platform.create("other", zip_of({"app.py": WHO}), client=client)
    assert platform.invoke("other").expect_ok()
    for caller in callers:
        caller.join(DEADLINE_S)
    answered = [caller.outcome for caller in callers if not caller.refusal()]
    assert len(answered) == 5
    assert {answer.value["errorType"] for answer in answered} == {"Sandbox.Timedout"}
    assert platform.invoke("busy").expect_ok() == "done"


def test_a_caller_waits_no_longer_than_it_may(private):
    platform = private(arguments=["--function-instances-max", "1", "--queue-wait-s", "1", "--drain-s", "1"])
    platform.create("busy", zip_of({"app.py": WAITING}), Timeout=120)
    first = Caller(platform, "busy")
    wait_until(lambda: begun(platform, "busy") == 1, "one call runs")
    try:
        platform.invoke("busy")
        raise AssertionError("a second call ran")
    except ClientError as error:
        expect_429(error.response)
    assert first.outcome is None


def test_reserved_concurrency_is_kept_for_a_function_and_is_its_limit(private):
    platform = private(arguments=["--concurrency-max", "102", "--drain-s", "1"])
    client = platform.client()
    for name in ("kept", "other"):
        platform.create(name, zip_of({"app.py": WAITING}), Timeout=120)
    assert "ReservedConcurrentExecutions" not in client.get_function_concurrency(FunctionName="kept")
    kept = client.put_function_concurrency(FunctionName="kept", ReservedConcurrentExecutions=1)
    assert kept["ReservedConcurrentExecutions"] == 1
    assert client.get_function(FunctionName="kept")["Concurrency"] == {"ReservedConcurrentExecutions": 1}
    assert client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"] == 101
    try:
        client.put_function_concurrency(FunctionName="other", ReservedConcurrentExecutions=2)
        raise AssertionError("less than 100 stayed unreserved")
    except ClientError as error:
        assert error.response["Error"]["Code"] == "InvalidParameterValueException"
        assert error.response["Error"]["Message"].endswith("below its minimum value of [100].")
    caller = Caller(platform, "kept")
    wait_until(lambda: begun(platform, "kept") == 1, "the one call runs")
    try:
        platform.invoke("kept")
        raise AssertionError("a second call ran")
    except ClientError as error:
        expect_429(error.response)
        assert error.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"
        assert error.response["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "1"
    assert platform.invoke("other").expect_ok() == "done"
    client.delete_function_concurrency(FunctionName="kept")
    assert platform.invoke("kept").expect_ok() == "done"
    assert caller.outcome is None
    client.put_function_concurrency(FunctionName="other", ReservedConcurrentExecutions=0)
    platform.kill()
    platform.start()
    client = platform.client()
    assert client.get_function_concurrency(FunctionName="other")["ReservedConcurrentExecutions"] == 0
    try:
        platform.invoke("other")
        raise AssertionError("a stopped function ran")
    except ClientError as error:
        expect_429(error.response)


def test_instances_that_are_always_there_are_warm_and_shown(private, folder):
    platform = private()
    project = folder / "project"
    project.mkdir()
    (project / "app.py").write_text(WHO)
    (project / "function.toml").write_text('name = "ready"\n[scaling]\ninstances_min = 1\ninstances_max = 3\n')
    platform.updraft("deploy", str(project))

    def shown():
        return json.loads(platform.updraft("get", "ready", "--json").stdout)["Updraft"]

    wait_until(lambda: shown()["instances"]["idle"] == 1, "one instance is there before any call")
    first = platform.invoke("ready", LogType="Tail")
    assert first.expect_ok()
    assert "Init Duration" not in first.log
    assert shown()["cold_starts"]["count"] == 0
    assert shown()["in_force"] == {"instances_max": 3, "instance_concurrency": 1}
    assert "1 are always there" in platform.updraft("get", "ready").stdout


def test_cold_starts_are_told_by_phase(private):
    platform = private()
    platform.create("cold", zip_of({"app.py": "import time\ntime.sleep(0.2)\n" + WHO}))
    report = next(line for line in platform.invoke("cold", LogType="Tail").log.splitlines() if line.startswith("REPORT"))
    fields = report.split("\t")
    init_ms = float(next(field for field in fields if field.startswith("Init Duration: ")).split()[2])
    assert fields[-1].startswith("Cold Start: place ")
    phases = {name: float(ms) for name, ms in (part.split() for part in fields[-1][12:-3].split(", "))}
    assert list(phases) == ["place", "package", "sandbox", "runtime", "init"]
    assert phases["init"] >= 200, "what importing the handler takes is init, and nothing else"
    assert abs(sum(phases.values()) - phases["place"] - init_ms) < 0.1
    status, _, body = platform.request("GET", "/metrics")
    text = body.decode()
    assert status == 200
    assert 'updraft_cold_starts_total{account="000000000000",function="cold"} 1\n' in text
    assert 'updraft_cold_start_seconds_count{phase="init"} 1\n' in text


def test_an_idle_instance_makes_room_for_another_function(private):
    platform = private(arguments=["--instances-max", "1"])
    for name in ("one", "two"):
        platform.create(name, zip_of({"app.py": WHO}))
    first = platform.invoke("one").expect_ok()
    assert platform.invoke("one").expect_ok() == first
    assert platform.invoke("two").expect_ok() != first
    assert platform.invoke("one").expect_ok() != first


def test_an_idle_instance_is_ended(private):
    # An interpreter that waits for the next start would be a process too.
    platform = private(arguments=["--keep-alive-s", "1", "--prewarmed-max", "0"])
    platform.create("idle", zip_of({"app.py": WHO}))
    first = platform.invoke("idle").expect_ok()

    def instances():
        return [process for process in platform.processes_left() if "serve" not in process[1]]

    wait_until(lambda: not instances(), f"its process is gone: {instances()}")
    assert platform.invoke("idle").expect_ok() != first


def test_stopping_does_not_wait_for_ever(private):
    platform = private(arguments=["--drain-s", "1"])
    platform.create("busy", zip_of({"app.py": WAITING}), Timeout=120)
    caller = Caller(platform, "busy")
    wait_until(lambda: begun(platform, "busy") == 1, "the call runs")
    platform.stop()
    caller.join(DEADLINE_S)
    assert caller.outcome is not None


def test_what_is_seen_of_a_call_that_is_cut_off_is_kept(private):
    """The caller goes away; what the function wrote until then is in its log all the same."""
    platform = private(arguments=["--drain-s", "1"])
    platform.create("busy", zip_of({"app.py": WAITING}), Timeout=2)
    body = json.dumps({"wait": True}).encode()
    target = "/2015-03-31/functions/busy/invocations"
    headers = platform.signed("POST", target, {"host": "localhost"}, body) | {"content-length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST {target} HTTP/1.1\r\n{lines}\r\n"
    with platform.socket() as connection:
        connection.sendall(head.encode() + body)
        wait_until(lambda: begun(platform, "busy") == 1, "the call runs")
    wait_until(lambda: platform.invoke("busy").error is None, "the function works again")
    log = platform.updraft("logs", "busy").stdout
    assert log.count("begun") >= 2
    assert log.count("START RequestId") >= 2
