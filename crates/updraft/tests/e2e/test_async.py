"""Asynchronous invocations on the real binary: accepted durably, tried again, passed on, and never lost to kill -9."""

import json
import threading

import boto3
import pytest
from botocore.exceptions import BotoCoreError, ClientError

from harness import ACCOUNT, PYTHON, REGION, wait_until, zip_of

# Prints what it is given, sleeps and fails as it is told.
TELLS = zip_of(
    {
        "app.py": """
import json, os, time

def handler(event, context):
    custom = context.client_context.custom if context.client_context else None
    told = {"id": context.aws_request_id, "event": event, "arn": context.invoked_function_arn, "custom": custom}
    print("told " + json.dumps(told | {"trace": os.environ.get("_X_AMZN_TRACE_ID")}), flush=True)
    time.sleep(event.get("sleep", 0) if isinstance(event, dict) else 0)
    if isinstance(event, dict) and event.get("fail"):
        raise ValueError("as told")
    return {"seen": event}
"""
    }
)
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def told(platform, name):
    """What the function was given at each try so far."""
    lines = platform.updraft("logs", name, "-n", "10000", check=False).stdout.splitlines()
    return [json.loads(line.split("told ", 1)[1]) for line in lines if "told {" in line]


def arn(name):
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


def refused(code, status, call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (code, status), response
    return response["Error"]["Message"]


def pending(platform, name):
    status, _, body = platform.request("GET", f"/_updraft/v1/functions/{name}")
    assert status == 200
    return json.loads(body)["events"]


def send(client, name, event, **more):
    answer = client.invoke(FunctionName=name, InvocationType="Event", Payload=json.dumps(event).encode(), **more)
    assert (answer["StatusCode"], answer["Payload"].read()) == (202, b"")
    assert "ExecutedVersion" not in answer and "FunctionError" not in answer
    return answer["ResponseMetadata"]["RequestId"]


@pytest.fixture
def quick(private):
    """A platform that tries again after one second, and then after two."""
    return private(arguments=["--async-retry-pause-s", "1"])


def test_every_client_can_send_an_event(platform, client, name):
    platform.create(name, TELLS)
    context = "eyJjdXN0b20iOiB7ImsiOiAidiJ9fQ=="
    first = send(client, name, {"by": "boto3"}, ClientContext=context)
    assert client.invoke_async(FunctionName=name, InvokeArgs=b'{"by": "invoke_async"}')["Status"] == 202
    event = ["--invocation-type", "Event", "--payload", '{"by": "aws"}']
    out = platform.aws("lambda", "invoke", "--function-name", name, *event, "/dev/null")
    assert out["StatusCode"] == 202
    said = platform.updraft("invoke", name, "--async", "--payload", '{"by": "updraft"}')
    assert (said.stdout, "accepted" in said.stderr) == ("", True)
    tries = wait_until(lambda: len(found := told(platform, name)) == 4 and found, "all four are executed")
    assert {one["event"]["by"] for one in tries} == {"boto3", "invoke_async", "aws", "updraft"}
    by_boto3 = next(one for one in tries if one["event"]["by"] == "boto3")
    assert (by_boto3["id"], by_boto3["custom"], by_boto3["arn"]) == (first, {"k": "v"}, arn(name))
    assert by_boto3["trace"].startswith("Root=1-") and "Lineage=" in by_boto3["trace"]
    # Without a payload it is an empty object, as for a synchronous call.
    client.invoke(FunctionName=name, InvocationType="Event")
    wait_until(lambda: any(one["event"] == {} for one in told(platform, name)), "the empty one is executed")


def test_events_that_cannot_be_accepted_say_so(platform, client, name):
    platform.create(name, TELLS)
    large = b'"' + b"x" * 1_048_575 + b'"'
    for call, argument in [(client.invoke, "Payload"), (client.invoke_async, "InvokeArgs")]:
        event = {"InvocationType": "Event"} if argument == "Payload" else {}
        message = refused("RequestTooLargeException", 413, call, FunctionName=name, **event, **{argument: large})
        assert message == "1048577 byte payload is too large for the Event invocation type (limit 1048576 bytes)"
        refused("InvalidRequestContentException", 400, call, FunctionName=name, **event, **{argument: b"{"})
        refused("ResourceNotFoundException", 404, call, FunctionName="nobody", **event, **{argument: b"{}"})
    refused("ResourceNotFoundException", 404, client.invoke, FunctionName=name, InvocationType="Event", Qualifier="7")
    answer = client.invoke(FunctionName=name, InvocationType="Event", Payload=b'"' + b"x" * 1_048_574 + b'"')
    assert answer["StatusCode"] == 202
    assert platform.invoke(name, large, client=client).error is None, "a synchronous call may be larger"


def test_permission_is_that_of_invoke(platform, name):
    platform.create(name, TELLS)
    iam = platform.client("iam")
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    theirs = boto3.client("lambda", endpoint_url=platform.url, region_name=REGION,
        aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])  # fmt: skip
    for call, more in [(theirs.invoke, {"InvocationType": "Event"}), (theirs.invoke_async, {"InvokeArgs": b"{}"})]:
        message = refused("AccessDeniedException", 403, call, FunctionName=name, **more)
        assert "lambda:InvokeFunction" in message
    allow = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": arn(name)}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=policy)
    send(theirs, name, {"by": "user"})
    assert theirs.invoke_async(FunctionName=name, InvokeArgs=b"{}")["Status"] == 202
    wait_until(lambda: len(told(platform, name)) == 2, "both are executed")
    iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
    iam.delete_user_policy(UserName=name, PolicyName="own")
    iam.delete_user(UserName=name)


def test_a_failing_event_is_tried_again_and_then_its_destination_is_told(quick):
    client, iam = quick.client(), quick.client("iam")
    iam.create_role(RoleName="runner", AssumeRolePolicyDocument=json.dumps(TRUST))
    allow = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": arn("rescue")}
    quick.create("rescue", TELLS)
    role = f"arn:aws:iam::{ACCOUNT}:role/runner"
    client.create_function(FunctionName="fails", Runtime=PYTHON, Handler="app.handler", Role=role, Code={"ZipFile": TELLS})
    client.get_waiter("function_active_v2").wait(FunctionName="fails")
    client.publish_version(FunctionName="fails")
    client.create_alias(FunctionName="fails", Name="live", FunctionVersion="1")
    config = {"DestinationConfig": {"OnFailure": {"Destination": arn("rescue")}}}
    message = refused("InvalidParameterValueException", 400, client.put_function_event_invoke_config, FunctionName="fails",
        Qualifier="live", **config)  # fmt: skip
    assert message == f"The function's execution role does not have permissions to call InvokeFunction on {arn('rescue')}"
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_role_policy(RoleName="runner", PolicyName="own", PolicyDocument=policy)
    client.put_function_event_invoke_config(FunctionName="fails", Qualifier="live", **config)

    request = send(client, "fails", {"fail": True}, Qualifier="live")
    (rescued,) = wait_until(lambda: told(quick, "rescue"), "the destination is told")
    tries = told(quick, "fails")
    assert len(tries) == 3 and all(one == tries[0] for one in tries), tries
    assert (tries[0]["id"], tries[0]["arn"]) == (request, f"{arn('fails')}:live")
    record = rescued["event"]
    assert set(record) == {
        "version", "timestamp", "requestContext", "requestPayload", "responseContext", "responsePayload"
    }  # fmt: skip
    assert record["version"] == "1.0"
    assert record["requestContext"] == {
        "requestId": request,
        "functionArn": f"{arn('fails')}:live",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": 3,
    }
    assert record["requestPayload"] == {"fail": True}
    assert record["responseContext"] == {"statusCode": 200, "executedVersion": "1", "functionError": "Unhandled"}
    assert record["responsePayload"]["errorType"] == "ValueError"
    assert rescued["id"] != request and rescued["trace"].split(";")[0] == tries[0]["trace"].split(";")[0]
    assert json.loads(quick.updraft("dead-letters", "fails", "--json").stdout) == []

    # By another name it has no destination: what is given up stays with the platform, to be looked at.
    client.put_function_event_invoke_config(FunctionName="fails", MaximumRetryAttempts=0)
    send(client, "fails", {"fail": True, "n": 2})
    wait_until(lambda: pending(quick, "fails")["dead_letters"] == 1, "there is a dead letter")
    (letter,) = json.loads(quick.updraft("dead-letters", "fails", "--json").stdout)
    assert letter["reason"] == "RetriesExhausted; there is no OnFailure destination"
    assert letter["record"]["requestPayload"] == {"fail": True, "n": 2}
    assert "RetriesExhausted" in quick.updraft("dead-letters", "fails").stdout
    assert "1 dead letters" in quick.updraft("get", "fails").stdout
    status, _, metrics = quick.request("GET", "/metrics")
    labels = f'account="{ACCOUNT}",function="fails"'
    for line in [
        f"updraft_async_events_accepted_total{{{labels}}} 2",
        f'updraft_async_events_ended_total{{{labels},outcome="retries_exhausted"}} 2',
        f"updraft_async_dead_letters_total{{{labels}}} 1",
        f"updraft_async_events_pending{{{labels}}} 0",
    ]:
        assert line in metrics.decode().splitlines(), line


def test_destinations_that_nothing_can_be_delivered_to_are_refused(platform, client, name):
    platform.create(name, TELLS)
    for other in [
        f"arn:aws:sqs:{REGION}:{ACCOUNT}:queue",
        f"arn:aws:sns:{REGION}:{ACCOUNT}:topic",
        f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/default",
        "arn:aws:s3:::bucket",
        f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:nobody",
        f"arn:aws:lambda:{REGION}:999999999999:function:{name}",
    ]:
        for member in ["OnSuccess", "OnFailure"]:
            message = refused(
                "InvalidParameterValueException",
                400,
                client.put_function_event_invoke_config,
                FunctionName=name,
                DestinationConfig={member: {"Destination": other}},
            )
            assert message == f"The destination ARN {other} is invalid."
    refused(
        "InvalidParameterValueException",
        400,
        client.update_function_configuration,
        FunctionName=name,
        DeadLetterConfig={"TargetArn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:queue"},
    )


def test_a_backlog_is_bounded_shown_and_goes_with_its_function(private):
    platform = private(arguments=["--async-events-max", "5", "--async-in-flight-max", "2"])
    client = platform.client()
    platform.create("slow", TELLS, Timeout=120)
    for _ in range(5):
        send(client, "slow", {"sleep": 100})
    message = refused("TooManyRequestsException", 429, client.invoke, FunctionName="slow", InvocationType="Event")
    assert message == "Rate Exceeded."
    wait_until(lambda: pending(platform, "slow")["in_flight"] == 1, "one is at work, half of all workers")
    assert pending(platform, "slow")["pending"] == 5
    assert "5 pending" in platform.updraft("get", "slow").stdout
    client.delete_function(FunctionName="slow")
    platform.create("slow", TELLS)
    assert pending(platform, "slow")["pending"] == 0
    # The one at work goes on, beside nothing of the new function's.
    assert platform.invoke("slow", {"n": 1}).expect_ok() == {"seen": {"n": 1}}


@pytest.mark.slow
def test_no_acknowledged_event_is_lost_to_kill_9(private):
    """What is acknowledged is executed at least once, whenever the platform is killed; and nothing waits for ever.

    A function's line is on its way to the disk for a tenth of a second, and its event is settled only after it has
    returned: it sleeps in between, so that what was settled before the kill has its line.
    """
    platform = private(arguments=["--async-retry-pause-s", "1"])
    names = ["first", "second"]
    for name in names:
        platform.create(name, TELLS)
    acknowledged, failures, found_pending = {}, [], 0
    for round_number in range(3):
        over, lock = threading.Event(), threading.Lock()

        def flood(worker, target=acknowledged):
            client = platform.client(read_timeout=20, connect_timeout=5)
            number = 0
            while not over.is_set() and number < 12:
                name, mark = names[number % 2], f"{round_number}-{worker}-{number}"
                number += 1
                try:
                    request = send(client, name, {"mark": mark, "sleep": 1})
                except (BotoCoreError, OSError):
                    return
                except ClientError as error:
                    if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                        failures.append(error)
                    return
                with lock:
                    target[request] = (name, mark)

        before = len(acknowledged)
        threads = [threading.Thread(target=flood, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: failures or len(acknowledged) >= before + 20, "events are acknowledged")
        wait_until(lambda: told(platform, names[0]), "some are at work")
        platform.kill()
        over.set()
        for thread in threads:
            thread.join()
        assert not failures, failures
        platform.start()
        found_pending += sum(pending(platform, name)["pending"] for name in names)

    assert found_pending > 0, "nothing was pending when the platform was killed"
    wait_until(lambda: all(pending(platform, name)["pending"] == 0 for name in names), "nothing is pending", 240)
    executed = {}
    for name in names:
        for one in told(platform, name):
            executed.setdefault(one["id"], set()).add((name, one["event"]["mark"]))
    lost = {request: what for request, what in acknowledged.items() if executed.get(request) != {what}}
    assert not lost, (len(lost), len(acknowledged), lost)
    for name in names:
        assert json.loads(platform.updraft("dead-letters", name, "--json").stdout) == []


def test_events_wait_for_a_platform_that_is_stopped(private):
    platform = private(arguments=["--drain-s", "1", "--async-in-flight-max", "2"])
    platform.create("f", TELLS, Timeout=60)
    client = platform.client()
    requests = [send(client, "f", {"sleep": 2, "n": number}) for number in range(4)]
    wait_until(lambda: told(platform, "f"), "the first is at work")
    platform.stop()
    platform.start()
    wait_until(lambda: pending(platform, "f")["pending"] == 0, "all are done")
    assert {one["id"] for one in told(platform, "f")} == set(requests)
