"""Layers as boto3 publishes them and functions have them, and answers that stream to callers of the API."""

import json
import urllib.request

import pytest
from botocore.exceptions import ClientError

from harness import NODE, PYTHON, wait_until, zip_of

FIRST = zip_of(
    {
        "python/tools.py": "NAME = 'first'\n",
        "python/only_first.py": "",
        "bin/hello": "#!/bin/sh\necho from a layer\n",
        "data.txt": "kept",
    },
    executable=["bin/hello"],
)
SECOND = zip_of({"python/tools.py": "NAME = 'second'\n"})
CODE = zip_of(
    {
        "app.py": """
import subprocess, sys
import tools, only_first

def handler(event, context):
    try:
        with open("/opt/data.txt", "w"):
            written = True
    except OSError as error:
        written = error.strerror
    said = subprocess.run(["hello"], stdout=subprocess.PIPE, text=True).stdout
    return {"tools": tools.NAME, "from": tools.__file__, "said": said, "written": written}
"""
    }
)


def refused(code, status, call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (code, status), response
    return response["Error"]["Message"]


@pytest.fixture
def layer(client, name):
    """Publishes versions of layers named after the test; they are deleted after it."""
    made = []

    def publish(suffix, code, **more):
        version = client.publish_layer_version(LayerName=f"{name}-{suffix}", Content={"ZipFile": code}, **more)
        made.append((f"{name}-{suffix}", version["Version"]))
        return version

    yield publish
    for layer_name, version in made:
        client.delete_layer_version(LayerName=layer_name, VersionNumber=version)


def test_a_function_has_what_its_layers_hold(platform, client, name, layer):
    first = layer("a", FIRST, CompatibleRuntimes=[PYTHON], LicenseInfo="MIT", Description="tools")
    second = layer("b", SECOND)
    assert (first["Version"], first["LicenseInfo"], first["CompatibleRuntimes"]) == (1, "MIT", [PYTHON])
    with urllib.request.urlopen(first["Content"]["Location"]) as response:
        assert response.read() == FIRST
    arns = [first["LayerVersionArn"], second["LayerVersionArn"]]
    made = platform.create(name, CODE, Layers=arns)
    assert [shown["Arn"] for shown in made["Layers"]] == arns
    assert [shown["CodeSize"] for shown in made["Layers"]] == [len(FIRST), len(SECOND)]
    expected = {"tools": "second", "from": "/opt/python/tools.py", "said": "from a layer\n"}
    answer = platform.invoke(name).expect_ok()
    assert answer.pop("written") in ("Read-only file system", "Permission denied")
    assert answer == expected

    client.update_function_configuration(FunctionName=name, Layers=arns[::-1])
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert platform.invoke(name).expect_ok()["tools"] == "first"

    # Deleting a layer takes nothing from those that have it.
    client.delete_layer_version(LayerName=f"{name}-a", VersionNumber=1)
    refused("ResourceNotFoundException", 404, client.get_layer_version, LayerName=f"{name}-a", VersionNumber=1)
    assert platform.invoke(name).expect_ok()["tools"] == "first"
    client.update_function_configuration(FunctionName=name, Timeout=9)
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert platform.invoke(name).expect_ok()["tools"] == "first"
    assert layer("a", FIRST)["Version"] == 2


def module(code):
    """A module of Node.js that makes a package large enough to be compiled when it is deployed."""
    return f"// {'x' * 65536}\n{code}\n"


# Our own hook runs a module that was compiled ahead.
COMPILED = "new Error().stack.split('\\n')[2].includes('/var/runtime/compiled.cjs')"


def test_modules_of_nodejs_are_compiled_when_they_are_deployed(platform, client, name, layer):
    files = {
        "app.js": module(
            f"const compiled = {COMPILED}; const shared = require('shared'); const only = require('only');"
            "exports.handler = async () => ({ compiled: [compiled, shared.compiled, only.compiled],"
            " from: shared.from, traces: [shared.trace(), only.trace()] });"
        )
    }

    def dependency(folder, text):
        trace = "() => new Error().stack.split('\\n')[1].trim()"
        code = module(f"exports.compiled = {COMPILED}; exports.from = '{text}';\nexports.trace = {trace};")
        return {f"nodejs/node_modules/{folder}/index.js": code}

    first = layer("a", zip_of(dependency("shared", "first") | dependency("only", "first")))
    second = layer("b", zip_of(dependency("shared", "other")))
    layers = [first["LayerVersionArn"], second["LayerVersionArn"]]
    platform.create(name, zip_of(files), runtime=NODE, Layers=layers)
    answers = []

    def answer_of_a_new_instance():
        client.update_function_configuration(FunctionName=name, Description=f"try {len(answers)}")
        client.get_waiter("function_updated_v2").wait(FunctionName=name)
        return platform.invoke(name).expect_ok()

    def all_are_compiled():
        answers.append(answer_of_a_new_instance())
        return all(answers[-1]["compiled"])

    wait_until(all_are_compiled, "all modules are compiled")
    traces = [f"at exports.trace (/opt/nodejs/node_modules/{folder}/index.js:3:23)" for folder in ("shared", "only")]
    assert all((answer["from"], answer["traces"]) == ("other", traces) for answer in answers), answers


def test_layers_outlive_a_kill(private, folder):
    platform = private()
    client = platform.client()
    arns = [
        client.publish_layer_version(LayerName=layer_name, Content={"ZipFile": code})["LayerVersionArn"]
        for layer_name, code in (("a", FIRST), ("b", SECOND))
    ]
    platform.create("f", CODE, Layers=arns)
    client.delete_layer_version(LayerName="a", VersionNumber=1)
    platform.kill()
    platform.start()
    client = platform.client()
    client.get_waiter("function_active_v2").wait(FunctionName="f")
    assert platform.invoke("f").expect_ok()["tools"] == "second"
    assert [found["LayerName"] for found in client.list_layers()["Layers"]] == ["b"]
    assert client.publish_layer_version(LayerName="a", Content={"ZipFile": FIRST})["Version"] == 2


def test_lists_and_policies(client, name, layer):
    for _ in range(3):
        layer("a", SECOND, CompatibleRuntimes=["nodejs22.x"])
    pages = client.get_paginator("list_layer_versions").paginate(LayerName=f"{name}-a", PaginationConfig={"PageSize": 2})
    assert [found["Version"] for page in pages for found in page["LayerVersions"]] == [3, 2, 1]
    layers = client.get_paginator("list_layers").paginate(CompatibleRuntime="nodejs22.x").build_full_result()["Layers"]
    latest = {found["LayerName"]: found["LatestMatchingVersion"]["Version"] for found in layers}
    assert latest[f"{name}-a"] == 3
    which = {"LayerName": f"{name}-a", "VersionNumber": 1}
    refused("ResourceNotFoundException", 404, client.get_layer_version_policy, **which)
    grant = {"StatementId": "everyone", "Action": "lambda:GetLayerVersion", "Principal": "*"}
    added = client.add_layer_version_permission(**which, **grant)
    policy = client.get_layer_version_policy(**which)
    assert json.loads(policy["Policy"])["Statement"] == [json.loads(added["Statement"])]
    assert policy["RevisionId"] == added["RevisionId"]
    refused("ResourceConflictException", 409, client.add_layer_version_permission, **which, **grant)
    wrong = {"StatementId": "everyone", "RevisionId": "wrong"}
    refused("PreconditionFailedException", 412, client.remove_layer_version_permission, **which, **wrong)
    client.remove_layer_version_permission(**which, StatementId="everyone")


def test_the_aws_command_line_publishes_layers(platform, name, folder):
    (folder / "layer.zip").write_bytes(SECOND)
    made = platform.aws(
        *("lambda", "publish-layer-version", "--layer-name", name, "--zip-file", f"fileb://{folder}/layer.zip")
    )
    assert made["Version"] == 1
    got = platform.aws("lambda", "get-layer-version-by-arn", "--arn", made["LayerVersionArn"])
    assert got["Content"]["CodeSha256"] == made["Content"]["CodeSha256"]
    platform.aws("lambda", "delete-layer-version", "--layer-name", name, "--version-number", "1")


STREAM = """
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  stream.write("first ");
  if (event.fail) throw new Error("late");
  const block = "x".repeat(1 << 20);
  for (let n = 0; n < (event.megabytes ?? 0); n++) {
    if (!stream.write(block)) await new Promise((resolve) => stream.once("drain", resolve));
  }
  stream.end("last");
});
"""


def streamed(client, name, event, **more):
    """What a streaming invocation answers: its bytes, and its last event."""
    answer = client.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event), **more)
    assert (answer["StatusCode"], answer["ExecutedVersion"]) == (200, "$LATEST")
    *chunks, last = list(answer["EventStream"])
    return b"".join(chunk["PayloadChunk"]["Payload"] for chunk in chunks), last["InvokeComplete"]


def test_an_answer_streams(platform, client, name):
    platform.create(name, zip_of({"app.js": STREAM}), runtime=NODE, Timeout=60, MemorySize=256)
    body, complete = streamed(client, name, {}, LogType="Tail")
    assert body == b"first last"
    assert complete["LogResult"] and "ErrorCode" not in complete
    # More than any buffered response may hold.
    body, complete = streamed(client, name, {"megabytes": 8})
    assert len(body) == len("first last") + (8 << 20)
    body, complete = streamed(client, name, {"fail": True})
    assert complete["ErrorCode"] == "Unhandled"
    assert "late" in complete["ErrorDetails"]


def test_a_plain_answer_is_one_chunk(platform, client, name):
    code = "def handler(event, context):\n    return [event, 1 / event['by']]\n"
    platform.create(name, zip_of({"app.py": code}))
    answer = client.invoke_with_response_stream(FunctionName=name, Payload=b'{"by": 2}')
    events = list(answer["EventStream"])
    assert [list(event) for event in events] == [["PayloadChunk"], ["InvokeComplete"]]
    assert json.loads(events[0]["PayloadChunk"]["Payload"]) == [{"by": 2}, 0.5]
    body, complete = streamed(client, name, {"by": 0})
    assert (body, complete["ErrorCode"]) == (b"", "Unhandled")
    assert json.loads(complete["ErrorDetails"])["errorType"] == "ZeroDivisionError"
