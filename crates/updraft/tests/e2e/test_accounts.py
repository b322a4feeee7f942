"""Nobody reads, changes, invokes or even learns of another account's things, whatever credentials of its own it has.

One account has an estate: a function with everything a function can have, a layer, logs, parameters, secrets, identities.
Strangers with every right in another account drive every operation that the service models know against it. Each answer
must be the one that a name gets which never was, and the estate must be as it was. Which operations there are is read from
botocore, so that a new one is driven without being named here; the tables below only say how things are called.
"""

import copy
import dataclasses
import datetime
import json
import re
import time

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

from harness import ACCOUNT, PYTHON, REGION, Platform, wait_until, zip_of

SERVICES = ["lambda", "iam", "sts", "logs", "ssm", "secretsmanager"]
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
# What the estate's things are called, what never was is called (equally long), and what stands in everything secret.
VICTIM, NOBODY, HUSH = "zvictimz", "znobodyz", "hushhush"
CODE = zip_of({"app.py": f"def handler(event, context):\n    print('{HUSH} was called')\n    return '{HUSH}'\n"})
LAYER = zip_of({"python/tool.py": f"SAID = '{HUSH}'\n"})


def trusting(**principal):
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


ALLOWED = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Sid": HUSH, "Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
)


@dataclasses.dataclass(frozen=True)
class Key:
    """Credentials, and the account they are of."""

    account: str
    id: str
    secret: str
    token: str | None = None

    def client(self, platform, service):
        """A client that sends whatever it is given."""
        return boto3.client(
            service,
            endpoint_url=platform.url,
            region_name=REGION,
            aws_access_key_id=self.id,
            aws_secret_access_key=self.secret,
            aws_session_token=self.token,
            config=Config(
                retries={"total_max_attempts": 1},
                read_timeout=120,
                parameter_validation=False,
                inject_host_prefix=False,
            ),
        )

    def request(self, platform, method, path, *, service="lambda", body=b"", headers=None, at=None):
        """One HTTP request; status, what of the headers tells something, and body."""
        headers = {"host": platform.url.split("//")[1]} | (headers or {})
        request = AWSRequest(method, f"http://{headers['host']}{path}", headers=headers, data=body)
        signer = SigV4Auth(Credentials(self.id, self.secret, self.token), service, REGION)
        if at is None:
            signer.add_auth(request)
        else:
            request.context["timestamp"] = at
            # add_auth would take the time of now.
            signer._modify_request_before_signing(request)
            canonical = signer.canonical_request(request)
            signature = signer.signature(signer.string_to_sign(request, canonical), request)
            signer._inject_signature_to_request(request, signature)
        return send(platform, method, path, dict(request.headers.items()), body)


@dataclasses.dataclass(frozen=True)
class Heard:
    """An answer without what differs from one to the next."""

    status: int
    kind: str
    code: str
    body: bytes

    @staticmethod
    def of(status, headers, body):
        headers = {name.lower(): value for name, value in headers.items()}
        body = re.sub(rb"<RequestId>[^<]*</RequestId>", b"", body)
        return Heard(status, headers.get("content-type", ""), headers.get("x-amzn-errortype", ""), body)

    def __str__(self):
        return f"{self.status} {self.code} {self.body[:600].decode(errors='replace')}"


def send(platform, method, path, headers, body=b""):
    connection = platform.connection()
    try:
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return Heard.of(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


class Caller:
    """Somebody who calls operations by name and hears what is on the wire."""

    def __init__(self, platform, key):
        self.platform, self.key = platform, key
        self.clients = {service: key.client(platform, service) for service in SERVICES}
        self.heard = None
        for client in self.clients.values():
            client.meta.events.register("before-parse", self._hear)

    def _hear(self, response_dict, **_):
        body = response_dict["body"]
        if not isinstance(body, bytes):
            # A stream: of one that has no end, the beginning tells enough.
            body = body.read() if hasattr(body, "read") else bytes(next(iter(body.stream()), b""))
        self.heard = Heard.of(response_dict["status_code"], response_dict["headers"], body)

    def call(self, service, operation, arguments):
        client, self.heard = self.clients[service], None
        try:
            client._make_api_call(operation, copy.deepcopy(arguments))
        except ClientError:
            pass
        except (BotoCoreError, ValueError, AttributeError, StopIteration) as error:
            # What was heard counts, whether or not botocore could read it.
            assert self.heard is not None, (service, operation, arguments, error)
        return self.heard

    def request(self, method, path, body=b""):
        return self.key.request(self.platform, method, path, body=body)


# How an account's things are called


@dataclasses.dataclass(frozen=True)
class Estate:
    """An account's things, by the names that operations take."""

    owner: Key
    access_key: str
    secret_arn: str
    stream: str
    url_host: str

    def arn(self, service, rest):
        region = "" if service == "iam" else REGION
        return f"arn:aws:{service}:{region}:{self.owner.account}:{rest}"

    def forms(self, service):
        """For each member that names something, all ways in which it can."""
        account, function = self.owner.account, f"{VICTIM}-fn"
        function_arn, group = self.arn("lambda", f"function:{function}"), f"/aws/lambda/{VICTIM}-fn"
        layer, version = self.arn("lambda", f"layer:{VICTIM}-layer"), self.arn("lambda", f"layer:{VICTIM}-layer:1")
        group_arn, parameter = self.arn("logs", f"log-group:{group}"), f"/{VICTIM}/plain"
        parameter_arn = self.arn("ssm", f"parameter{parameter}")
        return {
            "lambda": {
                "FunctionName": [
                    function_arn,
                    function,
                    f"function:{function}",
                    f"{account}:function:{function}",
                    f"{REGION}:{account}:function:{function}",
                    f"{function_arn}:1",
                    f"{function_arn}:{VICTIM}-alias",
                    f"{function_arn}:$LATEST",
                    f"{account}:function:{function}:{VICTIM}-alias",
                ],
                "Qualifier": ["1", f"{VICTIM}-alias", "$LATEST"],
                "Resource": [function_arn, f"{function_arn}:1", layer],
                "ResourceArn": [function_arn, version],
                "LayerName": [layer, f"{VICTIM}-layer"],
                "Arn": [version],
                "Name": [f"{VICTIM}-alias"],
                "FunctionVersion": ["1"],
                "VersionNumber": [1],
                "StatementId": [f"{VICTIM}-sid"],
            },
            "iam": {
                "UserName": [f"{VICTIM}-user"],
                "RoleName": [f"{VICTIM}-role"],
                "PolicyName": [f"{VICTIM}-policy"],
                "PolicyArn": [self.arn("iam", f"policy/{VICTIM}-policy")],
                "PolicySourceArn": [self.arn("iam", f"user/{VICTIM}-user")],
                "VersionId": ["v1"],
                "AccessKeyId": [self.access_key],
            },
            "sts": {
                "RoleArn": [self.arn("iam", f"role/{VICTIM}-role")],
                "AccessKeyId": [self.access_key],
            },
            "logs": {
                "logGroupName": [group, group_arn],
                "logGroupIdentifier": [group_arn, f"{group_arn}:*", group],
                "logGroupIdentifiers": [[group_arn], [group]],
                "logGroupNamePrefix": [group],
                "logStreamName": [self.stream],
                "resourceArn": [group_arn, f"{group_arn}:*"],
                "resourceIdentifier": [group_arn],
            },
            "ssm": {
                "Name": [parameter, parameter_arn, f"{parameter}:1", f"{parameter_arn}:1"],
                "Names": [[parameter, parameter_arn, f"/{VICTIM}/sealed"]],
                "Path": [f"/{VICTIM}"],
                "ResourceId": [parameter],
                "ResourceArn": [parameter_arn],
            },
            "secretsmanager": {
                "SecretId": [self.secret_arn, self.secret_arn[:-7], f"{VICTIM}-secret"],
                "SecretIdList": [[self.secret_arn]],
                "Name": [f"{VICTIM}-secret"],
            },
        }[service]

    def nobodys(self, value, words=(VICTIM, NOBODY)):
        """The same, of what never was."""
        if isinstance(value, dict):
            return {name: self.nobodys(one, words) for name, one in value.items()}
        if isinstance(value, list):
            return [self.nobodys(one, words) for one in value]
        if isinstance(value, str):
            return value.replace(*words).replace(self.access_key, self.other_key).replace(self.stream, self.other_stream)
        return value

    def as_if_ours(self, heard, words=(VICTIM, NOBODY)):
        """What was said of nothing, with the names of what there is."""
        body = heard.body
        for theirs, ours in ((words[1], words[0]), (self.other_key, self.access_key), (self.other_stream, self.stream)):
            body = body.replace(theirs.encode(), ours.encode())
        return dataclasses.replace(heard, body=body)

    @property
    def other_key(self):
        """An id that says it is of the same account, and that nothing has."""
        return self.access_key[:-2] + ("AB" if not self.access_key.endswith("AB") else "BA")

    @property
    def other_stream(self):
        return self.stream[:-2] + ("zz" if not self.stream.endswith("zz") else "yy")


# What an operation takes beside names, where its model alone does not say enough.
NOW_MS = int(time.time() * 1000)
GIVEN = {
    ("lambda", "AddPermission"): {"StatementId": "mine", "Action": "lambda:*", "Principal": "*"},
    ("lambda", "AddLayerVersionPermission"): {
        "StatementId": "mine", "Action": "lambda:GetLayerVersion", "Principal": "*",
    },
    ("lambda", "CreateAlias"): {"Name": "mine", "FunctionVersion": "$LATEST"},
    ("lambda", "CreateFunction"): {
        "Runtime": PYTHON, "Handler": "app.handler", "Code": {"ZipFile": CODE}, "Role": "arn:aws:iam::OWN:role/any",
    },
    ("lambda", "CreateFunctionUrlConfig"): {"AuthType": "NONE"},
    ("lambda", "Invoke"): {"Payload": b"{}"},
    ("lambda", "InvokeAsync"): {"InvokeArgs": b"{}"},
    ("lambda", "InvokeWithResponseStream"): {"Payload": b"{}"},
    ("lambda", "PublishLayerVersion"): {"Content": {"ZipFile": LAYER}},
    ("lambda", "TagResource"): {"Tags": {"mine": "1"}},
    ("lambda", "UntagResource"): {"TagKeys": [HUSH]},
    ("lambda", "UpdateAlias"): {"FunctionVersion": "$LATEST"},
    ("lambda", "UpdateFunctionCode"): {"ZipFile": LAYER},
    ("lambda", "UpdateFunctionConfiguration"): {"Description": "mine", "Environment": {"Variables": {"MINE": "1"}}},
    ("lambda", "UpdateFunctionUrlConfig"): {"AuthType": "NONE"},
    ("iam", "PutUserPolicy"): {"PolicyDocument": ALLOWED},
    ("iam", "PutRolePolicy"): {"PolicyDocument": ALLOWED},
    ("iam", "CreatePolicyVersion"): {"PolicyDocument": ALLOWED, "SetAsDefault": True},
    ("iam", "UpdateAssumeRolePolicy"): {"PolicyDocument": trusting(AWS="*")},
    ("iam", "UpdateAccessKey"): {"Status": "Inactive"},
    ("iam", "UpdateUser"): {"NewPath": "/mine/"},
    ("iam", "UpdateRole"): {"Description": "mine"},
    ("iam", "UpdateRoleDescription"): {"Description": "mine"},
    ("iam", "TagUser"): {"Tags": [{"Key": "mine", "Value": "1"}]},
    ("iam", "TagRole"): {"Tags": [{"Key": "mine", "Value": "1"}]},
    ("iam", "TagPolicy"): {"Tags": [{"Key": "mine", "Value": "1"}]},
    ("iam", "UntagUser"): {"TagKeys": [HUSH]},
    ("iam", "UntagRole"): {"TagKeys": [HUSH]},
    ("iam", "UntagPolicy"): {"TagKeys": [HUSH]},
    ("sts", "AssumeRole"): {"RoleSessionName": "mine"},
    ("logs", "CreateLogStream"): {"logStreamName": "mine"},
    ("logs", "PutLogEvents"): {"logEvents": [{"timestamp": NOW_MS, "message": "mine"}]},
    ("logs", "PutRetentionPolicy"): {"retentionInDays": 1},
    ("logs", "TagResource"): {"tags": {"mine": "1"}},
    ("logs", "UntagResource"): {"tagKeys": [HUSH]},
    ("logs", "TagLogGroup"): {"tags": {"mine": "1"}},
    ("logs", "UntagLogGroup"): {"tags": [HUSH]},
    ("ssm", "PutParameter"): {"Value": "mine", "Type": "String", "Overwrite": True},
    ("ssm", "GetParameter"): {"WithDecryption": True},
    ("ssm", "GetParameters"): {"WithDecryption": True},
    ("ssm", "GetParameterHistory"): {"WithDecryption": True},
    ("ssm", "GetParametersByPath"): {"WithDecryption": True, "Recursive": True},
    ("secretsmanager", "PutSecretValue"): {"SecretString": "mine"},
    ("secretsmanager", "UpdateSecret"): {"SecretString": "mine"},
    ("secretsmanager", "DeleteSecret"): {"ForceDeleteWithoutRecovery": True},
    ("secretsmanager", "TagResource"): {"Tags": [{"Key": "mine", "Value": "1"}]},
    ("secretsmanager", "UntagResource"): {"TagKeys": [HUSH]},
}
# More ways to reach for something: through what one may make or change in one's own account.
REACHES = [
    ("lambda", "CreateFunction", lambda it: {"FunctionName": "mine", "Layers": it["Arn"]}),
    ("lambda", "CreateFunction", lambda it: {"FunctionName": "mine", "Role": it["RoleArn"][0]}),
    ("lambda", "UpdateFunctionConfiguration", lambda it: {"FunctionName": "stranger-fn", "Layers": it["Arn"]}),
    ("lambda", "UpdateFunctionConfiguration", lambda it: {"FunctionName": "stranger-fn", "Role": it["RoleArn"][0]}),
    ("iam", "AttachUserPolicy", lambda it: {"UserName": "stranger", "PolicyArn": it["PolicyArn"][0]}),
    ("iam", "AttachRolePolicy", lambda it: {"RoleName": "stranger", "PolicyArn": it["PolicyArn"][0]}),
    ("iam", "UpdateAccessKey", lambda it: {"UserName": "stranger", "AccessKeyId": it["AccessKeyId"][0]}),
    ("iam", "DeleteAccessKey", lambda it: {"UserName": "stranger", "AccessKeyId": it["AccessKeyId"][0]}),
]
# By a plain name these make something of the caller's own; see test_the_same_names_in_two_accounts.
MAKES = {
    ("lambda", "CreateFunction"),
    ("lambda", "PublishLayerVersion"),
    ("iam", "CreateUser"),
    ("iam", "CreateRole"),
    ("iam", "CreatePolicy"),
    ("iam", "CreateAccessKey"),
    ("logs", "CreateLogGroup"),
    ("ssm", "PutParameter"),
    ("secretsmanager", "CreateSecret"),
}
# Their answers are of chance, or of the caller alone.
ABOUT_THE_CALLER = {
    ("sts", "GetSessionToken"), ("sts", "GetCallerIdentity"), ("secretsmanager", "GetRandomPassword"),
}
# What a refusal may be: not allowed, not there, or no name that this operation takes.
REFUSED = re.compile("AccessDenied|NotFound|NoSuchEntity|Invalid|Validation|Unrecognized|Malformed")
# Operations that read. What the owner hears of them is the state that must not change.
READS = re.compile("(BatchGet|Get|List|Describe|Filter)")
# What changes by itself: signed links, and when something was last used.
VOLATILE = re.compile(rb'"Location":"[^"]*"|"LastAccessedDate":[0-9.]+|"storedBytes":[0-9]+')
# The owner's own reads that must have told something, or the strangers' have proved nothing.
MUST_TELL = {
    "lambda": {
        "GetFunction", "GetFunctionConfiguration", "GetPolicy", "GetAlias", "ListAliases", "ListVersionsByFunction",
        "ListTags", "GetFunctionUrlConfig", "ListFunctionUrlConfigs", "GetFunctionConcurrency", "ListFunctions",
        "GetLayerVersion", "GetLayerVersionByArn", "GetLayerVersionPolicy", "ListLayerVersions", "ListLayers",
    },
    "iam": {
        "GetUser", "GetRole", "GetPolicy", "GetPolicyVersion", "GetUserPolicy", "GetRolePolicy", "ListUsers", "ListRoles",
        "ListPolicies", "ListAccessKeys", "ListUserPolicies", "ListRolePolicies", "ListAttachedUserPolicies",
        "ListAttachedRolePolicies", "ListEntitiesForPolicy", "ListPolicyVersions", "ListUserTags", "ListRoleTags",
    },
    "sts": {"GetAccessKeyInfo"},
    "logs": {"DescribeLogGroups", "DescribeLogStreams", "FilterLogEvents", "GetLogEvents", "ListTagsForResource"},
    "ssm": {"GetParameter", "GetParameters", "GetParametersByPath", "GetParameterHistory", "DescribeParameters"},
    "secretsmanager": {"GetSecretValue", "DescribeSecret", "ListSecrets", "ListSecretVersionIds"},
}


def made_up(shape, name="x"):
    """Something of a shape, for members that name nothing."""
    kind = shape.type_name
    if kind == "string":
        least = int(shape.metadata.get("min", 1))
        return shape.enum[0] if getattr(shape, "enum", None) else "mine".ljust(least, "x")
    if kind in ("integer", "long", "float", "double"):
        return max(1, int(shape.metadata.get("min", 1)))
    if kind == "boolean":
        return False
    if kind == "blob":
        return b"x"
    if kind == "timestamp":
        return datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
    if kind == "list":
        return [made_up(shape.member)]
    if kind == "map":
        return {made_up(shape.key): made_up(shape.value)}
    return {member: made_up(shape.members[member], member) for member in shape.required_members}


def ways(estate, service, model, account):
    """The arguments with which one operation is driven at the estate: each member that names something, in each form."""
    shape, named = model.input_shape, estate.forms(service)
    members = shape.members if shape else {}
    given = json_less_replace(GIVEN.get((service, model.name), {}), "OWN", account)
    base = {member: made_up(members[member], member) for member in (shape.required_members if shape else [])}
    base |= {member: named[member][0] for member in base if member in named} | given
    seen = [base]
    for member in members:
        if member in named and member not in given:
            seen += [base | {member: form} for form in named[member]]
    unique = []
    for arguments in seen:
        if arguments not in unique:
            unique.append(arguments)
    return unique


def json_less_replace(value, word, by):
    """The value with a word replaced in all its texts."""
    if isinstance(value, dict):
        return {name: json_less_replace(one, word, by) for name, one in value.items()}
    return value.replace(word, by) if isinstance(value, str) else value


def texts(value):
    if isinstance(value, dict):
        return [text for one in value.values() for text in texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in texts(one)]
    return [value] if isinstance(value, str) else []


# The estates


def make_estate(platform, key):
    """Everything that an account can have here."""
    lambda_, iam, logs = (key.client(platform, service) for service in ("lambda", "iam", "logs"))
    ssm, secrets = key.client(platform, "ssm"), key.client(platform, "secretsmanager")
    function, role, user = f"{VICTIM}-fn", f"{VICTIM}-role", f"{VICTIM}-user"
    tags = [{"Key": HUSH, "Value": HUSH}]

    # Whoever has the right may assume the role, within the account; a third account may use the function.
    role_arn = iam.create_role(
        RoleName=role,
        AssumeRolePolicyDocument=trusting(Service="lambda.amazonaws.com", AWS=key.account),
        Description=HUSH,
        Tags=tags,
    )["Role"]["Arn"]
    policy_arn = iam.create_policy(PolicyName=f"{VICTIM}-policy", PolicyDocument=ALLOWED, Tags=tags)["Policy"]["Arn"]
    iam.put_role_policy(RoleName=role, PolicyName=f"{VICTIM}-policy", PolicyDocument=ALLOWED)
    iam.attach_role_policy(RoleName=role, PolicyArn=policy_arn)
    iam.create_user(UserName=user, Tags=tags)
    iam.put_user_policy(UserName=user, PolicyName=f"{VICTIM}-policy", PolicyDocument=ALLOWED)
    iam.attach_user_policy(UserName=user, PolicyArn=policy_arn)
    access_key = iam.create_access_key(UserName=user)["AccessKey"]["AccessKeyId"]

    layer = lambda_.publish_layer_version(
        LayerName=f"{VICTIM}-layer", Content={"ZipFile": LAYER}, Description=HUSH
    )["LayerVersionArn"]
    lambda_.add_layer_version_permission(
        LayerName=f"{VICTIM}-layer",
        VersionNumber=1,
        StatementId=f"{VICTIM}-sid",
        Action="lambda:GetLayerVersion",
        Principal="999999999999",
    )
    lambda_.create_function(
        FunctionName=function,
        Runtime=PYTHON,
        Handler="app.handler",
        Role=role_arn,
        Code={"ZipFile": CODE},
        Description=HUSH,
        Environment={"Variables": {"SECRET": HUSH}},
        Tags={HUSH: HUSH},
        Layers=[layer],
        Publish=True,
    )
    lambda_.get_waiter("function_active_v2").wait(FunctionName=function)
    lambda_.get_waiter("published_version_active").wait(FunctionName=function, Qualifier="1")
    lambda_.create_alias(FunctionName=function, Name=f"{VICTIM}-alias", FunctionVersion="1", Description=HUSH)
    for more in ({}, {"Qualifier": f"{VICTIM}-alias"}, {"Qualifier": "1"}):
        lambda_.add_permission(
            FunctionName=function,
            StatementId=f"{VICTIM}-sid",
            Action="lambda:InvokeFunction",
            Principal="999999999999",
            **more,
        )
    url = lambda_.create_function_url_config(FunctionName=function, AuthType="AWS_IAM")["FunctionUrl"]
    lambda_.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=5)
    answer = lambda_.invoke(FunctionName=function)
    assert answer["Payload"].read() == f'"{HUSH}"'.encode()

    ssm.put_parameter(Name=f"/{VICTIM}/plain", Value=HUSH, Type="String", Description=HUSH)
    ssm.put_parameter(Name=f"/{VICTIM}/sealed", Value=HUSH, Type="SecureString")
    secret_arn = secrets.create_secret(Name=f"{VICTIM}-secret", SecretString=HUSH, Description=HUSH, Tags=tags)["ARN"]

    group = f"/aws/lambda/{function}"

    def lines():
        try:
            return logs.filter_log_events(logGroupName=group)["events"]
        except logs.exceptions.ResourceNotFoundException:
            return []

    wait_until(lambda: any("REPORT" in line["message"] for line in lines()), "the function's lines are kept")
    logs.put_retention_policy(logGroupName=group, retentionInDays=7)
    stream = lines()[0]["logStreamName"]
    logs.tag_resource(resourceArn=f"arn:aws:logs:{REGION}:{key.account}:log-group:{group}", tags={HUSH: HUSH})
    return Estate(key, access_key, secret_arn, stream, url.split("/")[2])


def make_strangers(platform, key):
    """Whoever may do everything in an account: its root user, a user, a session of a role, a session of the user."""
    iam, sts, lambda_ = (key.client(platform, service) for service in ("iam", "sts", "lambda"))
    iam.create_user(UserName="stranger")
    iam.attach_user_policy(UserName="stranger", PolicyArn=ADMINISTRATOR)
    iam.create_role(RoleName="stranger", AssumeRolePolicyDocument=trusting(AWS=key.account))
    iam.attach_role_policy(RoleName="stranger", PolicyArn=ADMINISTRATOR)
    made = iam.create_access_key(UserName="stranger")["AccessKey"]
    user = Key(key.account, made["AccessKeyId"], made["SecretAccessKey"])
    role_arn = f"arn:aws:iam::{key.account}:role/stranger"
    assumed = sts.assume_role(RoleArn=role_arn, RoleSessionName="s1")["Credentials"]
    own = {"FunctionName": "stranger-fn", "Runtime": PYTHON, "Handler": "app.handler", "Code": {"ZipFile": CODE}}
    lambda_.create_function(**own, Role=role_arn)
    lambda_.get_waiter("function_active_v2").wait(FunctionName="stranger-fn")
    session = Key(key.account, assumed["AccessKeyId"], assumed["SecretAccessKey"], assumed["SessionToken"])
    return {"root": key, "user": user, "session": session}


@dataclasses.dataclass
class World:
    """A platform with two accounts, each with an estate and with strangers to the other's."""

    platform: Platform
    estates: dict
    strangers: dict


@pytest.fixture(scope="module")
def world(workspace):
    platform = Platform(workspace / "accounts").start()
    try:
        made = json.loads(platform.updraft("--json", "account", "create", "Tenant").stdout)
        tenant = Key(made["account"], made["key"]["access_key_id"], made["key"]["secret_access_key"])
        roots = {"platform": Key(ACCOUNT, "test", "test"), "tenant": tenant}
        estates = {name: make_estate(platform, key) for name, key in roots.items()}
        strangers = {name: make_strangers(platform, key) for name, key in roots.items()}
        yield World(platform, estates, strangers)
    finally:
        platform.stop()


def snapshot(owner, estate):
    """All that the owner can read of its estate, by operation and arguments, and which operations told something."""
    state, told = {}, {}
    for service, client in owner.clients.items():
        told[service] = set()
        for operation in client.meta.service_model.operation_names:
            if not READS.match(operation) or (service, operation) in ABOUT_THE_CALLER:
                continue
            model = client.meta.service_model.operation_model(operation)
            for arguments in ways(estate, service, model, owner.key.account):
                heard = owner.call(service, operation, arguments)
                if heard.status == 501:
                    break
                assert heard.status < 500, (service, operation, arguments, str(heard))
                body = VOLATILE.sub(b"", heard.body)
                state[service, operation, json.dumps(arguments, default=str)] = dataclasses.replace(heard, body=body)
                if heard.status == 200:
                    told[service].add(operation)
    return state, told


# Whom the estate of the one is closed to.
PAIRS = [("platform", "tenant", who) for who in ("root", "user", "session")] + [("tenant", "platform", "root")]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("victim, other, who", PAIRS)
def test_an_account_is_closed_to_another(world, victim, other, who, service):
    """Every operation: nothing is told, nothing is done, and what is there is as what is not."""
    estate, key = world.estates[victim], world.strangers[other][who]
    owner, stranger = Caller(world.platform, estate.owner), Caller(world.platform, key)
    before, told = snapshot(owner, estate)
    assert told[service] >= MUST_TELL[service], MUST_TELL[service] - told[service]
    model, driven, wrong = stranger.clients[service].meta.service_model, set(), []
    for operation in model.operation_names:
        reaches = [reach for of, name, reach in REACHES if (of, name) == (service, operation)]
        named = estate.forms(service) | {"RoleArn": estate.forms("sts")["RoleArn"]}
        given = json_less_replace(GIVEN.get((service, operation), {}), "OWN", key.account)
        all_ways = ways(estate, service, model.operation_model(operation), key.account)
        for arguments in all_ways + [given | reach(named) for reach in reaches]:
            if (service, operation) in MAKES and not any(estate.owner.account in text for text in texts(arguments)):
                continue
            if (service, operation) in ABOUT_THE_CALLER:
                continue
            heard = stranger.call(service, operation, arguments)
            if heard.status == 501:
                break
            driven.add(operation)
            wrong += told_something(stranger, estate, service, operation, arguments, heard)
    assert not wrong, "\n".join(wrong[:20])
    assert driven >= MUST_TELL[service]
    after, _ = snapshot(owner, estate)
    changed = [key for key in before if before[key] != after.get(key)] + [key for key in after if key not in before]
    assert not changed, [(key, str(before.get(key)), str(after.get(key))) for key in changed[:5]]


def told_something(stranger, estate, service, operation, arguments, heard):
    """What is wrong with an answer to a stranger, if anything."""
    case = f"{service} {operation} {arguments}"
    if heard.status >= 500:
        return [f"{case}: {heard}"]
    if HUSH in (heard.body.decode(errors="replace").replace(f'"{HUSH}"', "") if "tagKeys" in arguments else heard.body.decode(errors="replace")):
        return [f"{case}: tells what is the victim's: {heard}"]
    if heard.status >= 400 and not REFUSED.search(f"{heard.code} {heard.body[:300]}"):
        return [f"{case}: refused for another reason: {heard}"]
    wrong = []
    # A name that never was; and, where an alias is meant, one that this function has not.
    replaced = [(VICTIM, NOBODY), (f"{VICTIM}-alias", f"{NOBODY}-alias"), (f"{VICTIM}-sid", f"{NOBODY}-sid")]
    for words in replaced:
        ghost = estate.nobodys(arguments, words)
        if ghost == arguments:
            if words[0] == VICTIM and heard.status < 300 and VICTIM.encode() in heard.body:
                wrong.append(f"{case}: lists the victim's: {heard}")
            continue
        other = estate.as_if_ours(stranger.call(service, operation, ghost), words)
        if other != heard:
            wrong.append(f"{case}:\n  of what is:     {heard}\n  of what is not: {other}")
    return wrong


@pytest.mark.parametrize("who", ["root", "user", "session"])
def test_the_platforms_own_door_is_closed_to_another(world, who):
    estate = world.estates["platform"]
    owner, stranger = Caller(world.platform, estate.owner), Caller(world.platform, world.strangers["tenant"][who])
    before, _ = snapshot(owner, estate)
    function_arn = estate.arn("lambda", f"function:{VICTIM}-fn")
    layer_arn, sha256 = estate.arn("lambda", f"layer:{VICTIM}-layer:1"), "0" * 44
    configuration = json.loads(owner.call("lambda", "GetFunction", {"FunctionName": f"{VICTIM}-fn"}).body)
    sha256 = configuration["Configuration"]["CodeSha256"]
    names = [
        f"{VICTIM}-fn",
        function_arn,
        f"{ACCOUNT}:function:{VICTIM}-fn",
        f"{VICTIM}-fn:1",
        f"{function_arn}:{VICTIM}-alias",
    ]
    scaling = json.dumps({"min_instances": 1}).encode()
    requests = []
    for name in [form.replace(":", "%3A") for form in names] + names[1:2]:
        requests += [
            ("GET", f"logs/{name}", b""),
            ("GET", f"code/{name}?sha256={sha256}", b""),
            ("GET", f"code/{name}", b""),
            ("GET", f"code/{name}?sha256={sha256}&account={ACCOUNT}", b""),
            ("GET", f"functions/{name}", b""),
            ("PUT", f"functions/{name}/scaling", scaling),
            ("GET", f"functions/{name}/egress", b""),
            ("PUT", f"functions/{name}/egress", b'{"rules":[]}'),
            ("DELETE", f"functions/{name}/egress", b""),
        ]
    requests += [("GET", f"layers/{layer_arn.replace(':', '%3A')}?sha256={sha256}", b"")]
    for method, path, body in requests:
        heard = stranger.request(method, f"/_updraft/v1/{path}", body)
        assert heard.status in (400, 403, 404, 405), (method, path, str(heard))
        never = stranger.request(method, f"/_updraft/v1/{path.replace(VICTIM, NOBODY)}", body)
        assert heard == estate.as_if_ours(never), (method, path, str(heard), str(never))
    # The owner's same request finds something: the paths are the right ones.
    assert owner.request("GET", f"/_updraft/v1/functions/{VICTIM}-fn").status == 200
    assert owner.request("GET", f"/_updraft/v1/code/{VICTIM}-fn").status == 200
    after, _ = snapshot(owner, estate)
    assert before == after


@pytest.mark.parametrize("account", ["platform", "tenant"])
@pytest.mark.parametrize("who", ["root", "user", "session"])
def test_accounts_are_the_platform_roots_alone(world, account, who):
    """Neither another account's principals nor the platform account's own administrators see or change accounts."""
    if (account, who) == ("platform", "root"):
        assert world.strangers[account][who].request(world.platform, "GET", "/_updraft/v1/accounts").status == 200
        return
    stranger = Caller(world.platform, world.strangers[account][who])
    tenant = world.strangers["tenant"]["root"]
    answers = set()
    for id, key in ((tenant.account, tenant.id), (ACCOUNT, "test"), ("123123123123", "AKIAAAAAAAAAAAAAAAAA")):
        for method, path, body in [
            ("GET", "accounts", b""),
            ("POST", "accounts", b'{"name":"mine"}'),
            ("DELETE", f"accounts/{id}", b""),
            ("GET", f"accounts/{id}/keys", b""),
            ("POST", f"accounts/{id}/keys", b""),
            ("PUT", f"accounts/{id}/keys/{key}", b'{"status":"Inactive"}'),
            ("DELETE", f"accounts/{id}/keys/{key}", b""),
        ]:
            heard = stranger.request(method, f"/_updraft/v1/{path}", body)
            assert (heard.status, heard.code) == (403, "AccessDeniedException"), (method, path, str(heard))
            answers.add(heard)
    assert len(answers) == 1, [str(one) for one in answers]
    assert tenant.client(world.platform, "sts").get_caller_identity()["Account"] == tenant.account


def test_a_function_url_that_wants_signatures_is_closed_to_another(world):
    estate = world.estates["platform"]
    before = Caller(world.platform, estate.owner).call("logs", "FilterLogEvents", {"logGroupName": f"/aws/lambda/{VICTIM}-fn"})
    for key in world.strangers["tenant"].values():
        heard = key.request(world.platform, "GET", "/", headers={"host": estate.url_host})
        assert heard.status == 403 and HUSH.encode() not in heard.body, str(heard)
    unsigned = send(world.platform, "GET", "/", {"host": estate.url_host})
    assert unsigned.status == 403 and HUSH.encode() not in unsigned.body, str(unsigned)
    after = Caller(world.platform, estate.owner).call("logs", "FilterLogEvents", {"logGroupName": f"/aws/lambda/{VICTIM}-fn"})
    assert json.loads(before.body)["events"] == json.loads(after.body)["events"]


def test_links_to_code_lead_to_nothing_else(world):
    """A link is of one account, one package and one time."""
    platform, strangers = world.platform, world.strangers["tenant"]
    client = strangers["root"].client(platform, "lambda")
    link = client.get_function(FunctionName="stranger-fn")["Code"]["Location"]
    path = "/" + link.split("/", 3)[3]
    host = {"host": platform.url.split("//")[1]}
    assert send(platform, "GET", path, host).status == 200
    for bent in [
        path.replace("stranger-fn", f"{VICTIM}-fn"),
        path.replace(strangers["root"].account, ACCOUNT),
        path.replace("stranger-fn", f"{VICTIM}-fn").replace(strangers["root"].account, ACCOUNT),
        re.sub("until_ms=[0-9]", "until_ms=9", path) if "until_ms=1" in path else path + "0",
        path[:-1] + ("0" if path[-1] != "0" else "1"),
        path.rsplit("&link=", 1)[0],
        path.rsplit("&link=", 1)[0] + f"&account={ACCOUNT}&link=" + path.rsplit("&link=", 1)[1],
    ]:
        heard = send(platform, "GET", bent, host)
        assert heard.status == 403 and not heard.body.startswith(b"PK"), (bent, str(heard))


def test_the_same_names_in_two_accounts(world):
    """Names are an account's own: what a stranger makes under the victim's names is its own, and goes as it came."""
    estate, key = world.estates["platform"], world.strangers["tenant"]["root"]
    owner = Caller(world.platform, estate.owner)
    before, _ = snapshot(owner, estate)
    # The tenant has an estate of the same names already; each must hear of its own.
    theirs = world.estates["tenant"]
    for service, operation, arguments in [
        ("lambda", "GetFunction", {"FunctionName": f"{VICTIM}-fn"}),
        ("lambda", "GetLayerVersion", {"LayerName": f"{VICTIM}-layer", "VersionNumber": 1}),
        ("iam", "GetUser", {"UserName": f"{VICTIM}-user"}),
        ("iam", "GetRole", {"RoleName": f"{VICTIM}-role"}),
        ("logs", "DescribeLogGroups", {}),
        ("ssm", "GetParameter", {"Name": f"/{VICTIM}/plain"}),
        ("secretsmanager", "GetSecretValue", {"SecretId": f"{VICTIM}-secret"}),
    ]:
        for caller, own, other in ((owner, estate, theirs), (Caller(world.platform, key), theirs, estate)):
            heard = caller.call(service, operation, arguments)
            assert heard.status == 200, (operation, str(heard))
            assert own.owner.account.encode() in heard.body and other.owner.account.encode() not in heard.body, operation
    lambda_, iam, logs = (key.client(world.platform, service) for service in ("lambda", "iam", "logs"))
    ssm, secrets = key.client(world.platform, "ssm"), key.client(world.platform, "secretsmanager")
    lambda_.update_function_configuration(FunctionName=f"{VICTIM}-fn", Description="mine")
    lambda_.get_waiter("function_updated_v2").wait(FunctionName=f"{VICTIM}-fn")
    lambda_.delete_alias(FunctionName=f"{VICTIM}-fn", Name=f"{VICTIM}-alias")
    lambda_.create_alias(FunctionName=f"{VICTIM}-fn", Name=f"{VICTIM}-alias", FunctionVersion="1")
    iam.tag_user(UserName=f"{VICTIM}-user", Tags=[{"Key": "mine", "Value": "1"}])
    logs.put_retention_policy(logGroupName=f"/aws/lambda/{VICTIM}-fn", retentionInDays=1)
    ssm.put_parameter(Name=f"/{VICTIM}/plain", Value=HUSH, Type="String", Overwrite=True)
    secrets.put_secret_value(SecretId=f"{VICTIM}-secret", SecretString=HUSH)
    after, _ = snapshot(owner, estate)
    assert before == after


# Credentials that are none

REQUESTS = {
    "lambda": ("GET", "/2015-03-31/functions", b"", {}),
    "iam": ("POST", "/", b"Action=ListUsers&Version=2010-05-08", {"content-type": "application/x-www-form-urlencoded"}),
    "sts": (
        "POST", "/", b"Action=GetCallerIdentity&Version=2011-06-15",
        {"content-type": "application/x-www-form-urlencoded"},
    ),
    "logs": (
        "POST", "/", b"{}",
        {"content-type": "application/x-amz-json-1.1", "x-amz-target": "Logs_20140328.DescribeLogGroups"},
    ),
    "ssm": (
        "POST", "/", b"{}",
        {"content-type": "application/x-amz-json-1.1", "x-amz-target": "AmazonSSM.DescribeParameters"},
    ),
    "secretsmanager": (
        "POST", "/", b"{}",
        {"content-type": "application/x-amz-json-1.1", "x-amz-target": "secretsmanager.ListSecrets"},
    ),
    "admin": ("GET", "/_updraft/v1/accounts", b"", {}),
}


def asked(platform, key, door, **more):
    method, path, body, headers = REQUESTS[door]
    return key.request(
        platform, method, path, service="lambda" if door == "admin" else door, body=body, headers=headers, **more
    )


def code_of(heard):
    """The error's code, wherever the door puts it."""
    found = re.search(rb"<Code>([^<]*)</Code>", heard.body)
    return found.group(1).decode() if found else heard.code.split(":")[0]


def bent(text):
    """The text with its middle character another."""
    middle = len(text) // 2
    return text[:middle] + ("A" if text[middle] != "A" else "B") + text[middle + 1 :]


@pytest.mark.parametrize("door", REQUESTS)
def test_whoever_shows_nothing_or_something_false_is_told_so(world, door):
    platform, root = world.platform, Key(ACCOUNT, "test", "test")
    method, path, body, headers = REQUESTS[door]
    assert asked(platform, root, door).status == 200, "the request is a good one"
    is_query = door in ("iam", "sts")
    unknown = "InvalidClientTokenId" if is_query else "UnrecognizedClientException"
    mismatch = "SignatureDoesNotMatch" if is_query else "InvalidSignatureException"

    unsigned = send(platform, method, path, {"host": platform.url.split("//")[1]} | headers, body)
    assert unsigned.status == 403 and code_of(unsigned).startswith("MissingAuthenticationToken"), str(unsigned)

    iam, sts = root.client(platform, "iam"), root.client(platform, "sts")
    user = f"keys-{door}"
    iam.create_user(UserName=user)
    iam.attach_user_policy(UserName=user, PolicyArn=ADMINISTRATOR)
    made = iam.create_access_key(UserName=user)["AccessKey"]
    key = Key(ACCOUNT, made["AccessKeyId"], made["SecretAccessKey"])
    allowed = 403 if door == "admin" else 200
    assert asked(platform, key, door).status == allowed

    def refused(key, code, **more):
        heard = asked(platform, key, door, **more)
        assert (heard.status, code_of(heard)) == (403, code), str(heard)

    refused(dataclasses.replace(key, secret=bent(key.secret)), mismatch)
    refused(dataclasses.replace(key, id=bent(key.id)), unknown)
    refused(dataclasses.replace(key, token="x"), unknown)
    refused(dataclasses.replace(root, secret="Test"), mismatch)
    an_hour_ago = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
    refused(key, mismatch, at=an_hour_ago.strftime("%Y%m%dT%H%M%SZ"))

    # A session: whole, without its token, with one bent anywhere, with another's.
    given = key.client(platform, "sts").get_session_token()["Credentials"]
    session = Key(ACCOUNT, given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    assert asked(platform, session, door).status == allowed
    refused(dataclasses.replace(session, token=None), unknown)
    token = session.token
    for at in (0, 1, len(token) // 3, len(token) - 4):
        bad = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        refused(dataclasses.replace(session, token=bad), unknown)
    refused(dataclasses.replace(session, token=token[:-8]), unknown)
    refused(dataclasses.replace(session, secret=bent(session.secret)), mismatch)
    tenants = world.strangers["tenant"]["session"]
    refused(dataclasses.replace(session, token=tenants.token), unknown)
    refused(dataclasses.replace(tenants, token=session.token), unknown)
    refused(dataclasses.replace(key, token=session.token), unknown)
    refused(dataclasses.replace(root, token=session.token), unknown)

    # A key that is disabled, and one that is deleted.
    iam.update_access_key(UserName=user, AccessKeyId=key.id, Status="Inactive")
    refused(key, unknown)
    iam.update_access_key(UserName=user, AccessKeyId=key.id, Status="Active")
    assert asked(platform, key, door).status == allowed
    iam.delete_access_key(UserName=user, AccessKeyId=key.id)
    refused(key, unknown)

    # A session ends with its user, though one of the same name comes after it.
    iam.detach_user_policy(UserName=user, PolicyArn=ADMINISTRATOR)
    iam.delete_user(UserName=user)
    assert asked(platform, session, door).status == 403
    iam.create_user(UserName=user)
    iam.attach_user_policy(UserName=user, PolicyArn=ADMINISTRATOR)
    assert asked(platform, session, door).status == 403
    assert sts.get_caller_identity()["Account"] == ACCOUNT


def test_a_tenants_key_that_is_disabled_or_deleted_opens_nothing(world):
    platform = world.platform
    made = json.loads(platform.updraft("--json", "account", "create", "Passing").stdout)
    account = made["account"]
    key = Key(account, made["key"]["access_key_id"], made["key"]["secret_access_key"])
    given = key.client(platform, "sts").get_session_token()["Credentials"]
    session = Key(account, given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    assert asked(platform, key, "lambda").status == asked(platform, session, "lambda").status == 200
    platform.updraft("account", "key", "disable", account, key.id)
    assert code_of(asked(platform, key, "lambda")) == "UnrecognizedClientException"
    platform.updraft("account", "key", "enable", account, key.id)
    assert asked(platform, key, "lambda").status == 200
    platform.updraft("account", "key", "rm", account, key.id)
    assert code_of(asked(platform, key, "lambda")) == "UnrecognizedClientException"
    platform.updraft("account", "rm", account)
    assert asked(platform, session, "lambda").status == 403


def test_a_session_ends_with_its_role(world):
    platform, root = world.platform, Key(ACCOUNT, "test", "test")
    iam, sts = root.client(platform, "iam"), root.client(platform, "sts")
    document = trusting(AWS=ACCOUNT)
    arn = iam.create_role(RoleName="passing", AssumeRolePolicyDocument=document)["Role"]["Arn"]
    iam.attach_role_policy(RoleName="passing", PolicyArn=ADMINISTRATOR)
    given = sts.assume_role(RoleArn=arn, RoleSessionName="s1")["Credentials"]
    session = Key(ACCOUNT, given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    assert asked(platform, session, "lambda").status == 200
    iam.detach_role_policy(RoleName="passing", PolicyArn=ADMINISTRATOR)
    assert (asked(platform, session, "lambda").status, asked(platform, session, "sts").status) == (403, 200)
    iam.delete_role(RoleName="passing")
    assert asked(platform, session, "lambda").status == 403
    iam.create_role(RoleName="passing", AssumeRolePolicyDocument=document)
    iam.attach_role_policy(RoleName="passing", PolicyArn=ADMINISTRATOR)
    assert asked(platform, session, "lambda").status == 403


def test_figures_are_for_the_platforms_root(world):
    """They name every account's functions. From elsewhere they are asked for with a signature; this host name is not ours."""
    elsewhere = {"host": "figures.example.org"}
    strangers = world.strangers
    root = Key(ACCOUNT, "test", "test").request(world.platform, "GET", "/metrics", headers=elsewhere)
    assert root.status == 200 and b"updraft" in root.body, str(root)
    for key in [*strangers["tenant"].values(), strangers["platform"]["user"], strangers["platform"]["session"]]:
        heard = key.request(world.platform, "GET", "/metrics", headers=elsewhere)
        assert heard.status == 403 and VICTIM.encode() not in heard.body, str(heard)
    assert send(world.platform, "GET", "/metrics", elsewhere).status == 403
