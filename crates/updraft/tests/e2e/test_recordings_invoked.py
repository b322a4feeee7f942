"""Recorded answers of functions that are invoked: by Invoke and through function URLs, as they work and as they fail."""

import base64
import json
import urllib.parse

import pytest

from goldens import (  # noqa: F401 (fixtures are taken by name)
    aws,
    function,
    made_as,
    play,
    registry,
)
from harness import NODE, zip_of

SCENARIOS, recorded = registry()
ECHO = zip_of({"handler.py": "def handler(event, context):\n    print(event)\n    return event\n"})
NODE_ECHO = zip_of(
    {"handler.js": "exports.handler = async (event) => { console.log(JSON.stringify(event)); return event; };\n"}
)


def python(text):
    return {"Code": {"ZipFile": zip_of({"handler.py": text})}}


def echo(it):
    """A function that answers what it is sent, in the language that the recording's name has."""
    is_node = "node" in it.name
    return {"Code": {"ZipFile": NODE_ECHO}, "Runtime": NODE} if is_node else {"Code": {"ZipFile": ECHO}}


RUNTIMES = ["python3.9", "python3.10", "nodejs16.x"]
KINDS = [("request_response", "RequestResponse"), ("event", "Event"), ("dry_run", "DryRun")]


def invoked(it):
    it.make(**echo(it))
    kind = dict(KINDS)[it.name.split("[")[0].removeprefix("test_invocation_type_")]
    it.step("invoke-result", "Invoke", FunctionName=it.fn, InvocationType=kind, Payload=b"{}")


for step, _ in KINDS:
    recorded(*[f"test_invocation_type_{step}[{runtime}]" for runtime in RUNTIMES])(invoked)


@recorded(
    *[
        f"test_invocation_type_no_return_payload[{language}-{kind}]"
        for language in ("python", "nodejs")
        for kind in ("RequestResponse", "Event")
    ]
)
def nothing_to_say(it):
    language, kind = it.parameter.split("-")
    code = {
        "python": python("def handler(event, context):\n    pass\n"),
        "nodejs": {"Code": {"ZipFile": zip_of({"handler.js": "exports.handler = async () => {};\n"})}, "Runtime": NODE},
    }[language]
    it.make(**code)
    it.step("invoke-result", "Invoke", FunctionName=it.fn, InvocationType=kind, Payload=b"{}")


@recorded("test_invocation_with_logs[python3.10]", "test_invocation_with_logs[nodejs16.x]")
def with_its_log(it):
    it.make(**echo(it))
    answer = it.step("invoke", "Invoke", FunctionName=it.fn, LogType="Tail", Payload=b"{}")
    it.same("logs", {"logs": base64.b64decode(answer["LogResult"]).decode().splitlines(keepends=True)})


# Failures


@recorded("test_lambda_handler_error")
def a_handler_that_raises(it):
    text = 'def handler(event, context):\n    raise Exception("Handler fails")\n'
    it.make(Handler="lambda_handler_error.handler", Code={"ZipFile": zip_of({"lambda_handler_error.py": text})})
    it.step("invocation_error", "Invoke", FunctionName=it.fn)


@recorded("test_lambda_handler_exit", "test_lambda_runtime_exit")
def an_exit(it):
    as_it_starts = "import sys\nsys.exit(0)\ndef handler(event, context):\n    pass\n"
    as_it_is_called = "import sys\ndef handler(event, context):\n    sys.exit(0)\n"
    it.make(**python(as_it_starts if "runtime" in it.name else as_it_is_called))
    it.step("invocation_error", "Invoke", FunctionName=it.fn)


@recorded("test_lambda_runtime_wrapper_not_found")
def no_such_wrapper(it):
    it.make(Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/idontexist.sh"}})
    it.step("invocation_error", "Invoke", FunctionName=it.fn)


@recorded(
    "test_lambda_invoke_payload_encoding_error[body-n\\x87r\\x9e\\xe9\\xb5\\xd7I\\xee\\x9bmt]",
    "test_lambda_invoke_payload_encoding_error[message-\\x99\\xeb,j\\x07\\xa1zYh]",
)
def no_text(it):
    kind, payload = it.parameter.split("-", 1)
    it.make()
    payload = payload.encode().decode("unicode_escape").encode("latin-1")
    it.step(f"invoke_function_invalid_payload_{kind}", "Invoke", FunctionName=it.fn, Payload=payload)


@recorded("test_lambda_invoke_with_timeout", "test_lambda_invoke_no_timeout")
def slow(it):
    text = "import time\ndef handler(event, context):\n    time.sleep(event['wait'])\n"
    made = made_as(it.steps["create-result"])
    it.make("create-result", **made, **python(text))
    wait = made["Timeout"] + 1 if "with" in it.name else 0
    it.step("invoke-result", "Invoke", FunctionName=it.fn, Payload=json.dumps({"wait": wait}).encode())


@recorded("test_lambda_too_large_response")
def too_much_to_say(it):
    it.make(**python("def handler(event, context):\n    return 'x' * (6 * 1024 * 1024 + 100)\n"))
    for step in ("invoke_result", "invoke_result_2"):
        it.step(step, "Invoke", FunctionName=it.fn)


# Versions and aliases


def version(number):
    return zip_of(
        {
            "handler.py": f"""
def handler(event, context):
    arn = context.invoked_function_arn
    return {{"version_id": "version{number}", "invoked_arn": arn, "version_from_ctx": context.function_version}}
"""
        }
    )


@recorded("test_lambda_versions_with_code_changes")
def versions(it):
    name = {"FunctionName": it.fn}

    def invoke(step, qualifier=None):
        more = {"Qualifier": qualifier} if qualifier else {}
        it.step(f"invocation_result_{step}", "Invoke", Payload=b"{}", **name, **more)

    it.make("create_response", **made_as(it.steps["create_response"]), Code={"ZipFile": version(1)})
    it.step("first_publish_response", "PublishVersion", Description="First version description :)", **name)
    it.step("update_lambda_response", "UpdateFunctionCode", ZipFile=version(2), **name)
    it.settle()
    invoke("latest")
    invoke("v1", "1")
    it.step("second_publish_response", "PublishVersion", Description="Second version description :)", **name)
    invoke("v2", "2")
    it.step("update_lambda_response_with_publish", "UpdateFunctionCode", ZipFile=version(3), Publish=True, **name)
    it.settle()
    it.aws.get_waiter("published_version_active").wait(Qualifier="3", **name)
    invoke("v3", "3")
    invoke("latest_end")
    invoke("v2_end", "2")
    invoke("v1_end", "1")


@recorded("test_lambda_alias_moving")
def an_alias_that_moves(it):
    name = {"FunctionName": it.fn}

    def invoke(step, function=it.fn, **more):
        it.step(f"invocation_{step}", "Invoke", FunctionName=function, Payload=b"{}", **more)

    it.make("create_response", **made_as(it.steps["create_response"]), Code={"ZipFile": version(1)})
    it.call("PublishVersion", Description="First version description :)", **name)
    it.step("create_alias_response", "CreateAlias", Name="alias1", FunctionVersion="1", **name)
    invoke("result_qualifier_v1", Qualifier="alias1")
    invoke("result_qualifier_v1_arn", f"{it.arn()}:alias1")
    it.step("update_lambda_response", "UpdateFunctionCode", ZipFile=version(2), **name)
    it.settle()
    invoke("result_qualifier_v1_after_update", Qualifier="alias1")
    it.step("second_publish_response", "PublishVersion", Description="Second version description :)", **name)
    invoke("result_qualifier_v1_after_publish", Qualifier="alias1")
    it.step("update_alias_response", "UpdateAlias", Name="alias1", FunctionVersion="2", **name)
    invoke("result_qualifier_v2", Qualifier="alias1")
    invoke("exc_not_existent", Qualifier="non-existent-alias")


@recorded("test_lambda_handler_update")
def another_handler(it):
    two = "def handler(event, context):\n    return {'handler': 'handler'}\n"
    two += "def handler_two(event, context):\n    return {'handler': 'handler_two'}\n"
    name = {"FunctionName": it.fn}
    it.make(**python(two), Environment={"Variables": {}})
    it.step("invoke_result_handler_one", "Invoke", **name)
    changed = it.steps["update_function_configuration_result"]["Handler"]
    it.step("update_function_configuration_result", "UpdateFunctionConfiguration", Handler=changed, **name)
    it.settle()
    it.step("get_function_result", "GetFunction", **name)
    it.step("invoke_result_handler_two", "Invoke", **name)
    it.call("PublishVersion", **name)
    it.step("invoke_result_handler_two_postpublish", "Invoke", **name)


# Function URLs


def url(it, step=True, **more):
    """A URL for everybody; its host and port."""
    given = {"FunctionName": it.fn, "AuthType": "NONE"} | more
    made = it.call("CreateFunctionUrlConfig", **given)
    if step:
        it.same("create_lambda_url_config", made)
    allowed = {"FunctionUrlAuthType": "NONE", "Principal": "*", "StatementId": "urlPermission"}
    allowed |= {name: given[name] for name in ("FunctionName", "Qualifier") if name in given}
    added = it.call("AddPermission", Action="lambda:InvokeFunctionUrl", **allowed)
    if "add_permission" in it.steps:
        it.same("add_permission", added)
    invoke = {name: allowed[name] for name in ("FunctionName", "Qualifier", "Principal") if name in allowed}
    it.call("AddPermission", Action="lambda:InvokeFunction", StatementId="invoke", InvokedViaFunctionUrl=True, **invoke)
    return urllib.parse.urlsplit(made["FunctionUrl"]).netloc


def send(it, host, method="GET", path="/", body=None, headers=None):
    """What a URL answers, with the headers that recordings have."""
    connection = it.aws.platform.connection()
    try:
        connection.request(method, path, body=body, headers={"host": host} | (headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


RETURNED = {
    "dict": "{'hello': 'world'}",
    "http-response": "{'statusCode': 200, 'body': 'body123'}",
    "http-response-json": "{'statusCode': 200, 'body': json.dumps({'hello': 'world'})}",
    "list-mixed": "['hello', 3, True]",
    "string": "'hello'",
    "integer": "3",
    "float": "3.1",
    "boolean": "True",
}


@recorded(*[f"test_lambda_url_invocation[{kind}]" for kind in RETURNED])
def what_a_url_answers(it):
    it.make(**python(f"import json\ndef handler(event, context):\n    return {RETURNED[it.parameter]}\n"))
    status, headers, body = send(it, url(it))
    wanted = it.steps["lambda_url_invocation"]
    text = body.decode()
    content = json.loads(text) if isinstance(wanted["content"], dict) else text
    told = {name: headers[name] for name in wanted["headers"]}
    it.same("lambda_url_invocation", {"content": content, "headers": told, "statuscode": status})


@recorded(*[f"test_lambda_url_echo_invoke[{mode}]" for mode in ("None", "BUFFERED", "RESPONSE_STREAM")])
def a_url_of_a_mode(it):
    it.make()
    url(it, **({} if it.parameter == "None" else {"InvokeMode": it.parameter}))


@recorded("test_lambda_permission_url_invocation")
def a_url_that_nobody_may_call(it):
    it.make()
    made = it.call("CreateFunctionUrlConfig", FunctionName=it.fn, AuthType="NONE")
    _, _, body = send(it, urllib.parse.urlsplit(made["FunctionUrl"]).netloc)
    it.same("lambda_url_invocation_missing_permission", json.loads(body))


@recorded("test_lambda_url_persists_after_alias_delete")
def a_url_whose_alias_is_gone(it):
    it.make(Publish=True)
    it.call("CreateAlias", FunctionName=it.fn, Name="mine", FunctionVersion="1")
    host = url(it, Qualifier="mine", InvokeMode="BUFFERED")
    it.same("invoke_aliased_url_response", {"status_code": send(it, host)[0]})
    it.step("delete_alias_resp", "DeleteAlias", FunctionName=it.fn, Name="mine")
    status, headers, body = send(it, host)
    answer = {"content": json.loads(body), "headers": {"x-amzn-ErrorType": headers["x-amzn-ErrorType"]}}
    it.same("invoke_deleted_alias_url_response_delayed", answer | {"status_code": status})


@pytest.mark.parametrize("name", SCENARIOS)
def test_recording(aws, function, name):
    play(SCENARIOS[name], aws, name, function)
