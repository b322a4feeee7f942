"""What must hold whatever else a request brings with it: boundaries, denials, condition keys, and what outlives what."""

import datetime
import json
import urllib.parse

import pytest

from harness import ACCOUNT, zip_of
from identities import (  # noqa: F401 (fixtures are taken by name)
    DENIED_BY_IDENTITY,
    DENIED_BY_RESOURCE,
    NO_IDENTITY,
    NO_RESOURCE,
    Principal,
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


def token_of(principal):
    """The same by credentials of GetSessionToken."""
    given = principal.client("sts").get_session_token()["Credentials"]
    return Principal(
        principal.platform, principal.arn, given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]
    )


def test_a_stray_parameter_hides_no_boundary(own):
    """The usual delegation: who may give policies only under a boundary gives none where it is another, or none."""
    edge = own.policy(allow("lambda:GetFunction"))
    only = {"Condition": {"StringEquals": {"iam:PermissionsBoundary": edge}}}
    maker = own.user(allow(["iam:CreateUser", "iam:PutUserPolicy", "iam:PutRolePolicy", "iam:AttachUserPolicy"], **only))
    free, everything = named(own.user()), document(allow("*"))
    stray = {"UserName": free, "PolicyName": "p", "PolicyDocument": everything, "PermissionsBoundary": edge}
    role = own.role(trust({"AWS": ACCOUNT})).rsplit("/", 1)[1]
    for operation, members in [
        ("PutUserPolicy", stray),
        ("AttachUserPolicy", stray | {"PolicyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}),
        ("PutRolePolicy", stray | {"RoleName": role}),
        ("PutRolePolicy", {name: value for name, value in stray.items() if name != "UserName"} | {"RoleName": role}),
    ]:
        status, body = maker.post("iam", operation, members)
        assert status == 403 and b"<Code>AccessDenied</Code>" in body, (operation, body)
    assert own.iam.list_user_policies(UserName=free)["PolicyNames"] == []
    # Nor does the boundary of one that is there count for one that is to be made.
    bounded = f"{own.stem}-bounded"
    maker.client("iam").create_user(UserName=bounded, PermissionsBoundary=edge)
    refused("AccessDenied", maker.client("iam").create_user, UserName=bounded)
    maker.client("iam").put_user_policy(UserName=bounded, PolicyName="p", PolicyDocument=everything)
    own.iam.delete_user_permissions_boundary(UserName=bounded)


def test_users_and_groups_are_moved_by_whoever_may_at_both_ends(own):
    iam, inside = own.iam, f"arn:aws:iam::{ACCOUNT}:*/team/*"
    mover = own.user(allow("iam:*", inside)).client("iam")
    user, group = named(own.user(path="/team/")), f"{own.stem}-group"
    iam.create_group(GroupName=group, Path="/team/")
    try:
        refused("AccessDenied", mover.update_user, UserName=user, NewPath="/admins/")
        refused("AccessDenied", mover.update_group, GroupName=group, NewPath="/admins/", NewGroupName=f"{group}-2")
        # A path beside it is none of these operations'.
        status, body = own.user(allow("iam:*", inside)).post(
            "iam", "UpdateUser", {"UserName": user, "NewUserName": f"{user}-2", "NewPath": "/", "Path": "/team/"}
        )
        assert status == 403, body
        mover.update_user(UserName=user, NewUserName=f"{user}-2")
        mover.update_group(GroupName=group, NewPath="/team/new/", NewGroupName=f"{group}-2")
        group = f"{group}-2"
        assert iam.get_group(GroupName=group)["Group"]["Path"] == "/team/new/"
        assert iam.get_user(UserName=f"{user}-2")["User"]["Path"] == "/team/"
    finally:
        iam.delete_group(GroupName=group)


def test_a_query_has_no_part_in_whose_policy_is_set(own, function):
    """Put, Get and DeleteResourcePolicy act on what their ARN names, and are asked for that."""
    own.root.client().publish_version(FunctionName=function)
    user = own.user(allow("lambda:*ResourcePolicy", f"{arn(function)}:1"))
    path = f"/2026-07-09/resource-policy/{arn(function)}"
    policy = document(allow("lambda:*", arn(function), Principal="*"))
    for method, body in [("PUT", json.dumps({"Policy": policy}).encode()), ("GET", b""), ("DELETE", b"")]:
        status, told = user.request(method, f"{path}?Qualifier=1", body=body)
        assert status == 403 and b"is not authorized" in told, (method, told)
        assert user.request(method, f"{path}:1", body=body)[0] in (200, 204, 400), method
    refused("ResourceNotFoundException", own.root.client().get_resource_policy, ResourceArn=arn(function))


def test_a_functions_policy_denies_in_its_own_account_too(own, function):
    """Whoever has every right of his own, the root user among them; who is never locked out for good."""
    aws, user = own.root.client(), own.user(allow("lambda:*"))
    assert called(user, function) == arn(function)
    no = [deny("lambda:*", arn(function), Principal="*")]
    aws.put_resource_policy(ResourceArn=arn(function), Policy=document(*no))
    for who in (user, own.root):
        who.denied("lambda:InvokeFunction", arn(function), DENIED_BY_RESOURCE, who.client().invoke, FunctionName=function)
        who.denied("lambda:GetPolicy", arn(function), DENIED_BY_RESOURCE, who.client().get_policy, FunctionName=function)
    gone = user.client().delete_resource_policy
    user.denied("lambda:DeleteResourcePolicy", arn(function), DENIED_BY_RESOURCE, gone, ResourceArn=arn(function))
    # One for whom it does not speak is as before.
    spoken = [deny("lambda:InvokeFunction", arn(function), Principal={"AWS": user.arn}) | {"Sid": "no"}]
    aws.put_resource_policy(ResourceArn=arn(function), Policy=document(*spoken))
    user.denied("lambda:InvokeFunction", arn(function), DENIED_BY_RESOURCE, user.client().invoke, FunctionName=function)
    assert called(own.root, function) == arn(function)
    aws.put_resource_policy(ResourceArn=arn(function), Policy=document(*no, *spoken))
    aws.remove_permission(FunctionName=function, StatementId="no")
    aws.delete_resource_policy(ResourceArn=arn(function))
    assert called(user, function) == arn(function)


def test_what_a_function_denies_is_not_had_by_calling_it_latest(own, others, function):
    """No policy can be stored for $LATEST: the function's own denies there too, and allows nobody there."""
    aws, user, stranger = own.root.client(), own.user(allow("lambda:*")), others.user(allow("lambda:*"))
    latest = f"{arn(function)}:$LATEST"
    policies = [
        [allow("lambda:InvokeFunction", arn(function), Principal="*"), deny("lambda:*", resource, Principal="*")]
        for resource in (arn(function), "*", latest)
    ]
    for policy in policies:
        aws.put_resource_policy(ResourceArn=arn(function), Policy=document(*policy))
        for who in (user, own.root, stranger):
            for named in ({"FunctionName": latest}, {"FunctionName": arn(function), "Qualifier": "$LATEST"}):
                text = refused("AccessDeniedException", who.client().invoke, **named)
                assert text.endswith(DENIED_BY_RESOURCE), (policy, who.arn, text)
            text = refused("AccessDeniedException", who.client().get_function, FunctionName=latest)
            assert text.endswith(DENIED_BY_RESOURCE), (policy, who.arn, text)
        question = json.dumps({"principal": user.arn, "action": "lambda:InvokeFunction", "resource": latest}).encode()
        told = json.loads(own.root.request("POST", "/_updraft/v1/policy/check", body=question)[1])
        assert (told["allowed"], told["because"].endswith(DENIED_BY_RESOURCE)) == (False, True), told
    spoken = deny("lambda:InvokeFunction", arn(function), Principal={"AWS": user.arn})
    aws.put_resource_policy(ResourceArn=arn(function), Policy=document(*policies[0][:1], spoken))
    assert called(own.root, latest) == latest
    stranger.denied("lambda:InvokeFunction", latest, NO_RESOURCE, stranger.client().invoke, FunctionName=latest)
    user.denied("lambda:InvokeFunction", arn(function), DENIED_BY_RESOURCE, user.client().invoke, FunctionName=latest)
    aws.delete_resource_policy(ResourceArn=arn(function))
    assert called(user, latest) == latest


@pytest.mark.parametrize("who", ["user", "root"])
def test_what_expires_makes_nothing_that_lasts(own, tenant, who):
    principal = own.user(allow("*")) if who == "user" else tenant[1]
    session = token_of(principal)
    sts, iam = session.client("sts"), session.client("iam")
    assert sts.get_caller_identity()["Arn"] == principal.arn
    assert session.client().list_functions()["ResponseMetadata"]["HTTPStatusCode"] == 200
    message = refused("AccessDenied", sts.get_session_token)
    assert message == "Cannot call GetSessionToken with session credentials"
    refused("InvalidClientTokenId", sts.get_access_key_info, AccessKeyId=principal.id)
    for call in (iam.list_users, iam.create_access_key, iam.get_user):
        assert refused("InvalidClientTokenId", call) == "The security token included in the request is invalid"


def test_the_platforms_root_makes_keys_by_a_key_that_lasts(own):
    """The door for accounts hands out keys as IAM does."""
    path = "/_updraft/v1/accounts"
    assert own.root.request("GET", path)[0] == 200
    assert token_of(own.root).request("GET", path)[0] == 403


def test_our_own_doors_take_lambdas_signatures_alone(own):
    """One for S3 need not cover the body, and one for another service is not meant for them."""
    path, body = "/_updraft/v1/accounts", json.dumps({"name": "nobodys"}).encode()
    unsigned = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    for service, headers in [("s3", unsigned), ("s3", {}), ("iam", {}), ("lambda", unsigned)]:
        status, told = own.root.request("POST", path, body=body, headers=headers, service=service)
        assert status == 403 and b"is not authorized" not in told, (service, headers, told)
    assert b"nobodys" not in own.root.request("GET", path)[1]
    # The figures are asked for with a signature from elsewhere alone.
    elsewhere = "figures.example.org"
    assert own.root.request("GET", "/metrics", host=elsewhere)[0] == 200
    assert own.root.request("GET", "/metrics", host=elsewhere, service="s3")[0] == 403


def test_a_session_says_since_when_it_is(own, function):
    """Which is how sessions are revoked: everything is denied to those from before a time."""
    past, future = ((datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=days)) for days in (-1, 1))
    older = lambda time: {"Condition": {"DateLessThan": {"aws:TokenIssueTime": time.strftime("%Y-%m-%dT%H:%M:%SZ")}}}
    role = own.role(trust({"AWS": ACCOUNT}), allow("lambda:*"), deny("*", **older(past)))
    session = own.root.assume(role)
    assert called(session, function) == arn(function)
    revoked = document(allow("lambda:*"), deny("*", **older(future)))
    own.iam.put_role_policy(RoleName=role.rsplit("/", 1)[1], PolicyName="inline", PolicyDocument=revoked)
    session.denied("lambda:InvokeFunction", arn(function), DENIED_BY_IDENTITY, session.client().invoke, FunctionName=function)
    # Keys that last have no such time.
    user = own.user(allow("lambda:*"), deny("*", **older(future)))
    assert called(user, function) == arn(function)
    with_token = token_of(user)
    assert with_token.client("sts").get_caller_identity()["Arn"] == user.arn
    refused("AccessDeniedException", with_token.client().invoke, FunctionName=function)


def test_who_may_make_urls_for_signers_makes_none_for_everybody(own, function):
    signed = {"Condition": {"StringEquals": {"lambda:FunctionUrlAuthType": "AWS_IAM"}}}
    user = own.user(allow(["lambda:CreateFunctionUrlConfig", "lambda:UpdateFunctionUrlConfig"], **signed))
    aws, on = user.client(), {"FunctionName": function}
    create, update = aws.create_function_url_config, aws.update_function_url_config
    user.denied("lambda:CreateFunctionUrlConfig", arn(function), NO_IDENTITY, create, AuthType="NONE", **on)
    create(AuthType="AWS_IAM", **on)
    user.denied("lambda:UpdateFunctionUrlConfig", arn(function), NO_IDENTITY, update, AuthType="NONE", **on)
    # What is left out stays as it is.
    assert update(InvokeMode="RESPONSE_STREAM", **on)["AuthType"] == "AWS_IAM"
    own.root.client().update_function_url_config(AuthType="NONE", **on)
    user.denied("lambda:UpdateFunctionUrlConfig", arn(function), NO_IDENTITY, update, InvokeMode="BUFFERED", **on)
    assert update(AuthType="AWS_IAM", **on)["AuthType"] == "AWS_IAM"


def test_who_may_let_in_one_service_lets_in_nobody_else(own, function):
    buckets = {"Condition": {"StringEquals": {"lambda:Principal": ["s3.amazonaws.com", ACCOUNT]}}}
    user = own.user(allow(["lambda:AddPermission", "lambda:RemovePermission"], **buckets))
    aws, on = user.client(), {"FunctionName": function, "Action": "lambda:InvokeFunction"}
    add, remove = aws.add_permission, aws.remove_permission
    for sid, principal in [("s3", "s3.amazonaws.com"), ("number", ACCOUNT), ("root", f"arn:aws:iam::{ACCOUNT}:root")]:
        add(StatementId=sid, Principal=principal, **on)
    for principal in ("*", "events.amazonaws.com", user.arn):
        user.denied("lambda:AddPermission", arn(function), NO_IDENTITY, add, StatementId="x", Principal=principal, **on)
    own.root.client().add_permission(StatementId="all", Principal="*", **on)
    refused("AccessDeniedException", remove, FunctionName=function, StatementId="all")
    refused("AccessDeniedException", remove, FunctionName=function, StatementId="none")
    for sid in ("s3", "number", "root"):
        remove(FunctionName=function, StatementId=sid)


def test_who_may_use_some_layers_uses_no_others(own, function):
    aws = own.root.client()
    content = {"ZipFile": zip_of({"python/tool.py": "SAID = 1\n"})}
    good, bad = (
        aws.publish_layer_version(LayerName=f"{own.stem}-{kind}", Content=content)["LayerVersionArn"]
        for kind in ("good", "bad")
    )
    ours = {"Condition": {"ForAllValues:StringLike": {"lambda:Layer": [good.rsplit(":", 1)[0] + ":*"]}}}
    user = own.user(allow("lambda:UpdateFunctionConfiguration", **ours), allow("lambda:GetLayerVersion"))
    update = user.client().update_function_configuration
    for layers in ([bad], [good, bad]):
        refused("AccessDeniedException", update, FunctionName=function, Layers=layers)
    assert [layer["Arn"] for layer in update(FunctionName=function, Layers=[good])["Layers"]] == [good]
    aws.get_waiter("function_updated_v2").wait(FunctionName=function)
    role = own.role(trust({"Service": "lambda.amazonaws.com"}))
    maker = own.user(allow("lambda:CreateFunction", **ours), allow(["lambda:GetLayerVersion", "iam:PassRole"]))
    code = {"Handler": "app.handler", "Runtime": "python3.12", "Code": content, "Role": role}
    refused("AccessDeniedException", maker.client().create_function, FunctionName=f"{function}-2", Layers=[bad], **code)
    for layer in (good, bad):
        name, version = layer.split(":")[-2:]
        aws.delete_layer_version(LayerName=name, VersionNumber=int(version))


def test_a_layer_says_whose_it_is(own, others, function):
    """The usual perimeter: nothing of other accounts, however a layer of theirs is reached."""
    content = {"ZipFile": zip_of({"python/tool.py": "SAID = 1\n"})}
    layers = []
    for who in (own, others):
        layers.append(who.root.client().publish_layer_version(LayerName=f"{own.stem}-layer", Content=content))
        who.root.client().add_layer_version_permission(
            LayerName=f"{own.stem}-layer", VersionNumber=1, StatementId="s", Action="lambda:GetLayerVersion", Principal="*"
        )
    mine, theirs = (layer["LayerVersionArn"] for layer in layers)
    foreign = {"Condition": {"StringNotEquals": {"aws:ResourceAccount": ACCOUNT}}}
    user = own.user(allow("lambda:*"), deny("lambda:*", **foreign))
    aws = user.client()
    denied = ("lambda:GetLayerVersion", theirs, DENIED_BY_IDENTITY)
    user.denied(*denied, aws.get_layer_version_by_arn, Arn=theirs)
    user.denied(*denied, aws.get_layer_version, LayerName=theirs.rsplit(":", 1)[0], VersionNumber=1)
    user.denied(*denied, aws.update_function_configuration, FunctionName=function, Layers=[theirs])
    path = urllib.parse.urlsplit(layers[1]["Content"]["Location"])
    assert user.request("GET", f"{path.path}?{path.query.split('&')[0]}")[0] == 403
    assert aws.get_layer_version_by_arn(Arn=mine)["LayerVersionArn"] == mine
    bystander = own.user(allow("lambda:GetLayerVersion", Condition={"StringEquals": {"aws:ResourceAccount": others.account}}))
    assert bystander.client().get_layer_version_by_arn(Arn=theirs)["LayerVersionArn"] == theirs
    for who in (own, others):
        who.root.client().delete_layer_version(LayerName=f"{own.stem}-layer", VersionNumber=1)


def test_who_changes_another_accounts_function_gives_it_nothing_of_his_own(own, others, function):
    """Its role is of the function's account and passed from there; its layers are for both accounts to read."""
    aws, user = own.root.client(), others.user(allow("*"))
    aws.add_permission(
        FunctionName=function, StatementId="them", Action="lambda:UpdateFunctionConfiguration", Principal=others.account
    )
    update, on = user.client().update_function_configuration, {"FunctionName": arn(function)}
    update(Description="theirs", **on)
    aws.get_waiter("function_updated_v2").wait(FunctionName=function)
    roles = [one.role(trust({"Service": "lambda.amazonaws.com"})) for one in (own, others)]
    for role in roles:
        assert "pass role" in refused("AccessDeniedException", update, Role=role, **on)
    content, layer = {"ZipFile": zip_of({"python/tool.py": "SAID = 1\n"})}, {"LayerName": f"{own.stem}-layer"}
    mine, theirs = (
        who.root.client().publish_layer_version(Content=content, **layer)["LayerVersionArn"] for who in (own, others)
    )
    for who, version in [(own, mine), (others, theirs)]:
        refused("AccessDeniedException", update, Layers=[version], **on)
        who.root.client().add_layer_version_permission(
            VersionNumber=1, StatementId="s", Action="lambda:GetLayerVersion", Principal="*", **layer
        )
        assert [one["Arn"] for one in update(Layers=[version], **on)["Layers"]] == [version]
        aws.get_waiter("function_updated_v2").wait(FunctionName=function)
    assert aws.get_function_configuration(FunctionName=function)["Role"] not in roles
    aws.update_function_configuration(FunctionName=function, Layers=[])
    aws.get_waiter("function_updated_v2").wait(FunctionName=function)
    for who in (own, others):
        who.root.client().delete_layer_version(VersionNumber=1, **layer)


def test_a_tag_does_not_hide_behind_another_case(own, function):
    """Keys of tags have no case: who asks for two that differ in nothing else is refused, by IAM and by STS."""
    iam, both = own.iam, [{"Key": "team", "Value": "red"}, {"Key": "Team", "Value": "blue"}]
    user, role = named(own.user()), own.role(trust({"AWS": ACCOUNT}), allow("*"))
    role_name, spare = role.rsplit("/", 1)[1], f"{own.stem}-spare"
    for tags in (both, [both[0], both[0]]):
        for call, arguments in [
            (iam.create_user, {"UserName": spare}),
            (iam.create_role, {"RoleName": spare, "AssumeRolePolicyDocument": trust({"AWS": ACCOUNT})}),
            (iam.create_policy, {"PolicyName": spare, "PolicyDocument": document(allow("*"))}),
            (iam.tag_user, {"UserName": user}),
            (iam.tag_role, {"RoleName": role_name}),
        ]:
            assert "case insensitive" in refused("InvalidInput", call, Tags=tags, **arguments)
        assume = own.root.client("sts").assume_role
        refused("InvalidParameterValue", assume, RoleArn=role, RoleSessionName="s1", Tags=tags)
    # One that is there is replaced, and taken away, however it is spelled.
    for tag in both:
        iam.tag_user(UserName=user, Tags=[tag])
        assert iam.list_user_tags(UserName=user)["Tags"] == [tag]
    iam.untag_user(UserName=user, TagKeys=["TEAM"])
    assert iam.list_user_tags(UserName=user)["Tags"] == []


def test_no_statement_voids_the_policy_it_is_added_to(own, others, function):
    """What could not be evaluated is refused, the first statement too; what was there goes on to hold."""
    aws, on = own.root.client(), {"FunctionName": function, "Action": "lambda:InvokeFunction"}
    user = others.user(allow("lambda:InvokeFunction"))
    bad = [
        {"Principal": f"arn:aws:iam::{ACCOUNT}:user/*"},
        {"Principal": f"arn:aws:iam::{ACCOUNT}:group/all"},
        {"Principal": "arn:aws:iam::1:root"},
        {"Principal": f"arn:aws:sts::{ACCOUNT}:assumed-role/r"},
        {"Principal": "s3.amazonaws.com", "SourceArn": "arn:aws:s3:::${aws"},
    ]
    against_the_model = [
        {"Principal": "s3.amazonaws.com", "SourceArn": "arn:aws:s3:nowhere::b"},
        {"Principal": "*", "EventSourceToken": "${aws"},
        {"Principal": "*", "PrincipalOrgID": "o-$$$$$$$$$$"},
    ]
    for more in bad:
        refused("InvalidParameterValueException", aws.add_permission, StatementId="bad", **more, **on)
    for more in against_the_model:
        refused("ValidationException", aws.add_permission, StatementId="bad", **more, **on)
    refused("ResourceNotFoundException", aws.get_policy, FunctionName=function)
    aws.add_permission(StatementId="them", Principal=others.account, **on)
    assert called(user, arn(function)) == arn(function)
    for more in bad:
        refused("InvalidParameterValueException", aws.add_permission, StatementId="bad", **more, **on)
    source = "arn:aws:s3:::" + "b" * 9_000
    aws.add_permission(StatementId="long-1", Principal="s3.amazonaws.com", SourceArn=source, **on)
    aws.add_permission(StatementId="long-2", Principal="s3.amazonaws.com", SourceArn=source, **on)
    more = {"Principal": "s3.amazonaws.com", "SourceArn": source}
    refused("PolicyLengthExceededException", aws.add_permission, StatementId="long-3", **more, **on)
    assert called(user, arn(function)) == arn(function)


def made_again(identities, user, *inline):
    """Another user of the same name, in the place of one that is deleted."""
    iam, on = identities.iam, {"UserName": named(user)}
    iam.delete_access_key(AccessKeyId=user.id, **on)
    for policy in iam.list_user_policies(**on)["PolicyNames"]:
        iam.delete_user_policy(PolicyName=policy, **on)
    iam.delete_user(**on)
    iam.create_user(**on)
    if inline:
        iam.put_user_policy(PolicyName="inline", PolicyDocument=document(*inline), **on)
    key = iam.create_access_key(**on)["AccessKey"]
    return Principal(user.platform, user.arn, key["AccessKeyId"], key["SecretAccessKey"])


def test_a_user_made_again_inherits_nothing(own, others, function):
    """A grant is to whom it named, not to whoever is called so later; a denial is to both."""
    aws, on = own.root.client(), {"FunctionName": function}
    user, stranger = own.user(), others.user(allow("lambda:*"))
    grant = {"Action": "lambda:InvokeFunction", **on}
    aws.add_permission(StatementId="user", Principal=user.arn, **grant)
    aws.add_permission(StatementId="stranger", Principal=stranger.arn, **grant)
    role = own.role(trust({"AWS": [user.arn, stranger.arn]}))
    assert called(user, function) and called(stranger, arn(function)) and user.assume(role)
    user, stranger = made_again(own, user), made_again(others, stranger, allow("lambda:*"), allow("sts:*"))
    user.denied("lambda:InvokeFunction", arn(function), NO_IDENTITY, user.client().invoke, **on)
    stranger.denied(
        "lambda:InvokeFunction", arn(function), NO_RESOURCE, stranger.client().invoke, FunctionName=arn(function)
    )
    for who in (user, stranger):
        refused("AccessDenied", who.client("sts").assume_role, RoleArn=role, RoleSessionName="s1")
    # Until somebody grants it to this one.
    shown = json.loads(aws.get_policy(**on)["Policy"])["Statement"]
    assert [one["Principal"]["AWS"] for one in shown] == [user.arn, stranger.arn]
    aws.put_resource_policy(ResourceArn=arn(function), Policy=document(*shown))
    own.iam.update_assume_role_policy(RoleName=role.rsplit("/", 1)[1], PolicyDocument=trust({"AWS": [user.arn, stranger.arn]}))
    assert called(user, function) and called(stranger, arn(function)) and user.assume(role) and stranger.assume(role)
    # Who gets another name stays who it is.
    own.iam.update_user(UserName=named(user), NewUserName=f"{named(user)}-2")
    assert called(user, function) and user.assume(role)
    aws.delete_resource_policy(ResourceArn=arn(function))
    barred = own.user(allow("lambda:*"))
    no = deny("lambda:InvokeFunction", arn(function), Principal={"AWS": barred.arn})
    aws.put_resource_policy(ResourceArn=arn(function), Policy=document(no))
    denied = ("lambda:InvokeFunction", arn(function), DENIED_BY_RESOURCE)
    barred.denied(*denied, barred.client().invoke, **on)
    another = made_again(own, barred, allow("lambda:*"))
    another.denied(*denied, another.client().invoke, **on)


def test_a_role_made_again_inherits_nothing(own, function):
    aws, on = own.root.client(), {"FunctionName": function}
    worker = own.role(trust({"AWS": ACCOUNT}))
    name = worker.rsplit("/", 1)[1]
    session = own.root.assume(worker)
    outer = [own.role(trust({"AWS": one})) for one in (worker, session.arn)]
    for sid, principal in [("role", worker), ("session", session.arn)]:
        aws.add_permission(StatementId=sid, Principal=principal, Action="lambda:InvokeFunction", **on)
    # A name that nobody has when it is let in is nobody's later.
    early = f"{worker}-later"
    aws.add_permission(StatementId="early", Principal=early, Action="lambda:InvokeFunction", **on)
    assert called(session, function) == arn(function) and all(session.assume(role) for role in outer)
    own.iam.delete_role(RoleName=name)
    for role in (name, f"{name}-later"):
        own.iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust({"AWS": ACCOUNT}))
        session = own.root.assume(f"arn:aws:iam::{ACCOUNT}:role/{role}")
        session.denied("lambda:InvokeFunction", arn(function), NO_IDENTITY, session.client().invoke, **on)
        for one in outer:
            refused("AccessDenied", session.client("sts").assume_role, RoleArn=one, RoleSessionName="s1")


def test_an_alias_made_again_lets_in_nobody(own, others, function):
    aws, user = own.root.client(), others.user(allow("lambda:InvokeFunction"))
    live = {"FunctionName": function, "Name": "live", "FunctionVersion": "1"}
    aws.publish_version(FunctionName=function)
    aws.create_alias(**live)
    on = {"FunctionName": function, "Qualifier": "live"}
    aws.add_permission(StatementId="s", Action="lambda:InvokeFunction", Principal=others.account, **on)
    aws.put_function_event_invoke_config(MaximumRetryAttempts=0, **on)
    assert called(user, f"{arn(function)}:live") == f"{arn(function)}:live"
    aws.delete_alias(FunctionName=function, Name="live")
    aws.create_alias(**live)
    refused("AccessDeniedException", user.client().invoke, FunctionName=f"{arn(function)}:live")
    refused("ResourceNotFoundException", aws.get_policy, **on)
    refused("ResourceNotFoundException", aws.get_function_event_invoke_config, **on)
