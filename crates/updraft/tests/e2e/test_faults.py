"""Functions that fail while they run, and clients that give up or make no sense."""

import json
import re
import socket
import threading

import pytest

from harness import DEADLINE_S, EXAMPLES, NODE, component, wait_until, zip_of

FAULTS = """
import os, signal, time
held = []
def handler(event, context):
    kind = event.get("kind")
    if kind == "sleep":
        print("going to sleep")
        time.sleep(100)
    if kind == "exit":
        print("leaving")
        os._exit(event["code"])
    if kind == "signal":
        signal.signal(event["signal"], signal.SIG_DFL) if event["signal"] != 9 else None
        os.kill(os.getpid(), event["signal"])
        time.sleep(5)
    if kind == "memory":
        for _ in range(64):
            held.append(bytearray(os.urandom(1 << 16)) * 256)
    if kind == "fork bomb":
        children = 0
        try:
            while children < 100000:
                if os.fork() == 0:
                    time.sleep(100)
                    os._exit(0)
                children += 1
        except OSError:
            pass
        return children
    if kind == "fill":
        try:
            with open("/tmp/fill", "wb") as file:
                for _ in range(1024):
                    file.write(bytes(1 << 20))
        except OSError as error:
            return error.errno
    return "fine"
"""


@pytest.fixture
def faulty(platform, name):
    platform.create(name, zip_of({"app.py": FAULTS}), Timeout=20, MemorySize=128)
    return name


def test_a_timeout_is_lambdas_and_the_next_call_works(platform, client, faulty):
    client.update_function_configuration(FunctionName=faulty, Timeout=1)
    client.get_waiter("function_updated_v2").wait(FunctionName=faulty)
    answer = platform.invoke(faulty, {"kind": "sleep"}, LogType="Tail")
    assert (answer.status, answer.error) == (200, "Unhandled")
    request = answer.raw["ResponseMetadata"]["RequestId"]
    assert answer.value == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {request} Error: Task timed out after 1.00 seconds",
    }
    assert "going to sleep" in answer.log
    assert re.search(r"REPORT RequestId: .*\tStatus: timeout", answer.log)
    assert platform.invoke(faulty).expect_ok() == "fine"


@pytest.mark.parametrize(
    "event, said",
    [
        ({"kind": "exit", "code": 0}, "Runtime exited without providing a reason"),
        ({"kind": "exit", "code": 3}, "Runtime exited with error: exit status 3"),
        ({"kind": "signal", "signal": 11}, "Runtime exited with error: signal: segmentation fault"),
        ({"kind": "signal", "signal": 6}, "Runtime exited with error: signal: aborted"),
        ({"kind": "signal", "signal": 9}, "Runtime exited with error: signal: killed"),
    ],
    ids=lambda value: json.dumps(value),
)
def test_a_crash_is_lambdas_and_the_next_call_works(platform, faulty, event, said):
    answer = platform.invoke(faulty, event, LogType="Tail")
    request = answer.raw["ResponseMetadata"]["RequestId"]
    assert answer.error == "Unhandled"
    assert answer.value == {"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: {request} Error: {said}"}
    assert "Error Type: Runtime.ExitError" in answer.log
    assert platform.invoke(faulty).expect_ok() == "fine"


def test_too_much_memory_ends_the_function_and_nobody_else(platform, faulty):
    answer = platform.invoke(faulty, {"kind": "memory"}, LogType="Tail")
    assert answer.error == "Unhandled"
    assert answer.value["errorType"] == "Runtime.OutOfMemory"
    assert "signal: killed" in answer.value["errorMessage"]
    assert platform.is_healthy()
    assert platform.invoke(faulty).expect_ok() == "fine"


def test_processes_are_bounded(platform, client, faulty):
    client.update_function_configuration(FunctionName=faulty, MemorySize=2048)
    client.get_waiter("function_updated_v2").wait(FunctionName=faulty)
    assert platform.invoke(faulty, {"kind": "fork bomb"}).expect_ok() < 2000
    assert platform.is_healthy()


def test_the_private_disk_is_bounded(platform, client, faulty):
    client.update_function_configuration(FunctionName=faulty, MemorySize=2048)
    client.get_waiter("function_updated_v2").wait(FunctionName=faulty)
    assert platform.invoke(faulty, {"kind": "fill"}).expect_ok() == 28, "ENOSPC"


def test_a_function_cannot_write_its_code_or_see_the_platform(platform, name):
    code = """
import os
def attempt(action):
    try:
        action()
        return "done"
    except OSError as error:
        return type(error).__name__
def handler(event, context):
    return {
        "code": attempt(lambda: open("/var/task/app.py", "a")),
        "root": attempt(lambda: open("/new", "w")),
        "etc": attempt(lambda: open("/etc/new", "w")),
        "tmp": attempt(lambda: open("/tmp/new", "w")),
        "host": os.path.exists(event["secret"]),
        "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
        "uid": os.getuid() if os.getuid() else None,
        "links": sorted(os.listdir("/sys/class/net")) if os.path.exists("/sys/class/net") else ["lo"],
    }
"""
    platform.create(name, zip_of({"app.py": code}))
    secret = platform.data.parent / "secret"
    secret.write_text("for the platform's eyes")
    seen = platform.invoke(name, {"secret": str(secret)}).expect_ok()
    assert (seen["code"], seen["root"], seen["etc"]) == ("OSError", "OSError", "OSError") or all(
        seen[place] in ("OSError", "PermissionError", "FileNotFoundError") for place in ("code", "root", "etc")
    )
    assert (seen["tmp"], seen["host"]) == ("done", False)
    assert seen["processes"] <= 3
    assert seen["links"] == ["lo"]


def test_a_function_reaches_no_network(platform, name):
    listener = socket.create_server(("127.0.0.1", 0))
    code = """
import socket
def handler(event, context):
    try:
        socket.create_connection(("127.0.0.1", event["port"]), timeout=3).close()
        return "reached"
    except OSError as error:
        return type(error).__name__
"""
    platform.create(name, zip_of({"app.py": code}), Timeout=10)
    assert platform.invoke(name, {"port": listener.getsockname()[1]}).expect_ok() != "reached"
    listener.close()


@pytest.mark.parametrize("sent", ["create", "invoke", "url"])
def test_a_body_cut_off_half_way_does_nothing(platform, client, name, sent):
    code = "import json\ndef handler(event, context):\n    print('ran')\n    return 1\n"
    target = f"{name}-cut"
    if sent == "create":
        path = "/2015-03-31/functions"
        body = json.dumps({"FunctionName": target, "Handler": "app.handler"}).encode()
    else:
        platform.create(name, zip_of({"app.py": code}))
        path = f"/2015-03-31/functions/{name}/invocations" if sent == "invoke" else f"/fn/{name}/"
        body = b'{"half": '
    headers = platform.signed("POST", path, {"host": "localhost"}, body)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    for framing in ("length", "chunked"):
        with platform.socket() as connection:
            head = f"POST {path} HTTP/1.1\r\n{lines}content-type: application/json\r\n"
            if framing == "length":
                connection.sendall(f"{head}content-length: {len(body) + 1000}\r\n\r\n".encode() + body)
            else:
                chunk = f"{len(body):x}\r\n".encode() + body + b"\r\n"
                connection.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode() + chunk)
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(DEADLINE_S)
            answer = connection.recv(4096)
        assert not answer.startswith(b"HTTP/1.1 2"), answer
    assert platform.is_healthy()
    if sent == "create":
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.get_function(FunctionName=target)
    else:
        assert platform.invoke(name, LogType="Tail").expect_ok() == 1
        lines = platform.updraft("logs", name).stdout.splitlines()
        assert len([line for line in lines if line.endswith("ran")]) == 1


def test_requests_that_make_no_sense_are_answered(platform):
    for method, target, body in [
        ("GET", "/", b""),
        ("POST", "/2015-03-31/functions", b"[]"),
        ("POST", "/2015-03-31/functions", b"{"),
        ("PATCH", "/2015-03-31/functions/x", b""),
        ("GET", "/2015-03-31/functions/%FF%00", b""),
        ("GET", "/2015-03-31/functions?MaxItems=many", b""),
        ("GET", "/2015-03-31/functions?Marker=%00", b""),
        ("NONSENSE", None, b""),
    ]:
        raw = f"{method}\r\n\r\n".encode()
        if target:
            headers = platform.signed(method, target, {"host": "localhost"}, body) | {"content-length": str(len(body))}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            raw = f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + body
        with platform.socket() as connection:
            connection.sendall(raw)
            answer = connection.recv(65536)
        assert re.match(rb"HTTP/1.[01] 4\d\d ", answer), (raw, answer)
        assert b"HTTP/1.1 403" not in answer, (raw, answer)
    assert platform.is_healthy()


def test_other_sites_pages_are_kept_out(platform, private, name):
    """A page in a browser reaches what listens on this machine. It cannot sign; where nobody has to, its Host or its
    Origin gives it away."""
    code = zip_of({"app.py": "def handler(event, context):\n    return 1\n"})
    open_to_all = private(arguments=["--authentication", "off"])
    path = f"/2015-03-31/functions/{name}/invocations"
    pages = ({"host": "rebound.example.org"}, {"origin": "https://example.org"})
    for one, others in ((platform, 403), (open_to_all, 200)):
        one.create(name, code)
        for headers in pages:
            assert one.request("POST", path, body=b"{}", headers=headers, signed=False)[0] == 403, headers
        assert one.request("POST", path, body=b"{}", signed=False)[0] == others
    for headers in ({}, *pages):
        assert platform.request("POST", path, body=b"{}", headers=headers)[0] == 200, headers


@pytest.mark.slow
def test_an_endless_component_delays_nobody(platform, name, folder):
    """Loops for ever in WebAssembly, on more calls than there are cores, while others are answered."""
    package = zip_of({"loop.wasm": component("loop", "plain", folder)})
    platform.create(name, package, runtime="wasm", handler="loop.wasm", Timeout=5)
    other = f"{name}-other"
    quick = zip_of({"hello.wasm": (EXAMPLES / "edge/hello.wasm").read_bytes()})
    platform.create(other, quick, runtime="wasm", handler="hello.wasm")
    stuck, done = [], threading.Event()

    def loop():
        stuck.append(platform.invoke(name))
        if len(stuck) == 4:
            done.set()

    threads = [threading.Thread(target=loop) for _ in range(4)]
    for thread in threads:
        thread.start()
    answered = 0
    while not done.is_set():
        assert platform.invoke(other).error is None
        answered += 1
    for thread in threads:
        thread.join()
    assert answered > 4, "the other component was answered while four loops ran"
    assert {answer.value["errorType"] for answer in stuck} == {"Sandbox.Timedout"}
    platform.client().delete_function(FunctionName=other)


STREAMS = """
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  const says = event.rawPath.slice(1);
  if (says === 'nothing') {
    const body = awslambda.HttpResponseStream.from(stream, { statusCode: 204 });
    body.end();
    return;
  }
  const headers = says === 'short' ? { 'content-length': '1' } : {};
  const body = awslambda.HttpResponseStream.from(stream, { statusCode: 200, headers });
  body.write('a' + process.pid);
  if (says !== 'endless') { body.end(); return; }
  for (;;) {
    if (!body.write('a'.repeat(65536))) await new Promise((resolve) => body.once('drain', resolve));
  }
});
"""


def test_a_reply_that_nobody_reads_ends_with_its_time(platform, name):
    """Its instance is free again while the client still holds the connection and takes nothing."""
    package = zip_of({"index.js": STREAMS})
    platform.create(name, package, runtime=NODE, handler="index.handler", Timeout=2)
    platform.client().put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    host = platform.open_url(name, mode="RESPONSE_STREAM")
    with platform.socket() as idler:
        idler.sendall(f"GET /endless HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        assert idler.recv(12) == b"HTTP/1.1 200"

        def answered():
            connection = platform.connection()
            connection.request("GET", "/once", headers={"host": host})
            return connection.getresponse().status == 200

        # Well before the server gives up a client that takes nothing.
        wait_until(answered, "another call finds the one instance there may be", deadline_s=40)


def test_a_reply_without_a_body_ends_no_instance(platform, name):
    """HEAD and 204: the function is let to its end although nobody sees what it writes."""
    platform.create(name, zip_of({"index.js": STREAMS}), runtime=NODE, handler="index.handler", Timeout=20)
    host = platform.open_url(name, mode="RESPONSE_STREAM")

    def said(method, path):
        connection = platform.connection()
        connection.request(method, path, headers={"host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    status, first = said("GET", "/once")
    assert status == 200 and first.startswith("a")
    assert said("HEAD", "/once") == (200, "")
    assert said("GET", "/nothing") == (204, "")
    assert said("GET", "/once") == (200, first), "the instance is another"


def test_a_length_that_is_wrong_is_not_sent(platform, name):
    """Bytes past it would be taken for the next response on the connection."""
    platform.create(name, zip_of({"index.js": STREAMS}), runtime=NODE, handler="index.handler", Timeout=20)
    host = platform.open_url(name, mode="BUFFERED")
    connection = platform.connection()
    for _ in range(2):
        connection.request("GET", "/short", headers={"host": host})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200 and len(body) > 1
        assert answer.headers["content-length"] == str(len(body))
