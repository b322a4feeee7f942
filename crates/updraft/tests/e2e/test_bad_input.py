"""Every operation driven with requests that its model does not allow: none may be a 500, be refused with an error that its
service does not have, break the platform, or succeed by half.

The shapes are botocore's own service models, so a new operation is covered as soon as it is routed. For each operation a
well-formed request is made from its shape (`shapes.py`), then spoilt in one place at a time: by what its model forbids, and
by what nobody expects. What the requests name is there, so that they get as far as they can.
"""

import http.client
import json
import random
import re
import urllib.parse

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from harness import REGION, wait_until
from shapes import (
    CODE,
    FUNCTION_ARN,
    GROUP_ARN,
    KNOWN,
    LAYER_ARN,
    NAME,
    POLICY_ARN,
    ROLE_ARN,
    broken_members,
    model,
    replaced,
    request_of,
    sample,
    spoil,
)

SERVICES = ["lambda", "iam", "sts", "logs", "ssm", "secretsmanager"]
#: Spoilt requests per operation; seeded.
TRIES = 12
#: Operations that change nothing, whatever they answer.
READS = re.compile("(BatchGet|Get|List|Describe|Filter|Simulate|Validate|StartLiveTail)")
#: What any operation of a service may answer, whether or not its model says so: the services' common errors
#: (source: «Common Errors» of each API reference, and for Lambda what was recorded of it).
COMMON = {
    "AccessDeniedException", "InternalFailure", "InvalidSignatureException", "MissingAuthenticationTokenException",
    "RequestEntityTooLargeException", "SerializationException", "ThrottlingException", "UnknownOperationException",
    "UnrecognizedClientException", "ValidationException",
}
COMMON_OF = {
    "lambda": COMMON | {"InvalidRequestContentException"},
    # Which is how it words validation, whatever the model says of one operation.
    "logs": COMMON | {"InvalidParameterException"},
    "ssm": COMMON,
    "secretsmanager": COMMON,
}
COMMON_OF["iam"] = COMMON_OF["sts"] = {
    "AccessDenied", "InternalFailure", "InvalidAction", "InvalidClientTokenId", "InvalidParameterCombination",
    "InvalidParameterValue", "MalformedQueryString", "MissingAction", "MissingAuthenticationToken", "MissingParameter",
    "SignatureDoesNotMatch", "Throttling", "ValidationError",
}

#: What is taken though a model forbids it, by service, operation and member, and why.
TAKEN = [
    ("lambda", "PublishVersion|UpdateFunctionConfiguration", "PublishTo|CapacityProvider.*|RuntimeConfig.*", "asks for nothing"),
    ("lambda", "ListEventSourceMappings|ListFunctions", "EventSourceArn|MasterRegion", "selects among what is not there"),
    ("lambda", "List.*", "MaxItems", "a page has as many as there may be"),
    ("lambda|logs|iam", "Untag.*", "TagKeys|tagKeys|tags", "nothing has such a key"),
    ("iam", "List.*", "Marker|MaxItems|PathPrefix|AssignmentStatus|.*Name", "there are none, or all are told at once"),
    ("iam", "UpdateRole.*", "Description", "any text describes, once a role is there"),
    ("logs", "DescribeLogGroups", "accountIdentifiers|logGroupClass|logGroupIdentifiers", "selects among what is not there"),
    ("logs", "PutLogEvents", "sequenceToken|entity.*", "says nothing any more, or nothing here"),
]

# What there is for requests to reach: made again before an operation whenever the last one may have taken it away.
FUNCTION, LAYER = {"FunctionName": NAME}, {"LayerName": NAME, "VersionNumber": 1}
USER, ROLE, GROUP, POLICY = {"UserName": NAME}, {"RoleName": NAME}, {"GroupName": NAME}, {"PolicyArn": POLICY_ARN}
INLINE = {"PolicyName": NAME, "PolicyDocument": KNOWN["PolicyDocument"]}
THERE = {
    "lambda": [
        ("PublishLayerVersion", {"LayerName": NAME, "Content": {"ZipFile": CODE}}),
        (
            "CreateFunction",
            FUNCTION
            | {"Runtime": KNOWN["Runtime"], "Handler": "app.handler", "Role": ROLE_ARN, "Code": {"ZipFile": CODE}}
            | {"Publish": True},
        ),
        ("CreateAlias", FUNCTION | {"Name": NAME, "FunctionVersion": "1"}),
        ("CreateFunctionUrlConfig", FUNCTION | {"AuthType": "AWS_IAM"}),
        (
            "AddPermission",
            FUNCTION | {"StatementId": NAME, "Action": "lambda:InvokeFunction", "Principal": "s3.amazonaws.com"},
        ),
        ("PutFunctionEventInvokeConfig", FUNCTION | {"MaximumRetryAttempts": 1}),
    ],
    "iam": [
        ("CreatePolicy", INLINE),
        ("CreateUser", USER),
        ("CreateGroup", GROUP),
        ("CreateRole", ROLE | {"AssumeRolePolicyDocument": KNOWN["AssumeRolePolicyDocument"]}),
        ("AddUserToGroup", GROUP | USER),
        ("PutUserPolicy", USER | INLINE),
        ("PutGroupPolicy", GROUP | INLINE),
        ("PutRolePolicy", ROLE | INLINE),
        ("AttachUserPolicy", USER | POLICY),
        ("AttachRolePolicy", ROLE | POLICY),
    ],
    "sts": [],
    "logs": [
        ("CreateLogGroup", {"logGroupName": NAME}),
        ("CreateLogStream", {"logGroupName": NAME, "logStreamName": NAME}),
    ],
    "ssm": [("PutParameter", {"Name": NAME, "Value": "x", "Type": "String"})],
    "secretsmanager": [("CreateSecret", {"Name": NAME, "SecretString": "x"})],
}
# What is looked at before and after: all that there is, and all that is said of what the requests name.
LOOKS = {
    "lambda": [
        ("ListFunctions", {"FunctionVersion": "ALL"}),
        ("ListLayers", {}),
        ("ListLayerVersions", {"LayerName": NAME}),
        ("GetLayerVersionPolicy", LAYER),
        ("GetFunctionConfiguration", FUNCTION),
        ("GetPolicy", FUNCTION),
        ("ListAliases", FUNCTION),
        ("ListFunctionUrlConfigs", FUNCTION),
        ("ListFunctionEventInvokeConfigs", FUNCTION),
        ("ListProvisionedConcurrencyConfigs", FUNCTION),
        ("GetFunctionConcurrency", FUNCTION),
        ("GetFunctionRecursionConfig", FUNCTION),
        ("GetRuntimeManagementConfig", FUNCTION),
        ("ListTags", {"Resource": FUNCTION_ARN}),
    ],
    "iam": [
        ("ListUsers", {}),
        ("ListGroups", {}),
        ("ListRoles", {}),
        ("ListPolicies", {"Scope": "Local"}),
        ("ListAccessKeys", {}),
        ("ListAccessKeys", USER),
        ("GetGroup", GROUP),
        *[(f"List{kind}Policies", name) for kind, name in (("User", USER), ("Group", GROUP), ("Role", ROLE))],
        *[(f"ListAttached{kind}Policies", name) for kind, name in (("User", USER), ("Group", GROUP), ("Role", ROLE))],
        *[(f"List{kind}Tags", name) for kind, name in (("User", USER), ("Role", ROLE), ("Policy", POLICY))],
        ("ListPolicyVersions", POLICY),
    ],
    "sts": [],
    "logs": [
        ("DescribeLogGroups", {}),
        ("DescribeLogStreams", {"logGroupName": NAME}),
        ("ListTagsForResource", {"resourceArn": GROUP_ARN}),
        ("FilterLogEvents", {"logGroupName": NAME}),
    ],
    "ssm": [("DescribeParameters", {}), ("GetParameterHistory", {"Name": NAME})],
    "secretsmanager": [
        ("ListSecrets", {"IncludePlannedDeletion": True}),
        ("DescribeSecret", {"SecretId": NAME}),
        ("ListSecretVersionIds", {"SecretId": NAME, "IncludeDeprecated": True}),
    ],
}
#: What changes by itself: ids of answers, and links.
VOLATILE = re.compile(rb'<RequestId>[^<]*</RequestId>|"Location":"[^"]*"|"storedBytes":[0-9]+')


def broken(body, rng):
    choice = rng.random()
    if choice < 0.1:
        return body[: len(body) // 2]
    if choice < 0.15:
        return b"\xff\xfe" + body
    if choice < 0.2:
        return b"[" * 3000
    return body


class Door:
    """One connection to one service, kept as long as the platform keeps it."""

    def __init__(self, platform, name):
        self.address = urllib.parse.urlsplit(platform.url).netloc
        self.name, self.service = name, model(name)
        self.credentials = Credentials("test", "test")
        self.connection = None

    def send(self, method, target, headers, body):
        request = AWSRequest(method, f"http://{self.address}{target}", headers=headers, data=body)
        SigV4Auth(self.credentials, self.name, REGION).add_auth(request)
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            self.connection.request(method, target, body=body, headers=dict(request.headers.items()))
            answer = self.connection.getresponse()
            # A stream of events has no end of its own.
            is_stream = "eventstream" in answer.headers.get("content-type", "") and self.name == "logs"
            content = answer.read(12) if is_stream else answer.read()
        except OSError:
            self.connection = None
            raise
        if answer.will_close or is_stream:
            self.connection.close()
            self.connection = None
        return answer.status, answer.headers, content

    def call(self, operation, arguments):
        """A good request; status and body."""
        operation = self.service.operation_model(operation)
        status, _, content = self.send(*request_of(self.service, operation, arguments))
        return status, VOLATILE.sub(b"", content)

    def look(self):
        """All that there is, once nothing of it is about to change by itself."""

        def settled():
            found = [self.call(*look) for look in LOOKS[self.name]]
            is_moving = any(word in body for _, body in found for word in (b'"Pending"', b'"InProgress"', b'"IN_PROGRESS"'))
            return None if is_moving else {"looks": found}

        return wait_until(settled, "what was asked for is done")["looks"]

    def restore(self):
        for operation, arguments in THERE[self.name]:
            self.call(operation, arguments)

    def operations(self):
        return [self.service.operation_model(name) for name in self.service.operation_names]

    def code(self, headers, content):
        """The code of an error."""
        if code := headers.get("x-amzn-errortype"):
            return code.split(":")[0]
        if self.service.metadata["protocol"] == "query":
            return content.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()
        return json.loads(content).get("__type", "").rsplit("#", 1)[-1]

    def codes(self, operation):
        """The codes that an operation may refuse with."""
        own = {shape.metadata.get("error", {}).get("code", shape.name) for shape in operation.error_shapes}
        return own | COMMON_OF[self.name]


class Watch:
    """Sees that refused requests leave everything as it was."""

    def __init__(self, door):
        self.door, self.wrong = door, []
        door.restore()
        self.before = door.look()

    def after(self, operation, status, told):
        """To be called after each request."""
        if READS.match(operation.name):
            return
        now = self.door.look()
        if status >= 400 and now != self.before:
            changed = [pair for pair in zip(self.before, now) if pair[0] != pair[1]]
            self.wrong.append((told, "something remains of it", changed))
        if status < 400:
            self.door.restore()
            now = self.door.look()
        self.before = now


@pytest.fixture
def door(request, private):
    return Door(private(), request.param)


def checked(door, operation, told, wrong):
    """Whether an answer is one that the operation may give."""
    status, headers, content = told[-3:]
    if status >= 500 and status != 501:
        wrong.append((told, "a server's error"))
    elif status >= 400:
        code = door.code(headers, content)
        allowed = {"NotImplementedException"} if status == 501 else door.codes(operation)
        if code not in allowed:
            wrong.append((operation.name, told, f"{code} is no error of {operation.name}"))


def is_taken(service, operation, path, bad):
    """Whether something forbidden may be taken nevertheless; the last of each rule is the reason."""
    member = operation.input_shape.members[path[0]]
    if bad == "" and member.serialization.get("location") in ("header", "querystring"):
        # An empty one is none.
        return True
    asked = (service, operation.name, ".".join(path))
    return any(all(re.fullmatch(*pair) for pair in zip(rule, asked)) for *rule, _ in TAKEN)


def shown(wrong):
    return f"{len(wrong)}:\n" + "\n".join(str(one)[:1500] for one in wrong[:40])


@pytest.mark.parametrize("door", SERVICES, indirect=True)
def test_no_spoilt_request_breaks_anything(door):
    watch, wrong, answered = Watch(door), [], {}
    for operation in door.operations():
        rng = random.Random(f"{door.name}.{operation.name}")
        shape = operation.input_shape
        for _ in range(TRIES):
            good = sample(shape, rng) if shape else {}
            value = spoil(good, shape, rng) if rng.random() < 0.9 else good
            method, target, headers, body = request_of(door.service, operation, value, "" if rng.random() < 0.7 else "/%")
            if rng.random() < 0.05:
                method = rng.choice(["GET", "PUT", "PATCH", "OPTIONS"])
            body = broken(body, rng)
            status, got, content = door.send(method, target, headers, body)
            told = (operation.name, method, target[:200], body[:300], status, got, content[:300])
            checked(door, operation, told, wrong)
            if status == 501:
                continue
            answered[status] = answered.get(status, 0) + 1
            watch.after(operation, status, told)
    assert not wrong, shown(wrong)
    assert not watch.wrong, shown(watch.wrong)
    assert any(status >= 400 for status in answered), "nothing was refused: the requests did not reach the operations"


@pytest.mark.parametrize("door", SERVICES, indirect=True)
def test_what_a_model_forbids_is_refused(door):
    """Every bound that a model has, broken once: of lengths, numbers, counts, patterns and words."""
    watch, wrong, count = Watch(door), [], 0
    for operation in door.operations():
        rng = random.Random(f"{door.name}.{operation.name}")
        shape = operation.input_shape
        required = {name: sample(shape.members[name], rng, 1, name) for name in shape.required_members} if shape else {}
        for path, bad in broken_members(shape, rng) if shape else ():
            value = replaced(required, path, bad)
            request = request_of(door.service, operation, value)
            status, got, content = door.send(*request)
            if status == 501:
                break
            told = (operation.name, ".".join(path), str(bad)[:80], request[1][:200], status, got, content[:300])
            checked(door, operation, told, wrong)
            if status < 400 and not is_taken(door.name, operation, path, bad):
                wrong.append((told, "was taken"))
            watch.after(operation, status, told)
            count += 1
    assert not wrong, shown(wrong)
    assert not watch.wrong, shown(watch.wrong)
    assert count or door.name == "sts", "nothing was sent"
