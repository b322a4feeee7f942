"""Accounts, IAM and STS on the real binary, driven by boto3, the aws command line and `updraft account`."""

import json
import os
import stat

import boto3
import pytest
from botocore.exceptions import ClientError

from harness import ACCOUNT, PYTHON, REGION, zip_of

BASIC = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
LAMBDA_TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
ACCOUNT_TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}],
}
ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
# What a function holds, without the secrets themselves.
HOLDS = zip_of(
    {
        "app.py": "import os\n"
        "def handler(event, context):\n"
        "    names = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN']\n"
        "    return {name: os.environ.get(name, '') for name in names}\n"
    }
)


def refused(code, status, call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (code, status), response
    return response["Error"]["Message"]


def test_a_role_as_a_deploy_tool_makes_and_destroys_it(platform):
    iam = platform.client("iam")
    made = iam.create_role(
        RoleName="e2e-runner",
        Path="/service-role/",
        AssumeRolePolicyDocument=json.dumps(LAMBDA_TRUST),
        Description="<runs> & \"stops\"",
        Tags=[{"Key": "team", "Value": "core"}],
    )["Role"]
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/service-role/e2e-runner"
    assert (made["AssumeRolePolicyDocument"], made["MaxSessionDuration"]) == (LAMBDA_TRUST, 3600)
    assert made["Tags"] == [{"Key": "team", "Value": "core"}]
    iam.get_waiter("role_exists").wait(RoleName="e2e-runner")
    got = iam.get_role(RoleName="e2e-runner")["Role"]
    assert got == made
    message = refused(
        "EntityAlreadyExists", 409, iam.create_role, RoleName="e2e-runner", AssumeRolePolicyDocument=json.dumps(LAMBDA_TRUST)
    )
    assert message == "Role with name e2e-runner already exists."

    iam.attach_role_policy(RoleName="e2e-runner", PolicyArn=BASIC)
    attached = iam.list_attached_role_policies(RoleName="e2e-runner")
    assert attached["AttachedPolicies"] == [{"PolicyName": "AWSLambdaBasicExecutionRole", "PolicyArn": BASIC}]
    assert attached["IsTruncated"] is False
    iam.put_role_policy(RoleName="e2e-runner", PolicyName="own", PolicyDocument=json.dumps(ALLOW))
    own = iam.get_role_policy(RoleName="e2e-runner", PolicyName="own")
    assert (own["RoleName"], own["PolicyName"], own["PolicyDocument"]) == ("e2e-runner", "own", ALLOW)
    assert iam.list_role_policies(RoleName="e2e-runner")["PolicyNames"] == ["own"]
    assert iam.list_instance_profiles_for_role(RoleName="e2e-runner")["InstanceProfiles"] == []

    refused("DeleteConflict", 409, iam.delete_role, RoleName="e2e-runner")
    iam.detach_role_policy(RoleName="e2e-runner", PolicyArn=BASIC)
    iam.delete_role_policy(RoleName="e2e-runner", PolicyName="own")
    iam.delete_role(RoleName="e2e-runner")
    message = refused("NoSuchEntity", 404, iam.get_role, RoleName="e2e-runner")
    assert message == "The role with name e2e-runner cannot be found."
    with pytest.raises(iam.exceptions.NoSuchEntityException):
        iam.delete_role(RoleName="e2e-runner")


def test_a_user_with_keys_policies_and_tags(platform):
    iam = platform.client("iam")
    iam.create_user(UserName="e2e-ada", Path="/team/")
    iam.get_waiter("user_exists").wait(UserName="e2e-ada")
    key = iam.create_access_key(UserName="e2e-ada")["AccessKey"]
    assert (key["UserName"], key["Status"], len(key["SecretAccessKey"])) == ("e2e-ada", "Active", 40)
    assert platform.client("sts").get_access_key_info(AccessKeyId=key["AccessKeyId"])["Account"] == ACCOUNT
    iam.update_access_key(UserName="e2e-ada", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    listed = iam.list_access_keys(UserName="e2e-ada")["AccessKeyMetadata"]
    assert [(one["AccessKeyId"], one["Status"]) for one in listed] == [(key["AccessKeyId"], "Inactive")]
    iam.tag_user(UserName="e2e-ada", Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": ""}])
    iam.untag_user(UserName="e2e-ada", TagKeys=["a"])
    assert iam.list_user_tags(UserName="e2e-ada")["Tags"] == [{"Key": "b", "Value": ""}]

    policy = iam.create_policy(PolicyName="e2e-reads", PolicyDocument=json.dumps(ALLOW))["Policy"]
    iam.attach_user_policy(UserName="e2e-ada", PolicyArn=policy["Arn"])
    iam.create_policy_version(PolicyArn=policy["Arn"], PolicyDocument=json.dumps(ALLOW), SetAsDefault=True)
    now = iam.get_policy(PolicyArn=policy["Arn"])["Policy"]
    assert (now["DefaultVersionId"], now["AttachmentCount"]) == ("v2", 1)
    version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId="v2")["PolicyVersion"]
    assert (version["Document"], version["IsDefaultVersion"]) == (ALLOW, True)
    assert [user["UserName"] for user in iam.list_entities_for_policy(PolicyArn=policy["Arn"])["PolicyUsers"]] == ["e2e-ada"]

    refused("DeleteConflict", 409, iam.delete_user, UserName="e2e-ada")
    refused("DeleteConflict", 409, iam.delete_policy, PolicyArn=policy["Arn"])
    iam.detach_user_policy(UserName="e2e-ada", PolicyArn=policy["Arn"])
    iam.delete_policy_version(PolicyArn=policy["Arn"], VersionId="v1")
    iam.delete_policy(PolicyArn=policy["Arn"])
    iam.delete_access_key(UserName="e2e-ada", AccessKeyId=key["AccessKeyId"])
    iam.delete_user(UserName="e2e-ada")


def test_lists_come_in_pages_that_boto3_follows(platform):
    iam = platform.client("iam")
    names = [f"e2e-page-{number}" for number in range(7)]
    for name in names:
        iam.create_user(UserName=name, Path="/pages/")
    pages = list(iam.get_paginator("list_users").paginate(PathPrefix="/pages/", PaginationConfig={"PageSize": 3}))
    sizes = [len(page["Users"]) for page in pages]
    assert sizes == [3, 3, 1]
    assert [user["UserName"] for page in pages for user in page["Users"]] == names
    provided = iam.get_paginator("list_policies").paginate(Scope="AWS", PaginationConfig={"PageSize": 5})
    assert BASIC in [policy["Arn"] for page in provided for policy in page["Policies"]]
    for name in names:
        iam.delete_user(UserName=name)


def test_what_is_wrong_or_missing_is_told(platform):
    iam = platform.client("iam")
    message = refused("ValidationError", 400, iam.create_user, UserName="a b")
    assert message.startswith("The specified value for userName is invalid.")
    refused("MalformedPolicyDocument", 400, iam.create_policy, PolicyName="x", PolicyDocument="{")
    refused("NoSuchEntity", 404, iam.attach_role_policy, RoleName="none", PolicyArn=BASIC)
    make = iam.create_instance_profile
    assert "CreateInstanceProfile" in refused("NotImplementedException", 501, make, InstanceProfileName="p")


def test_who_one_is_and_sessions(platform):
    iam, sts = platform.client("iam"), platform.client("sts")
    who = sts.get_caller_identity()
    assert (who["Account"], who["Arn"], who["UserId"]) == (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT)
    assert platform.aws("sts", "get-caller-identity")["Arn"] == who["Arn"]
    role = iam.create_role(RoleName="e2e-open", AssumeRolePolicyDocument=json.dumps(ACCOUNT_TRUST))["Role"]
    assumed = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="s1", DurationSeconds=900, Policy=json.dumps(ALLOW))
    assert assumed["AssumedRoleUser"] == {
        "AssumedRoleId": f"{role['RoleId']}:s1",
        "Arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/e2e-open/s1",
    }
    assert assumed["Credentials"]["AccessKeyId"].startswith("ASIA")
    assert assumed["PackedPolicySize"] > 0
    message = refused("AccessDenied", 403, sts.assume_role, RoleArn=f"{role['Arn']}x", RoleSessionName="s1")
    assert "is not authorized to perform: sts:AssumeRole" in message
    assert sts.get_session_token()["Credentials"]["SessionToken"]
    iam.delete_role(RoleName="e2e-open")


def test_a_function_holds_a_session_of_its_role(private):
    platform = private()
    iam, lambda_ = platform.client("iam"), platform.client()
    role = iam.create_role(RoleName="runner", AssumeRolePolicyDocument=json.dumps(LAMBDA_TRUST))["Role"]
    for name, arn in [("with", role["Arn"]), ("without", f"arn:aws:iam::{ACCOUNT}:role/none")]:
        lambda_.create_function(
            FunctionName=name, Runtime=PYTHON, Handler="app.handler", Role=arn, Code={"ZipFile": HOLDS}
        )
        lambda_.get_waiter("function_active_v2").wait(FunctionName=name)
    held = platform.invoke("with").expect_ok()
    assert held["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert len(held["AWS_SECRET_ACCESS_KEY"]) == 40 and held["AWS_SESSION_TOKEN"]
    sts = boto3.client(
        "sts",
        endpoint_url=platform.url,
        region_name=REGION,
        aws_access_key_id=held["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=held["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=held["AWS_SESSION_TOKEN"],
    )
    # Everyone may ask who they are.
    assert sts.get_caller_identity()["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/runner/with"
    assert set(platform.invoke("without").expect_ok().values()) == {""}


# Asks STS who it is, with what it finds in its environment and nothing but the standard library, and looks for other doors.
ASKS = """
import datetime, hashlib, hmac, os, urllib.error, urllib.request

def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()

def ask(body):
    url = os.environ["AWS_ENDPOINT_URL"] + "/"
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, region = now.strftime("%Y%m%dT%H%M%SZ"), os.environ["AWS_REGION"]
    scope = f"{stamp[:8]}/{region}/sts/aws4_request"
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "host": url.split("/")[2],
        "x-amz-date": stamp,
        "x-amz-security-token": os.environ["AWS_SESSION_TOKEN"],
    }
    names = ";".join(sorted(headers))
    listed = "".join(f"{name}:{headers[name]}\\n" for name in sorted(headers))
    digest = hashlib.sha256(body.encode()).hexdigest()
    canonical = "\\n".join(["POST", "/", "", listed, names, digest])
    text = "\\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
    for part in scope.split("/"):
        key = sign(key, part)
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    credential = f"{os.environ['AWS_ACCESS_KEY_ID']}/{scope}"
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
    request = urllib.request.Request(url, data=body.encode(), headers=headers)
    return urllib.request.urlopen(request, timeout=20).read().decode()

def status(path):
    try:
        return urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"] + path, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code

def handler(event, context):
    paths = ["/metrics", "/healthz", "/fn/asks/", "/_updraft/v1/accounts"]
    return {"who": ask("Action=GetCallerIdentity&Version=2011-06-15"), "others": [status(path) for path in paths]}
"""


def test_a_function_reaches_the_platforms_services_and_nothing_else_of_it(private):
    platform = private()
    trust = json.dumps(LAMBDA_TRUST)
    role = platform.client("iam").create_role(RoleName="runner", AssumeRolePolicyDocument=trust)["Role"]
    lambda_ = platform.client()
    code = zip_of({"app.py": ASKS})
    lambda_.create_function(
        FunctionName="asks", Runtime=PYTHON, Handler="app.handler", Role=role["Arn"], Timeout=60, Code={"ZipFile": code}
    )
    lambda_.get_waiter("function_active_v2").wait(FunctionName="asks")
    answer = platform.invoke("asks").expect_ok()
    assert f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/runner/asks</Arn>" in answer["who"]
    assert answer["others"] == [404, 404, 404, 404]


def test_accounts_on_the_command_line(private):
    platform = private()
    made = json.loads(platform.updraft("--json", "account", "create", "Tenant").stdout)
    account, key = made["account"], made["key"]["access_key_id"]
    assert len(account) == 12 and len(made["key"]["secret_access_key"]) == 40
    listed = json.loads(platform.updraft("--json", "account", "ls").stdout)
    assert [one["account"] for one in listed] == [ACCOUNT, account]
    assert "Tenant" in platform.updraft("account", "ls").stdout

    rotated = platform.updraft("account", "key", "rotate", account, key)
    assert rotated.stdout.startswith("export AWS_ACCESS_KEY_ID=AKIA")
    keys = json.loads(platform.updraft("--json", "account", "key", "ls", account).stdout)
    assert sorted(one["status"] for one in keys) == ["Active", "Inactive"]
    assert not any("secret" in name for one in keys for name in one)
    third = platform.updraft("account", "key", "create", account, check=False)
    assert third.returncode == 4 and "two access keys" in third.stderr
    platform.updraft("account", "key", "enable", account, key)
    platform.updraft("account", "key", "disable", account, key)
    platform.updraft("account", "key", "rm", account, key)

    platform.stop()
    platform.start()
    assert len(json.loads(platform.updraft("--json", "account", "key", "ls", account).stdout)) == 1
    platform.updraft("account", "rm", account)
    gone = platform.updraft("account", "key", "ls", account, check=False)
    assert gone.returncode == 4 and "account ls" in gone.stderr
    assert platform.updraft("account", "rm", "12", check=False).returncode == 2


def test_the_master_key_is_needed_to_open_the_data_directory(private):
    platform = private()
    platform.client("iam").create_user(UserName="ada")
    platform.client("iam").create_access_key(UserName="ada")
    platform.stop()
    path = platform.data / "master.key"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    key = path.read_text()
    path.unlink()
    refuses(platform, "master.key is not there")
    assert not path.exists()
    path.write_text("0" * 64)
    refuses(platform, "another master key")
    path.unlink()
    platform.environment = {"UPDRAFT_MASTER_KEY": key.strip()}
    platform.start()
    assert len(platform.client("iam").list_access_keys(UserName="ada")["AccessKeyMetadata"]) == 1
    assert key.strip() not in platform.updraft("config", "show", environment=platform.environment).stdout


def refuses(platform, words):
    """Starting ends by itself, with code 7 and these words."""
    process = platform.spawn()
    assert process.wait(60) == 7
    assert words in platform.log(), platform.log()[-2000:]


def test_a_resource_policy_as_a_whole(platform, name):
    """Put, read, added to, denied by and deleted; what it says holds at once."""
    aws = platform.client()
    arn = platform.create(name, HOLDS)["FunctionArn"]
    url = aws.create_function_url_config(FunctionName=name, AuthType="NONE")["FunctionUrl"]
    host = url.split("/")[2]

    def status():
        connection = platform.connection()
        connection.request("GET", "/", headers={"host": host})
        return connection.getresponse().status

    def statement(sid, action, effect="Allow", **condition):
        of = {"Sid": sid, "Effect": effect, "Principal": "*", "Action": action, "Resource": arn}
        return of | ({"Condition": condition} if condition else {})

    opens = [
        statement("url", "lambda:InvokeFunctionUrl", StringEquals={"lambda:FunctionUrlAuthType": "NONE"}),
        statement("call", "lambda:InvokeFunction", Bool={"lambda:InvokedViaFunctionUrl": "true"}),
    ]
    policy = {"Version": "2012-10-17", "Id": "mine", "Statement": opens}
    refused("ResourceNotFoundException", 404, aws.get_resource_policy, ResourceArn=arn)
    assert status() == 403
    put = aws.put_resource_policy(ResourceArn=arn, Policy=json.dumps(policy))
    assert json.loads(put["Policy"]) == policy
    got = aws.get_resource_policy(ResourceArn=arn)
    assert (got["Policy"], got["RevisionId"]) == (put["Policy"], put["RevisionId"])
    assert status() == 200

    # It is the policy that AddPermission adds to.
    aws.add_permission(FunctionName=name, StatementId="more", Action="lambda:GetFunction", Principal=ACCOUNT)
    shown = json.loads(aws.get_policy(FunctionName=name)["Policy"])
    assert [one["Sid"] for one in shown["Statement"]] == ["url", "call", "more"] and shown["Id"] == "mine"
    stale = {"ResourceArn": arn, "RevisionId": put["RevisionId"]}
    refused("PreconditionFailedException", 412, aws.put_resource_policy, Policy=json.dumps(policy), **stale)
    refused("PreconditionFailedException", 412, aws.delete_resource_policy, **stale)

    # A statement about where a request comes from is asked at each.
    here = {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}
    denies = policy | {"Statement": [*opens, statement("no", "lambda:InvokeFunctionUrl", "Deny", **here)]}
    aws.put_resource_policy(ResourceArn=arn, Policy=json.dumps(denies))
    assert status() == 403
    only = policy | {"Statement": [statement("here", "lambda:*", **here)]}
    aws.put_resource_policy(ResourceArn=arn, Policy=json.dumps(only))
    assert status() == 200

    for bad in ["{", json.dumps(policy | {"Version": "2008-10-17"}), json.dumps(policy | {"Statement": []})]:
        refused("InvalidParameterValueException", 400, aws.put_resource_policy, ResourceArn=arn, Policy=bad)
    aws.delete_resource_policy(ResourceArn=arn)
    refused("ResourceNotFoundException", 404, aws.delete_resource_policy, ResourceArn=arn)
    assert status() == 403


def test_there_are_no_event_source_mappings(platform, name):
    """Tools that look before they act learn so; making one is not there."""
    aws = platform.client()
    platform.create(name, HOLDS)
    assert aws.list_event_source_mappings(FunctionName=name)["EventSourceMappings"] == []
    assert aws.list_event_source_mappings()["EventSourceMappings"] == []
    refused("ResourceNotFoundException", 404, aws.list_event_source_mappings, FunctionName="absent")
    uuid = "11111111-2222-3333-4444-555555555555"
    for call in (aws.get_event_source_mapping, aws.update_event_source_mapping, aws.delete_event_source_mapping):
        refused("ResourceNotFoundException", 404, call, UUID=uuid)
    source = f"arn:aws:sqs:{REGION}:{ACCOUNT}:queue"
    with pytest.raises(ClientError) as caught:
        aws.create_event_source_mapping(FunctionName=name, EventSourceArn=source)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
