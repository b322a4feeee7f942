"""Versions, aliases and provisioned concurrency, as boto3 drives them."""

import json

import pytest
from botocore.exceptions import ClientError

from harness import ACCOUNT, REGION, wait_until, zip_of

CODE = """
import os
def handler(event, context):
    return {
        "number": NUMBER,
        "version": context.function_version,
        "variable": os.environ["AWS_LAMBDA_FUNCTION_VERSION"],
        "stream": context.log_stream_name,
        "initialization": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
        "arn": context.invoked_function_arn,
    }
"""


def code(number):
    return zip_of({"app.py": CODE.replace("NUMBER", str(number))})


def arn(name):
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


def refused(error, call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["Error"]["Code"] == error, caught.value.response
    return caught.value.response["Error"]["Message"]


def published(platform, client, name, versions=2):
    """A function with so many versions; version N returns N."""
    platform.create(name, code(1))
    client.publish_version(FunctionName=name)
    for number in range(2, versions + 1):
        client.update_function_code(FunctionName=name, ZipFile=code(number))
        client.get_waiter("function_updated_v2").wait(FunctionName=name)
        assert client.publish_version(FunctionName=name)["Version"] == str(number)


def call(client, name, **more):
    answer = client.invoke(FunctionName=name, **more)
    assert "FunctionError" not in answer, answer["Payload"].read()
    return answer["ExecutedVersion"], json.loads(answer["Payload"].read())


def test_each_version_runs_its_own_code_and_knows_who_it_is(platform, client, name):
    published(platform, client, name)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    for qualifier, version in (("1", "1"), ("2", "2"), ("live", "1"), ("$LATEST", "$LATEST")):
        for asked in ({"FunctionName": f"{name}:{qualifier}"}, {"FunctionName": name, "Qualifier": qualifier}):
            asked_name = asked.pop("FunctionName")
            executed, answer = call(client, asked_name, **asked)
            assert (executed, answer["version"], answer["variable"]) == (version, version, version)
            assert answer["arn"] == f"{arn(name)}:{qualifier}"
            assert f"[{version}]" in answer["stream"]
            assert answer["number"] == (2 if version == "$LATEST" else int(version))
    _, answer = call(client, name)
    assert answer["arn"] == arn(name)
    assert refused("ResourceNotFoundException", client.invoke, FunctionName=name, Qualifier="3")


def test_publishing_waits_for_changes_and_checks_what_is_asked(platform, client, name):
    made = platform.create(name, code(1), wait=False, Publish=True)
    assert made["Version"] == "1"
    client.get_waiter("published_version_active").wait(FunctionName=name, Qualifier="1")
    assert client.publish_version(FunctionName=name, Description="unchanged")["Version"] == "1"
    changed = client.update_function_code(FunctionName=name, ZipFile=code(2), Publish=True)
    assert (changed["Version"], changed["FunctionArn"]) == ("2", f"{arn(name)}:2")
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    current = client.get_function_configuration(FunctionName=name)
    client.update_function_configuration(FunctionName=name, Description="new")
    refused("PreconditionFailedException", client.publish_version, FunctionName=name, RevisionId=current["RevisionId"])
    message = refused("InvalidParameterValueException", client.publish_version, FunctionName=name, CodeSha256="x")
    assert current["CodeSha256"] in message
    described = client.publish_version(FunctionName=name, CodeSha256=current["CodeSha256"], Description="third")
    assert (described["Version"], described["Description"], described["State"]) == ("3", "third", "Active")
    client.delete_function(FunctionName=name, Qualifier="3")
    client.update_function_configuration(FunctionName=name, Description="newer")
    assert client.publish_version(FunctionName=name)["Version"] == "4", "numbers are not given again"
    pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=name, PaginationConfig={"PageSize": 2})
    assert [one["Version"] for page in pages for one in page["Versions"]] == ["$LATEST", "1", "2", "4"]


def test_an_alias_shares_calls_by_weight(platform, client, name):
    published(platform, client, name)
    weights = {"AdditionalVersionWeights": {"2": 0.5}}
    made = client.create_alias(FunctionName=name, Name="live", FunctionVersion="1", RoutingConfig=weights)
    assert made["AliasArn"] == f"{arn(name)}:live"
    executed = [call(client, name, Qualifier="live")[0] for _ in range(200)]
    # Of 200 fair draws, fewer than 50 of one kind come up once in 10^12 runs.
    assert executed.count("1") > 50 and executed.count("2") > 50
    assert set(executed) == {"1", "2"}
    refused("PreconditionFailedException", client.update_alias, FunctionName=name, Name="live", RevisionId="0")
    client.update_alias(
        FunctionName=name, Name="live", FunctionVersion="2", RoutingConfig={}, RevisionId=made["RevisionId"]
    )
    assert {call(client, name, Qualifier="live")[0] for _ in range(20)} == {"2"}
    refused("ResourceConflictException", client.delete_function, FunctionName=name, Qualifier="2")
    client.create_alias(FunctionName=name, Name="other", FunctionVersion="1")
    pages = client.get_paginator("list_aliases").paginate(FunctionName=name, PaginationConfig={"PageSize": 1})
    assert [one["Name"] for page in pages for one in page["Aliases"]] == ["live", "other"]
    only = client.list_aliases(FunctionName=name, FunctionVersion="1")["Aliases"]
    assert [one["Name"] for one in only] == ["other"]
    url = client.create_function_url_config(FunctionName=name, Qualifier="live", AuthType="NONE")
    assert url["FunctionArn"] == f"{arn(name)}:live"
    client.delete_alias(FunctionName=name, Name="live")
    client.delete_function(FunctionName=name, Qualifier="2")


def test_provisioned_instances_are_ready_before_the_first_call(platform, client, name):
    published(platform, client, name)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="2")
    asked = client.put_provisioned_concurrency_config(
        FunctionName=name, Qualifier="live", ProvisionedConcurrentExecutions=2
    )
    assert (asked["Status"], asked["RequestedProvisionedConcurrentExecutions"]) == ("IN_PROGRESS", 2)

    def standing():
        return client.get_provisioned_concurrency_config(FunctionName=name, Qualifier="live")

    wait_until(lambda: standing()["Status"] == "READY", "provisioned instances are ready")
    assert standing()["AllocatedProvisionedConcurrentExecutions"] == 2
    executed, answer = call(client, name, Qualifier="live")
    assert (executed, answer["initialization"]) == ("2", "provisioned-concurrency")
    assert call(client, name)[1]["initialization"] == "on-demand"
    listed = client.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]
    assert [one["FunctionArn"] for one in listed] == [f"{arn(name)}:live"]
    client.delete_provisioned_concurrency_config(FunctionName=name, Qualifier="live")
    refused(
        "ProvisionedConcurrencyConfigNotFoundException",
        client.get_provisioned_concurrency_config,
        FunctionName=name,
        Qualifier="live",
    )


def test_versions_and_aliases_outlive_a_kill(private, name):
    platform = private()
    client = platform.client()
    published(platform, client, name)
    client.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    platform.kill()
    platform.start()
    client = platform.client()
    assert call(client, name, Qualifier="live")[1]["number"] == 1
    assert call(client, name, Qualifier="2")[1]["number"] == 2
