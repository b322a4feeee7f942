"""What compares answers field by field with what AWS itself was recorded to answer.

`golden/recorded.json` has the recordings: a scenario's steps by name, volatile values written as `<name>`. One name
stands for one value all through a scenario. What differs on purpose is named in `golden/differences.json` (members) and
`golden/steps.json` (steps of a scenario), with the reason, and ends up in docs/compatibility.md, and so does how many
recordings there are and which are left out (`golden/coverage.json`).
"""

import json
import pathlib
import re
import tempfile

import pytest
from botocore.exceptions import ClientError

from harness import PYTHON, REGION, Platform, zip_of

HERE = pathlib.Path(__file__).parent / "golden"
RECORDED = json.loads((HERE / "recorded.json").read_text())
DIFFERENT = set(json.loads((HERE / "differences.json").read_text()))
#: Steps that differ for a reason, by scenario.
DIFFERENT_STEPS = json.loads((HERE / "steps.json").read_text())
ACCOUNT = "111111111111"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/service-role"
ONE = zip_of({name: "def handler(event, context):\n    return 1\n" for name in ("index.py", "handler.py")})
LAYER = zip_of({"python/shared.py": "VALUE = 1\n"})
TWO = zip_of({name: "def handler(event, context):\n    return 2\n" for name in ("index.py", "handler.py")})
#: Values that any value stands for.
ANYTHING = {"date", "datetime", "code-sha256", "lambda-url", "function-url", "log-result"}
#: Members that AWS's answers got after some recordings were made.
LATER = {"LoggingConfig", "RuntimeVersionConfig", "SnapStart"}
#: Placeholders that stand for another value each time.
UNBOUND = {"code-size", "duration", "function-url", "location", "layer-location", "log-result", "memory"}


def long(recorded):
    """A recorded text with its `<a:len(9)>` written out."""
    return re.sub(r"<(.):len\(([0-9]+)\)>", lambda found: found[1] * int(found[2]), recorded)


class Scenario:
    """One recorded scenario, and what its placeholders have turned out to stand for."""

    def __init__(self, name):
        self.steps = RECORDED[name]
        self.values = {"partition": "aws", "region": REGION}

    def same(self, step, answer):
        """Checks an answer, or an error's, against the step's recording."""
        if isinstance(answer, ClientError):
            answer = answer.response
        recorded = self.steps[step]
        if isinstance(recorded, dict) and "CreateFunctionResponse" in recorded:
            recorded = recorded["CreateFunctionResponse"]
        if isinstance(recorded, dict) and "Code" in recorded and "Error" in answer:
            # Recorded without the envelope, and what a validation finds one by one, in whatever order.
            answer, recorded = answer["Error"], dict(recorded)
            if "Errors" in recorded:
                count, found = re.fullmatch("([0-9]+) validation errors? detected: (.*)", answer["Message"]).groups()
                answer = {"Code": answer["Code"], "Count": int(count), "Errors": sorted(found.split("; "))}
                recorded["Errors"] = sorted(recorded["Errors"], key=long)
        self._compare(recorded, answer, step)

    def _compare(self, recorded, ours, where):
        key = where.rsplit(".", 1)[-1]
        if key in DIFFERENT or key == "Location":
            return
        if isinstance(recorded, dict) and isinstance(ours, dict):
            if key == "ResponseMetadata":
                assert ours["HTTPStatusCode"] == recorded["HTTPStatusCode"], where
                return
            visible = {name for name in recorded if name not in DIFFERENT}
            # Recordings of paginators have no metadata, and the oldest are of before there was what came later.
            told = set(ours) - DIFFERENT - ({"ResponseMetadata", *LATER} - set(recorded))
            assert told == visible, where
            for name in visible:
                self._compare(recorded[name], ours[name], f"{where}.{name}")
        elif isinstance(recorded, list) and isinstance(ours, list):
            assert len(ours) == len(recorded), (where, ours)
            for position, (theirs, mine) in enumerate(zip(recorded, ours)):
                self._compare(theirs, mine, f"{where}.{position}")
        elif isinstance(recorded, dict) and isinstance(ours, str):
            self._compare(recorded, json.loads(ours), where)
        elif isinstance(recorded, str) and recorded in ANYTHING:
            assert ours, where
        elif isinstance(recorded, str) and isinstance(ours, str) and "<" in recorded:
            self._bind(recorded, ours, where)
        else:
            assert ours == recorded, where

    def _bind(self, recorded, ours, where):
        parts = re.split(r"<([a-z_]+(?:-[a-z0-9_]+)*(?::[0-9]+)?)>", long(recorded))
        pattern = "".join(
            re.escape(part)
            if position % 2 == 0
            else re.escape(self.values[part])
            if part in self.values
            else f"(?P<g{position}>.+)"
            for position, part in enumerate(parts)
        )
        found = re.fullmatch(pattern, ours, re.DOTALL)
        assert found, (where, recorded, ours, self.values)
        for position in range(1, len(parts), 2):
            name = parts[position]
            if name not in self.values and name not in UNBOUND:
                value = found[f"g{position}"]
                if name.startswith("uuid:"):
                    assert value not in self.values.values(), (where, "a revision that was there before")
                self.values[name] = value


@pytest.fixture(scope="module")
def aws(workspace):
    """A platform of the account that the recordings were made in."""
    made = Platform(pathlib.Path(tempfile.mkdtemp(dir=workspace)) / "goldens", arguments=["--account", ACCOUNT]).start()
    client = made.client()
    client.platform = made
    yield client
    made.stop()


@pytest.fixture
def function(request, aws):
    """An unused name; what has it is deleted."""
    # What stands at its end tells it from others of one test.
    name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[-50:].strip("-")
    yield name
    try:
        aws.delete_function(FunctionName=name)
    except aws.exceptions.ResourceNotFoundException:
        pass


def create(aws, name, **more):
    given = {"Handler": "index.handler", "Role": ROLE, "Runtime": PYTHON, "Code": {"ZipFile": ONE}} | more
    made = aws.create_function(FunctionName=name, **given)
    aws.get_waiter("function_active_v2").wait(FunctionName=name)
    return made


def updated(aws, name):
    aws.get_waiter("function_updated_v2").wait(FunctionName=name)


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value


def registry():
    """Scenarios by the names of their recordings, and what registers one."""
    scenarios = {}

    def recorded(*names):
        def register(scenario):
            scenarios.update({name: scenario for name in names})
            return scenario

        return register

    return scenarios, recorded


def play(scenario, aws, name, function):
    it = It(aws, name, function)
    try:
        scenario(it)
        it.finish()
    finally:
        it.end()


def made_as(answer):
    """The parameters of a function that was recorded, as far as they are not its name."""
    answer = answer.get("CreateFunctionResponse", answer)
    return {name: answer[name] for name in ("Description", "Handler", "MemorySize", "Timeout") if name in answer}


class It:
    """A scenario that is being played: sends what it is told to, and compares the answers."""

    def __init__(self, aws, name, function):
        self.aws, self.name, self.fn = aws, name, function
        self.scenario, self.seen = Scenario(name), set()
        self.differing = DIFFERENT_STEPS.get(name, {})
        self.layers, self.others = [], []

    @property
    def parameter(self):
        """What stands in brackets in the recording's name."""
        return re.search(r"\[(.*)\]", self.name)[1]

    @property
    def steps(self):
        return self.scenario.steps

    def arn(self, rest=None, *, region=REGION, account=ACCOUNT):
        return f"arn:aws:lambda:{region}:{account}:function:{rest or self.fn}"

    def layer_arn(self, rest):
        return f"arn:aws:lambda:{REGION}:{ACCOUNT}:layer:{rest}"

    def call(self, operation, **arguments):
        """An answer, or an error's; nothing is checked before it is sent."""
        try:
            answer = self.aws._make_api_call(operation, arguments)
        except ClientError as error:
            return error.response
        if "Payload" in answer:
            answer["Payload"] = answer["Payload"].read().decode()
        return answer

    def same(self, step, answer):
        self.seen.add(step)
        try:
            self.scenario.same(step, answer)
        except AssertionError:
            if step not in self.differing:
                raise
        else:
            assert step not in self.differing, f"{step} is as recorded: take it out of golden/steps.json"
        return answer

    def step(self, step, operation, **arguments):
        return self.same(step, self.call(operation, **arguments))

    def make(self, step=None, *, name=None, settle=True, **more):
        """A function as most recordings have it."""
        name = name or self.fn
        given = {"Handler": "handler.handler", "Role": ROLE, "Runtime": PYTHON, "Code": {"ZipFile": ONE}, "Timeout": 30}
        answer = self.call("CreateFunction", FunctionName=name, **given | more)
        if "Error" not in answer:
            self.others.append(answer["FunctionName"])
            if settle:
                self.settle(answer["FunctionName"])
        else:
            assert step, answer
        return self.same(step, answer) if step else answer

    def settle(self, name=None):
        self.aws.get_waiter("function_active_v2").wait(FunctionName=name or self.fn)
        self.aws.get_waiter("function_updated_v2").wait(FunctionName=name or self.fn)

    def layer(self, step=None, name="layer", **more):
        """Publishes a layer version."""
        name = f"{self.fn}-{name}"
        answer = self.call("PublishLayerVersion", LayerName=name, **{"Content": {"ZipFile": LAYER}} | more)
        if "Version" in answer:
            self.layers.append((name, answer["Version"]))
        return self.same(step, answer) if step else answer

    def end(self):
        for name in self.others:
            self.call("DeleteFunction", FunctionName=name)
        for name, version in self.layers:
            self.call("DeleteLayerVersion", LayerName=name, VersionNumber=version)

    def finish(self):
        left = set(self.steps) - self.seen - set(self.differing)
        assert not left, f"steps that were not sent: {left}"
