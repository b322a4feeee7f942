"""Packages nobody should deploy: each is refused with a clear error, and nothing of it stays."""

import io
import json
import os
import stat
import struct
import zipfile

import pytest
from botocore.exceptions import ClientError

from harness import NODE, PYTHON, ROLE, component, wait_until, zip_of

GOOD = zip_of({"app.py": "def handler(event, context):\n    return 'good'\n"})


def zip_with(*entries):
    """A zip of (name, content, mode) entries, named as they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content, mode in entries:
            entry = zipfile.ZipInfo("placeholder")
            entry.filename = name
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = mode << 16
            package.writestr(entry, content)
    return buffer.getvalue()


FILE, LINK = stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777
HANDLER = ("app.py", "def handler(event, context):\n    return 1\n", FILE)


def bomb():
    """A small zip of 300 MB."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("app.py", HANDLER[1])
        with package.open("zeros", "w", force_zip64=True) as zeros:
            for _ in range(300):
                zeros.write(bytes(1_000_000))
    return buffer.getvalue()


def lying_bomb():
    """The same, with headers that claim a few bytes."""
    data = bytearray(bomb())
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        sizes = [entry.file_size for entry in package.infolist()]
    for size in sizes:
        for form in ("<I", "<Q"):
            true, claimed = struct.pack(form, size), struct.pack(form, 10)
            data = data.replace(true, claimed) if size > 1_000_000 else data
    return bytes(data)


def broken_checksum():
    content = "def handler(event, context):\n    return 1\n" * 20
    data = bytearray(zip_with(("app.py", content, FILE)))
    end = data.rindex(b"PK\x01\x02")
    data[end + 16] ^= 0xFF
    first = data.index(b"PK\x03\x04")
    data[first + 14] ^= 0xFF
    return bytes(data)


UNUSABLE = {
    "parent path": lambda: zip_with(HANDLER, ("../evil.py", "x", FILE)),
    "parent path inside": lambda: zip_with(HANDLER, ("a/../../evil.py", "x", FILE)),
    "absolute path": lambda: zip_with(HANDLER, ("/tmp/evil.py", "x", FILE)),
    "backslashes": lambda: zip_with(HANDLER, ("..\\..\\evil.py", "x", FILE)),
    "link out of the package": lambda: zip_with(HANDLER, ("evil", "../../../../etc/passwd", LINK)),
    "absolute link": lambda: zip_with(HANDLER, ("evil", "/etc/passwd", LINK)),
    "file through a link": lambda: zip_with(HANDLER, ("evil", "/tmp", LINK), ("evil/evil.py", "x", FILE)),
    "bomb": bomb,
    "bomb with small headers": lying_bomb,
    "too many files": lambda: zip_of({f"f{number}": b"" for number in range(100_001)}),
    "cut short": lambda: GOOD[: len(GOOD) // 2],
    "cut at its end": lambda: GOOD[:-10],
    "no zip": lambda: b"this is not a zip file",
    "empty zip": lambda: zip_of({}),
    "wrong checksum": broken_checksum,
    "a file where a folder is": lambda: zip_with(HANDLER, ("a", "x", FILE), ("a/b", "x", FILE)),
}


@pytest.fixture(scope="module")
def standing(platform):
    """A function that has to survive every bad update."""
    platform.create("standing", GOOD)
    yield "standing"
    platform.client().delete_function(FunctionName="standing")


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_unusable_zip_is_refused_and_leaves_nothing(platform, client, name, standing, kind):
    code = UNUSABLE[kind]()
    for change in (
        lambda: platform.create(name, code, wait=False),
        lambda: client.update_function_code(FunctionName=standing, ZipFile=code),
    ):
        with pytest.raises(ClientError) as caught:
            change()
        response = caught.value.response
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 400, response
        assert response["Error"]["Code"] == "InvalidParameterValueException"
        assert response["Error"]["Message"]
        if kind == "bomb":
            assert response["Error"]["Message"] == "Unzipped size must be smaller than 262144000 bytes"
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName=name)
    assert platform.invoke(standing).expect_ok() == "good"
    assert client.get_function_configuration(FunctionName=standing)["LastUpdateStatus"] == "Successful"
    assert not [path for path in platform.data.parent.rglob("*evil*")]
    assert not os.path.exists("/tmp/evil.py")


def test_links_inside_the_package_work(platform, name):
    code = zip_with(
        ("real/data.txt", "linked", FILE),
        ("short.txt", "real/data.txt", LINK),
        ("app.py", "def handler(event, context):\n    return open('/var/task/short.txt').read()\n", FILE),
    )
    platform.create(name, code)
    assert platform.invoke(name).expect_ok() == "linked"


def test_an_absent_zip_is_refused(platform, client, name):
    raw = platform.client(parameter_validation=False)
    for code in ({}, {"ZipFile": b""}):
        with pytest.raises(ClientError) as caught:
            raw.create_function(FunctionName=name, Runtime=PYTHON, Handler="app.handler", Role=ROLE, Code=code)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName=name)


@pytest.mark.slow
def test_a_zip_over_the_limits_is_refused(platform, client, name):
    def create(content_bytes):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as package:
            package.writestr("noise", os.urandom(content_bytes))
        with pytest.raises(ClientError) as caught:
            platform.create(name, buffer.getvalue(), wait=False)
        response = caught.value.response
        assert response["ResponseMetadata"]["HTTPStatusCode"] == 413
        assert response["Error"]["Code"] == "RequestEntityTooLargeException"
        return response["Error"]["Message"]

    assert create(52_428_800) == "Zipped size must be smaller than 52428800 bytes"
    assert create(53_000_000) == "Request must be smaller than 70167211 bytes for the CreateFunction operation"
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName=name)
    assert platform.is_healthy()


def failure_of(platform, name, code, **more):
    """What an author is told about a package that can be stored and cannot run, wherever the platform notices."""
    client = platform.client()
    try:
        platform.create(name, code, wait=False, **more)
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400
        return error.response["Error"]["Message"]

    def settled():
        now = client.get_function_configuration(FunctionName=name)
        return now if now["State"] != "Pending" else None

    settled = wait_until(settled, "the function is active or failed")
    if settled["State"] == "Failed":
        assert settled["StateReason"]
        with pytest.raises(ClientError):
            platform.invoke(name)
        return settled["StateReason"]
    answer = platform.invoke(name)
    assert (answer.status, answer.error) == (200, "Unhandled")
    assert answer.value["errorType"]
    return f"{answer.value['errorType']}: {answer.value['errorMessage']}"


@pytest.mark.parametrize(
    "runtime, handler, code, said",
    [
        (PYTHON, "nowhere.handler", "", ["Runtime.ImportModuleError", "nowhere"]),
        (PYTHON, "app.nothing", "", ["Runtime.HandlerNotFound", "nothing"]),
        (PYTHON, "app", "", ["Runtime.MalformedHandlerName", "app"]),
        (PYTHON, "app.handler", "def handler(:\n", ["Runtime.UserCodeSyntaxError", "app.py"]),
        (PYTHON, "app.handler", "import nonexistent_thing", ["Runtime.ImportModuleError", "nonexistent_thing"]),
        (PYTHON, "app.handler", "raise RuntimeError('at import')", ["RuntimeError", "at import"]),
        (PYTHON, "app.handler", "import sys; sys.exit(4)", ["Runtime.ExitError", "exit status 4"]),
        (PYTHON, "app.handler", "def handler(e, c): return object()", ["Runtime.MarshalError", "object"]),
        (PYTHON, "app.handler", "def handler(e, c): raise KeyError('k')", ["KeyError", "k"]),
        (NODE, "nowhere.handler", "", ["Runtime.ImportModuleError", "nowhere"]),
        (NODE, "app.nothing", "", ["Runtime.HandlerNotFound", "nothing"]),
        (NODE, "app.handler", "exports.handler = (", ["Runtime.UserCodeSyntaxError", "SyntaxError"]),
        (NODE, "app.handler", "require('nonexistent-thing')", ["Runtime.ImportModuleError", "nonexistent-thing"]),
        (NODE, "app.handler", "exports.handler = async () => 10n", ["Unable to stringify response body"]),
        (NODE, "app.handler", "exports.handler = async () => { throw new TypeError('t') }", ["TypeError", "t"]),
        (NODE, "app.handler", "exports.handler = async () => process.exit(5)", ["Runtime.ExitError", "status 5"]),
    ],
)
def test_code_that_cannot_run_says_why(platform, name, runtime, handler, code, said):
    file = "app.py" if runtime == PYTHON else "app.js"
    text = failure_of(platform, name, zip_of({file: code}), runtime=runtime, handler=handler, Timeout=10)
    for part in said:
        assert part in text


def test_a_traceback_names_the_line(platform, name):
    code = "def handler(event, context):\n    return deeper(event)\ndef deeper(event):\n    return event['no']\n"
    platform.create(name, zip_of({"app.py": code}))
    answer = platform.invoke(name, {"yes": 1}, LogType="Tail")
    failure = answer.value
    assert (failure["errorType"], failure["errorMessage"]) == ("KeyError", "'no'")
    assert failure["requestId"] == answer.raw["ResponseMetadata"]["RequestId"]
    assert any('File "/var/task/app.py", line 4, in deeper' in line for line in failure["stackTrace"])
    assert "KeyError" in answer.log


@pytest.mark.parametrize(
    "bootstrap, mode, said",
    [
        ("#!/bin/sh\nexit 0\n", 0o644, "bootstrap"),
        ("#!/bin/sh\nexit 3\n", 0o755, "exit status 3"),
        ("#!/bin/sh\nexit 0\n", 0o755, "Runtime exited without providing a reason"),
        ("#!/no/such/interpreter\n", 0o755, "bootstrap"),
        ("not a program at all\0\1\2", 0o755, "bootstrap"),
    ],
)
def test_a_bootstrap_that_does_not_start_says_why(platform, name, bootstrap, mode, said):
    code = zip_with(("bootstrap", bootstrap, stat.S_IFREG | mode))
    assert said in failure_of(platform, name, code, runtime="provided.al2023", handler="x")


def test_a_package_without_a_bootstrap_says_so(platform, name):
    assert "bootstrap" in failure_of(platform, name, zip_of({"other": "x"}), runtime="provided.al2023", handler="x")


@pytest.mark.slow
def test_a_bootstrap_that_never_asks_for_work_times_out(platform, name):
    code = zip_of({"bootstrap": "#!/bin/sh\nexec sleep 1000\n"}, ["bootstrap"])
    text = failure_of(platform, name, code, runtime="provided.al2023", handler="x", Timeout=3)
    assert text.startswith("Sandbox.Timedout: ")
    assert "timed out" in text


@pytest.mark.parametrize(
    "content, said",
    [(b"", "hello.wasm"), (b"plain text", "hello.wasm"), (b"\0asm\x01\0\0\0", "component")],
    ids=["empty", "text", "core module"],
)
def test_a_file_that_is_no_component_says_so(platform, name, content, said):
    text = failure_of(platform, name, zip_of({"hello.wasm": content}), runtime="wasm", handler="hello.wasm")
    assert said in text


def test_a_component_that_wants_what_is_not_here_names_it(platform, name, folder):
    code = zip_of({"wanting.wasm": component("wanting", "wanting", folder)})
    assert "nowhere:at/all" in failure_of(platform, name, code, runtime="wasm", handler="wanting.wasm")


def test_a_component_that_is_not_in_the_package_is_named(platform, name):
    text = failure_of(platform, name, zip_of({"other.wasm": b""}), runtime="wasm", handler="hello.wasm")
    assert "hello.wasm" in text


def test_a_web_command_that_cannot_start_says_why(platform, name):
    text = failure_of(
        platform, name, zip_of({"x": ""}), runtime="web", handler="no-such-program --flag", Timeout=10
    )
    assert "exit status 127" in text
    assert "no-such-program" in platform.updraft("logs", name).stdout


BAD_SETTINGS = [
    ({"FunctionName": "has spaces"}, "functionName"),
    ({"FunctionName": "x" * 65}, "64"),
    ({"FunctionName": "ünicode"}, "functionName"),
    ({"MemorySize": 127}, "memorySize"),
    ({"MemorySize": 40_000}, "memorySize"),
    ({"Timeout": 0}, "timeout"),
    ({"Timeout": 901}, "timeout"),
    ({"EphemeralStorage": {"Size": 511}}, "phemeralStorage"),
    ({"EphemeralStorage": {"Size": 10_241}}, "phemeralStorage"),
    ({"Environment": {"Variables": {"LARGE": "x" * 4_096}}}, "exceeded the 4KB limit"),
    ({"Environment": {"Variables": {"AWS_REGION": "mars-1"}}}, "AWS_REGION"),
    ({"Environment": {"Variables": {"1BAD": "x"}}}, "1BAD"),
    ({"Environment": {"Variables": {"BAD-NAME": "x"}}}, "BAD-NAME"),
    ({"Runtime": "cobol85"}, "cobol85"),
    ({"Runtime": "python3.99"}, "python3.99"),
    ({"Runtime": "nodejs99.x"}, "nodejs99.x"),
    ({"Role": "r1"}, "role"),
    ({"Architectures": ["X86_64"]}, "architectures"),
    ({"Handler": "has spaces.handler"}, "handler"),
    ({"Handler": "x" * 129}, "handler"),
]


@pytest.mark.parametrize("setting, said", BAD_SETTINGS, ids=lambda value: json.dumps(value)[:40])
def test_a_setting_out_of_bounds_is_named(platform, client, name, setting, said):
    raw = platform.client(parameter_validation=False)
    good = {"FunctionName": name, "Runtime": PYTHON, "Handler": "app.handler", "Role": ROLE, "Code": {"ZipFile": GOOD}}
    with pytest.raises(ClientError) as caught:
        raw.create_function(**(good | setting))
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 400, response
    assert response["Error"]["Code"] in ("ValidationException", "InvalidParameterValueException")
    assert said in response["Error"]["Message"]
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName=name)
    if "FunctionName" not in setting:
        platform.create(name, GOOD)
        update = {key: value for key, value in setting.items() if key != "Architectures"}
        if update:
            with pytest.raises(ClientError) as caught:
                raw.update_function_configuration(FunctionName=name, **update)
            assert said in caught.value.response["Error"]["Message"]
            assert platform.invoke(name).expect_ok() == "good"


def test_settings_at_their_bounds_are_taken(platform, client, name):
    platform.create(
        name,
        GOOD,
        Timeout=900,
        MemorySize=10_240,
        EphemeralStorage={"Size": 10_240},
        Description="d" * 256,
        Environment={"Variables": {"LARGE": "x" * 4_000}},
    )
    assert platform.invoke(name).expect_ok() == "good"
