"""Nobody reads, changes, invokes or even learns of another account's things, whatever credentials of its own it has.

One account has an estate: a function with everything a function can have, a layer, logs, parameters, secrets, identities.
Strangers with every right in another account drive every operation that the service models know against it. Each answer
must be the one that a name gets which never was, and the estate must be as it was. Which operations there are is read from
botocore, so that a new one is driven without being named here; the tables here and in `driving.py` only say how things are
called.
"""

import copy
import dataclasses
import datetime
import json
import pathlib
import re
import tempfile
import time
import urllib.parse

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from driving import (
    ABOUT_THE_CALLER,
    ALLOWED,
    CODE,
    GIVEN,
    MAKES,
    MUST_TELL,
    REACHES,
    READS,
    REFUSED,
    VOLATILE,
    trusting,
)
from harness import ACCOUNT, PYTHON, REGION, REPOSITORY, Platform, wait_until, zip_of

SERVICES = ["lambda", "iam", "sts", "logs", "ssm", "secretsmanager"]
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
# What the things of two estates are called, and what never was (equally long).
VICTIM, TENANT, NOBODY = "zvictimz", "ztenantz", "znobodyz"


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

    def _hear(self, operation_model, response_dict, **_):
        body = response_dict["body"]
        if not isinstance(body, bytes):
            # A stream. Of events there may be no end: that there is one tells enough.
            body = body.read(12) if operation_model.has_event_stream_output else body.read()
        self.heard = Heard.of(response_dict["status_code"], response_dict["headers"], body)

    def call(self, service, operation, arguments):
        client, self.heard = self.clients[service], None
        try:
            client._make_api_call(operation, copy.deepcopy(arguments))
        except ClientError:
            pass
        except (BotoCoreError, ResponseParserError, ValueError) as error:
            # What was heard counts, whether or not botocore could read it.
            assert self.heard is not None, (service, operation, arguments, error)
        return self.heard

    def request(self, method, path, body=b""):
        return self.key.request(self.platform, method, path, body=body)


# How an account's things are called


def hush(stem):
    return "hush" + stem[::-1]


def everywhere(value, change):
    """The value with all its texts changed."""
    if isinstance(value, dict):
        return {change(name): everywhere(one, change) for name, one in value.items()}
    if isinstance(value, list):
        return [everywhere(one, change) for one in value]
    return change(value) if isinstance(value, str) else value


@dataclasses.dataclass(frozen=True)
class Estate:
    """An account's things, by the names that operations take."""

    owner: Key
    stem: str
    access_key: str
    secret_arn: str
    stream: str
    url_host: str

    @property
    def hush(self):
        """What stands in everything that others must not read."""
        return hush(self.stem)

    def arn(self, service, rest):
        region = "" if service == "iam" else REGION
        return f"arn:aws:{service}:{region}:{self.owner.account}:{rest}"

    def forms(self, service):
        """For each member that names something, all ways in which it can."""
        account, stem = self.owner.account, self.stem
        function = f"{stem}-fn"
        function_arn, group = self.arn("lambda", f"function:{function}"), f"/aws/lambda/{stem}-fn"
        layer, version = self.arn("lambda", f"layer:{stem}-layer"), self.arn("lambda", f"layer:{stem}-layer:1")
        group_arn, parameter = self.arn("logs", f"log-group:{group}"), f"/{stem}/plain"
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
                    f"{function_arn}:{stem}-alias",
                    f"{function_arn}:$LATEST",
                    f"{account}:function:{function}:{stem}-alias",
                ],
                "Qualifier": ["1", f"{stem}-alias", "$LATEST"],
                "Resource": [function_arn, f"{function_arn}:1", layer],
                "ResourceArn": [function_arn, version],
                "LayerName": [layer, f"{stem}-layer"],
                "Arn": [version],
                "Name": [f"{stem}-alias"],
                "FunctionVersion": ["1"],
                "VersionNumber": [1],
                "StatementId": [f"{stem}-sid"],
            },
            "iam": {
                "UserName": [f"{stem}-user"],
                "RoleName": [f"{stem}-role"],
                "GroupName": [f"{stem}-group"],
                "PolicyName": [f"{stem}-policy"],
                "PolicyArn": [self.arn("iam", f"policy/{stem}-policy")],
                "PolicySourceArn": [self.arn("iam", f"user/{stem}-user")],
                "VersionId": ["v1"],
                "AccessKeyId": [self.access_key],
            },
            "sts": {
                "RoleArn": [self.arn("iam", f"role/{stem}-role")],
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
                "Names": [[parameter, parameter_arn, f"/{stem}/sealed"]],
                "Path": [f"/{stem}"],
                "ResourceId": [parameter],
                "ResourceArn": [parameter_arn],
            },
            "secretsmanager": {
                "SecretId": [self.secret_arn, self.secret_arn[:-7], f"{stem}-secret"],
                "SecretIdList": [[self.secret_arn]],
                "Name": [f"{stem}-secret"],
            },
        }[service]

    def given(self, service, operation, account):
        """What an operation takes beside names, of a caller of that account."""
        text = lambda one: one.replace("OWN", account).replace("HUSH", self.hush)
        return everywhere(GIVEN.get((service, operation), {}), text)

    def nobodys(self, value, words):
        """The same, of what never was."""

        def other(text):
            text = text.replace(*words).replace(self.access_key, self.other_key)
            return text.replace(self.stream, self.other_stream)

        return everywhere(value, other)

    def as_if_ours(self, heard, words):
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


def made_up(shape):
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
    return {member: made_up(shape.members[member]) for member in shape.required_members}


def ways(estate, service, model, account):
    """The arguments with which one operation is driven at the estate: each member that names something, in each form."""
    shape, named = model.input_shape, estate.forms(service)
    members = shape.members if shape else {}
    given = estate.given(service, model.name, account)
    base = {member: made_up(members[member]) for member in (shape.required_members if shape else [])}
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


def texts(value):
    if isinstance(value, dict):
        return [text for one in value.values() for text in texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in texts(one)]
    return [value] if isinstance(value, str) else []


# The estates


def make_estate(platform, key, stem):
    """Everything that an account can have here."""
    lambda_, iam, logs = (key.client(platform, service) for service in ("lambda", "iam", "logs"))
    ssm, secrets = key.client(platform, "ssm"), key.client(platform, "secretsmanager")
    function, role, user = f"{stem}-fn", f"{stem}-role", f"{stem}-user"
    word = hush(stem)
    allowed = ALLOWED.replace("HUSH", word)
    code = zip_of({"app.py": f"def handler(event, context):\n    print('{word} was called')\n    return '{word}'\n"})
    layer_code = zip_of({"python/tool.py": f"SAID = '{word}'\n"})
    tags = [{"Key": word, "Value": word}]

    # Whoever has the right may assume the role, within the account; a third account may use the function.
    role_arn = iam.create_role(
        RoleName=role,
        AssumeRolePolicyDocument=trusting(Service="lambda.amazonaws.com", AWS=key.account),
        Description=word,
        Tags=tags,
    )["Role"]["Arn"]
    policy_arn = iam.create_policy(PolicyName=f"{stem}-policy", PolicyDocument=allowed, Tags=tags)["Policy"]["Arn"]
    iam.put_role_policy(RoleName=role, PolicyName=f"{stem}-policy", PolicyDocument=allowed)
    iam.attach_role_policy(RoleName=role, PolicyArn=policy_arn)
    iam.create_user(UserName=user, Tags=tags)
    iam.put_user_policy(UserName=user, PolicyName=f"{stem}-policy", PolicyDocument=allowed)
    iam.attach_user_policy(UserName=user, PolicyArn=policy_arn)
    access_key = iam.create_access_key(UserName=user)["AccessKey"]["AccessKeyId"]
    group_name = f"{stem}-group"
    iam.create_group(GroupName=group_name)
    iam.put_group_policy(GroupName=group_name, PolicyName=f"{stem}-policy", PolicyDocument=allowed)
    iam.attach_group_policy(GroupName=group_name, PolicyArn=policy_arn)
    iam.add_user_to_group(GroupName=group_name, UserName=user)

    layer = lambda_.publish_layer_version(
        LayerName=f"{stem}-layer", Content={"ZipFile": layer_code}, Description=word
    )["LayerVersionArn"]
    lambda_.add_layer_version_permission(
        LayerName=f"{stem}-layer",
        VersionNumber=1,
        StatementId=f"{stem}-sid",
        Action="lambda:GetLayerVersion",
        Principal="999999999999",
    )
    lambda_.create_function(
        FunctionName=function,
        Runtime=PYTHON,
        Handler="app.handler",
        Role=role_arn,
        Code={"ZipFile": code},
        Description=word,
        Environment={"Variables": {"SECRET": word}},
        Tags={word: word},
        Layers=[layer],
        Publish=True,
    )
    lambda_.get_waiter("function_active_v2").wait(FunctionName=function)
    lambda_.get_waiter("published_version_active").wait(FunctionName=function, Qualifier="1")
    lambda_.create_alias(FunctionName=function, Name=f"{stem}-alias", FunctionVersion="1", Description=word)
    for more in ({}, {"Qualifier": f"{stem}-alias"}, {"Qualifier": "1"}):
        lambda_.add_permission(
            FunctionName=function,
            StatementId=f"{stem}-sid",
            Action="lambda:InvokeFunction",
            Principal="999999999999",
            **more,
        )
    url = lambda_.create_function_url_config(FunctionName=function, AuthType="AWS_IAM")["FunctionUrl"]
    lambda_.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=5)
    own = {"FunctionName": function, "Qualifier": "1"}
    provisioned = lambda_.get_provisioned_concurrency_config
    lambda_.put_provisioned_concurrency_config(**own, ProvisionedConcurrentExecutions=1)
    wait_until(lambda: provisioned(**own)["Status"] == "READY", "an instance is kept ready")
    for more in ({}, {"Qualifier": f"{stem}-alias"}, {"Qualifier": "1"}):
        lambda_.put_function_event_invoke_config(FunctionName=function, MaximumRetryAttempts=1, **more)
    lambda_.put_function_recursion_config(FunctionName=function, RecursiveLoop="Allow")
    answer = lambda_.invoke(FunctionName=function)
    assert answer["Payload"].read() == f'"{word}"'.encode()

    ssm.put_parameter(Name=f"/{stem}/plain", Value=word, Type="String", Description=word)
    ssm.put_parameter(Name=f"/{stem}/sealed", Value=word, Type="SecureString")
    secret_arn = secrets.create_secret(Name=f"{stem}-secret", SecretString=word, Description=word, Tags=tags)["ARN"]

    group = f"/aws/lambda/{function}"

    def lines():
        try:
            return logs.filter_log_events(logGroupName=group)["events"]
        except logs.exceptions.ResourceNotFoundException:
            return []

    wait_until(lambda: any("REPORT" in line["message"] for line in lines()), "the function's lines are kept")
    logs.put_retention_policy(logGroupName=group, retentionInDays=7)
    stream = lines()[0]["logStreamName"]
    logs.tag_resource(resourceArn=f"arn:aws:logs:{REGION}:{key.account}:log-group:{group}", tags={word: word})
    return Estate(key, stem, access_key, secret_arn, stream, url.split("/")[2])


def make_strangers(platform, key):
    """Whoever may do everything in an account: its root user, a user, a session of a role, a session of the user."""
    iam, sts, lambda_ = (key.client(platform, service) for service in ("iam", "sts", "lambda"))
    iam.create_user(UserName="stranger")
    iam.create_group(GroupName="stranger")
    iam.attach_user_policy(UserName="stranger", PolicyArn=ADMINISTRATOR)
    iam.create_role(
        RoleName="stranger", AssumeRolePolicyDocument=trusting(AWS=key.account, Service="lambda.amazonaws.com")
    )
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


class World:
    """A platform of three accounts: two with an estate, and a third of strangers alone."""

    def __init__(self, platform, estates, strangers):
        self.platform, self.estates, self.strangers = platform, estates, strangers
        self.callers, self.missing = {}, set()

    def caller(self, key):
        if key not in self.callers:
            self.callers[key] = Caller(self.platform, key)
        return self.callers[key]


@pytest.fixture(scope="module")
def world(workspace):
    # A folder of its own each time: tests that are shared out among workers may have this set up again.
    platform = Platform(pathlib.Path(tempfile.mkdtemp(dir=workspace)) / "accounts").start()
    try:
        keys = {"platform": Key(ACCOUNT, "test", "test")}
        keys |= {name: make_account(platform, name) for name in ("tenant", "other")}
        stems = {"platform": VICTIM, "tenant": TENANT}
        estates = {name: make_estate(platform, keys[name], stem) for name, stem in stems.items()}
        strangers = {name: make_strangers(platform, keys[name]) for name in ("platform", "other")}
        yield World(platform, estates, strangers)
    finally:
        platform.stop()


def make_account(platform, name):
    """A new account; its root user's key."""
    made = json.loads(platform.updraft("--json", "account", "create", name).stdout)
    return Key(made["account"], made["key"]["access_key_id"], made["key"]["secret_access_key"])


def snapshot(world, estate, services=SERVICES):
    """All that the owner can read of its estate, by operation and arguments, and which operations told something."""
    owner, state, told = world.caller(estate.owner), {}, {}
    for service in services:
        told[service] = set()
        for operation in owner.clients[service].meta.service_model.operation_names:
            about = (service, operation)
            if not READS.match(operation) or about in ABOUT_THE_CALLER or about in world.missing:
                continue
            model = owner.clients[service].meta.service_model.operation_model(operation)
            for number, arguments in enumerate(ways(estate, service, model, estate.owner.account)):
                heard = owner.call(service, operation, arguments)
                if heard.status == 501 and number == 0:
                    world.missing.add(about)
                    break
                assert heard.status < 500 or heard.status == 501, (service, operation, arguments, str(heard))
                body = VOLATILE.sub(b"", heard.body)
                state[service, operation, json.dumps(arguments, default=str)] = dataclasses.replace(heard, body=body)
                if heard.status == 200:
                    told[service].add(operation)
    return state, told


def unchanged(before, after):
    changed = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
    assert not changed, [(key, str(before.get(key)), str(after.get(key))) for key in changed[:5]]


def is_ones_own(estate, service, operation, arguments):
    """Whether this is no reaching for another's things, but for the caller's own."""
    if (service, operation) == ("iam", "CreateAccessKey"):
        return "UserName" not in arguments
    names_the_victim = any(estate.owner.account in text for text in texts(arguments))
    return (service, operation) in ABOUT_THE_CALLER or ((service, operation) in MAKES and not names_the_victim)


def built():
    """Lambda's operations that are there, at least in part."""
    page = (REPOSITORY / "docs/compatibility.md").read_text()
    return set(re.findall(r"^[|] (\w+) [|] (?:full|partial) [|]", page, re.MULTILINE))


# Whom whose estate is closed to.
PAIRS = [("platform", "other", who) for who in ("root", "user", "session")] + [("tenant", "platform", "root")]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("victim, other, who", PAIRS)
def test_an_account_is_closed_to_another(world, victim, other, who, service):
    """Every operation: nothing is told, nothing is done, and what is there is as what is not."""
    estate, stranger = world.estates[victim], world.caller(world.strangers[other][who])
    # Whatever is called leaves lines.
    watched = sorted({service, "lambda", "logs"})
    before, told = snapshot(world, estate, watched)
    assert told[service] >= MUST_TELL[service], MUST_TELL[service] - told[service]
    model, driven, wrong = stranger.clients[service].meta.service_model, set(), []
    for operation in model.operation_names:
        if (service, operation) in world.missing:
            continue
        cases = ways(estate, service, model.operation_model(operation), stranger.key.account)
        given = estate.given(service, operation, stranger.key.account)
        forms = estate.forms("sts") | estate.forms(service)
        cases += [given | reach(forms) for of, name, reach in REACHES if (of, name) == (service, operation)]
        for arguments in cases:
            if is_ones_own(estate, service, operation, arguments):
                continue
            heard = stranger.call(service, operation, arguments)
            if heard.status == 501 and operation not in driven:
                world.missing.add((service, operation))
                break
            driven.add(operation)
            wrong += told_something(stranger, estate, service, operation, arguments, heard)
    assert not wrong, f"{len(wrong)}:\n" + "\n".join(wrong[:20])
    assert driven >= MUST_TELL[service] | (built() if service == "lambda" else set())
    unchanged(before, snapshot(world, estate, watched)[0])


def told_something(stranger, estate, service, operation, arguments, heard):
    """What is wrong with an answer to a stranger, if anything."""
    case = f"{service} {operation} {arguments}"
    if heard.status >= 500 and heard.status != 501:
        return [f"{case}: {heard}"]
    if estate.hush.encode() in heard.body and estate.hush not in texts(arguments):
        return [f"{case}: tells what is the victim's: {heard}"]
    if 400 <= heard.status < 500 and not REFUSED.search(f"{heard.code} {heard.body[:300]}"):
        return [f"{case}: refused for another reason: {heard}"]
    stem, wrong = estate.stem, []
    # A name that never was; and, where a part of something is meant, one that it has not.
    for words in [(stem, NOBODY)] + [(f"{stem}-{part}", f"{NOBODY}-{part}") for part in ("alias", "sid")]:
        ghost = estate.nobodys(arguments, words)
        if ghost != arguments:
            other = estate.as_if_ours(stranger.call(service, operation, ghost), words)
            if other != heard:
                wrong.append(f"{case}:\n  of what is:     {heard}\n  of what is not: {other}")
        elif words[0] == stem and stem.encode() in heard.body:
            wrong.append(f"{case}: lists the victim's: {heard}")
    return wrong


@pytest.mark.parametrize("who", ["root", "user", "session"])
def test_the_platforms_own_door_is_closed_to_another(world, who):
    estate, stranger = world.estates["platform"], world.caller(world.strangers["other"][who])
    owner, function = world.caller(estate.owner), f"{VICTIM}-fn"
    before, _ = snapshot(world, estate, ["lambda", "logs"])
    sha256 = json.loads(owner.call("lambda", "GetFunction", {"FunctionName": function}).body)["Configuration"]["CodeSha256"]
    layer = json.loads(owner.call("lambda", "GetLayerVersion", {"LayerName": f"{VICTIM}-layer", "VersionNumber": 1}).body)
    arn, layer_arn = estate.arn("lambda", f"function:{function}"), estate.arn("lambda", f"layer:{VICTIM}-layer:1")
    names = [function, arn, f"{ACCOUNT}:function:{function}", f"{function}:1", f"{arn}:{VICTIM}-alias"]
    code, layer_code = (urllib.parse.quote(text, safe="") for text in (sha256, layer["Content"]["CodeSha256"]))
    requests = [("GET", f"layers/{urllib.parse.quote(layer_arn, safe='')}?sha256={layer_code}", b"")]
    for name in [urllib.parse.quote(name, safe="") for name in names]:
        requests += [
            ("GET", f"logs/{name}", b""),
            ("GET", f"code/{name}?sha256={code}", b""),
            ("GET", f"code/{name}", b""),
            ("GET", f"code/{name}?account={ACCOUNT}&sha256={code}", b""),
            ("GET", f"functions/{name}", b""),
            ("PUT", f"functions/{name}/scaling", b'{"min_instances":1}'),
            ("GET", f"functions/{name}/egress", b""),
            ("PUT", f"functions/{name}/egress", b'{"rules":[]}'),
            ("DELETE", f"functions/{name}/egress", b""),
            ("GET", f"functions/{name}/dead-letters", b""),
        ]
    for principal in (f"user/{VICTIM}-user", f"role/{VICTIM}-role", "root"):
        question = {"principal": estate.arn("iam", principal), "action": "lambda:InvokeFunction", "resource": arn}
        requests.append(("POST", "policy/check", json.dumps(question).encode()))
    for method, path, body in requests:
        heard = stranger.request(method, f"/_updraft/v1/{path}", body)
        assert heard.status in (400, 403, 404, 405), (method, path, str(heard))
        assert "Signature" not in heard.code, (method, path, str(heard))
        ghost = body.replace(VICTIM.encode(), NOBODY.encode())
        never = stranger.request(method, f"/_updraft/v1/{path.replace(VICTIM, NOBODY)}", ghost)
        assert heard == estate.as_if_ours(never, (VICTIM, NOBODY)), (method, path, str(heard), str(never))
    # A question about oneself is answered, and the function's own policy has no part in it.
    for name in (arn, f"{arn}:{VICTIM}-alias", f"{arn}:1"):
        question = json.dumps({"action": "lambda:InvokeFunction", "resource": name})
        asks = [question.encode(), question.replace(VICTIM, NOBODY).encode()]
        heard, never = (stranger.request("POST", "/_updraft/v1/policy/check", ask) for ask in asks)
        assert heard == estate.as_if_ours(never, (VICTIM, NOBODY)) and heard.status == 200, (name, str(heard), str(never))
    # The same requests of the owner's find something: they are good ones.
    for path in (f"functions/{function}", f"code/{function}?sha256={code}", f"logs/{function}"):
        assert owner.request("GET", f"/_updraft/v1/{path}").status == 200
    assert owner.request("GET", f"/_updraft/v1/functions/{function}/dead-letters").status == 200
    assert owner.request("POST", "/_updraft/v1/policy/check", requests[-2][2]).status == 200
    unchanged(before, snapshot(world, estate, ["lambda", "logs"])[0])


@pytest.mark.parametrize(
    "account, who", [("other", "root"), ("other", "user"), ("other", "session"), ("platform", "user"), ("platform", "session")]
)
def test_accounts_are_for_the_platforms_root_alone(world, account, who):
    """Neither another account's principals nor administrators of the platform's own see or change accounts."""
    stranger, tenant = world.caller(world.strangers[account][who]), world.estates["tenant"].owner
    answers = {}
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
            answers[method, path] = heard
    assert len(set(answers.values())) == 1, {key: str(heard) for key, heard in answers.items()}
    assert world.caller(tenant).call("sts", "GetCallerIdentity", {}).status == 200
    assert asked(world.platform, Key(ACCOUNT, "test", "test"), "admin").status == 200


def test_a_function_url_that_wants_signatures_is_closed_to_another(world):
    estate, lines = world.estates["platform"], ("logs", "FilterLogEvents", {"logGroupName": f"/aws/lambda/{VICTIM}-fn"})
    before = world.caller(estate.owner).call(*lines)
    host = {"host": estate.url_host}
    strangers = [key.request(world.platform, "GET", "/", headers=host) for key in world.strangers["other"].values()]
    for heard in [*strangers, send(world.platform, "GET", "/", host)]:
        assert heard.status == 403 and estate.hush.encode() not in heard.body, str(heard)
    assert before.status == 200 and before == world.caller(estate.owner).call(*lines)


def test_links_to_code_lead_to_nothing_else(world):
    """A link is of one account, one package and one time."""
    platform, root = world.platform, world.strangers["other"]["root"]
    link = root.client(platform, "lambda").get_function(FunctionName="stranger-fn")["Code"]["Location"]
    path, host = "/" + link.split("/", 3)[3], {"host": platform.url.split("//")[1]}
    assert send(platform, "GET", path, host).body.startswith(b"PK")
    signed, tag = path.rsplit("&link=", 1)
    for other in [
        path.replace("stranger-fn", f"{VICTIM}-fn"),
        path.replace(root.account, ACCOUNT),
        path.replace("stranger-fn", f"{VICTIM}-fn").replace(root.account, ACCOUNT),
        re.sub("until_ms=[0-9]", "until_ms=9", path),
        f"{signed}&link={tag[:-1]}{'1' if tag[-1] == '0' else '0'}",
        f"{signed}&link={tag[:-2]}",
        f"{signed}&account={ACCOUNT}&link={tag}",
        signed,
    ]:
        heard = send(platform, "GET", other, host)
        assert heard.status == 403 and not heard.body.startswith(b"PK"), (other, str(heard))


def test_the_same_names_in_two_accounts(world):
    """Names are an account's own: whoever has things of the same names has others, and changes those alone."""
    estate, key = world.estates["platform"], make_account(world.platform, "twin")
    before, _ = snapshot(world, estate)
    twins = make_estate(world.platform, key, VICTIM)
    for service, operation, arguments in [
        ("lambda", "GetFunction", {"FunctionName": f"{VICTIM}-fn"}),
        ("lambda", "GetLayerVersion", {"LayerName": f"{VICTIM}-layer", "VersionNumber": 1}),
        ("iam", "GetUser", {"UserName": f"{VICTIM}-user"}),
        ("iam", "GetRole", {"RoleName": f"{VICTIM}-role"}),
        ("logs", "DescribeLogGroups", {}),
        ("ssm", "GetParameter", {"Name": f"/{VICTIM}/plain"}),
        ("secretsmanager", "GetSecretValue", {"SecretId": f"{VICTIM}-secret"}),
    ]:
        for own, other in ((estate, twins), (twins, estate)):
            body = world.caller(own.owner).call(service, operation, arguments).body
            assert own.owner.account.encode() in body, (operation, body)
            assert other.owner.account.encode() not in body, (operation, body)
    lambda_, iam, logs = (key.client(world.platform, service) for service in ("lambda", "iam", "logs"))
    ssm, secrets = key.client(world.platform, "ssm"), key.client(world.platform, "secretsmanager")
    iam.tag_user(UserName=f"{VICTIM}-user", Tags=[{"Key": "mine", "Value": "1"}])
    iam.update_access_key(UserName=f"{VICTIM}-user", AccessKeyId=twins.access_key, Status="Inactive")
    logs.put_retention_policy(logGroupName=f"/aws/lambda/{VICTIM}-fn", retentionInDays=1)
    logs.delete_log_group(logGroupName=f"/aws/lambda/{VICTIM}-fn")
    ssm.put_parameter(Name=f"/{VICTIM}/plain", Value="mine", Type="String", Overwrite=True)
    ssm.delete_parameters(Names=[f"/{VICTIM}/plain", f"/{VICTIM}/sealed"])
    secrets.put_secret_value(SecretId=f"{VICTIM}-secret", SecretString="mine")
    secrets.delete_secret(SecretId=f"{VICTIM}-secret", ForceDeleteWithoutRecovery=True)
    lambda_.delete_function_concurrency(FunctionName=f"{VICTIM}-fn")
    lambda_.delete_alias(FunctionName=f"{VICTIM}-fn", Name=f"{VICTIM}-alias")
    lambda_.delete_function(FunctionName=f"{VICTIM}-fn")
    lambda_.delete_layer_version(LayerName=f"{VICTIM}-layer", VersionNumber=1)
    unchanged(before, snapshot(world, estate)[0])


def test_an_account_made_again_finds_nothing(world):
    """Under the number of a deleted one: nothing of that is told, nothing is in the way, and nothing is done."""
    platform, number = world.platform, "424242424242"
    create = ["--json", "account", "create", "again", "--id", number]
    key_of = lambda made: Key(number, made["key"]["access_key_id"], made["key"]["secret_access_key"])
    key = key_of(json.loads(platform.updraft(*create).stdout))
    estate = make_estate(platform, key, VICTIM)
    told = snapshot(world, estate)[1]
    assert all(told[service] >= MUST_TELL[service] for service in SERVICES)
    lambda_, user = key.client(platform, "lambda"), Key(number, estate.access_key, "x")
    kept = platform.updraft("account", "rm", number, check=False)
    assert kept.returncode == 4 and "has functions" in kept.stderr
    lambda_.delete_function(FunctionName=f"{VICTIM}-fn")
    platform.updraft("account", "rm", number)
    assert asked(platform, key, "lambda").status == 403

    key = key_of(json.loads(platform.updraft(*create).stdout))
    found = dataclasses.replace(estate, owner=key)
    state, _ = snapshot(world, found)
    told = [(about, str(heard)) for about, heard in state.items() if estate.hush.encode() in heard.body]
    assert not told, told[:5]
    logs, secrets = key.client(platform, "logs"), key.client(platform, "secretsmanager")
    assert logs.describe_log_groups()["logGroups"] == []
    assert secrets.list_secrets()["SecretList"] == []
    assert key.client(platform, "ssm").describe_parameters()["Parameters"] == []
    assert key.client(platform, "lambda").list_layers()["Layers"] == []
    assert key.client(platform, "iam").list_users()["Users"] == []
    assert asked(platform, user, "iam").status == 403
    # All of the same names can be made anew, and numbers begin at one.
    make_estate(platform, key, VICTIM)
    assert key.client(platform, "lambda").list_layer_versions(LayerName=f"{VICTIM}-layer")["LayerVersions"][0]["Version"] == 1
    key.client(platform, "lambda").delete_function(FunctionName=f"{VICTIM}-fn")
    platform.updraft("account", "rm", number)


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
    # Nothing that expires makes what does not.
    assert asked(platform, session, door).status == (403 if door == "iam" else allowed)
    refused(dataclasses.replace(session, token=None), unknown)
    token = session.token
    for at in (0, 1, len(token) // 3, len(token) - 4):
        bad = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        refused(dataclasses.replace(session, token=bad), unknown)
    refused(dataclasses.replace(session, token=token[:-8]), unknown)
    refused(dataclasses.replace(session, secret=bent(session.secret)), mismatch)
    others = world.strangers["other"]["session"]
    refused(dataclasses.replace(session, token=others.token), unknown)
    refused(dataclasses.replace(others, token=session.token), unknown)
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
    key = make_account(platform, "passing")
    account = key.account
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
    for key in [*strangers["other"].values(), strangers["platform"]["user"], strangers["platform"]["session"]]:
        heard = key.request(world.platform, "GET", "/metrics", headers=elsewhere)
        assert heard.status == 403 and VICTIM.encode() not in heard.body, str(heard)
    assert send(world.platform, "GET", "/metrics", elsewhere).status == 403
