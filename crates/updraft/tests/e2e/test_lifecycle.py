"""A function's life through Lambda's control API, as boto3 and the aws command line drive it."""

import base64
import hashlib
import json
import pathlib
import re
import threading
import urllib.request

import pytest
from botocore.exceptions import ClientError

from harness import ACCOUNT, PYTHON, REGION, ROLE, zip_of

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden/function.json").read_text())
ONE = zip_of({"app.py": "def handler(event, context):\n    return 1\n"})
TWO = zip_of({"app.py": "def handler(event, context):\n    return 2\n"})
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


def arn(name):
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


def sha256(code):
    return base64.b64encode(hashlib.sha256(code).digest()).decode()


def same_as_aws(answer, moment, **values):
    """Checks an answer's fields against those AWS gives at that moment."""
    fields = set(GOLDEN["configuration"]["fields"]) | set(GOLDEN[moment]["more_fields"])
    answer = {key: value for key, value in answer.items() if key != "ResponseMetadata"}
    assert set(answer) == fields
    expected = GOLDEN["configuration"]["values"] | GOLDEN[moment]["values"] | values
    assert {key: answer[key] for key in expected} == expected


def refused(code, status, call, **arguments):
    """Calls, expects this error, and returns its message."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (code, status), response
    return response["Error"]["Message"]


def test_a_function_lives_from_create_to_delete(platform, client, name):
    made = client.create_function(
        FunctionName=name,
        Runtime=PYTHON,
        Handler="app.handler",
        Role=ROLE,
        Code={"ZipFile": ONE},
        Description="first",
        Timeout=7,
        MemorySize=256,
        Environment={"Variables": {"FIRST": "1"}},
        Tags={"team": "cloud"},
    )
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    common = {
        "FunctionName": name,
        "FunctionArn": arn(name),
        "Runtime": PYTHON,
        "Handler": "app.handler",
        "Role": ROLE,
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"},
    }
    first = {"Description": "first", "Timeout": 7, "MemorySize": 256, "Environment": {"Variables": {"FIRST": "1"}}}
    first |= {"CodeSha256": sha256(ONE), "CodeSize": len(ONE)}
    same_as_aws(made, "created", **common, **first)
    assert re.fullmatch(UUID, made["RevisionId"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.]\d{3}[+]0000", made["LastModified"])

    client.get_waiter("function_exists").wait(FunctionName=name)
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    got = client.get_function(FunctionName=name)
    same_as_aws(got["Configuration"], "active", **common, **first)
    assert got["Code"]["RepositoryType"] == "S3"
    assert got["Tags"] == {"team": "cloud"}
    assert platform.invoke(name).expect_ok() == 1

    updated = client.update_function_code(FunctionName=name, ZipFile=TWO)
    second = first | {"CodeSha256": sha256(TWO), "CodeSize": len(TWO)}
    same_as_aws(updated, "updating", **common, **second)
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert platform.invoke(name).expect_ok() == 2

    changed = client.update_function_configuration(
        FunctionName=name, Description="second", Timeout=9, MemorySize=512, Environment={"Variables": {"SECOND": "2"}}
    )
    third = second | {
        "Description": "second",
        "Timeout": 9,
        "MemorySize": 512,
        "Environment": {"Variables": {"SECOND": "2"}},
    }
    same_as_aws(changed, "updating", **common, **third)
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    same_as_aws(client.get_function_configuration(FunctionName=name), "active", **common, **third)

    deleted = client.delete_function(FunctionName=name)
    assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    refused("ResourceNotFoundException", 404, client.get_function, FunctionName=name)
    refused("ResourceNotFoundException", 404, client.delete_function, FunctionName=name)


def test_what_is_left_unsaid_has_lambdas_defaults(platform, client, name):
    made = platform.create(name, ONE)
    assert (made["Timeout"], made["MemorySize"], made["Description"]) == (3, 128, "")
    assert made.get("Environment") in (None, {"Variables": {}})
    assert made["EphemeralStorage"] == {"Size": 512}


def test_listing_goes_page_by_page(private):
    platform = private()
    client = platform.client()
    names = [f"list-{number:02}" for number in range(7)]
    for name in reversed(names):
        platform.create(name, ONE, wait=False, Environment={"Variables": {"FIRST": "1"}})
    for name in names:
        client.get_waiter("function_active_v2").wait(FunctionName=name)
    first = client.list_functions(MaxItems=3)
    assert [function["FunctionName"] for function in first["Functions"]] == names[:3]
    same_as_aws(first["Functions"][0], "listed", FunctionName=names[0], FunctionArn=arn(names[0]))
    pages = list(client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 3}))
    assert [len(page["Functions"]) for page in pages] == [3, 3, 1]
    assert [function["FunctionName"] for page in pages for function in page["Functions"]] == names
    assert "NextMarker" not in client.list_functions()


def test_a_change_of_another_revision_is_refused(platform, client, name):
    platform.create(name, ONE)
    seen = client.get_function(FunctionName=name)["Configuration"]["RevisionId"]
    client.update_function_configuration(FunctionName=name, Description="meanwhile", RevisionId=seen)
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    message = (
        "The Revision Id provided does not match the latest Revision Id. "
        "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
    )
    for call, change in [
        (client.update_function_code, {"ZipFile": TWO}),
        (client.update_function_configuration, {"Description": "late"}),
    ]:
        assert message == refused(
            "PreconditionFailedException", 412, call, FunctionName=name, RevisionId=seen, **change
        )
    now = client.get_function(FunctionName=name)["Configuration"]
    assert (now["Description"], now["CodeSha256"]) == ("meanwhile", sha256(ONE))
    assert now["RevisionId"] != seen


def test_an_update_leaves_no_gap(platform, client, name):
    """Callers see the old code or the new, never neither, and never the old again once the new is in force."""
    code = "def handler(event, context):\n    return {version}\n"
    platform.create(name, zip_of({"app.py": code.format(version=0)}))
    seen, failures, over = [], [], threading.Event()

    def call():
        mine = []
        try:
            while not over.is_set():
                mine.append(platform.invoke(name, client=client).expect_ok())
        except Exception as error:
            failures.append(error)
        seen.append(mine)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for version in range(1, 6):
        client.update_function_code(FunctionName=name, ZipFile=zip_of({"app.py": code.format(version=version)}))
        client.get_waiter("function_updated_v2").wait(FunctionName=name)
        assert platform.invoke(name).expect_ok() == version
    over.set()
    for caller in callers:
        caller.join()
    assert not failures, failures
    for mine in seen:
        assert mine == sorted(mine)
        assert len(mine) > 5


def test_a_name_can_be_used_anew(platform, client, name):
    platform.create(name, ONE, Tags={"a": "1"})
    platform.open_url(name)
    assert platform.invoke(name).expect_ok() == 1
    client.delete_function(FunctionName=name)
    platform.create(name, TWO)
    assert platform.invoke(name).expect_ok() == 2
    assert "Tags" not in client.get_function(FunctionName=name)
    refused("ResourceNotFoundException", 404, client.get_function_url_config, FunctionName=name)


def test_a_dry_run_changes_nothing(platform, client, name):
    platform.create(name, ONE)
    before = client.get_function_configuration(FunctionName=name)
    checked = client.update_function_code(FunctionName=name, ZipFile=TWO, DryRun=True)
    assert checked["CodeSha256"] == sha256(TWO)
    after = client.get_function_configuration(FunctionName=name)
    assert (after["CodeSha256"], after["RevisionId"]) == (sha256(ONE), before["RevisionId"])


def test_code_comes_back_as_it_went_in(platform, client, name):
    platform.create(name, ONE)
    location = client.get_function(FunctionName=name)["Code"]["Location"]
    with urllib.request.urlopen(location) as answer:
        assert answer.read() == ONE


@pytest.mark.parametrize(
    "operation, arguments",
    [
        ("get_function", {}),
        ("get_function_configuration", {}),
        ("update_function_code", {"ZipFile": ONE}),
        ("update_function_configuration", {"Description": "x"}),
        ("delete_function", {}),
        ("get_function_code_signing_config", {}),
        ("invoke", {}),
    ],
)
def test_a_function_that_is_not_there_is_named(client, operation, arguments):
    message = refused(
        "ResourceNotFoundException", 404, getattr(client, operation), FunctionName="nobody", **arguments
    )
    assert message.removesuffix(":$LATEST") == f"Function not found: {arn('nobody')}"


def test_error_envelopes_are_lambdas(platform):
    status, headers, body = platform.request("GET", "/2015-03-31/functions/nobody")
    assert status == 404
    assert headers["x-amzn-ErrorType"].split(":")[0] == "ResourceNotFoundException"
    assert headers["content-type"] == "application/json"
    assert re.fullmatch(UUID, headers["x-amzn-RequestId"])
    assert json.loads(body) == {"Type": "User", "Message": f"Function not found: {arn('nobody')}"}


def test_a_name_is_taken_once(platform, client, name):
    platform.create(name, ONE)
    message = refused(
        "ResourceConflictException",
        409,
        client.create_function,
        FunctionName=name,
        Runtime=PYTHON,
        Handler="app.handler",
        Role=ROLE,
        Code={"ZipFile": TWO},
    )
    assert message == f"Function already exist: {name}"
    assert platform.invoke(name).expect_ok() == 1


def test_a_function_answers_to_its_arns(platform, client, name):
    platform.create(name, ONE)
    for form in [name, arn(name), f"{ACCOUNT}:function:{name}", f"function:{name}", f"{arn(name)}:$LATEST"]:
        assert platform.invoke(form).expect_ok() == 1, form
    assert client.get_function(FunctionName=arn(name))["Configuration"]["FunctionName"] == name
    assert client.invoke(FunctionName=name, Qualifier="$LATEST")["ExecutedVersion"] == "$LATEST"


def test_tags_come_and_go(platform, client, name):
    platform.create(name, ONE, Tags={"a": "1"})
    revision = client.get_function_configuration(FunctionName=name)["RevisionId"]
    client.tag_resource(Resource=arn(name), Tags={"b": "2", "a": "one"})
    assert client.list_tags(Resource=arn(name))["Tags"] == {"a": "one", "b": "2"}
    client.untag_resource(Resource=arn(name), TagKeys=["a", "never"])
    assert client.list_tags(Resource=arn(name))["Tags"] == {"b": "2"}
    assert client.get_function(FunctionName=name)["Tags"] == {"b": "2"}
    assert client.get_function_configuration(FunctionName=name)["RevisionId"] == revision
    missing = refused("ResourceNotFoundException", 404, client.list_tags, Resource=arn("nobody"))
    assert missing == f"Function not found: {arn('nobody')}"
    too_many = {f"key-{number}": "" for number in range(50)}
    refused("InvalidParameterValueException", 400, client.tag_resource, Resource=arn(name), Tags=too_many)


def test_a_url_comes_and_goes(platform, client, name):
    platform.create(name, ONE)
    assert refused(
        "ResourceNotFoundException", 404, client.get_function_url_config, FunctionName=name
    ) == "The resource you requested does not exist."
    made = client.create_function_url_config(FunctionName=name, AuthType="NONE")
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert made["FunctionArn"] == arn(name)
    assert re.fullmatch(rf"http://[a-z0-9]+[.]lambda-url[.]{REGION}[.]localhost:\d+/", made["FunctionUrl"])
    message = refused(
        "ResourceConflictException", 409, client.create_function_url_config, FunctionName=name, AuthType="NONE"
    )
    assert "FunctionUrlConfig exists for this Lambda function" in message
    got = client.get_function_url_config(FunctionName=name)
    assert (got["FunctionUrl"], got["AuthType"], got["InvokeMode"]) == (made["FunctionUrl"], "NONE", "BUFFERED")
    cors = {"AllowOrigins": ["https://example.org"], "AllowMethods": ["GET"], "MaxAge": 60}
    updated = client.update_function_url_config(FunctionName=name, Cors=cors, InvokeMode="RESPONSE_STREAM")
    assert updated["FunctionUrl"] == made["FunctionUrl"]
    assert client.get_function_url_config(FunctionName=name)["Cors"] == cors
    listed = client.list_function_url_configs(FunctionName=name)["FunctionUrlConfigs"]
    assert [one["FunctionUrl"] for one in listed] == [made["FunctionUrl"]]
    client.delete_function_url_config(FunctionName=name)
    refused("ResourceNotFoundException", 404, client.get_function_url_config, FunctionName=name)
    status, _, _ = platform.request("GET", "/", host=made["FunctionUrl"].split("/")[2])
    assert status in (403, 404)


def test_account_settings_have_the_limits(platform, client, name):
    before = client.get_account_settings()
    assert set(before["AccountLimit"]) == {
        "CodeSizeUnzipped",
        "CodeSizeZipped",
        "ConcurrentExecutions",
        "TotalCodeSize",
        "UnreservedConcurrentExecutions",
    }
    assert (before["AccountLimit"]["CodeSizeZipped"], before["AccountLimit"]["CodeSizeUnzipped"]) == (
        52_428_800,
        262_144_000,
    )
    assert set(before["AccountUsage"]) == {"FunctionCount", "TotalCodeSize"}
    platform.create(name, ONE)
    assert client.get_account_settings()["AccountUsage"]["FunctionCount"] >= 1


def test_code_is_not_signed(platform, client, name):
    platform.create(name, ONE)
    answer = client.get_function_code_signing_config(FunctionName=name)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert answer["FunctionName"] == name
    assert not answer.get("CodeSigningConfigArn")
    # There are no configurations, and the operations say so as AWS does where there are none.
    assert client.list_code_signing_configs()["CodeSigningConfigs"] == []
    config = f"arn:aws:lambda:{REGION}:{ACCOUNT}:code-signing-config:csc-0123456789abcdefg"
    for call in (
        client.get_code_signing_config,
        client.update_code_signing_config,
        client.delete_code_signing_config,
        client.list_functions_by_code_signing_config,
    ):
        said = refused("ResourceNotFoundException", 404, call, CodeSigningConfigArn=config)
        assert said == f"The Lambda code signing configuration {config} can not be found."
    put = client.put_function_code_signing_config
    said = refused("CodeSigningConfigNotFoundException", 404, put, FunctionName=name, CodeSigningConfigArn=config)
    assert said.endswith(f"is not deleted: {config}.")
    client.delete_function_code_signing_config(FunctionName=name)


def test_a_runtime_is_pinned_to_what_there_is(platform, client, name):
    platform.create(name, ONE)
    runs_on = client.get_function_configuration(FunctionName=name)["RuntimeVersionConfig"]["RuntimeVersionArn"]
    put = client.put_runtime_management_config
    put(FunctionName=name, UpdateRuntimeOn="Manual", RuntimeVersionArn=runs_on)
    kept = client.get_runtime_management_config(FunctionName=name)
    assert (kept["UpdateRuntimeOn"], kept["RuntimeVersionArn"]) == ("Manual", runs_on)
    other = f"arn:aws:lambda:{REGION}::runtime:0123456789abcdef"
    said = refused(
        "InvalidParameterValueException", 400, put, FunctionName=name, UpdateRuntimeOn="Manual", RuntimeVersionArn=other
    )
    assert runs_on in said
    assert client.get_runtime_management_config(FunctionName=name)["RuntimeVersionArn"] == runs_on
    put(FunctionName=name, UpdateRuntimeOn="FunctionUpdate")


def test_an_operation_that_is_not_there_yet_says_so(client):
    with pytest.raises(ClientError) as caught:
        profile = "arn:aws:signer:us-east-1:111122223333:/signing-profiles/profile/version1"
        client.create_code_signing_config(AllowedPublishers={"SigningProfileVersionArns": [profile]})
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] >= 400
    assert response["Error"]["Message"]


def test_the_aws_command_line_does_it_all(platform, name, folder):
    (folder / "one.zip").write_bytes(ONE)
    (folder / "two.zip").write_bytes(TWO)
    (folder / "event.json").write_text('{"x": 1}')
    made = platform.aws(
        *("lambda", "create-function", "--function-name", name, "--runtime", PYTHON, "--handler", "app.handler"),
        *("--role", ROLE, "--zip-file", f"fileb://{folder}/one.zip", "--tags", "team=cloud"),
    )
    assert made["State"] == "Pending"
    platform.aws("lambda", "wait", "function-active-v2", "--function-name", name)
    answer = folder / "answer.json"
    invoke = ("lambda", "invoke", "--function-name", name)
    said = platform.aws(*invoke, "--payload", '{"x": 1}', "--log-type", "Tail", str(answer))
    assert (said["StatusCode"], said["ExecutedVersion"], answer.read_text()) == (200, "$LATEST", "1")
    assert "REPORT RequestId: " in base64.b64decode(said["LogResult"]).decode()
    platform.aws(
        "lambda", "update-function-code", "--function-name", name, "--zip-file", f"fileb://{folder}/two.zip"
    )
    platform.aws("lambda", "wait", "function-updated-v2", "--function-name", name)
    platform.aws("lambda", "update-function-configuration", "--function-name", name, "--timeout", "11")
    platform.aws("lambda", "wait", "function-updated-v2", "--function-name", name)
    # A payload in this form is taken by both versions of the command line.
    platform.aws(*invoke, "--payload", f"fileb://{folder}/event.json", str(answer))
    assert answer.read_text() == "2"
    listed = platform.aws("lambda", "list-functions")["Functions"]
    assert [one["Timeout"] for one in listed if one["FunctionName"] == name] == [11]
    url = platform.aws(
        "lambda", "create-function-url-config", "--function-name", name, "--auth-type", "NONE"
    )["FunctionUrl"]
    assert platform.request("GET", "/", host=url.split("/")[2])[0] == 403
    everybody = ("lambda", "add-permission", "--function-name", name, "--principal", "*")
    for action, sid, more in [
        ("lambda:InvokeFunctionUrl", "url", ("--function-url-auth-type", "NONE")),
        ("lambda:InvokeFunction", "call", ("--invoked-via-function-url",)),
    ]:
        platform.aws(*everybody, "--action", action, "--statement-id", sid, *more)
    assert platform.request("GET", "/", host=url.split("/")[2])[2] == b"2"
    assert platform.aws("lambda", "list-tags", "--resource", arn(name))["Tags"] == {"team": "cloud"}
    platform.aws("lambda", "delete-function", "--function-name", name)
    gone = platform.aws("lambda", "get-function", "--function-name", name, check=False)
    assert gone.returncode != 0
    assert "ResourceNotFoundException" in gone.stderr
