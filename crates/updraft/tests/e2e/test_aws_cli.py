"""The aws command line with the services beside Lambda: logs, iam, sts. (`aws lambda` is in test_lifecycle.py.)"""

import json
import pathlib
import signal
import subprocess
import sys

import pytest

from harness import ACCOUNT, REPOSITORY, client_environment, wait_until, zip_of

VERSION_2 = REPOSITORY / "target/clients/aws-v2"

SAYS = zip_of({"app.py": "def handler(event, context):\n    print(event['say'])\n    return len(event['say'])\n"})
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": ACCOUNT}, "Action": "sts:AssumeRole"}],
}
READS = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "logs:Get*", "Resource": "*"}]}
BASIC = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"


def test_logs(platform, name):
    platform.create(name, SAYS)
    group = f"/aws/lambda/{name}"
    platform.invoke(name, {"say": "an apple fell"}).expect_ok()
    platform.invoke(name, {"say": '{"fruit": "pear", "grams": 180}'}).expect_ok()

    describe = ("logs", "describe-log-groups", "--log-group-name-prefix", group)
    # A line may be on its way for a moment after the answer.
    groups = wait_until(lambda: platform.aws(*describe)["logGroups"], "the function has a log group")
    assert [one["logGroupName"] for one in groups] == [group]
    assert "retentionInDays" not in groups[0]
    platform.aws("logs", "put-retention-policy", "--log-group-name", group, "--retention-in-days", "14")
    assert platform.aws(*describe)["logGroups"][0]["retentionInDays"] == 14

    streams = platform.aws("logs", "describe-log-streams", "--log-group-name", group, "--order-by", "LastEventTime")
    stream = streams["logStreams"][0]["logStreamName"]
    assert "[$LATEST]" in stream
    get = ("logs", "get-log-events", "--log-group-name", group, "--log-stream-name", stream, "--start-from-head")

    def whole():
        messages = [one["message"].rstrip() for one in platform.aws(*get)["events"]]
        return messages if sum(message.startswith("REPORT ") for message in messages) == 2 else None

    messages = wait_until(whole, "both invocations are reported")
    assert messages[0].startswith(("INIT_START", "START RequestId: "))
    assert "an apple fell" in messages

    def found(pattern):
        command = ("logs", "filter-log-events", "--log-group-name", group, "--filter-pattern", pattern)
        return [one["message"].rstrip() for one in platform.aws(*command)["events"]]

    assert wait_until(lambda: found("apple"), "the apple is found") == ["an apple fell"]
    pear = ['{"fruit": "pear", "grams": 180}']
    assert wait_until(lambda: found('{ $.fruit = "pear" && $.grams > 100 }'), "the pear is found") == pear
    assert found('{ $.grams > 200 }') == []


def test_logs_tail(platform, name, tmp_path):
    """`aws logs tail`, once and following, which only version 2 of the command line has."""
    if not (VERSION_2 / "usr/bin/aws").exists():
        pytest.skip("this host's packages have no aws command line of version 2")
    modules = VERSION_2 / "usr/lib/python3/dist-packages"
    environment = client_environment(platform.url) | {"PYTHONPATH": str(modules), "PYTHONUNBUFFERED": "1"}
    # The version that Debian has does not know AWS_ENDPOINT_URL yet.
    tail = ["/usr/bin/python3", str(VERSION_2 / "usr/bin/aws"), "--endpoint-url", platform.url, "logs", "tail"]
    tail += [f"/aws/lambda/{name}", "--since", "1h", "--format", "short"]
    platform.create(name, SAYS)
    platform.invoke(name, {"say": "an apple fell"}).expect_ok()

    def told(*more):
        done = subprocess.run([*tail, *more], capture_output=True, text=True, env=environment, timeout=120)
        # The group is there once the first line is.
        return done.stdout if done.returncode == 0 and "REPORT RequestId: " in done.stdout else None

    lines = wait_until(told, "the call is told whole").splitlines()
    assert [line.split(" ", 1)[1] for line in lines if "apple" in line] == ["an apple fell"]
    assert wait_until(lambda: told("--format", "detailed"), "the details are told").count("[$LATEST]") == len(lines)

    output = tmp_path / "followed.txt"
    with output.open("w") as file:
        following = subprocess.Popen([*tail, "--follow"], stdout=file, stderr=subprocess.STDOUT, env=environment)
    try:
        wait_until(lambda: "an apple fell" in output.read_text(), "what was there is told")
        platform.invoke(name, {"say": "a pear fell"}).expect_ok()
        wait_until(lambda: "a pear fell" in output.read_text(), "what came later is told")
        assert output.read_text().count("an apple fell") == 1
        following.send_signal(signal.SIGINT)
        assert following.wait(timeout=120) in (0, 130, -signal.SIGINT), output.read_text()
    finally:
        if following.poll() is None:
            following.kill()
            following.wait()


def test_iam(platform):
    """A role and a user as a person sets them up in a shell, and takes them down."""
    role, user = "cli-runner", "cli-ada"
    made = platform.aws("iam", "create-role", "--role-name", role, "--assume-role-policy-document", json.dumps(TRUST))
    assert made["Role"]["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/{role}"
    platform.aws("iam", "wait", "role-exists", "--role-name", role)
    assert platform.aws("iam", "get-role", "--role-name", role)["Role"]["AssumeRolePolicyDocument"] == TRUST
    platform.aws("iam", "attach-role-policy", "--role-name", role, "--policy-arn", BASIC)
    attached = platform.aws("iam", "list-attached-role-policies", "--role-name", role)["AttachedPolicies"]
    assert [one["PolicyArn"] for one in attached] == [BASIC]
    own = ("--role-name", role, "--policy-name", "reads")
    platform.aws("iam", "put-role-policy", *own, "--policy-document", json.dumps(READS))
    assert platform.aws("iam", "get-role-policy", *own)["PolicyDocument"] == READS
    assert role in [one["RoleName"] for one in platform.aws("iam", "list-roles")["Roles"]]
    busy = platform.aws("iam", "delete-role", "--role-name", role, check=False)
    assert busy.returncode != 0 and "DeleteConflict" in busy.stderr

    platform.aws("iam", "create-user", "--user-name", user)
    key = platform.aws("iam", "create-access-key", "--user-name", user)["AccessKey"]
    listed = platform.aws("iam", "list-access-keys", "--user-name", user)["AccessKeyMetadata"]
    assert [one["AccessKeyId"] for one in listed] == [key["AccessKeyId"]]

    platform.aws("iam", "delete-access-key", "--user-name", user, "--access-key-id", key["AccessKeyId"])
    platform.aws("iam", "delete-user", "--user-name", user)
    platform.aws("iam", "delete-role-policy", *own)
    platform.aws("iam", "detach-role-policy", "--role-name", role, "--policy-arn", BASIC)
    platform.aws("iam", "delete-role", "--role-name", role)
    gone = platform.aws("iam", "get-role", "--role-name", role, check=False)
    assert gone.returncode != 0 and "NoSuchEntity" in gone.stderr


def test_sts(platform):
    who = platform.aws("sts", "get-caller-identity")
    assert who == {"UserId": ACCOUNT, "Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:root"}
    role = "cli-assumed"
    trust = ("--assume-role-policy-document", json.dumps(TRUST))
    made = platform.aws("iam", "create-role", "--role-name", role, *trust)["Role"]
    assumed = platform.aws("sts", "assume-role", "--role-arn", made["Arn"], "--role-session-name", "shell")
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/shell"
    assert assumed["AssumedRoleUser"]["Arn"] == arn

    # With the session's credentials one is the session.
    session = assumed["Credentials"]
    held = {"AWS_ACCESS_KEY_ID": session["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"]}
    program = pathlib.Path(sys.executable).with_name("aws")
    ask = [str(program), "sts", "get-caller-identity"]
    environment = client_environment(platform.url) | held | {"AWS_SESSION_TOKEN": session["SessionToken"]}
    done = subprocess.run(ask, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"UserId": f"{made['RoleId']}:shell", "Account": ACCOUNT, "Arn": arn}
    platform.aws("iam", "delete-role", "--role-name", role)
