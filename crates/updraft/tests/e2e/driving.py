"""How the operations of every service are driven at somebody's estate: what they take beside names, what their answers may
be, and which of them its owner must have heard something of. `test_accounts.py` does the driving.
"""

import json
import re
import time

from harness import PYTHON, zip_of

CODE = zip_of({"app.py": "def handler(event, context):\n    return 1\n"})
LAYER = zip_of({"python/tool.py": "SAID = 1\n"})


def trusting(**principal):
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


# In texts to send, HUSH stands for the estate's secret word and OWN for the caller's account.
ALLOWED = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Sid": "HUSH", "Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
)

# What an operation takes beside names, where its model alone does not say enough.
NOW_MS = int(time.time() * 1000)
GIVEN = {
    ("lambda", "AddPermission"): {"StatementId": "mine", "Action": "lambda:*", "Principal": "*"},
    ("lambda", "AddLayerVersionPermission"): {
        "StatementId": "mine", "Action": "lambda:GetLayerVersion", "Principal": "*",
    },
    ("lambda", "CreateAlias"): {"Name": "mine", "FunctionVersion": "$LATEST"},
    ("lambda", "CreateFunction"): {
        "Runtime": PYTHON, "Handler": "app.handler", "Code": {"ZipFile": CODE}, "Role": "arn:aws:iam::OWN:role/stranger",
    },
    ("lambda", "CreateFunctionUrlConfig"): {"AuthType": "NONE"},
    ("lambda", "Invoke"): {"Payload": b"{}"},
    ("lambda", "InvokeAsync"): {"InvokeArgs": b"{}"},
    ("lambda", "InvokeWithResponseStream"): {"Payload": b"{}"},
    ("lambda", "PublishLayerVersion"): {"Content": {"ZipFile": LAYER}},
    ("lambda", "TagResource"): {"Tags": {"mine": "1"}},
    ("lambda", "UntagResource"): {"TagKeys": ["HUSH"]},
    ("lambda", "UpdateAlias"): {"FunctionVersion": "$LATEST"},
    ("lambda", "UpdateFunctionCode"): {"ZipFile": LAYER},
    ("lambda", "UpdateFunctionConfiguration"): {"Description": "mine", "Environment": {"Variables": {"MINE": "1"}}},
    ("lambda", "UpdateFunctionUrlConfig"): {"AuthType": "NONE"},
    ("lambda", "PutFunctionEventInvokeConfig"): {"MaximumRetryAttempts": 0},
    ("lambda", "UpdateFunctionEventInvokeConfig"): {"MaximumRetryAttempts": 0},
    ("lambda", "PutFunctionRecursionConfig"): {"RecursiveLoop": "Terminate"},
    ("iam", "PutGroupPolicy"): {"PolicyDocument": ALLOWED},
    ("iam", "UpdateGroup"): {"NewPath": "/mine/"},
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
    ("iam", "UntagUser"): {"TagKeys": ["HUSH"]},
    ("iam", "UntagRole"): {"TagKeys": ["HUSH"]},
    ("iam", "UntagPolicy"): {"TagKeys": ["HUSH"]},
    ("sts", "AssumeRole"): {"RoleSessionName": "mine"},
    ("logs", "CreateLogStream"): {"logStreamName": "mine"},
    ("logs", "PutLogEvents"): {"logEvents": [{"timestamp": NOW_MS, "message": "mine"}]},
    ("logs", "PutRetentionPolicy"): {"retentionInDays": 1},
    ("logs", "TagResource"): {"tags": {"mine": "1"}},
    ("logs", "UntagResource"): {"tagKeys": ["HUSH"]},
    ("logs", "TagLogGroup"): {"tags": {"mine": "1"}},
    ("logs", "UntagLogGroup"): {"tags": ["HUSH"]},
    ("ssm", "PutParameter"): {"Value": "mine", "Type": "String", "Overwrite": True},
    ("ssm", "GetParameter"): {"WithDecryption": True},
    ("ssm", "GetParameters"): {"WithDecryption": True},
    ("ssm", "GetParameterHistory"): {"WithDecryption": True},
    ("ssm", "GetParametersByPath"): {"WithDecryption": True, "Recursive": True},
    ("secretsmanager", "PutSecretValue"): {"SecretString": "mine"},
    ("secretsmanager", "UpdateSecret"): {"SecretString": "mine"},
    ("secretsmanager", "DeleteSecret"): {"ForceDeleteWithoutRecovery": True},
    ("secretsmanager", "TagResource"): {"Tags": [{"Key": "mine", "Value": "1"}]},
    ("secretsmanager", "UntagResource"): {"TagKeys": ["HUSH"]},
}
# More ways to reach for something: through what one may make or change in one's own account.
REACHES = [
    ("lambda", "CreateFunction", lambda it: {"FunctionName": "mine", "Layers": it["Arn"]}),
    ("lambda", "CreateFunction", lambda it: {"FunctionName": "mine", "Role": it["RoleArn"][0]}),
    ("lambda", "UpdateFunctionConfiguration", lambda it: {"FunctionName": "stranger-fn", "Layers": it["Arn"]}),
    ("lambda", "UpdateFunctionConfiguration", lambda it: {"FunctionName": "stranger-fn", "Role": it["RoleArn"][0]}),
    (
        "lambda",
        "PutFunctionEventInvokeConfig",
        lambda it: {
            "FunctionName": "stranger-fn", "DestinationConfig": {"OnSuccess": {"Destination": it["FunctionName"][0]}},
        },
    ),
    ("iam", "AddUserToGroup", lambda it: {"UserName": "stranger", "GroupName": it["GroupName"][0]}),
    ("iam", "AddUserToGroup", lambda it: {"UserName": it["UserName"][0], "GroupName": "stranger"}),
    ("iam", "AttachGroupPolicy", lambda it: {"GroupName": "stranger", "PolicyArn": it["PolicyArn"][0]}),
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
    ("iam", "CreateGroup"),
    ("iam", "CreateRole"),
    ("iam", "CreatePolicy"),
    ("logs", "CreateLogGroup"),
    ("ssm", "PutParameter"),
    ("secretsmanager", "CreateSecret"),
}
# Their answers are of chance, or of the caller alone.
ABOUT_THE_CALLER = {
    ("sts", "GetSessionToken"), ("sts", "GetCallerIdentity"), ("secretsmanager", "GetRandomPassword"),
}
# What a refusal may be: not allowed, not there, no name that this operation takes, or not signed
# (what two of STS's operations hear, which no client signs).
REFUSED = re.compile("AccessDenied|NotFound|NoSuchEntity|Invalid|Validation|Unrecognized|Malformed|MissingAuthentication")
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
        "GetFunctionEventInvokeConfig", "ListFunctionEventInvokeConfigs", "GetProvisionedConcurrencyConfig",
        "ListProvisionedConcurrencyConfigs", "GetFunctionRecursionConfig",
    },
    "iam": {
        "GetUser", "GetRole", "GetPolicy", "GetPolicyVersion", "GetUserPolicy", "GetRolePolicy", "ListUsers", "ListRoles",
        "ListPolicies", "ListAccessKeys", "ListUserPolicies", "ListRolePolicies", "ListAttachedUserPolicies",
        "ListAttachedRolePolicies", "ListEntitiesForPolicy", "ListPolicyVersions", "ListUserTags", "ListRoleTags",
        "GetGroup", "ListGroups", "ListGroupsForUser", "GetGroupPolicy", "ListGroupPolicies", "ListAttachedGroupPolicies",
    },
    "sts": {"GetAccessKeyInfo"},
    "logs": {"DescribeLogGroups", "DescribeLogStreams", "FilterLogEvents", "GetLogEvents", "ListTagsForResource"},
    "ssm": {"GetParameter", "GetParameters", "GetParametersByPath", "GetParameterHistory", "DescribeParameters"},
    "secretsmanager": {"GetSecretValue", "DescribeSecret", "ListSecrets", "ListSecretVersionIds"},
}
