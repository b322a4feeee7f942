"""Policies decide: of users, of roles and their sessions, of resources; and whoever may not is told who, what and on what."""

import base64
import dataclasses
import json
import time
import urllib.parse

import pytest
from botocore.credentials import Credentials

from harness import ACCOUNT, PYTHON, REGION, wait_until, zip_of
from identities import (  # noqa: F401 (fixtures are taken by name)
    DENIED_BY_IDENTITY,
    NO_BOUNDARY,
    NO_IDENTITY,
    NO_RESOURCE,
    NO_SESSION,
    ONE,
    TWO,
    Principal,
    allow,
    arn,
    called,
    deny,
    document,
    function,
    others,
    own,
    refused,
    root,
    tenant,
    trust,
)


def test_a_user_without_policies_may_do_nothing(own, function):
    user = own.user()
    user.denied("lambda:InvokeFunction", arn(function), NO_IDENTITY, user.client().invoke, FunctionName=function)
    user.denied("lambda:GetFunction", arn(function), NO_IDENTITY, user.client().get_function, FunctionName=function)
    user.denied("lambda:ListFunctions", "*", NO_IDENTITY, user.client().list_functions)
    user.denied("iam:ListUsers", "*", NO_IDENTITY, user.client("iam").list_users)
    missing = arn("nobody-has-this")
    # What is not there is refused in the same words.
    user.denied("lambda:GetFunction", missing, NO_IDENTITY, user.client().get_function, FunctionName="nobody-has-this")
    user.denied("lambda:DeleteFunction", missing, NO_IDENTITY, user.client().delete_function, FunctionName=missing)
    assert user.client("sts").get_caller_identity()["Arn"] == user.arn


def test_one_action_on_one_function(own, function):
    user = own.user(allow("lambda:InvokeFunction", arn(function)))
    for form in (function, arn(function), f"{ACCOUNT}:function:{function}", f"function:{function}"):
        assert called(user, form) == arn(function)
    lambda_ = user.client()
    user.denied("lambda:GetFunction", arn(function), NO_IDENTITY, lambda_.get_function, FunctionName=function)
    user.denied(
        "lambda:UpdateFunctionCode", arn(function), NO_IDENTITY, lambda_.update_function_code,
        FunctionName=function, ZipFile=TWO,
    )
    other = f"{function}-2"
    user.denied("lambda:InvokeFunction", arn(other), NO_IDENTITY, lambda_.invoke, FunctionName=other)
    # A policy that names the function does not name its versions.
    latest = f"{arn(function)}:$LATEST"
    user.denied("lambda:InvokeFunction", latest, NO_IDENTITY, lambda_.invoke, FunctionName=function, Qualifier="$LATEST")
    user.denied("lambda:InvokeFunction", latest, NO_IDENTITY, lambda_.invoke, FunctionName=latest)
    assert own.root.client().get_function_configuration(FunctionName=function)["CodeSize"] == len(ONE)


def test_wildcards(own, function):
    user = own.user(
        allow("lambda:Get*", f"arn:aws:lambda:*:*:function:{function[:-1]}?"),
        allow("lambda:invokefunction", f"{arn(function)}*"),
    )
    lambda_ = user.client()
    assert lambda_.get_function(FunctionName=function)["Configuration"]["FunctionName"] == function
    assert lambda_.get_function_concurrency(FunctionName=function)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert called(user, f"{function}:$LATEST") == f"{arn(function)}:$LATEST", "the action in any case, any qualifier"
    longer = f"{function}xx"
    user.denied("lambda:GetFunction", arn(longer), NO_IDENTITY, lambda_.get_function, FunctionName=longer)
    user.denied("lambda:ListTags", arn(function), NO_IDENTITY, lambda_.list_tags, Resource=arn(function))
    user.denied("lambda:ListFunctions", "*", NO_IDENTITY, lambda_.list_functions)


def test_an_explicit_deny_wins_wherever_it_stands(own, function):
    forbids = own.policy(deny("lambda:DeleteFunction", arn(function)), deny("lambda:Put*"))
    user = own.user(allow("*"), managed=[forbids])
    lambda_ = user.client()
    assert called(user, function) == arn(function)
    user.denied("lambda:DeleteFunction", arn(function), DENIED_BY_IDENTITY, lambda_.delete_function, FunctionName=function)
    user.denied(
        "lambda:PutFunctionConcurrency", arn(function), DENIED_BY_IDENTITY, lambda_.put_function_concurrency,
        FunctionName=function, ReservedConcurrentExecutions=1,
    )
    # Nor does the function's own policy outdo it.
    barred = own.user(deny("lambda:InvokeFunction"))
    own.root.client().add_permission(
        FunctionName=function, StatementId="s", Action="lambda:InvokeFunction", Principal=barred.arn
    )
    barred.denied("lambda:InvokeFunction", arn(function), DENIED_BY_IDENTITY, barred.client().invoke, FunctionName=function)
    own.root.client().get_function(FunctionName=function)


def test_policies_that_aws_provides(own, function):
    reader = own.user(managed=["arn:aws:iam::aws:policy/AWSLambda_ReadOnlyAccess"])
    assert reader.client().get_function(FunctionName=function)["Configuration"]["FunctionName"] == function
    assert reader.client().list_functions()["Functions"]
    reader.denied(
        "lambda:DeleteFunction", arn(function), NO_IDENTITY, reader.client().delete_function, FunctionName=function
    )
    caller = own.user(managed=["arn:aws:iam::aws:policy/service-role/AWSLambdaRole"])
    assert called(caller, function) == arn(function)
    caller.denied("lambda:GetFunction", arn(function), NO_IDENTITY, caller.client().get_function, FunctionName=function)


def test_conditions_on_the_address(own, function):
    def where(operator, addresses):
        return {"Condition": {operator: {"aws:SourceIp": addresses}}}

    user = own.user(allow("lambda:InvokeFunction", **where("IpAddress", ["10.0.0.0/8", "127.0.0.0/8"])))
    assert called(user, function) == arn(function)
    for elsewhere in (where("IpAddress", "10.0.0.0/8"), where("NotIpAddress", "127.0.0.1")):
        own.again(user, allow("lambda:InvokeFunction", **elsewhere))
        user.denied("lambda:InvokeFunction", arn(function), NO_IDENTITY, user.client().invoke, FunctionName=function)
    # Nobody comes from where it says: no proxy in front of this platform is trusted.
    own.again(user, allow("lambda:GetFunction", **where("IpAddress", "10.0.0.0/8")))
    said = {"x-forwarded-for": "10.0.0.1", "forwarded": "for=10.0.0.1", "x-real-ip": "10.0.0.1"}
    assert user.request("GET", f"/2015-03-31/functions/{function}", headers=said)[0] == 403
    own.again(user, allow("lambda:*"), deny("lambda:InvokeFunction", **where("IpAddress", "127.0.0.1/32")))
    user.denied("lambda:InvokeFunction", arn(function), DENIED_BY_IDENTITY, user.client().invoke, FunctionName=function)


def test_conditions_on_who_asks_when_and_how(own, function):
    user = own.user()
    name = user.arn.split("/")[-1]
    lambda_ = user.client()
    id = user.client("sts").get_caller_identity()["UserId"]
    for holds, condition in [
        (True, {"StringEquals": {"aws:username": ["somebody", name]}}),
        (False, {"StringEquals": {"aws:username": "somebody"}}),
        (False, {"StringNotEquals": {"aws:username": name}}),
        (True, {"ArnEquals": {"aws:PrincipalArn": user.arn}}),
        (True, {"StringEquals": {"aws:userid": id, "aws:PrincipalType": "User"}}),
        (True, {"StringEquals": {"aws:PrincipalAccount": ACCOUNT, "aws:ResourceAccount": ACCOUNT}}),
        (False, {"StringEquals": {"aws:PrincipalAccount": ACCOUNT, "aws:RequestedRegion": "eu-west-1"}}),
        (True, {"StringEquals": {"aws:RequestedRegion": REGION}}),
        (True, {"Bool": {"aws:SecureTransport": "false"}}),
        (False, {"Bool": {"aws:SecureTransport": "true"}}),
        (True, {"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}),
        (False, {"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}),
        (True, {"StringLike": {"aws:UserAgent": "*Boto3/*"}}),
        (False, {"Null": {"aws:username": "true"}}),
        (False, {"StringEquals": {"aws:SourceVpc": "vpc-1"}}),
        (True, {"StringEqualsIfExists": {"aws:SourceVpc": "vpc-1"}}),
    ]:
        own.again(user, allow("lambda:GetFunction", Condition=condition))
        if holds:
            assert lambda_.get_function(FunctionName=function), condition
        else:
            user.denied("lambda:GetFunction", arn(function), NO_IDENTITY, lambda_.get_function, FunctionName=function)


def test_a_variable_stands_for_who_asks(own, platform):
    user = own.user(allow("lambda:*", arn("${aws:username}-*")), allow("iam:PassRole"))
    name = user.arn.split("/")[-1]
    mine = f"{name}-f"
    platform.create(mine, ONE, client=user.client())
    try:
        assert called(user, mine) == arn(mine)
        other = f"x-{name}"
        user.denied("lambda:InvokeFunction", arn(other), NO_IDENTITY, user.client().invoke, FunctionName=other)
        user.denied("lambda:InvokeFunction", arn("x"), NO_IDENTITY, user.client().invoke, FunctionName="x")
    finally:
        user.client().delete_function(FunctionName=mine)


def test_what_is_not_named(own, function):
    rest = {"Effect": "Allow", "NotAction": ["iam:*", "lambda:Delete*"], "Resource": "*"}
    user = own.user(rest)
    assert called(user, function) == arn(function)
    user.denied("iam:ListUsers", "*", NO_IDENTITY, user.client("iam").list_users)
    user.denied(
        "lambda:DeleteFunction", arn(function), NO_IDENTITY, user.client().delete_function, FunctionName=function
    )
    but = {"Effect": "Allow", "Action": "lambda:*", "NotResource": arn(function)}
    own.again(user, but)
    user.denied("lambda:InvokeFunction", arn(function), NO_IDENTITY, user.client().invoke, FunctionName=function)
    assert user.client().list_functions()["Functions"]
    only = {"Effect": "Deny", "NotAction": "lambda:GetFunction", "Resource": "*"}
    own.again(user, allow("*"), only)
    assert user.client().get_function(FunctionName=function)
    user.denied("lambda:InvokeFunction", arn(function), DENIED_BY_IDENTITY, user.client().invoke, FunctionName=function)


def test_a_change_counts_from_the_next_request(own, function):
    policy = own.policy(allow("lambda:GetFunction"))
    user = own.user(managed=[policy])
    iam, name, lambda_ = own.iam, user.arn.split("/")[-1], user.client()
    get = ("lambda:GetFunction", arn(function), NO_IDENTITY, lambda_.get_function)
    assert lambda_.get_function(FunctionName=function)
    iam.create_policy_version(PolicyArn=policy, PolicyDocument=document(allow("s3:*")), SetAsDefault=True)
    user.denied(*get, FunctionName=function)
    iam.set_default_policy_version(PolicyArn=policy, VersionId="v1")
    assert lambda_.get_function(FunctionName=function)
    iam.detach_user_policy(UserName=name, PolicyArn=policy)
    user.denied(*get, FunctionName=function)
    own.again(user, allow("lambda:GetFunction"))
    assert lambda_.get_function(FunctionName=function)
    iam.delete_user_policy(UserName=name, PolicyName="inline")
    user.denied(*get, FunctionName=function)


def test_identities_look_after_themselves_alone(own):
    me = f"arn:aws:iam::{ACCOUNT}:user/${{aws:username}}"
    user, other = own.user(allow(["iam:CreateAccessKey", "iam:ListAccessKeys", "iam:DeleteAccessKey"], me)), own.user()
    iam, name, others_name = user.client("iam"), user.arn.split("/")[-1], other.arn.split("/")[-1]
    key = iam.create_access_key()["AccessKey"]
    assert key["UserName"] == name
    assert len(iam.list_access_keys(UserName=name)["AccessKeyMetadata"]) == 2
    assert len(iam.list_access_keys()["AccessKeyMetadata"]) == 2, "whoever names nobody means itself"
    iam.delete_access_key(AccessKeyId=key["AccessKeyId"])
    user.denied("iam:CreateAccessKey", other.arn, NO_IDENTITY, iam.create_access_key, UserName=others_name)
    user.denied(
        "iam:DeleteAccessKey", other.arn, NO_IDENTITY, iam.delete_access_key, UserName=others_name, AccessKeyId=other.id
    )
    # Another's key does not become one's own by leaving its user out.
    refused("NoSuchEntity", iam.delete_access_key, AccessKeyId=other.id)
    # Nor does anybody give itself more.
    everything = document(allow("*"))
    user.denied(
        "iam:PutUserPolicy", user.arn, NO_IDENTITY, iam.put_user_policy,
        UserName=name, PolicyName="more", PolicyDocument=everything,
    )
    administrator = "arn:aws:iam::aws:policy/AdministratorAccess"
    user.denied(
        "iam:AttachUserPolicy", user.arn, NO_IDENTITY, iam.attach_user_policy, UserName=name, PolicyArn=administrator
    )
    assert len(own.iam.list_access_keys(UserName=others_name)["AccessKeyMetadata"]) == 1


# Roles and sessions


def test_a_role_that_trusts_an_account_wants_a_policy_of_the_user_too(own, function):
    role = own.role(trust({"AWS": ACCOUNT}), allow("lambda:InvokeFunction", arn(function)))
    user = own.user()
    text = refused("AccessDenied", user.client("sts").assume_role, RoleArn=role, RoleSessionName="s1")
    assert text.startswith(f"User: {user.arn} is not authorized to perform: sts:AssumeRole on resource: {role}")
    own.again(user, allow("sts:AssumeRole", role))
    session = user.assume(role)
    assert session.arn == f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.split('/')[-1]}/s1"
    assert called(session, function) == arn(function)
    session.denied("lambda:GetFunction", arn(function), NO_IDENTITY, session.client().get_function, FunctionName=function)
    own.again(user, allow("sts:AssumeRole"), deny("sts:AssumeRole", role))
    refused("AccessDenied", user.client("sts").assume_role, RoleArn=role, RoleSessionName="s1")
    # What was given out is not taken back, but does what its role may.
    own.iam.put_role_policy(
        RoleName=role.split("/")[-1], PolicyName="inline", PolicyDocument=document(allow("lambda:GetFunction"))
    )
    assert session.client().get_function(FunctionName=function)
    session.denied("lambda:InvokeFunction", arn(function), NO_IDENTITY, session.client().invoke, FunctionName=function)


def test_a_role_that_trusts_a_user_wants_nothing_more(own):
    user, other = own.user(), own.user()
    role = own.role(trust({"AWS": user.arn}))
    assert user.assume(role).client("sts").get_caller_identity()["Account"] == ACCOUNT
    refused("AccessDenied", other.client("sts").assume_role, RoleArn=role, RoleSessionName="s1")
    # The trust policy has the last word, with the root user too.
    refused("AccessDenied", own.root.client("sts").assume_role, RoleArn=role, RoleSessionName="s1")
    own.iam.update_assume_role_policy(RoleName=role.split("/")[-1], PolicyDocument=trust({"AWS": other.arn}))
    refused("AccessDenied", user.client("sts").assume_role, RoleArn=role, RoleSessionName="s1")
    assert other.assume(role).arn.endswith("/s1")
    service = own.role(trust({"Service": "lambda.amazonaws.com"}))
    refused("AccessDenied", own.root.client("sts").assume_role, RoleArn=service, RoleSessionName="s1")


def test_a_role_of_another_account_and_its_external_id(own, others, function):
    condition = {"StringEquals": {"sts:ExternalId": "agreed"}}
    role = own.role(trust({"AWS": others.account}, Condition=condition), allow("lambda:InvokeFunction", arn(function)))
    user, plain = others.user(allow("sts:AssumeRole", role)), others.user()
    for wrong in ({}, {"ExternalId": "guessed"}):
        refused("AccessDenied", user.client("sts").assume_role, RoleArn=role, RoleSessionName="s1", **wrong)
    refused("AccessDenied", plain.client("sts").assume_role, RoleArn=role, RoleSessionName="s1", ExternalId="agreed")
    session = user.assume(role, ExternalId="agreed")
    assert session.client("sts").get_caller_identity()["Account"] == ACCOUNT
    assert called(session, function) == arn(function)
    # Its own account is the role's now, and no longer the user's.
    session.denied("iam:ListUsers", "*", NO_IDENTITY, session.client("iam").list_users)
    refused("AccessDenied", own.user(allow("*")).client("sts").assume_role, RoleArn=role, RoleSessionName="s1")


def test_a_session_policy_narrows_and_never_widens(own, function):
    role = own.role(trust({"AWS": ACCOUNT}), allow("lambda:*"))
    user = own.user(allow("sts:AssumeRole"))
    narrowed = user.assume(role, Policy=document(allow(["lambda:InvokeFunction", "iam:ListUsers"], "*")))
    assert called(narrowed, function) == arn(function)
    because = "because no session policy allows the {} action"
    narrowed.denied("lambda:GetFunction", arn(function), because, narrowed.client().get_function, FunctionName=function)
    narrowed.denied("iam:ListUsers", "*", NO_IDENTITY, narrowed.client("iam").list_users)
    barred = user.assume(role, Policy=document(allow("*"), deny("lambda:InvokeFunction")))
    assert barred.client().get_function(FunctionName=function)
    because = "with an explicit deny in a session policy"
    barred.denied("lambda:InvokeFunction", arn(function), because, barred.client().invoke, FunctionName=function)
    refused(
        "MalformedPolicyDocument", user.client("sts").assume_role, RoleArn=role, RoleSessionName="s1", Policy="{}"
    )


def test_who_one_is(own, root, others):
    sts = root.client("sts").get_caller_identity()
    assert (sts["Account"], sts["Arn"], sts["UserId"]) == (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT)
    user = own.user(allow("sts:AssumeRole"), path="/team/")
    who = user.client("sts").get_caller_identity()
    assert user.arn.startswith(f"arn:aws:iam::{ACCOUNT}:user/team/")
    made = own.iam.get_user(UserName=user.arn.split("/")[-1])["User"]
    assert (who["Account"], who["Arn"], who["UserId"]) == (ACCOUNT, user.arn, made["UserId"])
    assert made["UserId"].startswith("AIDA")
    given = user.client("sts").get_session_token()["Credentials"]
    session = dataclasses.replace(
        user, id=given["AccessKeyId"], secret=given["SecretAccessKey"], token=given["SessionToken"]
    )
    assert session.client("sts").get_caller_identity()["Arn"] == user.arn, "the user's own session is the user"
    role = own.role(trust({"AWS": ACCOUNT}))
    assumed = user.assume(role).client("sts").get_caller_identity()
    id = own.iam.get_role(RoleName=role.split("/")[-1])["Role"]["RoleId"]
    assert id.startswith("AROA")
    assert assumed["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.split('/')[-1]}/s1"
    assert (assumed["UserId"], assumed["Account"]) == (f"{id}:s1", ACCOUNT)
    theirs = others.root.client("sts").get_caller_identity()
    assert (theirs["Account"], theirs["Arn"]) == (others.account, f"arn:aws:iam::{others.account}:root")
    # Not even a denial of everything keeps anybody from asking who it is.
    barred = own.user(deny("*"))
    assert barred.client("sts").get_caller_identity()["Arn"] == barred.arn


# Resources


def test_a_function_lets_in_a_user_of_another_account(own, others, function):
    root, user = own.root.client(), others.user(allow("lambda:*", "*"))
    bare, lambda_ = others.user(), user.client()
    user.denied("lambda:InvokeFunction", arn(function), NO_RESOURCE, lambda_.invoke, FunctionName=arn(function))
    root.add_permission(
        FunctionName=function, StatementId="them", Action="lambda:InvokeFunction", Principal=others.account
    )
    for form in (arn(function), f"{ACCOUNT}:function:{function}"):
        assert called(user, form) == arn(function)
    assert called(others.root, arn(function)) == arn(function)
    # The account is let in; whom of its own it sends is its own affair.
    bare.denied("lambda:InvokeFunction", arn(function), NO_IDENTITY, bare.client().invoke, FunctionName=arn(function))
    # Nothing but that: not otherwise, not by its plain name, not another of its versions, not another function.
    for action, call, more in [
        ("GetFunction", lambda_.get_function, {}),
        ("GetFunctionConfiguration", lambda_.get_function_configuration, {}),
        ("GetPolicy", lambda_.get_policy, {}),
        ("ListVersionsByFunction", lambda_.list_versions_by_function, {}),
        ("UpdateFunctionCode", lambda_.update_function_code, {"ZipFile": TWO}),
        ("UpdateFunctionConfiguration", lambda_.update_function_configuration, {"Description": "theirs"}),
        ("DeleteFunction", lambda_.delete_function, {}),
        ("AddPermission", lambda_.add_permission, {"StatementId": "x", "Action": "lambda:*", "Principal": "*"}),
        ("RemovePermission", lambda_.remove_permission, {"StatementId": "them"}),
    ]:
        user.denied(f"lambda:{action}", arn(function), NO_RESOURCE, call, FunctionName=arn(function), **more)
    refused("ResourceNotFoundException", lambda_.invoke, FunctionName=function)
    other = arn(f"{function}-2")
    user.denied("lambda:InvokeFunction", other, NO_RESOURCE, lambda_.invoke, FunctionName=other)
    latest = f"{arn(function)}:$LATEST"
    user.denied("lambda:InvokeFunction", latest, NO_RESOURCE, lambda_.invoke, FunctionName=latest)
    root.remove_permission(FunctionName=function, StatementId="them")
    user.denied("lambda:InvokeFunction", arn(function), NO_RESOURCE, lambda_.invoke, FunctionName=arn(function))
    assert root.get_function(FunctionName=function)["Configuration"]["Description"] == ""


def test_a_function_lets_in_one_user_of_another_account(own, others, function):
    invited, other = others.user(allow("lambda:InvokeFunction")), others.user(allow("lambda:InvokeFunction"))
    root = own.root.client()
    root.add_permission(FunctionName=function, StatementId="s", Action="lambda:InvokeFunction", Principal=invited.arn)
    assert called(invited, arn(function)) == arn(function)
    for turned_away in (other, others.root):
        turned_away.denied(
            "lambda:InvokeFunction", arn(function), NO_RESOURCE, turned_away.client().invoke, FunctionName=arn(function)
        )
    # An account that lets in only from itself lets in nobody else, whatever its statement says of who.
    root.remove_permission(FunctionName=function, StatementId="s")
    root.add_permission(
        FunctionName=function, StatementId="s3", Action="lambda:InvokeFunction", Principal="s3.amazonaws.com"
    )
    invited.denied(
        "lambda:InvokeFunction", arn(function), NO_RESOURCE, invited.client().invoke, FunctionName=arn(function)
    )


def test_within_an_account_a_functions_policy_suffices(own, function):
    user = own.user()
    own.root.client().add_permission(
        FunctionName=function, StatementId="s", Action="lambda:InvokeFunction", Principal=user.arn
    )
    assert called(user, function) == arn(function)
    user.denied("lambda:GetFunction", arn(function), NO_IDENTITY, user.client().get_function, FunctionName=function)
    # The account itself is no user: that leaves it to the users' policies.
    other = own.user()
    own.root.client().add_permission(
        FunctionName=function, StatementId="account", Action="lambda:InvokeFunction", Principal=ACCOUNT
    )
    other.denied("lambda:InvokeFunction", arn(function), NO_IDENTITY, other.client().invoke, FunctionName=function)


def test_each_qualifier_has_a_policy_of_its_own(own, others, function):
    root, user = own.root.client(), others.user(allow("lambda:InvokeFunction"))
    lambda_ = user.client()
    root.publish_version(FunctionName=function)
    root.create_alias(FunctionName=function, Name="live", FunctionVersion="1")
    root.create_alias(FunctionName=function, Name="other", FunctionVersion="1")
    root.add_permission(
        FunctionName=function, Qualifier="live", StatementId="s", Action="lambda:InvokeFunction", Principal=others.account
    )
    assert called(user, f"{arn(function)}:live") == f"{arn(function)}:live"
    assert called(user, arn(function), Qualifier="live") == f"{arn(function)}:live"
    user.denied("lambda:InvokeFunction", arn(function), NO_RESOURCE, lambda_.invoke, FunctionName=arn(function))
    for closed in ("1", "other", "$LATEST", "2", "none"):
        resource = f"{arn(function)}:{closed}"
        user.denied("lambda:InvokeFunction", resource, NO_RESOURCE, lambda_.invoke, FunctionName=resource)
        user.denied(
            "lambda:InvokeFunction", resource, NO_RESOURCE, lambda_.invoke, FunctionName=arn(function), Qualifier=closed
        )
    root.remove_permission(FunctionName=function, Qualifier="live", StatementId="s")
    live = f"{arn(function)}:live"
    user.denied("lambda:InvokeFunction", live, NO_RESOURCE, lambda_.invoke, FunctionName=live)


def test_a_role_is_passed_only_by_whoever_may(own, platform, name):
    lambda_trust = trust({"Service": "lambda.amazonaws.com"})
    may, may_not = own.role(lambda_trust), own.role(lambda_trust, allow("*"))
    passing = {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
    user = own.user(allow("lambda:*"), allow("iam:PassRole", may, Condition=passing))
    lambda_ = user.client()
    given = {"FunctionName": name, "Runtime": PYTHON, "Handler": "app.handler", "Code": {"ZipFile": ONE}}
    user.denied("iam:PassRole", may_not, NO_IDENTITY, lambda_.create_function, Role=may_not, **given)
    none = f"{may_not}-none"
    user.denied("iam:PassRole", none, NO_IDENTITY, lambda_.create_function, Role=none, **given)
    refused("ResourceNotFoundException", lambda_.get_function, FunctionName=name)
    assert lambda_.create_function(Role=may, **given)["Role"] == may
    lambda_.get_waiter("function_active_v2").wait(FunctionName=name)
    update = lambda_.update_function_configuration
    user.denied("iam:PassRole", may_not, NO_IDENTITY, update, FunctionName=name, Role=may_not)
    assert lambda_.get_function_configuration(FunctionName=name)["Role"] == may
    update(FunctionName=name, Description="the role stays")
    lambda_.get_waiter("function_updated_v2").wait(FunctionName=name)
    other = own.user(allow("lambda:*"), allow("iam:PassRole", may, Condition={
        "StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}
    }))
    other.denied("iam:PassRole", may, NO_IDENTITY, other.client().update_function_configuration, FunctionName=name, Role=may)
    # Another account's role is passed by nobody.
    foreign = "arn:aws:iam::999999999999:role/theirs"
    refused("AccessDeniedException", own.root.client().update_function_configuration, FunctionName=name, Role=foreign)


def test_a_role_that_lambda_cannot_assume_is_refused(private, folder):
    platform = private(environment={"UPDRAFT_ROLES": "required"})
    iam, lambda_ = platform.client("iam"), platform.client()
    given = {"FunctionName": "f", "Runtime": PYTHON, "Handler": "app.handler", "Code": {"ZipFile": ONE}}
    iam.create_role(RoleName="theirs", AssumeRolePolicyDocument=trust({"Service": "ec2.amazonaws.com"}))
    cannot = "The role defined for the function cannot be assumed by Lambda."
    for role in ("none", "theirs"):
        role = f"arn:aws:iam::{ACCOUNT}:role/{role}"
        assert cannot in refused("InvalidParameterValueException", lambda_.create_function, Role=role, **given)
    good = iam.create_role(RoleName="ours", AssumeRolePolicyDocument=trust({"Service": "lambda.amazonaws.com"}))
    good = good["Role"]["Arn"]
    lambda_.create_function(Role=good, **given)
    lambda_.get_waiter("function_active_v2").wait(FunctionName="f")
    update = lambda_.update_function_configuration
    assert cannot in refused("InvalidParameterValueException", update, FunctionName="f", Role=f"{good}-none")
    iam.delete_role(RoleName="ours")
    # What does not name a role is not about one.
    update(FunctionName="f", Description="without a role")
    lambda_.get_waiter("function_updated_v2").wait(FunctionName="f")

    # The updraft command gives a function that names none a role of its own, made once.
    package = folder / "who.zip"
    who = "import os\ndef handler(event, context):\n    return os.environ.get('AWS_ACCESS_KEY_ID', '')[:4]\n"
    package.write_bytes(zip_of({"app.py": who}))
    deploy = ["deploy", package, "--runtime", PYTHON, "--handler", "app.handler", "--name"]
    for name in ("a", "b"):
        platform.updraft(*deploy, name)
        assert lambda_.get_function_configuration(FunctionName=name)["Role"].endswith(":role/updraft-basic")
    attached = iam.list_attached_role_policies(RoleName="updraft-basic")["AttachedPolicies"]
    assert [one["PolicyName"] for one in attached] == ["AWSLambdaBasicExecutionRole"]
    assert json.loads(lambda_.invoke(FunctionName="a")["Payload"].read()) == "ASIA"
    refusal = platform.updraft(*deploy, "c", "--role", "none", check=False)
    assert refusal.returncode == 4 and "the role none cannot be used" in refusal.stderr, refusal
    iam.create_role(RoleName="mine", AssumeRolePolicyDocument=trust({"Service": "lambda.amazonaws.com"}))
    platform.updraft(*deploy, "a", "--role", "mine")
    assert lambda_.get_function_configuration(FunctionName="a")["Role"].endswith(":role/mine")


def test_a_boundary_bounds_what_policies_give(own, function):
    iam = own.root.client("iam")
    document_of = document(allow("lambda:GetFunction", "*"), allow("iam:*"))
    made = iam.create_policy(PolicyName=f"{own.stem}-edge", PolicyDocument=document_of)["Policy"]["Arn"]
    user = own.user(allow("*"))
    name = user.arn.rsplit("/", 1)[1]
    lambda_ = user.client()
    assert lambda_.list_functions()
    iam.put_user_permissions_boundary(UserName=name, PermissionsBoundary=made)
    assert lambda_.get_function(FunctionName=function)
    user.denied("lambda:InvokeFunction", arn(function), NO_BOUNDARY, lambda_.invoke, FunctionName=function)
    # Who may make users only under a boundary makes none without it, nor takes it away.
    edge = {"Condition": {"StringEquals": {"iam:PermissionsBoundary": made}}}
    maker = own.user(allow(["iam:CreateUser", "iam:PutUserPolicy"], **edge)).client("iam")
    other = f"{own.stem}-bounded"
    refused("AccessDenied", maker.create_user, UserName=other)
    maker.create_user(UserName=other, PermissionsBoundary=made)
    try:
        maker.put_user_policy(UserName=other, PolicyName="all", PolicyDocument=document(allow("*")))
        refused("AccessDenied", maker.delete_user_permissions_boundary, UserName=other)
        iam.delete_user_permissions_boundary(UserName=other)
        refused("AccessDenied", maker.put_user_policy, UserName=other, PolicyName="b", PolicyDocument=document(allow("*")))
    finally:
        iam.delete_user_policy(UserName=other, PolicyName="all")
        iam.delete_user(UserName=other)
    iam.delete_user_permissions_boundary(UserName=name)
    assert lambda_.invoke(FunctionName=function)["StatusCode"] == 200
    iam.delete_policy(PolicyArn=made)


def test_a_group_gives_its_users_what_it_may(own, function):
    iam = own.root.client("iam")
    group, user = f"{own.stem}-group", own.user()
    name = user.arn.rsplit("/", 1)[1]
    iam.create_group(GroupName=group)
    iam.put_group_policy(GroupName=group, PolicyName="p", PolicyDocument=document(allow("lambda:GetFunction")))
    try:
        lambda_ = user.client()
        user.denied("lambda:GetFunction", arn(function), NO_IDENTITY, lambda_.get_function, FunctionName=function)
        iam.add_user_to_group(GroupName=group, UserName=name)
        assert lambda_.get_function(FunctionName=function)
        iam.remove_user_from_group(GroupName=group, UserName=name)
        user.denied("lambda:GetFunction", arn(function), NO_IDENTITY, lambda_.get_function, FunctionName=function)
    finally:
        iam.delete_group_policy(GroupName=group, PolicyName="p")
        iam.delete_group(GroupName=group)


def test_tags_of_users_roles_and_sessions_count(own, function):
    iam = own.root.client("iam")
    team = {"Condition": {"StringEquals": {"aws:PrincipalTag/team": "cloud"}}}
    user = own.user(allow("lambda:GetFunction", **team))
    lambda_ = user.client()
    user.denied("lambda:GetFunction", arn(function), NO_IDENTITY, lambda_.get_function, FunctionName=function)
    iam.tag_user(UserName=user.arn.rsplit("/", 1)[1], Tags=[{"Key": "Team", "Value": "cloud"}])
    assert lambda_.get_function(FunctionName=function)

    principal = {"AWS": ACCOUNT}
    tagging = {"Action": ["sts:AssumeRole", "sts:TagSession"], "Condition": {"StringLike": {"aws:RequestTag/team": "c*"}}}
    role = own.role(trust(principal, **tagging), allow("lambda:GetFunction", **team))
    sts = own.root.client("sts")
    assume = {"RoleArn": role, "RoleSessionName": "s1"}
    refused("AccessDenied", sts.assume_role, **assume)
    refused("AccessDenied", sts.assume_role, Tags=[{"Key": "team", "Value": "other"}], **assume)
    session = own.root.assume(role, Tags=[{"Key": "team", "Value": "cloud"}])
    assert session.client().get_function(FunctionName=function)
    other = own.root.assume(role, Tags=[{"Key": "team", "Value": "crowd"}])
    other.denied("lambda:GetFunction", arn(function), NO_IDENTITY, other.client().get_function, FunctionName=function)


def test_managed_policies_bound_a_session(own, function):
    role = own.role(trust({"AWS": ACCOUNT}), allow("lambda:*"))
    reader = "arn:aws:iam::aws:policy/AWSLambda_ReadOnlyAccess"
    session = own.root.assume(role, PolicyArns=[{"arn": reader}])
    assert session.client().get_function(FunctionName=function)
    session.denied("lambda:InvokeFunction", arn(function), NO_SESSION, session.client().invoke, FunctionName=function)


def test_a_function_url_lets_in_whoever_may(own, others, function):
    root = own.root.client()
    url = root.create_function_url_config(FunctionName=function, AuthType="AWS_IAM")["FunctionUrl"]
    host = urllib.parse.urlsplit(url).netloc
    actions = ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"]
    by_iam = {"Condition": {"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}}}
    user = own.user(allow("lambda:InvokeFunctionUrl", arn(function), **by_iam), allow("lambda:InvokeFunction", arn(function)))
    status, body = user.request("POST", "/a%20b/c?x=1&y=%2F", host=host, body=b'{"a":1}')
    if b"not served yet" in body:
        pytest.skip("this build does not serve URLs of AuthType AWS_IAM")
    assert status == 200, body
    event = json.loads(body)["event"]
    text = base64.b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
    assert (event["rawQueryString"], text) == ("x=1&y=%2F", b'{"a":1}'), event
    assert own.root.request("GET", "/", host=host)[0] == 200

    unpermitted, elsewhere = own.user(allow("lambda:GetFunction")), own.user(allow(actions, arn(f"{function}-2")))
    barred = own.user(allow("*"), deny("lambda:InvokeFunctionUrl"))
    theirs = others.user(allow(actions))
    wrong = dataclasses.replace(user, secret="wrong")
    for who in (unpermitted, elsewhere, barred, theirs, others.root, wrong):
        status, body = who.request("GET", "/", host=host)
        assert status == 403 and b"event" not in body, (who.arn, body)
    status, body = user.request("GET", "/", host=host, sign=False)
    assert status == 403 and b"event" not in body, body
    # A link to the code, which whoever holds it may follow without signing, leads nowhere else.
    link = unpermitted.client().get_function(FunctionName=function)["Code"]["Location"]
    status, body = unpermitted.request("GET", "/" + link.split("/", 3)[3], host=host, sign=False)
    assert status == 403 and b"event" not in body, body

    for number, action in enumerate(actions):
        more = {"FunctionUrlAuthType": "AWS_IAM"} if action.endswith("Url") else {}
        root.add_permission(
            FunctionName=function, StatementId=f"s{number}", Action=action, Principal=others.account, **more
        )
    assert theirs.request("GET", "/", host=host)[0] == 200
    assert others.user().request("GET", "/", host=host)[0] == 403
    root.remove_permission(FunctionName=function, StatementId="s0")
    assert theirs.request("GET", "/", host=host)[0] == 403
    # The second permission is wanted too, and counts for the URL alone where it says so.
    via_url = {"Condition": {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}}
    half = own.user(allow("lambda:InvokeFunctionUrl", arn(function)))
    assert half.request("GET", "/", host=host)[0] == 403
    whole = own.user(
        allow("lambda:InvokeFunctionUrl", arn(function)), allow("lambda:InvokeFunction", arn(function), **via_url)
    )
    assert whole.request("GET", "/", host=host)[0] == 200
    whole.denied("lambda:InvokeFunction", arn(function), NO_IDENTITY, whole.client().invoke, FunctionName=function)
    # Asking for no signature is not enough: the function's policy has to let everybody in.
    root.update_function_url_config(FunctionName=function, AuthType="NONE")
    status, body = user.request("GET", "/", host=host, sign=False)
    assert status == 403 and json.loads(body)["Message"].startswith("Forbidden. "), body
    root.remove_permission(FunctionName=function, StatementId="s1")
    own.root.platform.allow_everybody(function, client=root)
    assert user.request("GET", "/", host=host, sign=False)[0] == 200


def test_a_qualifier_that_is_not_read_opens_nothing(own, function):
    """Whoever may everything with one alias may not change the function by naming the alias beside it."""
    own.root.client().publish_version(FunctionName=function)
    own.root.client().create_alias(FunctionName=function, Name="dev", FunctionVersion="1")
    user = own.user(allow("lambda:*", f"{arn(function)}:dev"))
    assert user.client().get_function(FunctionName=function, Qualifier="dev")
    for name in (f"{function}%3Adev", f"{function}"):
        for method, rest, body in [
            ("PUT", "configuration", b'{"Timeout":9}'),
            ("PUT", "code", b'{"DryRun":true}'),
            ("POST", "versions", b"{}"),
            ("DELETE", "aliases/dev", b""),
        ]:
            target = f"/2015-03-31/functions/{name}/{rest}?Qualifier=dev"
            status, answer = user.request(method, target, body=body)
            assert status == 403, (method, target, answer)


def test_a_function_is_told_who_calls_its_url(own, function):
    url = own.root.client().create_function_url_config(FunctionName=function, AuthType="AWS_IAM")["FunctionUrl"]
    user = own.user(allow(["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"], arn(function)))
    status, body = user.request("GET", "/", host=urllib.parse.urlsplit(url).netloc)
    assert status == 200, body
    context = json.loads(body)["event"]["requestContext"]
    who = user.client("sts").get_caller_identity()
    iam = context["authorizer"]["iam"]
    assert (iam["userArn"], iam["userId"], iam["accountId"]) == (user.arn, who["UserId"], ACCOUNT)
    assert (iam["accessKey"], iam["callerId"]) == (user.id, who["UserId"])


# The other doors


def test_lines_are_read_by_whoever_may(own, function):
    group = f"/aws/lambda/{function}"
    group_arn = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}"
    called(own.root, function)
    root = own.root.client("logs")

    def lines():
        try:
            return root.filter_log_events(logGroupName=group)["events"]
        except root.exceptions.ResourceNotFoundException:
            return []

    wait_until(lines, "the call's lines are kept")
    for resource in (group_arn, f"{group_arn}:*", f"{group_arn}*"):
        user = own.user(allow("logs:FilterLogEvents", resource))
        assert user.client("logs").filter_log_events(logGroupName=group)["events"], resource
    for call, arguments in [
        (user.client("logs").filter_log_events, {"logGroupName": "/aws/lambda/nobody"}),
        (user.client("logs").describe_log_groups, {}),
        (user.client("logs").delete_log_group, {"logGroupName": group}),
        (user.client("logs").put_retention_policy, {"logGroupName": group, "retentionInDays": 1}),
    ]:
        text = refused("AccessDeniedException", call, **arguments)
        assert text.startswith(f"User: {user.arn} is not authorized to perform: logs:"), text
    assert lines()


def test_parameters_are_read_by_whoever_may(own, name):
    root, path = own.root.client("ssm"), f"/{name}/a"
    root.put_parameter(Name=path, Value="one", Type="SecureString")
    root.put_parameter(Name=f"/{name}/b", Value="two", Type="String")
    try:
        parameter_arn = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{path}"
        user = own.user(allow(["ssm:GetParameter", "ssm:GetParameters"], parameter_arn))
        ssm = user.client("ssm")
        assert ssm.get_parameter(Name=path, WithDecryption=True)["Parameter"]["Value"] == "one"
        assert len(ssm.get_parameters(Names=[path])["Parameters"]) == 1
        for other_name in (f"{path}:1", parameter_arn):
            assert ssm.get_parameter(Name=other_name)["Parameter"]["Version"] == 1, "a version is not another resource"
        other = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{name}/b"
        user.denied("ssm:GetParameter", other, NO_IDENTITY, ssm.get_parameter, Name=f"/{name}/b")
        user.denied("ssm:GetParameters", other, NO_IDENTITY, ssm.get_parameters, Names=[path, f"/{name}/b"])
        user.denied("ssm:DeleteParameter", parameter_arn, NO_IDENTITY, ssm.delete_parameter, Name=path)
        refused("AccessDeniedException", ssm.put_parameter, Name=path, Value="x", Overwrite=True)
        refused("AccessDeniedException", ssm.get_parameters_by_path, Path=f"/{name}")
        refused("AccessDeniedException", ssm.describe_parameters)
    finally:
        root.delete_parameters(Names=[path, f"/{name}/b"])


def test_secrets_are_read_by_whoever_may(own, name):
    root = own.root.client("secretsmanager")
    made = root.create_secret(Name=name, SecretString="one")["ARN"]
    try:
        # A policy names a secret by its whole ARN, or as AWS recommends with six wildcards for its end.
        for resource in (made, f"{made[:-6]}??????", f"{made[:-7]}-*"):
            user = own.user(allow("secretsmanager:GetSecretValue", resource))
            secrets = user.client("secretsmanager")
            for id in (name, made, made[:-7]):
                assert secrets.get_secret_value(SecretId=id)["SecretString"] == "one", (resource, id)
        for call, arguments in [
            (secrets.get_secret_value, {"SecretId": f"none-{name}"}),
            (secrets.describe_secret, {"SecretId": name}),
            (secrets.put_secret_value, {"SecretId": name, "SecretString": "x"}),
            (secrets.delete_secret, {"SecretId": name, "ForceDeleteWithoutRecovery": True}),
            (secrets.list_secrets, {}),
        ]:
            text = refused("AccessDeniedException", call, **arguments)
            assert text.startswith(f"User: {user.arn} is not authorized to perform: secretsmanager:"), text
        assert root.get_secret_value(SecretId=name)["SecretString"] == "one"
    finally:
        root.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)


def test_a_denial_is_not_gone_around_by_another_name(own, name):
    """What a policy denies is denied by whichever of its names it is asked for."""
    ssm, secrets = own.root.client("ssm"), own.root.client("secretsmanager")
    ssm.put_parameter(Name=f"/{name}", Value="hidden", Type="String")
    secret = secrets.create_secret(Name=name, SecretString="hidden")["ARN"]
    try:
        parameter = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/{name}"
        user = own.user(allow("*"), deny("ssm:*", parameter), deny("secretsmanager:*", f"{secret[:-6]}??????"))
        for names in (f"/{name}", f"/{name}:1", parameter, f"{parameter}:1"):
            for operation, members in [
                ("GetParameter", {"Name": names}), ("GetParameters", {"Names": [names]}),
                ("GetParameterHistory", {"Name": names}), ("DeleteParameter", {"Name": names}),
            ]:
                status, body = user.post("ssm", operation, members)
                assert status == 400 and b"explicit deny" in body, (operation, members, body)
        for id in (secret, name, secret[:-7]):
            for operation in ("GetSecretValue", "DescribeSecret", "ListSecretVersionIds", "DeleteSecret"):
                status, body = user.post("secretsmanager", operation, {"SecretId": id})
                assert status == 400 and b"explicit deny" in body, (operation, id, body)
    finally:
        ssm.delete_parameter(Name=f"/{name}")
        secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)


def test_what_is_asked_about_is_what_it_is_done_to(own, name):
    """A member that the operation does not have draws no permission to what it does have."""
    role = own.role(trust({"AWS": ACCOUNT}))
    administrator = own.user(managed=["arn:aws:iam::aws:policy/AdministratorAccess"])
    theirs, role_name = administrator.arn.split("/")[-1], role.split("/")[-1]
    own.root.client("secretsmanager").create_secret(Name=f"{name}-mine", SecretString="x")
    user = own.user(
        allow("iam:*", f"arn:aws:iam::{ACCOUNT}:role/*"),
        allow("secretsmanager:*", f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-mine*"),
        allow("ssm:*", f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter/mine"),
        allow("logs:*", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:mine*"),
    )
    try:
        answers = [
            (service, operation, user.post(service, operation, members))
            for service, operation, members in [
                ("iam", "CreateAccessKey", {"UserName": theirs, "RoleName": role_name}),
                ("iam", "DeleteAccessKey", {"UserName": theirs, "AccessKeyId": administrator.id, "RoleName": role_name}),
                ("iam", "ListUsers", {"RoleName": role_name}),
                ("iam", "CreateUser", {"UserName": f"{name[:50]}-99", "RoleName": role_name}),
                ("secretsmanager", "CreateSecret", {"Name": name, "SecretId": f"{name}-mine", "SecretString": "x"}),
                ("secretsmanager", "ListSecrets", {"SecretId": f"{name}-mine"}),
                ("ssm", "DescribeParameters", {"Name": "/mine"}),
                ("logs", "DescribeLogGroups", {"logGroupName": "mine"}),
            ]
        ]
        wrong = [(service, operation, answer) for service, operation, answer in answers if b"AccessDenied" not in answer[1]]
        assert not wrong, wrong
    finally:
        for secret in own.root.client("secretsmanager").list_secrets()["SecretList"]:
            if secret["Name"] in (name, f"{name}-mine"):
                own.root.client("secretsmanager").delete_secret(SecretId=secret["ARN"], ForceDeleteWithoutRecovery=True)


def test_streams_of_lines_are_written_by_whoever_may(own, name):
    root, now = own.root.client("logs"), int(time.time() * 1000)
    root.create_log_group(logGroupName=name)
    try:
        for stream in ("a", "b"):
            root.create_log_stream(logGroupName=name, logStreamName=stream)
        streams = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}:log-stream"
        user = own.user(allow(["logs:PutLogEvents", "logs:GetLogEvents"], f"{streams}:a"))
        barred = own.user(allow("*"), deny("logs:*", f"{streams}:b"))
        events = [{"timestamp": now, "message": "one"}]
        for who in (user, barred):
            logs = who.client("logs")
            logs.put_log_events(logGroupName=name, logStreamName="a", logEvents=events)
            assert logs.get_log_events(logGroupName=name, logStreamName="a", startFromHead=True)["events"]
            for call, more in ((logs.put_log_events, {"logEvents": events}), (logs.get_log_events, {})):
                refused("AccessDeniedException", call, logGroupName=name, logStreamName="b", **more)
    finally:
        root.delete_log_group(logGroupName=name)


def test_the_platforms_own_door_asks_the_same_policies(own, function):
    user = own.user(allow("lambda:GetFunction", arn(function)))
    assert user.request("GET", f"/_updraft/v1/functions/{function}")[0] == 200
    for method, path, body in [
        ("PUT", f"functions/{function}/scaling", b"{}"),
        ("PUT", f"functions/{function}/egress", b"{}"),
        ("GET", f"functions/{function}-2", b""),
        ("GET", f"logs/{function}-2", b""),
        ("GET", f"code/{function}-2", b""),
        ("GET", "accounts", b""),
    ]:
        status, answer = user.request(method, f"/_updraft/v1/{path}", body=body)
        assert status == 403, (method, path, answer)
    # A log is for whoever may read the function's group, and is nobody else's.
    group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/{function}"
    reader = own.user(allow("logs:FilterLogEvents", f"{group}:*"))
    assert reader.request("GET", f"/_updraft/v1/logs/{function}")[0] == 200
    assert reader.request("GET", f"/_updraft/v1/functions/{function}")[0] == 403
    assert own.user(allow("lambda:*")).request("GET", f"/_updraft/v1/logs/{function}")[0] == 403
    chosen = {"LogGroup": f"{function}-elsewhere"}
    own.root.client().update_function_configuration(FunctionName=function, LoggingConfig=chosen)
    own.root.client().get_waiter("function_updated_v2").wait(FunctionName=function)
    assert reader.request("GET", f"/_updraft/v1/logs/{function}")[0] == 403
    nobody = own.user()
    refusals = [nobody.request("GET", f"/_updraft/v1/logs/{one}")[1] for one in (function, f"{function}-2")]
    assert refusals[0].decode() == refusals[1].decode().replace(f"{function}-2", function)


def test_layers_are_fetched_by_whoever_may(own, name):
    root = own.root.client()
    layer = root.publish_layer_version(LayerName=name[:60], Content={"ZipFile": TWO})
    version, location = layer["LayerVersionArn"], layer["Content"]["Location"]
    try:
        user, other = own.user(allow("lambda:GetLayerVersion", version)), own.user(allow("lambda:GetFunction"))
        assert user.client().get_layer_version(LayerName=name[:60], VersionNumber=1)["LayerVersionArn"] == version
        assert user.client().get_layer_version_by_arn(Arn=version)["Version"] == 1
        denied = ("lambda:GetLayerVersion", version, NO_IDENTITY)
        other.denied(*denied, other.client().get_layer_version, LayerName=name[:60], VersionNumber=1)
        other.denied(*denied, other.client().get_layer_version_by_arn, Arn=version)
        other.denied("lambda:ListLayers", "*", NO_IDENTITY, other.client().list_layers)
        user.denied(
            "lambda:DeleteLayerVersion", version, NO_IDENTITY, user.client().delete_layer_version,
            LayerName=name[:60], VersionNumber=1,
        )
        # Whoever may not have it may not have it by way of a function either.
        maker = own.user(allow("lambda:CreateFunction"), allow("iam:PassRole"))
        maker.denied(
            *denied, maker.client().create_function, FunctionName=name, Runtime=PYTHON, Handler="app.handler",
            Role=f"arn:aws:iam::{ACCOUNT}:role/test", Code={"ZipFile": ONE}, Layers=[version],
        )
        # Its link is followed as a function's is, without a signature; without the link nobody comes by who may not.
        path = "/" + location.split("/", 3)[3]
        status, answer = other.request("GET", path, sign=False)
        assert (status, answer) == (200, TWO), (status, answer[:300])
        quoted = urllib.parse.quote(version, safe="")
        sha256 = urllib.parse.quote(layer["Content"]["CodeSha256"], safe="")
        status, answer = other.request("GET", f"/_updraft/v1/layers/{quoted}?sha256={sha256}")
        assert status == 403, (status, answer[:300])
    finally:
        root.delete_layer_version(LayerName=name[:60], VersionNumber=1)


def test_a_layer_is_what_the_path_says(own, name):
    """However a layer or a version is spelled, permission is asked for what is then read or deleted."""
    root, mine, other = own.root.client(), f"{name[:55]}-mine", f"{name[:55]}-other"
    for layer in (mine, other):
        root.publish_layer_version(LayerName=layer, Content={"ZipFile": TWO})
    try:
        arns = {layer: f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:{layer}" for layer in (mine, other)}
        quote = lambda text: urllib.parse.quote(text, safe="")
        user = own.user(allow("lambda:*", f"{arns[mine]}*"))
        barred = own.user(allow("*"), deny("lambda:*", [arns[other], f"{arns[other]}:1"]))
        partition = arns[other].replace("arn:aws:", "arn:aws-cn:")
        wrong = []
        for who in (user, barred):
            for method, path in [
                ("GET", f"layers/{other}/versions/1"),
                ("GET", f"layers/{other}/versions/1?Arn={quote(arns[mine] + ':1')}"),
                ("GET", f"layers/{quote(arns[other])}/versions/1"),
                ("GET", f"layers/{quote(partition)}/versions/1"),
                ("GET", f"layers/{other}/versions/01"),
                ("GET", f"layers/{other}/versions/%2B1"),
                ("GET", f"layers?find=LayerVersion&Arn={quote(arns[other] + ':1')}"),
                ("GET", f"layers?find=LayerVersion&Arn={quote(arns[other] + ':01')}"),
                ("GET", f"layers?find=LayerVersion&Arn={quote(partition + ':1')}"),
                ("GET", f"layers/{other}/versions"),
                ("GET", f"layers/{other}/versions?Arn={quote(arns[mine] + ':1')}"),
                ("DELETE", f"layers/{other}/versions/1?Arn={quote(arns[mine] + ':1')}"),
                ("DELETE", f"layers/{other}/versions/01"),
            ]:
                status, body = who.request(method, f"/2018-10-31/{path}")
                if status < 400 or (b"AccessDenied" not in body and b"not authorized" not in body and status != 400):
                    wrong.append((who.arn, method, path, status, body[:200]))
        assert not wrong, wrong
        assert root.get_layer_version(LayerName=other, VersionNumber=1)["Version"] == 1
    finally:
        for layer in (mine, other):
            root.delete_layer_version(LayerName=layer, VersionNumber=1)


def test_a_version_is_what_its_number_says(own, function):
    """Nor does another spelling of a function or a version get around a denial."""
    own.root.client().publish_version(FunctionName=function)
    closed = [arn(function), f"{arn(function)}:1", f"{arn(function)}:$LATEST"]
    user = own.user(allow("*"), deny("lambda:*", closed))
    quote = lambda text: urllib.parse.quote(text, safe="")
    for spelled in [
        function, f"{function}:1", f"{function}:01", f"{function}:$LATEST", f"function:{function}", arn(function),
        arn(function).replace("arn:aws:", "arn:aws-cn:"), f"{REGION}:{ACCOUNT}:function:{function}:1",
        f"{ACCOUNT}:{function}", f"{ACCOUNT}:function:{function}",
    ]:
        for query in ("", "?Qualifier=1", "?Qualifier=01", "?Qualifier=%31", "?qualifier=1", "?Qualifier=$LATEST&Qualifier=2"):
            for path in (quote(spelled), quote(spelled).replace("f", "%66", 1)):
                status, body = user.request("GET", f"/2015-03-31/functions/{path}{query}")
                assert status in (400, 403, 404), (path, query, status, body[:300])


def test_a_function_has_its_roles_rights(own, platform, name):
    """Credentials inside the sandbox are a session of the function's role: what it may, they may, and nothing more."""
    keys = "['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN']"
    code = zip_of({"app.py": f"import os\ndef handler(event, context):\n    return [os.environ[key] for key in {keys}]\n"})
    role = own.role(trust({"Service": "lambda.amazonaws.com"}), allow("lambda:GetFunction", arn(name)))
    client = own.root.client()
    client.create_function(FunctionName=name, Runtime=PYTHON, Handler="app.handler", Role=role, Code={"ZipFile": code})
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    id, secret, token = platform.invoke(name).expect_ok()
    inside = Principal(
        platform, f"arn:aws:sts::{ACCOUNT}:assumed-role/{role.split('/')[-1]}/{name}", id, secret, token
    )
    assert inside.client("sts").get_caller_identity()["Arn"] == inside.arn
    assert inside.client().get_function(FunctionName=name)["Configuration"]["FunctionName"] == name
    inside.denied("lambda:InvokeFunction", arn(name), NO_IDENTITY, inside.client().invoke, FunctionName=name)
