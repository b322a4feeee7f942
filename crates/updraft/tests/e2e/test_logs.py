"""CloudWatch Logs as boto3 and the aws command line read functions' logs."""

import time

from harness import ACCOUNT, REGION, zip_of
from identities import (  # noqa: F401 (fixtures are taken by name)
    DENIED_BY_IDENTITY,
    NO_IDENTITY,
    allow,
    deny,
    own,
    root,
)

CODE = zip_of({"app.py": "import json\ndef handler(event, context):\n    print(json.dumps(event))\n    return 1\n"})


def follow(logs, group, until, pattern=""):
    """What `aws logs tail --follow` does: pages to the end, then again from the newest time, each event told once."""
    told, start, deadline = {}, 0, time.monotonic() + 60
    while not until(told) and time.monotonic() < deadline:
        more = {}
        while True:
            page = logs.filter_log_events(
                logGroupName=group, interleaved=True, startTime=start, filterPattern=pattern, **more
            )
            told |= {event["eventId"]: event for event in page["events"]}
            if "nextToken" not in page:
                break
            more = {"nextToken": page["nextToken"]}
        start = max([start, *(event["timestamp"] for event in told.values())])
    return list(told.values())


def test_a_functions_logs_are_tailed_filtered_and_read(platform, name):
    platform.create(name, CODE)
    logs, group = platform.client("logs"), f"/aws/lambda/{name}"
    for number in range(5):
        platform.invoke(name, {"level": "ERROR" if number % 2 else "INFO", "number": number})
    events = follow(logs, group, lambda told: len(told) >= 20)
    assert len(events) == 20
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)
    pattern = '{ $.level = "ERROR" && $.number > 1 }'
    selected = logs.filter_log_events(logGroupName=group, filterPattern=pattern)["events"]
    assert [event["message"].strip() for event in selected] == ['{"level": "ERROR", "number": 3}']

    shown = platform.aws(
        "logs", "filter-log-events", "--log-group-name", group, "--filter-pattern", "REPORT", "--max-items", "3"
    )
    assert len(shown["events"]) == 3 and all(event["message"].startswith("REPORT") for event in shown["events"])

    found = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    assert [one["logGroupName"] for one in found] == [group]
    streams = logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", descending=True)["logStreams"]
    stream = streams[0]["logStreamName"]
    first = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True, limit=2)
    assert first["events"][0]["message"].startswith("START RequestId: ")
    last = logs.get_log_events(logGroupName=group, logStreamName=stream)
    end = logs.get_log_events(logGroupName=group, logStreamName=stream, nextToken=last["nextForwardToken"])
    assert end["events"] == [] and end["nextForwardToken"] == last["nextForwardToken"]


def test_a_group_of_ones_own(platform, name):
    logs = platform.client("logs")
    platform.aws("logs", "create-log-group", "--log-group-name", name, "--tags", "team=core")
    platform.aws("logs", "put-retention-policy", "--log-group-name", name, "--retention-in-days", "7")
    platform.aws("logs", "create-log-stream", "--log-group-name", name, "--log-stream-name", "s")
    now = int(time.time() * 1000)
    put = [{"timestamp": now - 1, "message": "one"}, {"timestamp": now, "message": "two"}]
    logs.put_log_events(logGroupName=name, logStreamName="s", logEvents=put)
    read = logs.get_log_events(logGroupName=name, logStreamName="s", startFromHead=True)["events"]
    assert [(event["timestamp"], event["message"]) for event in read] == [(now - 1, "one"), (now, "two")]
    group = platform.aws("logs", "describe-log-groups", "--log-group-name-prefix", name)["logGroups"][0]
    assert group["retentionInDays"] == 7
    assert logs.list_tags_for_resource(resourceArn=group["logGroupArn"])["tags"] == {"team": "core"}
    platform.aws("logs", "delete-log-group", "--log-group-name", name)
    assert logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"] == []


def test_groups_are_listed_by_whoever_may(own, name):
    """AWS asks on a group and a stream without names."""
    groups = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group"
    asked = f"{groups}::log-stream:"
    for resource in (f"{groups}:*", f"{groups}:*:*", f"{groups}:*:log-stream:*", asked, f"{asked}*", "*"):
        logs = own.user(allow("logs:DescribeLogGroups", resource)).client("logs")
        assert logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"] == [], resource
    user = own.user(allow("logs:DescribeLogGroups", f"{groups}:{name}:*"))
    user.denied("logs:DescribeLogGroups", asked, NO_IDENTITY, user.client("logs").describe_log_groups)
    user = own.user(allow("*"), deny("logs:DescribeLogGroups", f"{groups}:*"))
    user.denied("logs:DescribeLogGroups", asked, DENIED_BY_IDENTITY, user.client("logs").describe_log_groups)


def test_a_live_tail_shows_what_is_put_once(platform, name):
    logs = platform.client("logs", inject_host_prefix=False)
    logs.create_log_group(logGroupName=name)
    logs.create_log_stream(logGroupName=name, logStreamName="s")
    arn = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"][0]["logGroupArn"]

    def put(*texts):
        events = [{"timestamp": int(time.time() * 1000), "message": text} for text in texts]
        logs.put_log_events(logGroupName=name, logStreamName="s", logEvents=events)

    # One group by two names.
    groups = [arn, name, f"{arn}:*"]
    stream = logs.start_live_tail(logGroupIdentifiers=groups, logEventFilterPattern="wanted")["responseStream"]
    shown, left = [], ["wanted too"]
    for event in stream:
        if "sessionStart" in event:
            put("wanted", "other")
        shown += [line["message"] for line in event.get("sessionUpdate", {}).get("sessionResults", [])]
        if "wanted too" in shown:
            break
        if shown and left:
            put(left.pop())
    stream.close()
    assert shown == ["wanted", "wanted too"]
