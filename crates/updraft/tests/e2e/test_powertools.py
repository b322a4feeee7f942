"""Powertools for AWS Lambda (Python) inside a function that is deployed from its folder, requirements.txt and all."""

import json
import pathlib

import pytest

from harness import ACCOUNT, PYTHON, REGION, REPOSITORY

FOLDER = pathlib.Path(__file__).parent / "clients/powertools"


@pytest.fixture(scope="module")
def shop(platform):
    """The function, once for all tests of a worker. What pip fetches is kept for the other worker, and the next run."""
    cache = {"XDG_CACHE_HOME": str(REPOSITORY / "target/clients/cache")}
    words = ["--name", "powertools", "--runtime", PYTHON, "--handler", "app.handler"]
    platform.updraft("deploy", FOLDER, *words, environment=cache)
    yield "powertools"
    platform.client().delete_function(FunctionName="powertools")


def lines(answer):
    """The JSON lines of a log's end."""
    return [json.loads(line) for line in answer.log.splitlines() if line.startswith("{")]


def test_logger(platform, shop):
    event = {"to": "log", "id": "the-id", "order": 7}
    answer = platform.invoke(shop, event, LogType="Tail")
    assert answer.expect_ok() == {"correlation": "the-id", "remaining": True}
    event_line, info, error = lines(answer)
    assert event_line["message"] == {"id": "the-id", "order": 7}
    assert (info["level"], info["message"], info["order"]) == ("INFO", {"what": "an order", "paid": True}, 7)
    assert (info["service"], info["customer"], info["correlation_id"]) == ("shop", "Ünlü", "the-id")
    assert info["location"].startswith("log:") and info["timestamp"]
    assert info["function_name"] == shop
    assert info["function_arn"] == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{shop}"
    assert info["function_request_id"] == answer.raw["ResponseMetadata"]["RequestId"]
    memory_mb = platform.client().get_function_configuration(FunctionName=shop)["MemorySize"]
    assert int(info["function_memory_size"]) == memory_mb
    assert info["xray_trace_id"].startswith("1-")
    assert (error["level"], error["exception_name"]) == ("ERROR", "ValueError")
    assert "no such thing" in error["exception"]
    warm = platform.invoke(shop, event, LogType="Tail")
    assert [line["cold_start"] for line in lines(warm)] == [False] * 3


def test_metrics(platform, shop):
    """Embedded metrics are lines of the log like any other."""
    answer = platform.invoke(shop, {"to": "measure", "orders": 3}, LogType="Tail")
    assert answer.expect_ok() == 3
    orders = [line for line in lines(answer) if "Orders" in line]
    assert [(one["Orders"], one["service"], one["_aws"]["CloudWatchMetrics"][0]["Namespace"]) for one in orders] == [
        ([3.0], "shop", "shop")
    ]


def test_tracer_without_a_daemon(platform, shop):
    """A caller's trace is sampled, so that segments are really sent; nobody takes them, and nothing comes of it."""
    root = "1-5759e988-bd862e3fe1be46a994272793"
    client = platform.client()
    trace = f"Root={root};Parent=53995c3f42cd8ad8;Sampled=1"
    header = lambda request, **_: request.headers.add_header("X-Amzn-Trace-Id", trace)
    client.meta.events.register("before-sign.lambda.Invoke", header)
    answer = platform.invoke(shop, {"to": "trace", "text": "abc"}, client=client)
    assert answer.expect_ok() == {"text": "ABC", "disabled": False, "sampled": True, "trace": root}
    failed = platform.invoke(shop, {"to": "trace", "text": ""}, client=client)
    assert (failed.error, failed.value["errorMessage"]) == ("Unhandled", "nothing to trace")


def test_event_handler_behind_a_function_url(platform, client, shop):
    # `updraft deploy` gave it one.
    host = client.get_function_url_config(FunctionName=shop)["FunctionUrl"].split("/")[2]

    def ask(method, path, body=None):
        status, headers, body = platform.request(
            method, path, host=host, body=body, headers={"content-type": "application/json"}
        )
        return status, headers["content-type"], json.loads(body)

    kind = "application/json"
    item = {"name": "pen", "currency": "CHF", "host": host.split(":")[0]}
    assert ask("GET", "/items/pen?currency=CHF") == (200, kind, item)
    assert ask("GET", "/items/none") == (404, kind, {"statusCode": 404, "message": "no none"})
    assert ask("GET", "/no/such")[0] == 404
    assert ask("POST", "/items", '{"name": "pen", "price": 1.5}') == (201, kind, {"name": "PEN", "price": 3.0})
    status, _, problem = ask("POST", "/items", '{"name": "pen"}')
    assert (status, problem["detail"][0]["loc"]) == (422, ["body", "price"])
    status, headers, body = platform.request("GET", "/bytes", host=host)
    assert (status, headers["content-type"], body) == (200, "application/octet-stream", bytes(range(256)))


def sqs(*amounts):
    """What a queue hands to a function."""
    return {
        "to": "consume",
        "Records": [
            {
                "messageId": f"message-{number}",
                "receiptHandle": "handle",
                "body": json.dumps({"amount": amount}),
                "attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1", "SenderId": "x"},
                "messageAttributes": {},
                "md5OfBody": "x",
                "eventSource": "aws:sqs",
                "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:orders",
                "awsRegion": REGION,
            }
            for number, amount in enumerate(amounts)
        ],
    }


def test_batch_tells_which_records_failed(platform, shop):
    assert platform.invoke(shop, sqs(1, 2)).expect_ok() == {"batchItemFailures": []}
    failures = platform.invoke(shop, sqs(1, -1, 2, -2)).expect_ok()["batchItemFailures"]
    assert [one["itemIdentifier"] for one in failures] == ["message-1", "message-3"]
    # When none went well, the whole batch is an error.
    failed = platform.invoke(shop, sqs(-1, -2))
    assert (failed.error, failed.value["errorType"]) == ("Unhandled", "BatchProcessingError")


TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
READS = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": ["ssm:GetParameter", "ssm:GetParametersByPath"],
            "Resource": [f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/shop{below}" for below in ("", "/*")],
        },
        {
            "Effect": "Allow",
            "Action": "secretsmanager:GetSecretValue",
            "Resource": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:shop/*",
        },
    ],
}


def test_parameters(platform, client, shop):
    """From the Parameter Store and Secrets Manager inside the sandbox, as far as the function's role allows."""
    iam, ssm, secrets = (platform.client(service) for service in ("iam", "ssm", "secretsmanager"))
    role = iam.create_role(RoleName="powertools", AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
    iam.put_role_policy(RoleName="powertools", PolicyName="reads", PolicyDocument=json.dumps(READS))
    named = {"/shop/colour": ("green", "String"), "/shop/keys/api": ("k-1", "SecureString")}
    named |= {"/office/colour": ("grey", "String")}
    for parameter, (value, kind) in named.items():
        ssm.put_parameter(Name=parameter, Value=value, Type=kind)
    secrets.create_secret(Name="shop/database", SecretString='{"user": "shop", "password": "pass"}')
    client.update_function_configuration(FunctionName=shop, Role=role["Arn"])
    client.get_waiter("function_updated_v2").wait(FunctionName=shop)

    assert platform.invoke(shop, {"to": "configure"}).expect_ok() == {
        "plain": "green",
        "sealed": "k-1",
        "all": {"colour": "green", "keys/api": "k-1"},
        "secret": {"user": "shop", "password": "pass"},
    }
    refused = platform.invoke(shop, {"to": "overreach"})
    assert (refused.error, refused.value["errorType"]) == ("Unhandled", "GetParameterError")
    assert "AccessDeniedException" in refused.value["errorMessage"]

    ssm.delete_parameters(Names=[*named])
    secrets.delete_secret(SecretId="shop/database", ForceDeleteWithoutRecovery=True)
    iam.delete_role_policy(RoleName="powertools", PolicyName="reads")
    iam.delete_role(RoleName="powertools")


def test_validation_and_parser(platform, shop):
    item = {"name": "pen", "price": 1.5}
    assert platform.invoke(shop, {"to": "validate"} | item).expect_ok() == "pen"
    assert platform.invoke(shop, {"to": "parse"} | item).expect_ok() == 1.5
    wrong = item | {"price": "dear"}
    assert platform.invoke(shop, {"to": "validate"} | wrong).value["errorType"] == "SchemaValidationError"
    assert platform.invoke(shop, {"to": "parse"} | wrong).value["errorType"] == "ValidationError"
