"""Tags decide: of what is acted on, of what a request brings and takes away, whatever the service."""

import json

import pytest

from harness import ACCOUNT, PYTHON, REGION
from identities import (  # noqa: F401 (fixtures are taken by name)
    DENIED_BY_IDENTITY,
    NO_RESOURCE,
    ONE,
    allow,
    arn,
    called,
    deny,
    document,
    function,
    named,
    others,
    own,
    refused,
    root,
    tenant,
    trust,
)


def when(key, *values, operator="StringEquals"):
    return {"Condition": {operator: {key: list(values)}}}


def test_a_function_is_closed_by_its_tags(own, function):
    """Every operation on it, its versions too, and its URL; the key in any case."""
    aws = own.root.client()
    user = own.user(allow("lambda:*"), deny("lambda:*", **when("aws:resourcetag/Stage", "production")))
    lambda_, on = user.client(), {"FunctionName": function}
    aws.publish_version(**on)
    host = aws.create_function_url_config(AuthType="AWS_IAM", **on)["FunctionUrl"].split("/")[2]
    assert called(user, function) == arn(function) and user.request("GET", "/", host=host)[0] == 200
    aws.tag_resource(Resource=arn(function), Tags={"stage": "production"})
    for call, more in [
        (lambda_.invoke, {}),
        (lambda_.invoke, {"Qualifier": "1"}),
        (lambda_.invoke, {"Qualifier": "$LATEST"}),
        (lambda_.invoke_async, {"InvokeArgs": b"{}"}),
        (lambda_.get_function, {}),
        (lambda_.delete_function, {}),
        (lambda_.update_function_configuration, {"Description": "x"}),
        (lambda_.put_function_concurrency, {"ReservedConcurrentExecutions": 0}),
        (lambda_.add_permission, {"StatementId": "x", "Action": "lambda:*", "Principal": "*"}),
    ]:
        text = refused("AccessDeniedException", call, **on, **more)
        assert text.endswith(DENIED_BY_IDENTITY), text
    for call, more in [
        (lambda_.tag_resource, {"Tags": {"stage": "test"}}),
        (lambda_.untag_resource, {"TagKeys": ["stage"]}),
        (lambda_.list_tags, {}),
    ]:
        assert refused("AccessDeniedException", call, Resource=arn(function), **more).endswith(DENIED_BY_IDENTITY)
    assert user.request("GET", "/", host=host)[0] == 403
    assert user.request("GET", f"/_updraft/v1/functions/{function}")[0] == 403
    question = {"principal": user.arn, "action": "lambda:InvokeFunction", "resource": arn(function)}
    _, answer = own.root.request("POST", "/_updraft/v1/policy/check", body=json.dumps(question).encode())
    assert json.loads(answer)["allowed"] is False
    aws.untag_resource(Resource=arn(function), TagKeys=["stage"])
    assert called(user, function) == arn(function)


def test_what_a_request_brings_and_takes_away(own, platform, name):
    role = own.role(trust({"Service": "lambda.amazonaws.com"}))
    user = own.user(
        allow("lambda:*"),
        allow("iam:PassRole"),
        deny("lambda:CreateFunction", **when("aws:RequestTag/team", "red", operator="StringNotEquals")),
        deny("lambda:TagResource", **when("aws:TagKeys", "stage", operator="ForAnyValue:StringEquals")),
        deny("lambda:UntagResource", **when("aws:TagKeys", "team", operator="ForAnyValue:StringEquals")),
    )
    lambda_ = user.client()
    given = {"FunctionName": name, "Runtime": PYTHON, "Handler": "app.handler", "Role": role, "Code": {"ZipFile": ONE}}
    for tags in ({}, {"team": "blue"}, {"stage": "red"}):
        text = refused("AccessDeniedException", lambda_.create_function, Tags=tags, **given)
        assert text.endswith(DENIED_BY_IDENTITY), text
    # Nor by saying it twice, in two cases.
    for tags in ({"team": "red", "Team": "blue"}, {"TEAM": "red", "team": "red"}):
        refused("InvalidParameterValueException", lambda_.create_function, Tags=tags, **given)
    lambda_.create_function(Tags={"Team": "red"}, **given)
    lambda_.get_waiter("function_active_v2").wait(FunctionName=name)
    on = {"Resource": arn(name)}
    refused("AccessDeniedException", lambda_.tag_resource, Tags={"a": "1", "stage": "x"}, **on)
    refused("InvalidParameterValueException", lambda_.tag_resource, Tags={"team": "blue"}, **on)
    lambda_.tag_resource(Tags={"a": "1"}, **on)
    refused("AccessDeniedException", lambda_.untag_resource, TagKeys=["a", "team"], **on)
    lambda_.untag_resource(TagKeys=["a"], **on)
    assert lambda_.list_tags(**on)["Tags"] == {"Team": "red"}


def test_another_accounts_tags_are_told_to_nobody_who_is_not_let_in(own, others, function):
    aws = own.root.client()
    aws.tag_resource(Resource=arn(function), Tags={"stage": "production"})
    closed = others.user(allow("*"), deny("lambda:*", **when("aws:ResourceTag/stage", "production")))
    guess = others.user(allow("lambda:*", **when("aws:ResourceTag/stage", "production")))
    for who in (closed, guess):
        what_is, what_is_not = arn(function), arn(f"{function}-none")
        heard = [refused("AccessDeniedException", who.client().invoke, FunctionName=one) for one in (what_is, what_is_not)]
        assert heard[0] == heard[1].replace(what_is_not, what_is), heard
    closed.denied("lambda:InvokeFunction", arn(function), NO_RESOURCE, closed.client().invoke, FunctionName=arn(function))
    # The function's own policy may look at them.
    policy = [allow("lambda:InvokeFunction", arn(function), Principal={"AWS": others.account})]
    aws.put_resource_policy(ResourceArn=arn(function), Policy=document(*policy))
    assert called(guess, arn(function)) == arn(function)
    refused("AccessDeniedException", closed.client().invoke, FunctionName=arn(function))
    policy.append(deny("lambda:InvokeFunction", arn(function), Principal="*", **when("aws:ResourceTag/stage", "production")))
    aws.put_resource_policy(ResourceArn=arn(function), Policy=document(*policy))
    refused("AccessDeniedException", guess.client().invoke, FunctionName=arn(function))
    aws.delete_resource_policy(ResourceArn=arn(function))


def test_an_open_url_may_be_closed_by_a_tag(own, platform, function):
    aws = own.root.client()
    host = platform.open_url(function)
    assert platform.request("GET", "/", host=host)[0] == 200
    close = deny("lambda:InvokeFunctionUrl", arn(function), Principal="*", **when("aws:ResourceTag/open", "no"))
    statements = json.loads(aws.get_resource_policy(ResourceArn=arn(function))["Policy"])["Statement"]
    aws.put_resource_policy(ResourceArn=arn(function), Policy=document(*statements, close))
    assert platform.request("GET", "/", host=host)[0] == 200
    aws.tag_resource(Resource=arn(function), Tags={"open": "no"})
    assert platform.request("GET", "/", host=host)[0] == 403


def test_users_roles_and_policies_are_closed_by_their_tags(own, function):
    iam, locked = own.iam, [{"Key": "locked", "Value": "yes"}]
    other, role, policy = named(own.user()), own.role(trust({"AWS": ACCOUNT})), own.policy(allow("s3:*"))
    role_name = role.rsplit("/", 1)[1]
    for key in ("aws:ResourceTag/Locked", "iam:ResourceTag/locked"):
        user = own.user(allow("*"), deny(["iam:*", "sts:AssumeRole"], **when(key, "yes")))
        mine = user.client("iam")
        calls = [
            (mine.create_access_key, {"UserName": other}),
            (mine.tag_user, {"UserName": other, "Tags": [{"Key": "locked", "Value": "no"}]}),
            (mine.untag_role, {"RoleName": role_name, "TagKeys": ["locked"]}),
            (mine.update_role, {"RoleName": role_name, "Description": "x"}),
            (mine.put_role_policy, {"RoleName": role_name, "PolicyName": "p", "PolicyDocument": document(allow("*"))}),
            (mine.delete_policy, {"PolicyArn": policy}),
        ]
        assert mine.get_user(UserName=other) and mine.get_role(RoleName=role_name) and user.assume(role)
        iam.tag_user(UserName=other, Tags=locked)
        iam.tag_role(RoleName=role_name, Tags=locked)
        iam.tag_policy(PolicyArn=policy, Tags=locked)
        for call, arguments in calls:
            assert refused("AccessDenied", call, **arguments).endswith(DENIED_BY_IDENTITY), arguments
        refused("AccessDenied", user.client("sts").assume_role, RoleArn=role, RoleSessionName="s1")
        user.denied(
            "iam:PassRole", role, DENIED_BY_IDENTITY, user.client().update_function_configuration,
            FunctionName=function, Role=role,
        )
        # One's own counts where no other is named.
        iam.tag_user(UserName=named(user), Tags=locked)
        assert refused("AccessDenied", mine.create_access_key).endswith(DENIED_BY_IDENTITY)
        for call, on in [(iam.untag_user, {"UserName": other}), (iam.untag_role, {"RoleName": role_name}),
                         (iam.untag_policy, {"PolicyArn": policy})]:
            call(TagKeys=["locked"], **on)


def test_users_and_roles_are_made_with_the_tags_that_are_wanted(own):
    only = when("aws:RequestTag/team", "red")
    free = when("aws:TagKeys", "team", operator="ForAnyValue:StringEquals")
    user = own.user(allow(["iam:CreateUser", "iam:CreateRole"], **only), allow("iam:*User"), deny("iam:*tag*", **free))
    iam, spare = user.client("iam"), f"{own.stem}-spare"
    trusting = {"RoleName": spare, "AssumeRolePolicyDocument": trust({"AWS": ACCOUNT})}
    for tags in ([], [{"Key": "team", "Value": "blue"}]):
        refused("AccessDenied", iam.create_role, Tags=tags, **trusting)
    iam.create_role(Tags=[{"Key": "team", "Value": "red"}], **trusting)
    iam.create_user(UserName=spare)
    iam.tag_user(UserName=spare, Tags=[{"Key": "other", "Value": ""}])
    refused("AccessDenied", iam.tag_user, UserName=spare, Tags=[{"Key": "team", "Value": "red"}])
    refused("AccessDenied", iam.untag_user, UserName=spare, TagKeys=["team"])


def test_groups_of_lines_are_closed_by_their_tags(own, name):
    root = own.root.client("logs")
    root.create_log_group(logGroupName=name)
    root.create_log_stream(logGroupName=name, logStreamName="a")
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}"
    try:
        user = own.user(
            allow("logs:*"),
            deny("logs:*", **when("aws:ResourceTag/locked", "yes")),
            deny("logs:*", **when("aws:RequestTag/locked", "no")),
            deny("logs:Untag*", **when("aws:TagKeys", "kept", operator="ForAnyValue:StringEquals")),
        )
        logs = user.client("logs")
        assert logs.filter_log_events(logGroupName=name)["events"] == []
        refused("AccessDeniedException", logs.create_log_group, logGroupName=f"{name}-2", tags={"locked": "no"})
        refused("AccessDeniedException", logs.tag_resource, resourceArn=group, tags={"locked": "no"})
        refused("AccessDeniedException", logs.untag_resource, resourceArn=group, tagKeys=["kept"])
        refused("AccessDeniedException", logs.untag_log_group, logGroupName=name, tags=["kept"])
        root.tag_resource(resourceArn=group, tags={"locked": "yes"})
        refused("InvalidParameterException", root.tag_resource, resourceArn=group, tags={"Locked": "no"})
        refused("InvalidParameterException", root.create_log_group, logGroupName=f"{name}-2", tags={"a": "", "A": ""})
        for call, more in [
            (logs.filter_log_events, {}),
            (logs.get_log_events, {"logStreamName": "a"}),
            (logs.put_log_events, {"logStreamName": "a", "logEvents": [{"timestamp": 1, "message": "x"}]}),
            (logs.put_retention_policy, {"retentionInDays": 1}),
            (logs.delete_log_group, {}),
        ]:
            assert refused("AccessDeniedException", call, logGroupName=name, **more).endswith(DENIED_BY_IDENTITY)
        refused("AccessDeniedException", logs.untag_resource, resourceArn=f"{group}:*", tagKeys=["locked"])
    finally:
        root.delete_log_group(logGroupName=name)


def test_a_functions_log_is_closed_by_the_tags_of_its_group(own, function):
    """By the platform's own door, too."""
    root, group = own.root.client("logs"), f"/aws/lambda/{function}"
    called(own.root, function)
    root.put_retention_policy(logGroupName=group, retentionInDays=1)
    user = own.user(allow("logs:*"), deny("logs:*", **when("aws:ResourceTag/locked", "yes")))
    assert user.request("GET", f"/_updraft/v1/logs/{function}")[0] == 200
    root.tag_log_group(logGroupName=group, tags={"locked": "yes"})
    assert user.request("GET", f"/_updraft/v1/logs/{function}")[0] == 403


@pytest.mark.parametrize("key", ["aws:ResourceTag/locked", "secretsmanager:ResourceTag/locked"])
def test_secrets_are_closed_by_their_tags(own, name, key):
    root = own.root.client("secretsmanager")
    made = root.create_secret(Name=name, SecretString="one")["ARN"]
    try:
        user = own.user(
            allow("secretsmanager:*"),
            deny("secretsmanager:*", **when(key, "yes")),
            deny("secretsmanager:*", **when("aws:RequestTag/locked", "no")),
            deny("secretsmanager:Untag*", **when("aws:TagKeys", "kept", operator="ForAnyValue:StringEquals")),
        )
        secrets, no = user.client("secretsmanager"), [{"Key": "locked", "Value": "no"}]
        assert secrets.get_secret_value(SecretId=name)["SecretString"] == "one"
        refused("AccessDeniedException", secrets.create_secret, Name=f"{name}-2", SecretString="x", Tags=no)
        refused("AccessDeniedException", secrets.tag_resource, SecretId=name, Tags=no)
        refused("AccessDeniedException", secrets.untag_resource, SecretId=name, TagKeys=["kept"])
        root.tag_resource(SecretId=name, Tags=[{"Key": "locked", "Value": "yes"}])
        refused("InvalidParameterException", root.tag_resource, SecretId=name, Tags=[{"Key": "Locked", "Value": "no"}])
        for id in (name, made, made[:-7]):
            for call in (secrets.get_secret_value, secrets.describe_secret, secrets.delete_secret):
                assert refused("AccessDeniedException", call, SecretId=id).endswith(DENIED_BY_IDENTITY)
        refused("AccessDeniedException", secrets.untag_resource, SecretId=name, TagKeys=["locked"])
    finally:
        root.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
