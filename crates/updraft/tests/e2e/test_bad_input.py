"""Every operation driven with requests that its model does not allow: none may be a 500, break the platform, or succeed by
half.

The shapes are botocore's own service models, so a new operation is covered as soon as it is routed. For each operation a
well-formed request is made from its shape, then spoilt in one place at a time. The choice is seeded: a run repeats.
"""

import json
import random
import urllib.parse

import botocore.session
import http.client
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.model import OperationNotFoundError

from harness import REGION

SESSION = botocore.session.get_session()
SERVICES = ["lambda", "iam", "sts", "logs", "ssm", "secretsmanager"]
#: Spoilt requests per operation; seeded.
TRIES = 12
DEPTH_MAX = 4


def model(service):
    return SESSION.get_service_model(service)


def sample(shape, rng, depth=0):
    """A value that the shape allows, as far as its model says."""
    kind = shape.type_name
    if kind == "structure":
        members = shape.members.items() if depth < DEPTH_MAX else ()
        required = set(shape.required_members)
        return {
            name: sample(member, rng, depth + 1)
            for name, member in members
            if name in required or rng.random() < 0.3
        }
    if kind == "list":
        return [sample(shape.member, rng, depth + 1)] if depth < DEPTH_MAX else []
    if kind == "map":
        return {"Key": sample(shape.value, rng, depth + 1)} if depth < DEPTH_MAX else {}
    if kind in ("integer", "long"):
        return max(int(shape.metadata.get("min", 1)), 1)
    if kind in ("float", "double"):
        return 0.5
    if kind == "boolean":
        return True
    if kind == "timestamp":
        return 1700000000
    if kind == "blob":
        return "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA=="
    if shape.enum:
        return rng.choice(shape.enum)
    least = int(shape.metadata.get("min", 1))
    return ("bad-input" + "x" * least)[: max(least, 9)]


WRONG = [
    None,
    True,
    -1,
    10**30,
    1e308,
    "",
    "x" * 5000,
    "\u0000\ud7ff\u202e",
    "../../etc/passwd",
    "%2e%2e%2f%00",
    "${jndi:ldap://x}",
    [],
    {},
    [[[[[[]]]]]],
    {"a": {"b": {"c": {}}}},
    [1, "a", None],
]


def spoil(value, rng):
    """The same value, wrong in one place."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(sorted(value))
        choice = rng.random()
        if choice < 0.15:
            return {name: kept for name, kept in value.items() if name != key}
        if choice < 0.3:
            return value | {"NoSuchMember": rng.choice(WRONG)}
        return value | {key: spoil(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.5:
        return [spoil(value[0], rng)] * rng.choice([1, 2, 400])
    return rng.choice(WRONG)


def as_text(value):
    return value if isinstance(value, str) else json.dumps(value)


def flatten(prefix, value, into):
    """The query protocol's way to write lists and structures."""
    if isinstance(value, dict):
        for name, inner in value.items():
            flatten(f"{prefix}.{name}" if prefix else name, inner, into)
    elif isinstance(value, list):
        for position, inner in enumerate(value[:20]):
            flatten(f"{prefix}.member.{position + 1}", inner, into)
    else:
        into[prefix or "x"] = as_text(value)


def request_of(service, operation, value, rng):
    """Method, target, headers and body of one request."""
    meta = service.metadata
    if meta["protocol"] in ("json", "query"):
        headers, target = {}, "/"
        if meta["protocol"] == "json":
            headers = {
                "content-type": f"application/x-amz-json-{meta['jsonVersion']}",
                "x-amz-target": f"{meta['targetPrefix']}.{operation.name}",
            }
            return "POST", target, headers, json.dumps(value).encode()
        form = {"Action": operation.name, "Version": meta["apiVersion"]}
        flatten("", value, form)
        headers["content-type"] = "application/x-www-form-urlencoded"
        return "POST", target, headers, urllib.parse.urlencode(form, errors="replace").encode()
    members = operation.input_shape.members if operation.input_shape else {}
    path = operation.http["requestUri"]
    query, headers, body = [], {"content-type": "application/json"}, {}
    payload = operation.input_shape.serialization.get("payload") if operation.input_shape else None
    for name, given in value.items() if isinstance(value, dict) else ():
        member = members.get(name)
        place = member.serialization.get("location") if member is not None else None
        wire = member.serialization.get("name", name) if member is not None else name
        if place == "uri":
            safe = "" if rng.random() < 0.7 else "/%"
            encoded = urllib.parse.quote(as_text(given), safe=safe, errors="replace")
            path = path.replace("{" + wire + "}", encoded or "%20")
        elif place == "querystring":
            query.append((wire, as_text(given)))
        elif place in ("header", "headers"):
            text = "".join(char for char in as_text(given) if " " <= char <= "~")[:4000]
            headers[wire.lower()] = text.strip()
        else:
            body[wire] = given
    while "{" in path:
        start, end = path.index("{"), path.index("}")
        path = path[:start] + "missing" + path[end + 1 :]
    target = path
    if query:
        target += ("&" if "?" in path else "?") + urllib.parse.urlencode(query, errors="replace")
    content = json.dumps(body.get(payload, body) if payload else body).encode()
    return operation.http["method"], target.replace(" ", "%20"), headers, content


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
    """One connection, kept as long as the platform keeps it."""

    def __init__(self, platform):
        self.address = urllib.parse.urlsplit(platform.url).netloc
        self.credentials = Credentials("test", "test")
        self.connection = None

    def send(self, service, method, target, headers, body):
        request = AWSRequest(method, f"http://{self.address}{target}", headers=headers, data=body)
        SigV4Auth(self.credentials, service, REGION).add_auth(request)
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            self.connection.request(method, target, body=body, headers=dict(request.headers.items()))
            answer = self.connection.getresponse()
            content = answer.read()
        except OSError:
            self.connection = None
            raise
        if answer.will_close:
            self.connection.close()
            self.connection = None
        return answer.status, answer.headers, content


def error_code(service, headers, content):
    code = headers.get("x-amzn-errortype")
    if code:
        return code.split(":")[0]
    if service.metadata["protocol"] == "query":
        return content.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()
    return json.loads(content).get("__type", "").rsplit("#", 1)[-1]


@pytest.mark.parametrize("name", SERVICES)
def test_no_spoilt_request_breaks_anything(platform, name):
    service = model(name)
    door = Door(platform)
    answered = {}
    for operation_name in service.operation_names:
        try:
            operation = service.operation_model(operation_name)
        except OperationNotFoundError:
            continue
        rng = random.Random(f"{name}.{operation_name}")
        shape = operation.input_shape
        for _ in range(TRIES):
            good = sample(shape, rng) if shape else {}
            value = spoil(good, rng) if rng.random() < 0.9 else good
            method, target, headers, body = request_of(service, operation, value, rng)
            if rng.random() < 0.05:
                method = rng.choice(["GET", "PUT", "PATCH", "OPTIONS"])
            body = broken(body, rng)
            status, got, content = door.send(name, method, target, headers, body)
            told = (operation_name, method, target[:200], body[:300], status, content[:300])
            assert status < 500 or status == 501, told
            if status >= 400:
                assert error_code(service, got, content), told
                answered[status] = answered.get(status, 0) + 1
    assert platform.is_healthy()
    assert platform.process.poll() is None
    assert answered, "nothing was refused: the requests did not reach the operations"
