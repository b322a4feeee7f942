"""Recorded answers whose requests follow from their names and contents: refusals, function URLs, tags, layers, limits.

Each scenario is a function of an `It`, which sends the requests and compares every step. The steps of a recording are all
sent, but for those that `golden/steps.json` names with a reason: of them the answer has to differ still.
"""

import json
import os
import pathlib
import re

import pytest

from goldens import (  # noqa: F401 (fixtures are taken by name)
    ACCOUNT,
    DIFFERENT_STEPS,
    ONE,
    RECORDED,
    ROLE,
    TWO,
    aws,
    function,
    made_as,
    play,
    registry,
)
from harness import PYTHON, REGION, zip_of
from images import Image, layer
from test_recordings_invoked import SCENARIOS as invoked

SCENARIOS, recorded = registry()
GOLDENS = pathlib.Path(__file__).with_name("test_goldens.py")
NOWHERE = "doesnotexist"


def snake(name):
    """`GetFunction` of `get_function`."""
    return "".join(word.capitalize() for word in name.split("_"))


# Names


FULL = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:my-function"
ELSEWHERE = f"arn:aws:lambda:invalid-region:{ACCOUNT}:function:my-function"
#: By condition: the name and qualifier that are asked for, and the name that is to be created.
WRONG_NAMES = {
    "function_name_is_single_invalid": ("*", None, "*"),
    "invalid_characters_in_function_name": ("my-function!", None, "my-function!"),
    "invalid_characters_in_qualifier": ("my-function", "invalid!", "my-function:invalid!"),
    "qualifier_too_long0": ("my-function", "a" * 129, f"my-function:{'a' * 129}"),
    "qualifier_too_long": ("my-function", "a" * 129, f"my-function:{'a' * 129}"),
    "qualifier_too_long1": ("my-function", "a" * 65, None),
    "function_name_and_qualifier_too_long": ("my-function", "a" * 65, None),
    "invalid_account_id_in_partial_arn": (
        "invalid-account:function:my-function", None, "invalid-account:function:my-function",
    ),
    "invalid_region_in_arn": (ELSEWHERE, None, ELSEWHERE),
    "non_lambda_arn": (
        f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance:i-1234567890abcdef0",
        None,
        f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance:i-1234567890abcdef0",
    ),
    "function_name_too_long": ("a" * 65, None, "a" * 65),
    "function_name_too_long_and_invalid_region": (ELSEWHERE + "a" * 170, None, ELSEWHERE + "a" * 170),
    "full_arn_and_qualifier_too_long_and_invalid_region": (
        f"{ELSEWHERE}-{'a' * 170}", "a" * 129, f"{ELSEWHERE}-{'a' * 170}:{'a' * 129}",
    ),
    "full_arn_with_multiple_qualifiers": (f"{FULL}:1:2", None, f"{FULL}:1:2"),
    "incomplete_arn": (f"arn:aws:lambda:{REGION}:{ACCOUNT}:function", None, None),
    "partial_arn_with_extra_qualifier": (
        "function:my-function:$LATEST:extra", None, "function:my-function:$LATEST:extra",
    ),
    "latest_version_with_additional_qualifier": (f"{FULL}:$LATEST", "1", f"{FULL}:$LATEST:1"),
    "lowercase_latest_qualifier": ("my-function", "$latest", f"{FULL}:$latest"),
    "missing_region_in_arn": (FULL.replace(REGION, ""), None, FULL.replace(REGION, "")),
    "missing_account_id_in_arn": (FULL.replace(ACCOUNT, ""), None, FULL.replace(ACCOUNT, "")),
    "misspelled_latest_in_arn": (f"{FULL}:$LATES", None, f"{FULL}:$LATES"),
}


def wrong_name(it):
    condition, operation = it.parameter.split("-")
    name, qualifier, created = WRONG_NAMES[condition]
    given = {"FunctionName": name} | ({"Qualifier": qualifier} if qualifier else {})
    if operation == "create_function":
        given = {"Role": ROLE, "Runtime": PYTHON, "Handler": "handler.handler", "Code": {"ZipFile": ONE}}
        given["FunctionName"] = created
    it.step(f"{operation}_exception", snake(operation), **given)


for condition, (_, _, created) in WRONG_NAMES.items():
    for operation in ("get_function", "delete_function", "invoke") + (("create_function",) if created else ()):
        recorded(f"test_function_name_and_qualifier_validation[{condition}-{operation}]")(wrong_name)


READS = ["get_function", "get_function_configuration"]
CONFIGURATIONS = [
    "get_function_url_config", "get_function_code_signing_config", "get_function_event_invoke_config",
    "get_function_concurrency",
]


@recorded(*[f"test_ops_on_nonexisting_fn[{name}]" for name in READS + CONFIGURATIONS + ["delete_function"]])
def nobody(it):
    it.step("not_found_exception", snake(it.parameter), FunctionName=it.fn)


@recorded(*[f"test_get_function_wrong_region[{name}]" for name in READS + CONFIGURATIONS + ["delete_function", "invoke"]])
def another_region(it):
    it.step("wrong_region_exception", snake(it.parameter), FunctionName=it.arn(region="eu-west-1"))


@recorded(*[f"test_ops_on_nonexisting_version[{name}]" for name in READS + ["get_function_event_invoke_config"]])
def no_such_version(it):
    it.make()
    it.step("version_not_found_exception", snake(it.parameter), FunctionName=it.fn, Qualifier="1221")


@recorded("test_delete_on_nonexisting_version")
def deleting_nobody(it):
    it.step("delete_function_response_non_existent", "DeleteFunction", FunctionName=it.fn)
    step = "delete_function_response_non_existent_with_qualifier"
    it.step(step, "DeleteFunction", FunctionName=it.fn, Qualifier="1221")


@recorded(*[f"test_ops_with_arn_qualifier_mismatch[{name}]" for name in READS + ["delete_function"]])
def two_qualifiers(it):
    name = it.arn("some-function")
    it.step("not_match_exception", snake(it.parameter), FunctionName=f"{name}:1", Qualifier="$LATEST")
    it.step("match_exception", snake(it.parameter), FunctionName=f"{name}:$LATEST", Qualifier="$LATEST")


@recorded("test_function_arns")
def made_by_arn(it):
    plain = {"Environment": {"Variables": {}}}
    it.make("create-function-arn-response", name=it.arn(), **plain)
    it.make("create-function-partial-arn-response", name=f"function:{it.fn}-2", **plain)
    for step, name in [
        ("invalid_function_name_exc", "invalid:function:name"),
        ("long_function_name_exc", "a" * 65),
        ("long_function_arn_exc", it.arn("a" * 130)),
        ("function_arn_other_region_exc", it.arn(region="ap-southeast-1")),
        ("function_arn_other_account_exc", it.arn(account="123456789012")),
    ]:
        it.make(step, name=name)


@recorded("test_invalid_invoke")
def an_address_for_a_name(it):
    name = f"arn:aws:lambda:{REGION}:123400000000@function:myfn"
    it.step("invoke_function_name_pattern_exc", "Invoke", FunctionName=name)


@recorded("test_invoke_exceptions")
def invoking_nobody(it):
    it.step("invoke_function_doesnotexist", "Invoke", FunctionName=NOWHERE)


# Functions


@recorded("test_create_lambda_exceptions")
def refused_creations(it):
    for step, more in [
        ("invalid_role_arn_exc", {"Role": "r1"}),
        ("invalid_runtime_exc", {"Runtime": "non-existent-runtime"}),
        ("uppercase_runtime_exc", {"Runtime": "PYTHON3.9"}),
        ("multiple_architectures", {"Architectures": ["x86_64", "arm64"]}),
        ("uppercase_architecture", {"Architectures": ["X86_64"]}),
        ("invalid_zip_exc", {"Code": {"ZipFile": b"this is not a zip file"}}),
    ]:
        it.make(step, **more)


@recorded("test_update_lambda_exceptions")
def refused_updates(it):
    it.make()
    for step, more in [
        ("invalid_role_arn_exc", {"Role": "r1"}),
        ("invalid_runtime_exc", {"Runtime": "non-existent-runtime"}),
        ("uppercase_runtime_exc", {"Runtime": "PYTHON3.9"}),
    ]:
        it.step(step, "UpdateFunctionConfiguration", FunctionName=it.fn, **more)


@recorded(
    *[
        f"test_create_deprecated_function_runtime_with_validation_enabled[{runtime}]"
        for runtime in (
            "java8", "go1.x", "provided", "ruby2.7", "nodejs14.x", "python3.7", "dotnetcore3.1", "nodejs12.x",
        )
    ]
)
def a_runtime_of_earlier_days(it):
    it.make("deprecation_error", Runtime=it.parameter)


@recorded("test_list_functions")
def lists(it):
    plain = {"Environment": {"Variables": {}}}
    it.make("create_response_1", name=f"{it.fn}-1", Publish=True, **plain)
    it.make("create_response_2", name=f"{it.fn}-2", **plain)
    it.step("list_functions_invalid_functionversion", "ListFunctions", FunctionVersion="invalid")

    def ours(**more):
        functions = it.call("ListFunctions", **more)["Functions"]
        return {"Functions": [one for one in functions if one["FunctionName"].startswith(it.fn)]}

    it.same("list_all", ours(FunctionVersion="ALL"))
    it.same("list_default", ours())


@recorded("test_recreate_function")
def made_again(it):
    given = {"Environment": {"Variables": {}}} | made_as(it.steps["create_function_response_one"])
    it.make("create_function_response_one", **given)
    it.call("DeleteFunction", FunctionName=it.fn)
    it.make("create_function_response_two", **given)


@recorded("test_function_state")
def states(it):
    it.make("create-fn-response", **made_as(it.steps["create-fn-response"]))
    it.step("get-fn-response", "GetFunction", FunctionName=it.fn)


@recorded("test_publish_with_wrong_revisionid")
def a_revision_that_was(it):
    it.make("create_response", **made_as(it.steps["create_response"]))
    got = it.step("get_fn_response", "GetFunction", FunctionName=it.fn)
    it.step("publish_wrong_revisionid_exc", "PublishVersion", FunctionName=it.fn, RevisionId="wrong")
    revision = got["Configuration"]["RevisionId"]
    it.step("publish_result", "PublishVersion", FunctionName=it.fn, RevisionId=revision)


@recorded("test_version_lifecycle")
def versions(it):
    name, first = {"FunctionName": it.fn}, {"FunctionName": it.fn, "Qualifier": "1"}
    it.make("create_response", **made_as(it.steps["create_response"]))
    it.step("get_function_result", "GetFunction", **name)
    it.step("list_versions_result", "ListVersionsByFunction", **name)
    it.step("first_update_response", "UpdateFunctionConfiguration", Description="First version :)", **name)
    it.settle()
    it.step("first_update_get_function", "GetFunction", **name)
    it.step("first_publish_response", "PublishVersion", Description="First version description :)", **name)
    it.step("first_publish_get_function", "GetFunction", **first)
    it.step("first_publish_get_function_config", "GetFunctionConfiguration", **first)
    it.step("second_update_response", "UpdateFunctionConfiguration", Description="Second version :))", **name)
    it.settle()
    it.step("first_publish_get_function_after_update", "GetFunction", **first)
    it.step("second_publish_response", "PublishVersion", **name)
    it.step("third_publish_response", "PublishVersion", **name)
    it.step("list_versions_result_after_third_publish", "ListVersionsByFunction", **name)
    it.call("DeleteFunction", **first)
    it.step("list_versions_result_after_deletion_of_first_version", "ListVersionsByFunction", **name)


@recorded("test_function_revisions_version_and_alias")
def revisions(it):
    name, first = {"FunctionName": it.fn}, {"FunctionName": it.fn, "Qualifier": "1"}
    it.make("create_function_response_rev1", Environment={"Variables": {}})
    got = it.step("get_function_active_rev2", "GetFunction", **name)
    it.step("publish_version_revision_exception", "PublishVersion", RevisionId="wrong", **name)
    now = got["Configuration"]["RevisionId"]
    it.step("publish_version_response_rev_v1", "PublishVersion", RevisionId=now, **name)
    it.step("get_function_published_version_rev_v2", "GetFunction", **first)
    it.step("get_function_latest_rev3", "GetFunction", **name)
    alias = {"Name": "revision_alias"} | name
    made = it.step("create_alias_response_rev_a1", "CreateAlias", FunctionVersion="1", **alias)
    it.step("get_function_latest_rev4", "GetFunction", **name)
    it.step("get_function_published_version_rev_v3", "GetFunction", **first)
    changed = {"Description": "something changed"} | alias
    it.step("update_alias_revision_exception", "UpdateAlias", RevisionId="wrong", **changed)
    it.step("update_alias_response_rev_a2", "UpdateAlias", RevisionId=made["RevisionId"], **changed)


@recorded("test_account_settings")
def an_account(it):
    answer = it.call("GetAccountSettings")
    told = {name: sorted(answer[name]) for name in ("AccountLimit", "AccountUsage")}
    it.same("acc_settings_modded", told | {"ResponseMetadata": answer["ResponseMetadata"]})


@recorded("test_non_existent_alias_deletion")
def deleting_no_alias(it):
    it.make("create_response", **made_as(it.steps["create_response"]))
    it.step("delete_alias_response", "DeleteAlias", FunctionName=it.fn, Name="non-existent")


@recorded("test_alias_routingconfig")
def an_alias_of_two(it):
    it.make(Publish=True)
    it.call("UpdateFunctionCode", FunctionName=it.fn, ZipFile=TWO)
    it.settle()
    it.call("PublishVersion", FunctionName=it.fn)
    routing = {"AdditionalVersionWeights": {"2": 0.5}}
    given = {"FunctionName": it.fn, "Name": "alias1", "FunctionVersion": "1", "RoutingConfig": routing}
    it.step("create_alias_response", "CreateAlias", **given)


@recorded("test_put_function_recursion_config_default_terminate")
def recursion(it):
    it.make()
    it.step("get_recursion_default_terminate_response", "GetFunctionRecursionConfig", FunctionName=it.fn)


@recorded("test_snapstart_exceptions")
def no_such_snapshot(it):
    it.make("create_function_invalid_snapstart_apply", SnapStart={"ApplyOn": "invalidOption"})


@recorded(*[f"test_snapstart_lifecycle[{runtime}]" for runtime in ("python3.12", "python3.13")])
def no_snapshot(it):
    it.make("create_function_response", **made_as(it.steps["create_function_response"]))
    it.call("PublishVersion", FunctionName=it.fn, Description="version1")
    it.step("get_function_response_latest", "GetFunction", FunctionName=it.fn)
    it.step("get_function_response_version_1", "GetFunction", FunctionName=it.fn, Qualifier="1")


@recorded("test_function_advanced_logging_configuration")
def logging(it):
    logs(it, {"LogFormat": "JSON"}, {"LogGroup": "cool_lambda"})


PARTIAL_LOGGING = [
    {"LogFormat": "JSON"},
    {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"},
    {"LogFormat": "JSON", "SystemLogLevel": "DEBUG"},
    {"LogGroup": "cool_lambda"},
]


@recorded(
    *[
        f"test_function_partial_advanced_logging_configuration_update[partial_config{number}]"
        for number in range(len(PARTIAL_LOGGING))
    ]
)
def partial_logging(it):
    logs(it, None, PARTIAL_LOGGING[int(it.parameter[-1])])


def logs(it, first, second):
    given = made_as(it.steps["create_response"]) | ({"LoggingConfig": first} if first else {})
    name = {"FunctionName": it.fn}
    it.make("create_response", **given)
    it.step("get_function_response", "GetFunction", **name)
    it.step("function_config", "GetFunctionConfiguration", **name)
    it.step("updated_config", "UpdateFunctionConfiguration", LoggingConfig=second, **name)
    it.settle()
    it.step("received_config", "GetFunctionConfiguration", **name)


@recorded("test_lambda_image_versions")
def versions_of_an_image(it):
    image = Image([layer({"app/x": it.fn})], {"Cmd": ["/app/x"]})
    archive = it.aws.platform.data.parent / f"{it.fn}.tar"
    it.aws.platform.updraft("image", "push", it.fn, image.docker_archive(archive))
    uri = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{it.fn}:latest"
    name = {"FunctionName": it.fn}
    made = it.call(
        "CreateFunction",
        Role=ROLE,
        PackageType="Image",
        Code={"ImageUri": uri},
        Environment={"Variables": {"CUSTOM_ENV": "test"}},
        Publish=True,
        **name,
    )
    it.same("create_image_response", made)
    it.settle()
    it.step("get_function_result", "GetFunction", **name)
    it.step("list_versions_result", "ListVersionsByFunction", **name)
    for position, word in (("first", "Second"), ("second", "Third")):
        changed = {"Description": f"{word} version :)"} | name
        it.step(f"{position}_update_response", "UpdateFunctionConfiguration", **changed)
        it.settle()
        it.step(f"{position}_update_get_function", "GetFunction", **name)
        if position == "first":
            it.step("invalid_sha_publish", "PublishVersion", CodeSha256="a" * 64, **name)
        published = {"Description": f"{word} version description :)"} | name
        it.step(f"{position}_publish_response", "PublishVersion", **published)


# Tags


MANY_TAGS = {f"{number}_key": f"{number}_value" for number in range(51)}


@recorded("test_create_tag_on_fn_create")
def tagged_from_the_start(it):
    it.make(Environment={"Variables": {}}, Tags={"testtag": "some-tag"})
    it.step("get_function_result", "GetFunction", FunctionName=it.fn)
    it.step("list_tags_result", "ListTags", Resource=it.arn())


@recorded("test_tag_nonexisting_resource")
def tags_of_what_was(it):
    it.make(Environment={"Variables": {}})
    it.step("pre_delete_get_function", "GetFunction", FunctionName=it.fn)
    it.call("DeleteFunction", FunctionName=it.fn)
    tag(it, "not_found_exception", it.arn())


@recorded("test_tag_lifecycle[lambda_function]")
def tags_come_and_go(it):
    it.make()

    def step(name, operation, **arguments):
        it.step(f"{name}_response", operation, Resource=it.arn(), **arguments)
        it.step(f"{name}_response_listtags", "ListTags", Resource=it.arn())

    step("tag_single", "TagResource", Tags={"A": "tag-a"})
    step("tag_multiple", "TagResource", Tags={"B": "tag-b", "C": "tag-c"})
    step("tag_overlap", "TagResource", Tags={"C": "tag-c-newsuffix", "D": "tag-d"})
    step("untag_single", "UntagResource", TagKeys=["A"])
    step("untag_multiple", "UntagResource", TagKeys=["B", "C"])
    step("untag_nonexisting", "UntagResource", TagKeys=["F"])
    step("untag_existing_and_nonexisting", "UntagResource", TagKeys=["D", "F"])


def tag(it, step, arn):
    it.step(f"{step}_tag", "TagResource", Resource=arn, Tags={"A": "B"})
    it.step(f"{step}_untag", "UntagResource", Resource=arn, TagKeys=["A"])
    it.step(f"{step}_list", "ListTags", Resource=arn)


@recorded(*[f"test_tag_exceptions[{kind}]" for kind in ("lambda_function", "event_source_mapping", "capacity_provider")])
def tags_of_nothing(it):
    kind = it.parameter.removeprefix("lambda_").replace("_", "-")
    name = "01234567-89ab-cdef-0123-456789abcdef"
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:{kind}:{name}"
    tag(it, "not_found_exception", arn)
    it.step("aliased_arn_exception", "TagResource", Resource=f"{arn}:alias", Tags={"A": "B"})
    it.step("invalid_arn_exception", "TagResource", Resource=arn.replace(kind, "foobar"), Tags={"A": "B"})


@recorded("TestLambdaTags::test_tag_exceptions")
def refused_tags(it):
    it.make()
    arn, one = it.arn(), {"A": "B"}
    for step, resource, tags in [
        ("tag_lambda_invalidarn", "arn:aws:something", one),
        ("tag_lambda_doesnotexist", it.arn(NOWHERE), one),
        ("tag_lambda_qualifier_doesnotexist", f"{arn}:v1", one),
        ("tag_empty_tags", arn, {}),
    ]:
        it.step(step, "TagResource", Resource=resource, Tags=tags)
    it.step("list_tag_lambda_empty", "ListTags", Resource=arn)
    it.step("untag_nomatch", "UntagResource", Resource=arn, TagKeys=["somekey"])
    it.step("untag_empty_keys", "UntagResource", Resource=arn, TagKeys=[])


@recorded("test_tag_limits")
def too_many_tags(it):
    it.make(Environment={"Variables": {}})
    allowed = dict(list(MANY_TAGS.items())[:50])
    it.step("tag_lambda_too_many_tags", "TagResource", Resource=it.arn(), Tags=MANY_TAGS)
    it.step("tag_response", "TagResource", Resource=it.arn(), Tags=allowed)
    it.step("list_tags_response", "ListTags", Resource=it.arn())
    it.step("get_fn_response", "GetFunction", FunctionName=it.fn)
    it.step("tag_lambda_too_many_tags_additional", "TagResource", Resource=it.arn(), Tags={"a_key": "a_value"})
    it.make("create_function_invalid_tags", name=f"{it.fn}-2", Tags=MANY_TAGS)


@recorded("test_tag_versions")
def tags_of_versions(it):
    it.make(Publish=True)
    for step, qualifier in (("tag_resource_exception", "1"), ("tag_resource_latest_exception", "$LATEST")):
        it.step(step, "TagResource", Resource=f"{it.arn()}:{qualifier}", Tags={"key1": "value1"})


# Function URLs


@recorded("test_url_config_exceptions")
def refused_urls(it):
    it.make(**made_as(it.steps["fn_version_result"]))
    it.step("fn_version_result", "PublishVersion", FunctionName=it.fn)
    alias = {"FunctionName": it.fn, "Name": "urlalias", "FunctionVersion": "1"}
    it.step("create_alias_result", "CreateAlias", **alias)
    for operation in ("create", "get", "delete", "update"):
        more = {"AuthType": "NONE"} if operation in ("create", "update") else {}

        def refused(step, name, qualifier=None):
            step, called = f"{operation}_function_url_config_{step}", snake(f"{operation}_function_url_config")
            given = {"FunctionName": name} | ({"Qualifier": qualifier} if qualifier else {}) | more
            it.step(step, called, **given)

        refused("name_doesnotexist", NOWHERE)
        refused("arn_doesnotexist", it.arn(NOWHERE))
        refused("name_doesnotexist_qualifier", NOWHERE, "1")
        refused("qualifier_version", it.fn, "1")
        refused("qualifier_version_doesnotexist", it.fn, "2")
        refused("qualifier_alias_doesnotexist", it.fn, NOWHERE)
        refused("qualifier_alias_doesnotmatch_arn", f"{it.arn()}:urlalias", NOWHERE)
        refused("qualifier_latest", it.fn, "$LATEST")
        if operation != "create":
            refused("config_doesnotexist", it.fn)


@recorded("test_url_config_lifecycle")
def a_url(it):
    it.make()
    name = {"FunctionName": it.fn}
    it.step("url_creation", "CreateFunctionUrlConfig", AuthType="NONE", **name)
    it.step("failed_duplication", "CreateFunctionUrlConfig", AuthType="NONE", **name)
    it.step("get_url_config", "GetFunctionUrlConfig", **name)
    it.step("updated_url_config", "UpdateFunctionUrlConfig", AuthType="AWS_IAM", **name)
    it.call("DeleteFunctionUrlConfig", **name)
    it.step("failed_getter", "GetFunctionUrlConfig", **name)


@recorded("test_url_config_list_paging")
def pages_of_urls(it):
    it.make(**made_as(it.steps["fn_version_result"]))
    it.step("fn_version_result", "PublishVersion", FunctionName=it.fn)
    alias = {"FunctionName": it.fn, "Name": "urlalias", "FunctionVersion": "1"}
    it.step("create_alias_result", "CreateAlias", **alias)
    it.step("list_function_notfound", "ListFunctionUrlConfigs", FunctionName=NOWHERE)
    it.step("list_all_empty", "ListFunctionUrlConfigs", FunctionName=it.fn)
    it.step("url_config_fn", "CreateFunctionUrlConfig", FunctionName=it.fn, AuthType="NONE")
    given = {"FunctionName": it.fn, "Qualifier": "urlalias", "AuthType": "NONE"}
    it.step("url_config_alias", "CreateFunctionUrlConfig", **given)
    it.step("list_all", "ListFunctionUrlConfigs", FunctionName=it.fn)


@recorded("test_url_config_deletion_without_qualifier")
def two_urls(it):
    it.make(Publish=True)
    name, qualified = {"FunctionName": it.fn}, {"FunctionName": it.fn, "Qualifier": "test-alias"}
    it.call("CreateAlias", Name="test-alias", FunctionVersion="1", **name)
    it.step("url_creation", "CreateFunctionUrlConfig", AuthType="NONE", **name)
    it.step("url_with_alias_creation", "CreateFunctionUrlConfig", AuthType="NONE", **qualified)
    it.step("get_url_config", "GetFunctionUrlConfig", **name)
    it.step("get_url_config_with_alias", "GetFunctionUrlConfig", **qualified)
    it.step("delete_function_url_config", "DeleteFunctionUrlConfig", **name)
    it.step("get_url_config_after_deletion", "GetFunctionUrlConfig", **name)
    it.step("get_url_config_with_alias_after_deletion", "GetFunctionUrlConfig", **qualified)


@recorded("test_lambda_url_invalid_invoke_mode")
def no_such_mode(it):
    it.make()
    given = {"FunctionName": it.fn, "AuthType": "NONE", "InvokeMode": "UNKNOWN"}
    it.step("invoke_function_invalid_invoke_type", "CreateFunctionUrlConfig", **given)


@recorded("test_lambda_update_function_url_config")
def modes(it):
    it.make()
    name = {"FunctionName": it.fn}
    given = {"AuthType": "NONE", "InvokeMode": "BUFFERED"} | name
    it.step("create_lambda_url_config", "CreateFunctionUrlConfig", **given)
    it.step("get_url_config", "GetFunctionUrlConfig", **name)
    changed = {"AuthType": "NONE", "InvokeMode": "RESPONSE_STREAM"} | name
    it.step("modify_lambda_url_config", "UpdateFunctionUrlConfig", **changed)
    it.step("get_url_config_2", "GetFunctionUrlConfig", **name)
    it.step("modify_lambda_url_config_none", "UpdateFunctionUrlConfig", AuthType="NONE", **name)
    it.step("get_url_config_3", "GetFunctionUrlConfig", **name)


# Layers


@recorded("test_layer_exceptions")
def refused_layers(it):
    given = {"CompatibleRuntimes": ["python3.12"], "CompatibleArchitectures": ["x86_64"]}
    it.layer("publish_result", **given)
    name = f"{it.fn}-layer"
    version, missing = {"LayerName": name}, {"LayerName": "layerdoesnotexist"}
    it.step("list_layers_exc_compatibleruntime_invalid", "ListLayers", CompatibleRuntime="runtimedoesnotexist")
    it.step("list_layers_exc_compatiblearchitecture_invalid", "ListLayers", CompatibleArchitecture="archdoesnotexist")
    it.step("list_nonexistent_layer", "ListLayerVersions", **missing)
    it.step("get_layer_version_exc_layer_doesnotexist", "GetLayerVersion", VersionNumber=1, **missing)
    for step, number in (("negative", -1), ("zero", 0), ("2", 2)):
        step = f"get_layer_version_exc_layer_version_doesnotexist_{step}"
        it.step(step, "GetLayerVersion", VersionNumber=number, **version)
    it.step("get_layer_version_by_arn_exc_invalidarn", "GetLayerVersionByArn", Arn=it.layer_arn(name))
    arn = it.layer_arn(f"{name}:1234")
    it.step("get_layer_version_by_arn_exc_nonexistentversion", "GetLayerVersionByArn", Arn=arn)
    it.step("delete_nonexistent_response", "DeleteLayerVersion", VersionNumber=1, **missing)
    it.step("delete_nonexistent_version_response", "DeleteLayerVersion", VersionNumber=1337, **version)
    it.step("delete_layer_response", "DeleteLayerVersion", VersionNumber=1, **version)
    it.step("delete_layer_again_response", "DeleteLayerVersion", VersionNumber=1, **version)
    step = "delete_layer_version_exc_layerversion_invalid_version"
    it.step(step, "DeleteLayerVersion", VersionNumber=-1, **version)
    it.layer("publish_empty_result", "empty", CompatibleRuntimes=[], CompatibleArchitectures=[])
    wrong = {"CompatibleRuntimes": ["invalidruntime"], "CompatibleArchitectures": ["invalidarch"]}
    it.layer("publish_layer_version_exc_invalid_runtime_arch", "wrong", **wrong)
    wrong = {
        "CompatibleRuntimes": ["invalidruntime", "invalidruntime2", "nodejs20.x"],
        "CompatibleArchitectures": ["invalidarch", "x86_64"],
    }
    it.layer("publish_layer_version_exc_partially_invalid_values", "wrong", **wrong)


@recorded("test_layer_policy_exceptions")
def refused_layer_policies(it):
    it.layer("publish_result", CompatibleRuntimes=["python3.12"], CompatibleArchitectures=["x86_64"])
    name = f"{it.fn}-layer"
    version, given = {"LayerName": name, "VersionNumber": 1}, {"Action": "lambda:GetLayerVersion", "Principal": "*"}

    def add(step, **more):
        it.step(step, "AddLayerVersionPermission", **version | given | {"StatementId": "s2"} | more)

    def remove(step, **more):
        it.step(step, "RemoveLayerVersionPermission", **version | {"StatementId": "s1"} | more)

    it.step("layer_permission_nopolicy_get", "GetLayerVersionPolicy", **version)
    add("add_layer_permission_result", StatementId="s1")
    add("layer_permission_action_invalid", Action="*")
    add("layer_permission_duplicate_statement", StatementId="s1")
    add("layer_permission_wrong_revision", RevisionId="wrong")
    for step, more in [("layername", {"LayerName": f"{name}-doesnotexist"}), ("layerversion", {"VersionNumber": 2})]:
        step = f"layer_permission_{step}_doesnotexist"
        add(f"{step}_add", **more)
        it.step(f"{step}_get", "GetLayerVersionPolicy", **version | more)
        remove(f"{step}_remove", **more)
    remove("layer_permission_statementid_doesnotexist_remove", StatementId="doesnotexist")
    remove("layer_permission_wrong_revision_remove", RevisionId="wrong")


@recorded("test_layer_function_exceptions")
def refused_layers_of_functions(it):
    for step in ("publish_result", "publish_result_2", "publish_result_3"):
        it.layer(step, CompatibleRuntimes=[], CompatibleArchitectures=["x86_64"])
    it.make(Environment={"Variables": {}})
    it.step("get_fn_result", "GetFunction", FunctionName=it.fn)
    layer_arn = it.layer_arn(f"{it.fn}-layer")
    for step, layers in [
        ("two_layer_versions_single_function_exc", [f"{layer_arn}:1", f"{layer_arn}:2"]),
        ("three_layer_versions_single_function_exc", [f"{layer_arn}:{number}" for number in (1, 2, 3)]),
        ("two_identical_layer_versions_single_function_exc", [f"{layer_arn}:1"] * 2),
        ("add_nonexistent_layer_exc", [it.layer_arn(f"{NOWHERE}:1")]),
        ("add_nonexistent_layer_version_exc", [f"{layer_arn}:9"]),
        ("add_layer_arn_without_version_exc", [layer_arn]),
    ]:
        it.step(step, "UpdateFunctionConfiguration", FunctionName=it.fn, Layers=layers)
    elsewhere = f"{layer_arn}:1".replace(REGION, "eu-west-1")
    it.make("create_function_with_layer_in_different_region", name=f"{it.fn}-2", Layers=[elsewhere])


@recorded("test_layer_function_quota_exception")
def six_layers(it):
    layers = [it.layer(name=f"layer{number}")["LayerVersionArn"] for number in range(6)]
    it.make("create_function_with_six_layers", Layers=layers)


@recorded(*[f"test_layer_compatibilities[runtimes{number}]" for number in range(3)])
def a_layer_for_many(it):
    wanted = it.steps["publish_result"]
    it.layer("publish_result", **{name: wanted[name] for name in ("CompatibleRuntimes", "CompatibleArchitectures")})


# Asynchronous invocations


@recorded("test_lambda_eventinvokeconfig_exceptions")
def refused_event_configurations(it):
    it.make(Environment={"Variables": {}})
    it.make(name=f"{it.fn}-2")
    name, alias = {"FunctionName": it.fn}, "eventinvokealias"
    it.step("fn_version_result", "PublishVersion", **name)
    it.step("fn_alias_result", "CreateAlias", Name=alias, FunctionVersion="1", **name)
    arn, retries = it.arn(), {"MaximumRetryAttempts": 1}

    def put(step, function=it.fn, **more):
        it.step(step, "PutFunctionEventInvokeConfig", FunctionName=function, **more)

    put("put_functionname_name_notfound", NOWHERE, **retries)
    put("put_functionname_arn_notfound", it.arn(NOWHERE), **retries)
    put("put_functionname_nootherargs")
    for step, destination in [
        ("lambda_doesntexist", it.arn(NOWHERE)),
        ("recursive", arn),
        ("other_lambda", f"{arn}-2"),
        ("invalid_service_arn", arn.replace(":lambda:", ":iam:")),
    ]:
        put(f"put_destination_{step}", DestinationConfig={"OnSuccess": {"Destination": destination}})
    put("put_destination_success_no_destination_arn", DestinationConfig={"OnSuccess": {}})
    put("put_destination_failure_no_destination_arn", DestinationConfig={"OnFailure": {}})
    wrong = arn.replace(":lambda:", ":_-/!lambda:")
    put("put_destination_invalid_arn_pattern", DestinationConfig={"OnFailure": {"Destination": wrong}})
    for step, function, qualifier in [
        ("put_destination_latest", f"{it.fn}:$LATEST", None),
        ("put_destination_latest_explicit_qualifier", it.fn, "$LATEST"),
        ("put_destination_version", it.fn, "1"),
        ("put_alias_functionname_qualifier", it.fn, alias),
        ("put_alias_doesnotexist", it.fn, NOWHERE),
        ("put_alias_qualifiedarn", f"{arn}:{alias}", None),
        ("put_alias_qualifiedarn_qualifier", f"{arn}:{alias}", alias),
        ("put_alias_qualifiedarn_qualifierconflict", f"{arn}:{alias}", "1"),
        ("put_alias_shorthand", f"{it.fn}:{alias}", None),
        ("put_alias_shorthand_qualifier", f"{it.fn}:{alias}", alias),
        ("put_alias_shorthand_qualifierconflict", f"{it.fn}:{alias}", "1"),
        ("put_version_shorthand", f"{it.fn}:1", None),
        ("put_shorthand_qualifier_match", f"{it.fn}:$LATEST", "$LATEST"),
        ("put_shorthand_qualifier_mismatch_1", f"{it.fn}:$LATEST", "1"),
        ("put_shorthand_qualifier_mismatch_2", f"{it.fn}:1", "$LATEST"),
        ("put_shorthand_qualifier_mismatch_3", f"{it.fn}:{alias}", "1"),
    ]:
        put(step, function, **retries | ({"Qualifier": qualifier} if qualifier else {}))
    put("put_maxevent_maxvalue_result", MaximumRetryAttempts=2, MaximumEventAgeInSeconds=21600)
    put("put_pre_overwrite", MaximumRetryAttempts=2, MaximumEventAgeInSeconds=60)
    put("put_post_overwrite", MaximumRetryAttempts=0)
    put("second_overwrite_existing_response", MaximumRetryAttempts=0)
    it.step("get_post_overwrite", "GetFunctionEventInvokeConfig", **name)
    put("pre_update_response", MaximumRetryAttempts=2, MaximumEventAgeInSeconds=60)
    for step in ("update_response", "update_response_existing"):
        it.step(step, "UpdateFunctionEventInvokeConfig", MaximumRetryAttempts=0, **name)
    it.step("list_configs", "ListFunctionEventInvokeConfigs", **name)
    delete, get = "DeleteFunctionEventInvokeConfig", "GetFunctionEventInvokeConfig"
    update = "UpdateFunctionEventInvokeConfig"
    it.step("delete_latest", delete, **name)
    it.step("delete_version", delete, Qualifier="1", **name)
    it.step("delete_alias", delete, Qualifier=alias, **name)
    it.step("list_configs_postdelete", "ListFunctionEventInvokeConfigs", **name)
    it.step("delete_function_not_found", delete, **name)
    it.step("delete_function_doesnotexist", delete, FunctionName=NOWHERE)
    it.step("list_function_doesnotexist", "ListFunctionEventInvokeConfigs", FunctionName=NOWHERE)
    it.step("get_function_doesnotexist", get, FunctionName=NOWHERE)
    it.step("get_qualifier_doesnotexist", get, Qualifier=NOWHERE, **name)
    it.step("update_eventinvokeconfig_function_doesnotexist", update, FunctionName=NOWHERE, **retries)
    it.step("get_eventinvokeconfig_doesnotexist", get, Qualifier=alias, **name)
    step = "update_eventinvokeconfig_config_doesnotexist"
    it.step(f"{step}_with_qualifier", update, Qualifier=alias, **name, **retries)
    it.step(f"{step}_without_qualifier", update, **name, **retries)


# Limits


@recorded("test_function_concurrency_exceptions")
def refused_reservations(it):
    it.make()
    step = "put_function_concurrency_with_function_name_doesnotexist"
    put = "PutFunctionConcurrency"
    it.step(step, put, FunctionName=NOWHERE, ReservedConcurrentExecutions=1)
    it.step(f"{step}_and_invalid_concurrency", put, FunctionName=NOWHERE, ReservedConcurrentExecutions=10**6)
    qualified = {"FunctionName": f"{it.arn()}:$LATEST", "ReservedConcurrentExecutions": 1}
    it.step("put_function_concurrency_with_qualified_arn", put, **qualified)


@recorded("test_function_concurrency_limits", "test_provisioned_concurrency_limits")
def more_than_there_is(it):
    it.make(Publish=True)
    limit = it.call("GetAccountSettings")["AccountLimit"]["ConcurrentExecutions"]
    is_provisioned = "provisioned" in it.name
    kind = "provisioned" if is_provisioned else "function"
    operation = "PutProvisionedConcurrencyConfig" if is_provisioned else "PutFunctionConcurrency"
    member = "ProvisionedConcurrentExecutions" if is_provisioned else "ReservedConcurrentExecutions"
    for step, count in (("account_limit_exceeded", limit + 1), ("below_unreserved_min_value", limit - 10)):
        given = {"FunctionName": it.fn, member: count} | ({"Qualifier": "1"} if is_provisioned else {})
        it.step(f"put_{kind}_concurrency_{step}", operation, **given)


@recorded("test_lambda_concurrency_crud", "test_lambda_concurrency_update")
def reservations(it):
    it.make(Publish=True, Environment={"Variables": {}})
    name = {"FunctionName": it.fn}
    if "get_function_concurrency_default" in it.steps:
        it.step("get_function_concurrency_default", "GetFunctionConcurrency", **name)
    count = it.steps["put_function_concurrency"]["ReservedConcurrentExecutions"]
    it.step("put_function_concurrency", "PutFunctionConcurrency", ReservedConcurrentExecutions=count, **name)
    it.step("get_function_concurrency_updated", "GetFunctionConcurrency", **name)
    if "get_function_concurrency_info" in it.steps:
        it.step("get_function_concurrency_info", "GetFunction", **name)
    it.call("DeleteFunctionConcurrency", **name)
    it.step("get_function_concurrency_deleted", "GetFunctionConcurrency", **name)


@recorded("test_large_environment_variables_fails", "test_large_environment_fails_multiple_keys")
def a_large_environment(it):
    (step,) = it.steps
    measured = re.search("String measured: (.*)", it.steps[step]["Error"]["Message"])[1]
    it.make(step, Environment={"Variables": json.loads(measured)})


@recorded("test_lambda_envvars_near_limit_succeeds")
def an_environment_that_just_fits(it):
    made = it.steps["successful_create_fn_result"]["CreateFunctionResponse"]
    it.make("successful_create_fn_result", Environment=made["Environment"], **made_as(made))


@recorded("test_oversized_unzipped_lambda", "test_oversized_lambda")
def a_package_that_grows(it):
    it.make("invalid_param_exc", Code={"ZipFile": zip_of({"handler.py": b"\0" * (262_144_000 + 1)})})


@recorded("test_oversized_zipped_create_lambda")
def a_large_package(it):
    it.make("invalid_param_exc", Code={"ZipFile": os.urandom(52_428_801)})


# Permissions


@recorded("test_add_lambda_permission_aws")
def a_permission(it):
    it.make("create_lambda", **made_as(it.steps["create_lambda"]), Environment={"Variables": {}})
    given = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com", "SourceArn": "arn:aws:s3:::bucket"}
    it.step("add_permission", "AddPermission", FunctionName=it.fn, StatementId="s3", **given)
    it.step("get_policy", "GetPolicy", FunctionName=it.fn)


@recorded("test_create_multiple_lambda_permissions")
def two_permissions(it):
    it.make()
    for number, service in (("1", "logs"), ("2", "kinesis")):
        given = {"StatementId": service, "Action": "lambda:InvokeFunction", "Principal": f"{service}.amazonaws.com"}
        it.step(f"add_permission_response_{number}", "AddPermission", FunctionName=it.fn, **given)
    it.step("policy_after_2_add", "GetPolicy", FunctionName=it.fn)


@recorded("test_lambda_permission_fn_versioning")
def permissions_of_versions(it):
    it.make(Environment={"Variables": {}})
    name = {"FunctionName": it.fn}
    given = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com", "SourceArn": "arn:aws:s3:::bucket"}
    given |= {"StatementId": "s3"} | name
    it.step("add_permission", "AddPermission", **given)
    it.step("get_policy", "GetPolicy", **name)
    it.step("publish_version_result", "PublishVersion", **name)
    it.step("get_function_result_after_publishing", "GetFunction", **name)
    it.step("get_policy_after_publishing_latest", "GetPolicy", **name)
    it.step("get_policy_after_publishing_new_version", "GetPolicy", Qualifier="1", **name)
    it.call("AddPermission", Qualifier="1", **given)
    it.step("get_policy_version", "GetPolicy", Qualifier="1", **name)
    alias = {"Name": "permission-alias"} | name
    it.step("create_alias_response", "CreateAlias", FunctionVersion="1", **alias)
    it.step("get_alias", "GetAlias", **alias)
    qualified = {"Qualifier": "permission-alias"}
    it.step("add_permission_alias_revision_exception", "AddPermission", RevisionId="wrong", **qualified, **given)
    it.call("AddPermission", **qualified, **given)
    it.step("get_policy_alias", "GetPolicy", **qualified, **name)
    it.step("get_policy_after_adding_to_new_version", "GetPolicy", **name)
    it.call("AddPermission", **given | {"StatementId": "s3_2"})
    it.step("get_policy_after_adding_2", "GetPolicy", **name)


@recorded("test_function_revisions_permissions")
def a_revision_of_a_policy(it):
    it.make()
    given = {"Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com", "FunctionName": it.fn}
    it.call("AddPermission", StatementId="s3", **given)
    it.step("add_permission_revision_exception", "AddPermission", StatementId="s3_2", RevisionId="wrong", **given)


def test_every_recording_is_compared():
    """What docs/compatibility.md counts is what is played."""
    played = set(SCENARIOS) | set(invoked) | set(re.findall(r'Scenario\("(\w+)"\)', GOLDENS.read_text()))
    assert played == set(RECORDED), played ^ set(RECORDED)
    assert set(DIFFERENT_STEPS) <= played


@pytest.mark.parametrize("name", SCENARIOS)
def test_recording(aws, function, name):
    play(SCENARIOS[name], aws, name, function)
