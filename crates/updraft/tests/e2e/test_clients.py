"""Clients that people have, unmodified: SDKs as callers, runtime clients inside functions, tools that deploy.

Each comes from its registry at a pinned version, installed by `cargo xtask setup` or compiled here; clients/ has what
belongs to them, docs/clients.md the list.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

from harness import ACCOUNT, NODE, PYTHON, REGION, REPOSITORY, ROLE, client_environment, zip_of

CLIENTS = pathlib.Path(__file__).parent / "clients"
# Where `cargo xtask setup` installs what comes from npm.
INSTALLED = REPOSITORY / "target/clients"
NODE_22 = INSTALLED / "bin/node"


def run(command, platform, **more):
    """Runs a client against the platform; what it printed, line by line."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, capture_output=True, text=True, env=client_environment(platform.url), timeout=300, **more
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout.splitlines()


def arn(name):
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


# The AWS SDK for JavaScript

GREETER = """
exports.handler = async (event) => {
  if (event.fail) throw new RangeError(event.fail);
  console.log(`greeting ${event.name}`);
  return { message: `${process.env.GREETING}, ${event.name}!` };
};
"""
STREAMER = """
exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  for (let part = 1; part <= event.parts; part += 1) stream.write(`part ${part};`);
  stream.end();
});
"""


def test_sdk_for_javascript(platform, folder, name):
    (folder / "one.zip").write_bytes(zip_of({"index.js": GREETER}))
    (folder / "two.zip").write_bytes(zip_of({"index.js": STREAMER}))
    # Imports are looked up beside the program.
    program = shutil.copy(CLIENTS / "javascript/caller.mjs", folder)
    (folder / "node_modules").symlink_to(INSTALLED / "javascript/node_modules")
    steps = run([NODE_22, program, name, ROLE, folder / "one.zip", folder / "two.zip", NODE], platform)
    assert steps == [
        f"not there: Function not found: {arn(name)}",
        "active",
        "refused",
        'invoked: {"message":"Hello, Ada!"}',
        "failed: RangeError on purpose",
        "updated",
        "streamed: part 1;part 2;part 3;",
        "listed",
        "deleted",
    ]


# AWS's runtime client for Node.js

RIC_BOOTSTRAP = """#!/bin/sh
exec "$LAMBDA_TASK_ROOT/node" "$LAMBDA_TASK_ROOT/node_modules/aws-lambda-ric/index.mjs" "$_HANDLER"
"""
RIC_APP = """
export const handler = async (event, context) => {
  console.log("through aws-lambda-ric");
  if (event.fail) throw new RangeError("asked to");
  return { event, request: context.awsRequestId, arn: context.invokedFunctionArn, node: process.version };
};
export const stream = awslambda.streamifyResponse(async (event, stream) => {
  stream = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { "x-mode": "stream" } });
  stream.write("first;");
  stream.end("last");
});
"""


def ric_package(path):
    """A function's package: Node.js 22 itself, which no host need have where functions see it, and what npm built."""
    modules = INSTALLED / "ric/node_modules"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as package:
        for text, inside in [(RIC_BOOTSTRAP, "bootstrap"), (RIC_APP, "app.mjs")]:
            entry = zipfile.ZipInfo(inside)
            entry.external_attr = 0o100755 << 16
            package.writestr(entry, text)
        package.write(NODE_22.resolve(), "node")
        for inside in ["aws-lambda-ric/index.mjs", "aws-lambda-ric/package.json", "aws-lambda-ric/rapid-client.node"]:
            package.write(modules / inside, f"node_modules/{inside}")
        for file in sorted((modules / "@aws").rglob("*")):
            package.write(file, f"node_modules/{file.relative_to(modules)}")


@pytest.mark.slow
def test_aws_lambda_ric_on_node_22(platform, client, folder, name):
    ric_package(folder / "function.zip")
    package = (folder / "function.zip").read_bytes()
    assert len(package) <= 52_428_800, "what Lambda takes directly"
    platform.create(name, package, runtime="provided.al2023", handler="app.handler", Timeout=60, MemorySize=512)
    answer = platform.invoke(name, {"x": [1, "é"]}, LogType="Tail")
    assert answer.expect_ok() == {
        "event": {"x": [1, "é"]},
        "request": answer.raw["ResponseMetadata"]["RequestId"],
        "arn": arn(name),
        "node": run([NODE_22, "--version"], platform)[0],
    }
    assert "through aws-lambda-ric" in answer.log
    failed = platform.invoke(name, {"fail": True})
    assert failed.error == "Unhandled"
    assert (failed.value["errorType"], failed.value["errorMessage"]) == ("RangeError", "asked to")
    assert any("app.mjs" in line for line in failed.value["trace"])
    assert platform.invoke(name, {"x": 2}).expect_ok()["event"] == {"x": 2}

    client.update_function_configuration(FunctionName=name, Handler="app.stream")
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    host = platform.open_url(name, mode="RESPONSE_STREAM")
    status, headers, body = platform.request("GET", "/", host=host)
    assert (status, headers["x-mode"], body) == (201, "stream", b"first;last")

    client.update_function_configuration(FunctionName=name, Handler="app.missing")
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    missing = platform.invoke(name, {})
    assert missing.error == "Unhandled"
    assert missing.value["errorType"] == "Runtime.HandlerNotFound"


# What is written in Rust: the SDK, lambda_http, and cargo-lambda

WORDS = """
def handler(event, context):
    words = event["text"].split()
    return {"words": len(words), "different": len(set(words))}
"""


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The programs of clients/rust. Compiling takes minutes once; the folder is the repository's own, for the next time."""
    target = REPOSITORY / "target/clients/rust"
    command = ["cargo", "build", "--quiet", "--locked", "--target-dir", str(target)]
    subprocess.run([*command, "--manifest-path", str(CLIENTS / "rust/Cargo.toml")], check=True, timeout=1800)
    return target / "debug"


@pytest.mark.slow
def test_sdk_for_rust(platform, folder, name, built):
    (folder / "function.zip").write_bytes(zip_of({"app.py": WORDS}))
    steps = run([built / "caller", name, PYTHON, ROLE, folder / "function.zip"], platform)
    assert steps == [
        f"not there: Function not found: {arn(name)}",
        "active",
        "conflict",
        'invoked: {"words": 6, "different": 4}',
        "failed: KeyError",
        'streamed: {"words": 6, "different": 4}',
        "updated",
        "listed",
        "deleted",
    ]


@pytest.mark.slow
def test_lambda_http(platform, name, built):
    package = zip_of({"bootstrap": (built / "page").read_bytes()}, ["bootstrap"])
    platform.create(name, package, runtime="provided.al2023", handler="bootstrap", Timeout=10)
    host = platform.open_url(name)
    status, headers, body = platform.request("GET", "/hello?name=%C3%9Cnl%C3%BC%20B", host=host)
    assert (status, headers["content-type"], body.decode()) == (200, "text/plain; charset=utf-8", "GET Ünlü B")
    assert sorted(headers.get_all("set-cookie")) == ["one=1", "two=2"]
    everything = bytes(range(256))
    status, headers, body = platform.request("POST", "/reversed", host=host, body=everything)
    assert (status, headers["content-type"], body) == (200, "application/octet-stream", everything[::-1])
    as_json = {"content-type": "application/json"}
    assert platform.request("POST", "/json", host=host, body="[1, 2, 39]", headers=as_json)[::2] == (200, b"42")
    assert platform.request("POST", "/json", host=host, body="[1, 2,", headers=as_json)[0] == 422
    assert platform.request("GET", "/no/such", host=host)[::2] == (404, b"/no/such")
    assert platform.request("GET", "/fail", host=host)[0] == 502
    assert platform.request("DELETE", "/hello", host=host)[2] == b"DELETE nobody"


@pytest.fixture
def cargo_lambda(platform, folder, built):
    """Runs cargo-lambda in a project that is built already; what it printed."""
    for file in ["Cargo.toml", "Cargo.lock", "src"]:
        source = CLIENTS / "rust" / file
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / file)
    program = pathlib.Path(sys.executable).with_name("cargo-lambda")
    # It writes its archive beside the binary, where another test may be reading one.
    binary = shutil.copy(built / "page", folder / "page")

    def cargo_lambda(*arguments):
        return "\n".join(run([program, "lambda", *arguments], platform, cwd=folder))

    def deploy(*arguments):
        command = ["deploy", "--binary-path", binary, "--output-format", "json", *arguments]
        printed = cargo_lambda(*command)
        return json.loads(printed[printed.index("{") :])

    cargo_lambda.deploy, cargo_lambda.binary = deploy, binary
    return cargo_lambda


def event_for(path):
    """What a function URL hands to a function."""
    http = {"method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "test"}
    context = {"accountId": "anonymous", "apiId": "x", "domainName": "x", "domainPrefix": "x", "requestId": "r"}
    context |= {"routeKey": "$default", "stage": "$default", "time": "t", "timeEpoch": 0, "http": http}
    event = {"version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": {}}
    return event | {"requestContext": context, "isBase64Encoded": False}


@pytest.mark.slow
def test_cargo_lambda_deploys_and_invokes(platform, client, folder, name, cargo_lambda):
    made = cargo_lambda.deploy("--iam-role", ROLE, "--memory", "256", "--tag", "team=cloud", name)
    # It publishes a version with every deployment.
    assert (made["function_arn"], made["version"], made["function_url"]) == (arn(name), "1", None)
    found = client.get_function(FunctionName=name)
    assert (found["Configuration"]["MemorySize"], found["Tags"]) == (256, {"team": "cloud"})
    (folder / "event.json").write_text(json.dumps(event_for("/hello")))
    answer = json.loads(cargo_lambda("invoke", "--remote", "--data-file", folder / "event.json", name))
    assert (answer["statusCode"], answer["body"]) == (200, "GET nobody")

    # Deploying again updates; --alias moves an alias, which it wants to be there, to the new version.
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    again = ["--iam-role", ROLE, "--timeout", "7", "--env-var", "STAGE=two", "--alias", "live", name]
    again = cargo_lambda.deploy(*again)
    assert (again["version"], again["alias"]) == ("2", "live")
    assert client.get_alias(FunctionName=name, Name="live")["FunctionVersion"] == "2"
    published = client.get_function_configuration(FunctionName=name, Qualifier="live")
    assert (published["Version"], published["Timeout"]) == ("2", 7)
    assert published["Environment"]["Variables"] == {"STAGE": "two"}
    invoke = ["invoke", "--remote", "--alias", "live", "--data-file", folder / "event.json", name]
    assert json.loads(cargo_lambda(*invoke))["body"] == "GET nobody"

    # --merge-env keeps what is there.
    cargo_lambda.deploy("--iam-role", ROLE, "--merge-env", "--env-var", "COLOUR=red", name)
    now = client.get_function_configuration(FunctionName=name)
    assert now["Environment"]["Variables"] == {"STAGE": "two", "COLOUR": "red"}


@pytest.mark.slow
def test_cargo_lambda_opens_a_function_url(platform, client, name, cargo_lambda):
    made = cargo_lambda.deploy("--iam-role", ROLE, "--enable-function-url", name)
    assert made["function_url"] == client.get_function_url_config(FunctionName=name)["FunctionUrl"]
    host = made["function_url"].split("/")[2]
    assert platform.request("GET", "/hello?name=Ada", host=host)[::2] == (200, b"GET Ada")
    policy = json.loads(client.get_policy(FunctionName=name)["Policy"])
    assert "lambda:InvokeFunctionUrl" in [one["Action"] for one in policy["Statement"]]
    cargo_lambda.deploy("--iam-role", ROLE, "--disable-function-url", name)
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function_url_config(FunctionName=name)


@pytest.mark.slow
def test_cargo_lambda_makes_a_role_and_sets_retention(platform, client, name, cargo_lambda):
    """Without --iam-role it asks STS who it is, makes a role by IAM, and then tries until Lambda takes it."""
    cargo_lambda.deploy("--log-retention", "7", name)
    role = client.get_function_configuration(FunctionName=name)["Role"].rsplit("/", 1)[1]
    iam = platform.client("iam")
    assert iam.get_role(RoleName=role)["Role"]["Arn"].endswith(f":role/{role}")
    attached = iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
    assert [one["PolicyName"] for one in attached] == ["AWSLambdaBasicExecutionRole"]
    groups = platform.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{name}")["logGroups"]
    assert [one["retentionInDays"] for one in groups] == [7]
    iam.detach_role_policy(RoleName=role, PolicyArn=attached[0]["PolicyArn"])
    iam.delete_role(RoleName=role)


@pytest.mark.slow
def test_cargo_lambda_publishes_a_layer(platform, client, name, cargo_lambda):
    """An extension is a layer: its program goes into extensions/."""
    cargo_lambda("deploy", "--binary-path", cargo_lambda.binary, "--extension", name)
    versions = client.list_layer_versions(LayerName=name)["LayerVersions"]
    assert [one["Version"] for one in versions] == [1]
    assert "provided.al2023" in versions[0]["CompatibleRuntimes"]
    client.delete_layer_version(LayerName=name, VersionNumber=1)
