"""Requests made of botocore's service models: values that a shape allows, values that it does not, and how either is written
on the wire. `test_bad_input.py` sends them.

What a model does not say is in the tables: how the things are called that requests should reach. All choices are of a
generator that is passed in: a run repeats.
"""

import base64
import json
import re
import urllib.parse

import botocore.session

from harness import ACCOUNT, PYTHON, REGION, zip_of

SESSION = botocore.session.get_session()
DEPTH_MAX = 4
#: What the things are called that requests are about.
NAME = "bad-input"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/{NAME}"
POLICY_ARN = f"arn:aws:iam::{ACCOUNT}:policy/{NAME}"
FUNCTION_ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{NAME}"
LAYER_ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:{NAME}"
GROUP_ARN = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{NAME}"
CODE = zip_of({"app.py": "def handler(event, context):\n    return 1\n"})
STATEMENT = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
TRUSTED = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}


def document(statement):
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


#: Members whose models say too little for a value that reaches something.
KNOWN = {
    "Resource": FUNCTION_ARN,
    "Arn": f"{LAYER_ARN}:1",
    "FunctionVersion": "1",
    "VersionNumber": 1,
    "Action": "lambda:InvokeFunction",
    "Principal": ACCOUNT,
    "Runtime": PYTHON,
    "Handler": "app.handler",
    "Layers": [f"{LAYER_ARN}:1"],
    "PolicyArn": POLICY_ARN,
    "PermissionsBoundary": POLICY_ARN,
    "RoleArn": ROLE_ARN,
    "Role": ROLE_ARN,
    "PolicyDocument": document(STATEMENT),
    "AssumeRolePolicyDocument": document(TRUSTED),
    "VersionId": "v1",
    "resourceArn": GROUP_ARN,
    "retentionInDays": 7,
    "Type": "String",
    "DataType": "text",
    "Path": "/bad/",
    "NewPath": "/bad/",
    "PathPrefix": "/bad/",
}
#: What pattern there may be, one of these meets it.
CANDIDATES = [
    NAME,
    "1",
    "$LATEST",
    FUNCTION_ARN,
    LAYER_ARN,
    f"{LAYER_ARN}:1",
    ROLE_ARN,
    ACCOUNT,
    "lambda:InvokeFunction",
    "01234567-89ab-cdef-0123-456789abcdef",
    "o-0123456789",
    f"arn:aws:lambda:{REGION}:{ACCOUNT}:code-signing-config:csc-0123456789abcdef0",
    f"arn:aws:lambda:{REGION}:{ACCOUNT}:event-source-mapping:01234567-89ab-cdef-0123-456789abcdef",
    f"arn:aws:sqs:{REGION}:{ACCOUNT}:{NAME}",
    f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{NAME}",
    "/bad/",
    "0123456789ABCDEF",
]
#: Wrong wherever they stand, or nearly.
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
#: Of these something is in no pattern that has any rule at all.
ODD = ["bad input", "bad/input", "bad:input", "bad*input", "b\u00e4d-input", "b\u0000d", "\u20ac", "{}", "", "a" * 13]
#: Texts and lists that would be larger than this are too large for another reason, and are left out.
LENGTH_MAX = 100_000


def model(service):
    return SESSION.get_service_model(service)


def pattern_of(shape):
    """The shape's pattern, if Python can read it; Java's classes of letters are spelt otherwise."""
    text = shape.metadata.get("pattern")
    if text is None:
        return None
    text = text.replace(r"\p{L}\p{Z}\p{N}", r"\w\s").replace(r"\p{P}\p{M}", "!-/:-@")
    try:
        return re.compile(text)
    except re.error:
        return None


def fits(shape, text):
    """Whether a text is one that the shape allows."""
    pattern, length = pattern_of(shape), len(text)
    if shape.enum and text not in shape.enum:
        return False
    if length < int(shape.metadata.get("min", 0)) or length > int(shape.metadata.get("max", length)):
        return False
    return pattern is None or pattern.fullmatch(text) is not None


def sample(shape, rng, depth=0, name=""):
    """A value that the shape allows, as far as its model says."""
    kind = shape.type_name
    if name in KNOWN and (kind != "string" or fits(shape, KNOWN[name])):
        return KNOWN[name]
    if kind == "structure":
        members = shape.members.items() if depth < DEPTH_MAX else ()
        required = set(shape.required_members)
        return {
            name: sample(member, rng, depth + 1, name)
            for name, member in members
            if name in required or rng.random() < 0.3
        }
    if kind == "list":
        return [sample(shape.member, rng, depth + 1, name)] if depth < DEPTH_MAX else []
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
        return CODE
    if shape.enum:
        return rng.choice(shape.enum)
    least = int(shape.metadata.get("min", 1))
    for text in CANDIDATES:
        if fits(shape, text):
            return text
    return (NAME + "x" * least)[: max(least, len(NAME))]


def violations(shape):
    """Values of the shape's type that break what its model says of lengths, numbers, patterns and words."""
    kind, metadata = shape.type_name, shape.metadata
    least, most = int(metadata.get("min", 0)), int(metadata.get("max", LENGTH_MAX + 1))
    if kind == "string":
        if shape.enum:
            yield from ("bad-input", shape.enum[0].swapcase(), "")
            return
        if least > 0:
            yield "x" * (least - 1)
        if most <= LENGTH_MAX:
            yield "x" * (most + 1)
        if pattern := pattern_of(shape):
            yield from [text for text in ODD if least <= len(text) <= most and not pattern.fullmatch(text)][:3]
    elif kind in ("integer", "long"):
        if "min" in metadata:
            yield least - 1
        if "max" in metadata:
            yield int(metadata["max"]) + 1
    elif kind == "list":
        if least > 0:
            yield []
        if most <= 1_000:
            yield most + 1
    elif kind == "map" and most <= 1_000:
        yield most + 1


def of_count(shape, value, rng):
    """A violation that is a count, as so many elements."""
    if shape.type_name == "list" and isinstance(value, int):
        return [sample(shape.member, rng, 1)] * value
    if shape.type_name == "map" and isinstance(value, int):
        return {f"Key{number}": sample(shape.value, rng, 1) for number in range(value)}
    return value


def broken_members(shape, rng, path=()):
    """Every member, and every member's member, with each violation there is of it: where it is, and the value."""
    for name, member in shape.members.items() if shape.type_name == "structure" and len(path) < DEPTH_MAX else ():
        at = (*path, name)
        for value in violations(member):
            yield at, of_count(member, value, rng)
        if member.type_name == "list":
            for value in violations(member.member):
                yield at, [of_count(member.member, value, rng)]
        yield from broken_members(member, rng, at)


def replaced(value, path, new):
    """The value with something else at a path."""
    name, *rest = path
    inner = value.get(name) if isinstance(value, dict) else None
    return (value if isinstance(value, dict) else {}) | {name: replaced(inner, rest, new) if rest else new}


def spoil(value, shape, rng):
    """The same value, wrong in one place."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        key = rng.choice(sorted(value))
        choice = rng.random()
        if choice < 0.15:
            return {name: kept for name, kept in value.items() if name != key}
        if choice < 0.3:
            return value | {"NoSuchMember": rng.choice(WRONG)}
        return value | {key: spoil(value[key], inner_of(shape, key), rng)}
    if isinstance(value, list) and value and rng.random() < 0.5:
        return [spoil(value[0], inner_of(shape, None), rng)] * rng.choice([1, 2, 400])
    wrong = [of_count(shape, one, rng) for one in violations(shape)] if shape is not None else []
    return rng.choice(wrong) if wrong and rng.random() < 0.6 else rng.choice(WRONG)


def inner_of(shape, key):
    """The shape of what stands within one; `None` where the model does not say."""
    if shape is None:
        return None
    if shape.type_name == "structure":
        return shape.members.get(key)
    return {"list": lambda: shape.member, "map": lambda: shape.value}.get(shape.type_name, lambda: None)()


def as_text(value):
    return value if isinstance(value, str) else as_json(value)


def as_json(value):
    """JSON with blobs as the protocols write them."""
    return json.dumps(value, default=lambda blob: base64.b64encode(blob).decode())


def flatten(prefix, value, into):
    """The query protocol's way to write lists and structures."""
    if isinstance(value, dict):
        for name, inner in value.items():
            flatten(f"{prefix}.{name}" if prefix else name, inner, into)
    elif isinstance(value, list):
        for position, inner in enumerate(value[:200]):
            flatten(f"{prefix}.member.{position + 1}", inner, into)
    else:
        into[prefix or "x"] = as_text(value)


def request_of(service, operation, value, safe=""):
    """Method, target, headers and body of one request; `safe` are the characters that stand in a path as they are."""
    meta = service.metadata
    if meta["protocol"] in ("json", "query"):
        headers, target = {}, "/"
        if meta["protocol"] == "json":
            headers = {
                "content-type": f"application/x-amz-json-{meta['jsonVersion']}",
                "x-amz-target": f"{meta['targetPrefix']}.{operation.name}",
            }
            return "POST", target, headers, as_json(value).encode()
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
            encoded = urllib.parse.quote(as_text(given), safe=safe, errors="replace")
            path = path.replace("{" + wire + "}", encoded or "%20")
        elif place == "querystring":
            query += [(wire, as_text(one)) for one in (given if isinstance(given, list) else [given])]
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
        # As signatures are made: a space is %20, never a plus.
        encoded = urllib.parse.urlencode(query, errors="replace", quote_via=urllib.parse.quote, safe="")
        target += ("&" if "?" in path else "?") + encoded
    content = body.get(payload, body) if payload else body
    return operation.http["method"], target.replace(" ", "%20"), headers, as_json(content).encode()
