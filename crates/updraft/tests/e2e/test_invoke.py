"""Invoking a function, whatever runs it: Python, Node.js, any executable, a component, a web server."""

import base64
import io
import json
import re
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from harness import ACCOUNT, DEADLINE_S, EXAMPLES, NODE, PYTHON, REGION, zip_folder, zip_of

PAYLOAD_BYTES_MAX = 6_291_556

CONTEXT = """
import os
def handler(event, context):
    print("said by the function")
    client = context.client_context
    return {
        "event": event,
        "remaining_ms": context.get_remaining_time_in_millis(),
        "request": context.aws_request_id,
        "name": context.function_name,
        "version": context.function_version,
        "arn": context.invoked_function_arn,
        "memory": context.memory_limit_in_mb,
        "group": context.log_group_name,
        "stream": context.log_stream_name,
        "custom": client and client.custom,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
    }
"""


def test_python_sees_its_event_context_and_environment(platform, name):
    platform.create(
        name, zip_of({"app.py": CONTEXT}), Timeout=20, MemorySize=192, Environment={"Variables": {"MINE": "yes"}}
    )
    client_context = base64.b64encode(json.dumps({"custom": {"k": "v"}}).encode()).decode()
    event = {"text": "grüße 🎈", "list": [1, 2.5, None, True]}
    answer = platform.invoke(name, event, ClientContext=client_context)
    assert (answer.status, answer.raw["ExecutedVersion"]) == (200, "$LATEST")
    seen = answer.expect_ok()
    assert seen["event"] == event
    assert 0 < seen["remaining_ms"] <= 20_000
    assert seen["request"] == answer.raw["ResponseMetadata"]["RequestId"]
    assert (seen["name"], seen["version"], int(seen["memory"])) == (name, "$LATEST", 192)
    assert seen["arn"] == f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"
    assert seen["group"] == f"/aws/lambda/{name}"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", seen["stream"])
    assert seen["custom"] == {"k": "v"}
    environment = seen["environment"]
    expected = {
        "MINE": "yes",
        "_HANDLER": "app.handler",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "192",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": seen["stream"],
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "LAMBDA_TASK_ROOT": "/var/task",
    }
    assert {key: environment.get(key) for key in expected} == expected
    assert environment["AWS_EXECUTION_ENV"] == f"AWS_Lambda_{PYTHON}"
    assert seen["folder"] == "/var/task"


def test_the_log_comes_back_on_request(platform, name):
    platform.create(name, zip_of({"app.py": CONTEXT}))
    answer = platform.invoke(name, LogType="Tail")
    request = answer.expect_ok()["request"]
    lines = answer.log.splitlines()
    assert f"START RequestId: {request} Version: $LATEST" in lines
    assert "said by the function" in lines
    assert f"END RequestId: {request}" in lines
    report = next(line for line in lines if line.startswith("REPORT"))
    assert re.match(
        rf"REPORT RequestId: {request}\tDuration: [0-9.]+ ms\tBilled Duration: \d+ ms\tMemory Size: 128 MB\t"
        r"Max Memory Used: \d+ MB",
        report,
    )
    assert "Init Duration: " in report
    warm = platform.invoke(name, LogType="Tail").log
    assert "Init Duration: " not in warm
    assert platform.invoke(name).log is None


def test_the_log_that_comes_back_is_its_end(platform, name):
    code = "def handler(event, context):\n    for n in range(2000):\n        print('line', n)\n"
    platform.create(name, zip_of({"app.py": code}))
    raw = platform.invoke(name, LogType="Tail")
    assert len(raw.log.encode()) <= 4096
    assert "line 1999" in raw.log
    assert "REPORT RequestId" in raw.log
    assert "line 5\n" not in raw.log


def test_an_instance_is_used_again(platform, name):
    code = "import uuid\nwho = str(uuid.uuid4())\ndef handler(event, context):\n    return who\n"
    platform.create(name, zip_of({"app.py": code}))
    assert len({platform.invoke(name).expect_ok() for _ in range(5)}) == 1


def test_calls_at_once_get_an_instance_each(platform, name):
    code = """
import os, socket, time
def handler(event, context):
    open("/tmp/mine", "a").write("x")
    time.sleep(0.5)
    return len(open("/tmp/mine").read())
"""
    platform.create(name, zip_of({"app.py": code}), Timeout=30)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(platform.invoke(name).expect_ok())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert min(answers) == 1


def test_a_dry_run_does_not_run(platform, client, name):
    platform.create(name, zip_of({"app.py": "def handler(e, c):\n    raise SystemExit(1)\n"}))
    answer = platform.invoke(name, InvocationType="DryRun")
    assert (answer.status, answer.text, answer.error) == (204, b"", None)


def test_an_event_that_is_not_json_is_refused(platform, name):
    platform.create(name, zip_of({"app.py": "def handler(event, context):\n    return event\n"}))
    for payload in [b"{", b"n\x87r", b"{} {}", b"'x'"]:
        with pytest.raises(ClientError) as caught:
            platform.invoke(name, payload)
        response = caught.value.response
        assert response["Error"]["Code"] == "InvalidRequestContentException", payload
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 400
    for payload in [b"null", b"3", b'"text"', b" [1] "]:
        assert platform.invoke(name, payload).expect_ok() == json.loads(payload)
    # Lambda reads an absent payload as an empty object.
    assert platform.invoke(name, b"").expect_ok() == {}


def test_payloads_reach_up_to_the_limit(platform, name):
    code = "def handler(event, context):\n    return event if isinstance(event, str) else 'x' * event['size']\n"
    platform.create(name, zip_of({"app.py": code}), MemorySize=512, Timeout=30)
    text = "x" * 6_291_000
    assert platform.invoke(name, text).expect_ok() == text
    assert len(platform.invoke(name, {"size": 6_000_000}).expect_ok()) == 6_000_000
    with pytest.raises(ClientError) as caught:
        platform.invoke(name, json.dumps("x" * PAYLOAD_BYTES_MAX).encode())
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    over = platform.invoke(name, {"size": PAYLOAD_BYTES_MAX})
    assert over.error == "Unhandled"
    assert over.value == {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": f"Response payload size exceeded maximum allowed payload size ({PAYLOAD_BYTES_MAX} bytes).",
    }
    assert platform.invoke(name, {"size": 3}).expect_ok() == "xxx"


def test_node_runs_commonjs_modules_and_callbacks(platform, name):
    files = {
        "common.js": "exports.handler = async (event, context) => ({ event, name: context.functionName,"
        " request: context.awsRequestId, left: context.getRemainingTimeInMillis() });",
        "module.mjs": "import { sep } from 'node:path'; export const handler = async (event) => ({ event, sep });",
        "callback.js": "exports.handler = (event, context, callback) => setTimeout(() => callback(null, event), 5);",
        "nothing.js": "exports.handler = async () => {};",
        "lib/deep.js": "module.exports = { inner: { handler: async () => 'deep' } };",
    }
    platform.create(name, zip_of(files), runtime=NODE, handler="common.handler", Timeout=10)
    client = platform.client()

    def use(handler):
        client.update_function_configuration(FunctionName=name, Handler=handler)
        client.get_waiter("function_updated_v2").wait(FunctionName=name)

    answer = platform.invoke(name, {"x": 1})
    seen = answer.expect_ok()
    assert (seen["event"], seen["name"]) == ({"x": 1}, name)
    assert seen["request"] == answer.raw["ResponseMetadata"]["RequestId"]
    assert 0 < seen["left"] <= 10_000
    use("module.handler")
    assert platform.invoke(name, {"y": 2}).expect_ok() == {"event": {"y": 2}, "sep": "/"}
    use("callback.handler")
    assert platform.invoke(name, [3]).expect_ok() == [3]
    use("nothing.handler")
    assert platform.invoke(name).text == b"null"
    use("lib/deep.inner.handler")
    assert platform.invoke(name).expect_ok() == "deep"


STREAM = """
exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {
  const wanted = event.queryStringParameters ?? {};
  stream = awslambda.HttpResponseStream.from(stream, {
    statusCode: 201, headers: { "content-type": "text/plain", "x-mode": "stream" }, cookies: ["a=1", "b=2"],
  });
  stream.write("first\\n");
  if (wanted.forever) await new Promise((resolve) => setTimeout(resolve, 300000));
  const block = "x".repeat(1 << 20);
  for (let n = 0; n < Number(wanted.megabytes ?? 0); n++) {
    if (!stream.write(block)) await new Promise((resolve) => stream.once("drain", resolve));
  }
  stream.end("last\\n");
});
"""


def test_node_streams_its_response(platform, name):
    platform.create(name, zip_of({"app.js": STREAM}), runtime=NODE, Timeout=60, MemorySize=256)
    host = platform.open_url(name, mode="RESPONSE_STREAM")
    status, headers, body = platform.request("GET", "/", host=host)
    assert (status, headers["x-mode"], body) == (201, "stream", b"first\nlast\n")
    assert headers.get_all("set-cookie") == ["a=1", "b=2"]
    # More than any buffered response may hold.
    status, _, body = platform.request("GET", "/?megabytes=8", host=host)
    assert (status, len(body)) == (201, len("first\nlast\n") + (8 << 20))
    # The first piece arrives while the function is still at work: it would never end by itself.
    connection = platform.connection()
    connection.request("GET", "/?forever=1", headers={"host": host})
    assert connection.getresponse().read1(6) == b"first\n"
    connection.close()
    assert platform.request("GET", "/", host=host)[0] == 201


URL_ECHO = """
def handler(event, context):
    if event["rawPath"] == "/plain":
        return {"hello": "world"}
    if event["rawPath"] == "/text":
        return "hello"
    if event["rawPath"] == "/fail":
        raise ValueError("no")
    if event["rawPath"] == "/binary":
        return {"statusCode": 200, "headers": {"content-type": "image/x"}, "body": "AP8=", "isBase64Encoded": True}
    if event["rawPath"] == "/made":
        return {"statusCode": 201, "headers": {"x-a": "1", "Content-Type": "text/x"}, "cookies": ["c=1", "d=2"], "body": "b"}
    return event
"""


def test_a_url_speaks_payload_format_2(platform, name):
    platform.create(name, zip_of({"app.py": URL_ECHO}))
    host = platform.open_url(name)
    status, headers, body = platform.request(
        "POST",
        "/a%20b/c?x=1&x=2&y=%C3%A9",
        host=host,
        body=b'{"k": 1}',
        headers={"content-type": "application/json", "X-Mixed": "Case", "cookie": "one=1; two=2"},
    )
    assert (status, headers["content-type"]) == (200, "application/json")
    event = json.loads(body)
    assert (event["version"], event["routeKey"]) == ("2.0", "$default")
    assert event["rawPath"] in ("/a%20b/c", "/a b/c")
    assert event["rawQueryString"] == "x=1&x=2&y=%C3%A9"
    assert event["queryStringParameters"] == {"x": "1,2", "y": "é"}
    assert event["cookies"] == ["one=1", "two=2"]
    assert (event["headers"]["x-mixed"], event["headers"]["host"]) == ("Case", host)
    assert (event["body"], event["isBase64Encoded"]) == ('{"k": 1}', False)
    context = event["requestContext"]
    assert (context["http"]["method"], context["http"]["sourceIp"]) == ("POST", "127.0.0.1")
    assert context["domainName"] == host.split(":")[0] or context["domainName"] == host
    assert context["stage"] == "$default"

    event = json.loads(platform.request("PUT", "/", host=host, body=b"\x00\xff", headers={"content-type": "image/x"})[2])
    assert (event["body"], event["isBase64Encoded"]) == (base64.b64encode(b"\x00\xff").decode(), True)

    by_path = json.loads(platform.request("GET", f"/fn/{name}/deep/er?q=1")[2])
    assert (by_path["rawPath"], by_path["rawQueryString"]) == ("/deep/er", "q=1")


def test_a_url_turns_what_is_returned_into_http(platform, name):
    platform.create(name, zip_of({"app.py": URL_ECHO}))
    host = platform.open_url(name)
    status, headers, body = platform.request("GET", "/plain", host=host)
    assert (status, headers["content-type"], json.loads(body)) == (200, "application/json", {"hello": "world"})
    status, headers, body = platform.request("GET", "/text", host=host)
    assert (status, headers["content-type"], body) == (200, "application/json", b"hello")
    status, headers, body = platform.request("GET", "/binary", host=host)
    assert (status, headers["content-type"], body) == (200, "image/x", b"\x00\xff")
    status, headers, body = platform.request("GET", "/made", host=host)
    assert (status, headers["x-a"], headers["content-type"], body) == (201, "1", "text/x", b"b")
    assert headers.get_all("set-cookie") == ["c=1", "d=2"]
    status, _, body = platform.request("GET", "/fail", host=host)
    assert (status, body) == (502, b"Internal Server Error")
    status, _, _ = platform.request("GET", "/", host=f"{'a' * 32}.lambda-url.{REGION}.localhost")
    assert status in (403, 404)


BOOTSTRAP = '#!/bin/sh\ncd "$LAMBDA_TASK_ROOT"\nexec python3 -m awslambdaric "$_HANDLER"\n'
OFFICIAL = """
import os
def handler(event, context):
    print("through awslambdaric")
    if event.get("fail"):
        raise ValueError("asked to")
    return {"event": event, "request": context.aws_request_id, "client": __import__("awslambdaric").__name__}
"""


@pytest.fixture(scope="session")
def awslambdaric_folder(workspace):
    """AWS's own runtime client for Python, installed for the interpreter functions run on."""
    folder = workspace / "awslambdaric"
    requirements = [line for line in (EXAMPLES.parent / "crates/updraft/tests/e2e/requirements.txt").read_text().split()]
    wanted = next(line for line in requirements if line.startswith("awslambdaric=="))
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
        + ["--python-version", PYTHON.removeprefix("python"), "--target", str(folder), wanted],
        check=True,
    )
    return folder


SEVERAL = """
import os, time
def handler(event, context):
    if event.get("sleep"):
        time.sleep(event["sleep"])
    # Those that run at once see each other.
    open(f"/tmp/{event['number']}", "w").close()
    until = time.monotonic() + 30
    while event.get("of") and len(os.listdir("/tmp")) < event["of"] and time.monotonic() < until:
        time.sleep(0.01)
    return {
        "seen": len(os.listdir("/tmp")),
        "process": os.getpid(),
        "stream": context.log_stream_name,
        "concurrency": os.environ["AWS_LAMBDA_MAX_CONCURRENCY"],
        "request": context.aws_request_id,
    }
"""


def official_package(folder, code):
    package = io.BytesIO(zip_folder(folder))
    with zipfile.ZipFile(package, "a") as more:
        more.writestr("app.py", code)
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o100755 << 16
        more.writestr(entry, BOOTSTRAP)
    return package.getvalue()


def test_awslambdaric_takes_several_events_at_once(platform, name, awslambdaric_folder):
    package = official_package(awslambdaric_folder, SEVERAL)
    platform.create(name, package, runtime="provided.al2023", Timeout=60, MemorySize=256)
    scaling = {"instance_concurrency": 3, "instances_max": 1}
    status, _, body = platform.request(
        "PUT", f"/_updraft/v1/functions/{name}/scaling", body=json.dumps(scaling).encode()
    )
    assert status == 200, body
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(platform.invoke, name, {"number": number, "of": 3}) for number in range(3)]
        answers = [call.result().expect_ok() for call in calls]
    assert [answer["seen"] for answer in answers] == [3, 3, 3], answers
    assert len({answer["process"] for answer in answers}) == 3
    assert len({answer["stream"] for answer in answers}) == 1
    assert len({answer["request"] for answer in answers}) == 3
    assert {answer["concurrency"] for answer in answers} == {"3"}
    # One that takes too long fails by itself: the others go on, and so does the function.
    platform.client().update_function_configuration(FunctionName=name, Timeout=3)
    platform.client().get_waiter("function_updated_v2").wait(FunctionName=name)
    with ThreadPoolExecutor(2) as pool:
        late = pool.submit(platform.invoke, name, {"number": 0, "sleep": 30})
        early = [pool.submit(platform.invoke, name, {"number": number, "of": number}) for number in (1, 2)]
        assert [call.result().expect_ok()["concurrency"] for call in early] == ["3", "3"]
        assert "Task timed out" in late.result().value["errorMessage"]
    assert platform.invoke(name, {"number": 7}).expect_ok()["concurrency"] == "3"


def test_awslambdaric_runs_unmodified(platform, name, awslambdaric_folder):
    package = official_package(awslambdaric_folder, OFFICIAL)
    platform.create(name, package, runtime="provided.al2023", Timeout=20, MemorySize=256)
    answer = platform.invoke(name, {"x": 1}, LogType="Tail")
    assert answer.expect_ok() == {
        "event": {"x": 1},
        "request": answer.raw["ResponseMetadata"]["RequestId"],
        "client": "awslambdaric",
    }
    assert "through awslambdaric" in answer.log
    failed = platform.invoke(name, {"fail": True})
    assert (failed.error, failed.value["errorType"], failed.value["errorMessage"]) == (
        "Unhandled",
        "ValueError",
        "asked to",
    )
    assert platform.invoke(name, {"x": 2}).expect_ok()["event"] == {"x": 2}


def test_any_executable_is_a_runtime(platform, name):
    """A shell script and curl-free HTTP: the Runtime API needs no client library."""
    script = r"""#!/usr/bin/env python3
import json, os, urllib.request
api = f"http://{os.environ['AWS_LAMBDA_RUNTIME_API']}/2018-06-01/runtime/invocation"
while True:
    with urllib.request.urlopen(f"{api}/next") as request:
        ident, event = request.headers["Lambda-Runtime-Aws-Request-Id"], json.load(request)
        names = sorted(name.lower() for name in request.headers.keys() if name.lower().startswith("lambda-"))
    answer = json.dumps({"event": event, "headers": names}).encode()
    urllib.request.urlopen(urllib.request.Request(f"{api}/{ident}/response", data=answer, method="POST")).close()
"""
    platform.create(name, zip_of({"bootstrap": script}, ["bootstrap"]), runtime="provided.al2023", Timeout=10)
    answer = platform.invoke(name, {"n": 1}).expect_ok()
    assert answer["event"] == {"n": 1}
    assert {
        "lambda-runtime-aws-request-id",
        "lambda-runtime-deadline-ms",
        "lambda-runtime-invoked-function-arn",
        "lambda-runtime-trace-id",
    } <= set(answer["headers"])
    assert platform.invoke(name, {"n": 2}).expect_ok()["event"] == {"n": 2}


def test_a_component_answers_and_is_used_again(platform, name):
    package = zip_of({"hello.wasm": (EXAMPLES / "edge/hello.wasm").read_bytes()})
    platform.create(name, package, runtime="wasm", handler="hello.wasm")
    first = platform.invoke(name, {"name": "Ada"}).expect_ok()
    assert first["greeting"]
    host = platform.open_url(name)
    for _ in range(20):
        status, _, body = platform.request("GET", "/", host=host)
        assert status == 200
    # The component counts what it has served: one instance took all of these.
    assert json.loads(body)["served"] == first["served"] + 20


WEB = """
import http.server, json, os, threading
barrier = threading.Barrier(3)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def address_string(self):
        return "someone"
    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/together":
            barrier.wait(30)
        out = json.dumps({"method": self.command, "path": self.path, "body": body.decode(), "pid": os.getpid()}).encode()
        self.send_response(207)
        self.send_header("content-length", str(len(out)))
        self.send_header("x-path", self.path)
        self.end_headers()
        self.wfile.write(out)
    do_GET = do_POST = do_DELETE = answer
class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "web", self.server_address[1]
Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def test_a_web_server_takes_requests_as_they_are(platform, name):
    platform.create(name, zip_of({"server.py": WEB}), runtime="web", handler="python3 server.py", Timeout=60)
    host = platform.open_url(name)
    status, headers, body = platform.request("DELETE", "/a/b?c=%20d", host=host, body=b"text")
    assert (status, headers["x-path"]) == (207, "/a/b?c=%20d")
    seen = json.loads(body)
    assert (seen["method"], seen["path"], seen["body"]) == ("DELETE", "/a/b?c=%20d", "text")
    # Three requests that only end once all three are there: one instance has to take them at once.
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(platform.request("GET", "/together", host=host)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert [status for status, _, _ in answers] == [207] * 3
    # An event arrives as a POST to /.
    posted = platform.invoke(name, {"k": "v"}).value
    assert (posted["method"], posted["path"], json.loads(posted["body"])) == ("POST", "/", {"k": "v"})


def test_members_that_are_not_there_are_refused_by_name(platform, client, name):
    """Rather than left aside, as if the call had been for a tenant or were to be durable."""
    platform.create(name, zip_of({"app.py": "def handler(event, context):\n    return 1\n"}))
    for call, member in [
        (client.invoke, "TenantId"),
        (client.invoke, "DurableExecutionName"),
        (client.invoke_with_response_stream, "TenantId"),
    ]:
        with pytest.raises(ClientError) as caught:
            call(FunctionName=name, **{member: "x"})
        answer = caught.value.response
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
        assert answer["Error"]["Message"].startswith(f"{member} is not supported"), answer["Error"]
    with pytest.raises(ClientError) as caught:
        client.list_functions(MasterRegion="ALL")
    assert caught.value.response["Error"]["Message"].startswith("MasterRegion is not supported")
    assert platform.invoke(name).expect_ok() == 1
