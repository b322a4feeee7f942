"""Users, roles, sessions and policies for tests, and who they are towards the platform."""

import dataclasses
import itertools
import json
import urllib.parse

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from harness import ACCOUNT, REGION, zip_of

ONE = zip_of({"app.py": "def handler(event, context):\n    return {'arn': context.invoked_function_arn, 'event': event}\n"})
TWO = zip_of({"app.py": "def handler(event, context):\n    return 2\n"})
NO_IDENTITY = "because no identity-based policy allows the {} action"
NO_BOUNDARY = "because no permissions boundary allows the {} action"
NO_SESSION = "because no session policy allows the {} action"
NO_RESOURCE = "because no resource-based policy allows the {} action"
DENIED_BY_IDENTITY = "with an explicit deny in an identity-based policy"
DENIED_BY_RESOURCE = "with an explicit deny in a resource-based policy"


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource} | more


def deny(action, resource="*", **more):
    return allow(action, resource, **more) | {"Effect": "Deny"}


def trust(principal, **more):
    return document({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"} | more)


def arn(name, account=ACCOUNT):
    return f"arn:aws:lambda:{REGION}:{account}:function:{name}"


@dataclasses.dataclass(frozen=True)
class Principal:
    """Somebody who signs, and the ARN that refusals name."""

    platform: object
    arn: str
    id: str
    secret: str
    token: str | None = None

    def client(self, service="lambda"):
        return boto3.client(
            service,
            endpoint_url=self.platform.url,
            region_name=REGION,
            aws_access_key_id=self.id,
            aws_secret_access_key=self.secret,
            aws_session_token=self.token,
            config=Config(retries={"total_max_attempts": 1}, read_timeout=120),
        )

    def request(self, method, path, *, host=None, body=b"", headers=None, service="lambda", sign=True):
        """One HTTP request; status and body."""
        headers = {"host": host or urllib.parse.urlsplit(self.platform.url).netloc} | (headers or {})
        request = AWSRequest(method, f"http://{headers['host']}{path}", headers=headers, data=body)
        if sign:
            SigV4Auth(Credentials(self.id, self.secret, self.token), service, REGION).add_auth(request)
        connection = self.platform.connection()
        try:
            connection.request(method, path, body=body, headers=dict(request.headers.items()))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def post(self, service, operation, members):
        """An operation with whatever members, which boto3 would not send; status and body."""
        if service == "iam":
            body = urllib.parse.urlencode({"Action": operation, "Version": "2010-05-08"} | members)
            headers = {"content-type": "application/x-www-form-urlencoded"}
        else:
            prefix = {"logs": "Logs_20140328", "ssm": "AmazonSSM", "secretsmanager": "secretsmanager"}[service]
            body = json.dumps(members)
            headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": f"{prefix}.{operation}"}
        return self.request("POST", "/", body=body.encode(), headers=headers, service=service)

    def assume(self, role, **more):
        """A session of a role, called like the test's."""
        given = self.client("sts").assume_role(RoleArn=role, RoleSessionName="s1", **more)
        keys = given["Credentials"]
        who = given["AssumedRoleUser"]["Arn"]
        return Principal(self.platform, who, keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])

    def denied(self, action, resource, because, call, **arguments):
        """Calls, and expects to hear exactly who may not do what to what, and why."""
        with pytest.raises(ClientError) as caught:
            call(**arguments)
        error, status = caught.value.response["Error"], caught.value.response["ResponseMetadata"]["HTTPStatusCode"]
        assert error["Code"].startswith("AccessDenied") and status in (400, 403), error
        because = because.format(action)
        expected = f"User: {self.arn} is not authorized to perform: {action} on resource: {resource} {because}"
        assert error["Message"] == expected


def refused(code, call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["Error"]["Code"] == code, caught.value.response
    return caught.value.response["Error"]["Message"]


class Identities:
    """Makes users, roles and policies in an account, and unmakes them."""

    def __init__(self, root, account, stem):
        self.root, self.account, self.stem = root, account, stem
        self.iam, self.numbers = root.client("iam"), itertools.count(1)

    def user(self, *inline, managed=(), path="/"):
        """A user with these statements inline and these policies attached."""
        name = f"{self.stem}-{next(self.numbers)}"
        made = self.iam.create_user(UserName=name, Path=path)["User"]
        if inline:
            self.iam.put_user_policy(UserName=name, PolicyName="inline", PolicyDocument=document(*inline))
        for policy in managed:
            self.iam.attach_user_policy(UserName=name, PolicyArn=policy)
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return Principal(self.root.platform, made["Arn"], key["AccessKeyId"], key["SecretAccessKey"])

    def again(self, user, *inline):
        """Gives a user other statements."""
        name = user.arn.split("/")[-1]
        self.iam.put_user_policy(UserName=name, PolicyName="inline", PolicyDocument=document(*inline))

    def policy(self, *statements):
        name = f"{self.stem}-{next(self.numbers)}"
        return self.iam.create_policy(PolicyName=name, PolicyDocument=document(*statements))["Policy"]["Arn"]

    def role(self, trusted, *inline):
        name = f"{self.stem}-{next(self.numbers)}"
        made = self.iam.create_role(RoleName=name, AssumeRolePolicyDocument=trusted)["Role"]["Arn"]
        if inline:
            self.iam.put_role_policy(RoleName=name, PolicyName="inline", PolicyDocument=document(*inline))
        return made

    def end(self):
        iam = self.iam
        ours = lambda names: [name for name in names if name.startswith(f"{self.stem}-")]
        every = lambda operation, **more: iam.get_paginator(operation).paginate(**more)
        for name in ours(user["UserName"] for page in every("list_users") for user in page["Users"]):
            for key in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
                iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
            for policy in iam.list_user_policies(UserName=name)["PolicyNames"]:
                iam.delete_user_policy(UserName=name, PolicyName=policy)
            for policy in iam.list_attached_user_policies(UserName=name)["AttachedPolicies"]:
                iam.detach_user_policy(UserName=name, PolicyArn=policy["PolicyArn"])
            iam.delete_user(UserName=name)
        for name in ours(role["RoleName"] for page in every("list_roles") for role in page["Roles"]):
            for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
                iam.delete_role_policy(RoleName=name, PolicyName=policy)
            iam.delete_role(RoleName=name)
        own = [policy for page in every("list_policies", Scope="Local") for policy in page["Policies"]]
        for policy in own:
            if ours([policy["PolicyName"]]):
                for version in iam.list_policy_versions(PolicyArn=policy["Arn"])["Versions"]:
                    if not version["IsDefaultVersion"]:
                        iam.delete_policy_version(PolicyArn=policy["Arn"], VersionId=version["VersionId"])
                iam.delete_policy(PolicyArn=policy["Arn"])


@pytest.fixture(scope="module")
def root(platform):
    return Principal(platform, f"arn:aws:iam::{ACCOUNT}:root", "test", "test")


@pytest.fixture
def own(root, name):
    """Identities of the platform's own account."""
    made = Identities(root, ACCOUNT, name[:50])
    yield made
    made.end()


@pytest.fixture(scope="module")
def tenant(platform):
    """Another account's root user, and the account."""
    made = json.loads(platform.updraft("--json", "account", "create", "permissions").stdout)
    account, key = made["account"], made["key"]
    yield account, Principal(platform, f"arn:aws:iam::{account}:root", key["access_key_id"], key["secret_access_key"])
    platform.updraft("account", "rm", account)


@pytest.fixture
def others(tenant, name):
    """Identities of another account."""
    account, root = tenant
    made = Identities(root, account, name[:50])
    yield made
    made.end()


@pytest.fixture
def function(platform, name):
    platform.create(name, ONE)
    return name


def named(principal):
    """The name that somebody has, of his ARN."""
    return principal.arn.rsplit("/", 1)[1]


def called(principal, function, **more):
    """The ARN under which a call found itself."""
    answer = principal.client().invoke(FunctionName=function, **more)
    assert "FunctionError" not in answer, answer["Payload"].read()
    return json.loads(answer["Payload"].read())["arn"]


# Users
