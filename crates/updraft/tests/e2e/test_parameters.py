"""SSM's Parameter Store and Secrets Manager, as boto3 and the aws command line drive them."""

import pytest
from botocore.exceptions import ClientError

from harness import ACCOUNT, REGION
from identities import (  # noqa: F401 (fixtures are taken by name)
    DENIED_BY_IDENTITY,
    allow,
    deny,
    own,
    root,
)


def refused(code, call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["Error"]["Code"] == code


def test_parameters(platform, name):
    ssm = platform.client("ssm")
    path = f"/{name}"
    ssm.put_parameter(Name=f"{path}/plain", Value="one", Type="String")
    refused("ParameterAlreadyExists", ssm.put_parameter, Name=f"{path}/plain", Value="two", Type="String")
    assert ssm.put_parameter(Name=f"{path}/plain", Value="two", Overwrite=True)["Version"] == 2
    platform.aws("ssm", "put-parameter", "--name", f"{path}/deep/secret", "--value", "hush", "--type", "SecureString")
    assert ssm.get_parameter(Name=f"{path}/plain")["Parameter"]["Value"] == "two"
    assert ssm.get_parameter(Name=f"{path}/plain:1")["Parameter"]["Value"] == "one"
    sealed = ssm.get_parameter(Name=f"{path}/deep/secret")["Parameter"]
    assert sealed["Value"] != "hush"
    assert ssm.get_parameter(Name=sealed["ARN"], WithDecryption=True)["Parameter"]["Value"] == "hush"
    flat = ssm.get_parameters_by_path(Path=path)["Parameters"]
    assert [one["Name"] for one in flat] == [f"{path}/plain"]
    pages = ssm.get_paginator("get_parameters_by_path").paginate(
        Path=path, Recursive=True, WithDecryption=True, PaginationConfig={"PageSize": 1}
    )
    assert [one["Value"] for page in pages for one in page["Parameters"]] == ["hush", "two"]
    several = ssm.get_parameters(Names=[f"{path}/plain", f"{path}/none"])
    assert len(several["Parameters"]) == 1 and several["InvalidParameters"] == [f"{path}/none"]
    history = ssm.get_parameter_history(Name=f"{path}/plain")["Parameters"]
    assert [one["Value"] for one in history] == ["one", "two"]
    ssm.delete_parameter(Name=f"{path}/plain")
    refused("ParameterNotFound", ssm.get_parameter, Name=f"{path}/plain")


def test_secrets(platform, name):
    secrets = platform.client("secretsmanager")
    made = secrets.create_secret(Name=name, SecretString="one", Tags=[{"Key": "team", "Value": "core"}])
    refused("ResourceExistsException", secrets.create_secret, Name=name, SecretString="two")
    platform.aws("secretsmanager", "put-secret-value", "--secret-id", name, "--secret-string", "two")
    for secret_id in (name, made["ARN"], made["ARN"][:-7]):
        assert secrets.get_secret_value(SecretId=secret_id)["SecretString"] == "two"
    assert secrets.get_secret_value(SecretId=name, VersionStage="AWSPREVIOUS")["SecretString"] == "one"
    assert secrets.get_secret_value(SecretId=name, VersionId=made["VersionId"])["SecretString"] == "one"
    secrets.update_secret(SecretId=name, SecretBinary=b"\x00\xff", Description="three")
    assert secrets.get_secret_value(SecretId=name)["SecretBinary"] == b"\x00\xff"
    described = secrets.describe_secret(SecretId=name)
    assert described["Description"] == "three" and described["Tags"] == [{"Key": "team", "Value": "core"}]
    assert len(secrets.list_secret_version_ids(SecretId=name)["Versions"]) == 2
    listed = secrets.list_secrets(Filters=[{"Key": "name", "Values": [name]}])["SecretList"]
    assert [one["Name"] for one in listed] == [name]
    secrets.delete_secret(SecretId=name, RecoveryWindowInDays=7)
    refused("InvalidRequestException", secrets.get_secret_value, SecretId=name)
    secrets.restore_secret(SecretId=name)
    secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)
    refused("ResourceNotFoundException", secrets.get_secret_value, SecretId=name)
    password = secrets.get_random_password(PasswordLength=40, ExcludePunctuation=True)["RandomPassword"]
    assert len(password) == 40 and password.isalnum()


def test_a_secrets_arn_is_its_own_whatever_others_are_called(platform, name):
    secrets = platform.client("secretsmanager")
    first = secrets.create_secret(Name=name, SecretString="first")["ARN"]
    other_name = first.rsplit(":", 1)[1]
    other = secrets.create_secret(Name=other_name, SecretString="other")["ARN"]
    try:
        for secret_id, value in ((first, "first"), (name, "first"), (other, "other"), (other_name, "other")):
            assert secrets.get_secret_value(SecretId=secret_id)["SecretString"] == value, secret_id
    finally:
        for secret_id in (first, other):
            secrets.delete_secret(SecretId=secret_id, ForceDeleteWithoutRecovery=True)


def test_a_secrets_labels_are_bounded(platform, name):
    secrets = platform.client("secretsmanager")
    secrets.create_secret(Name=name, SecretString="x")
    try:
        labels = [f"label-{number}" for number in range(20)]
        for label in labels[:19]:
            secrets.put_secret_value(SecretId=name, SecretString="x", VersionStages=[label])
        put = secrets.put_secret_value
        refused("LimitExceededException", put, SecretId=name, SecretString="x", VersionStages=labels[19:])
        put(SecretId=name, SecretString="y", VersionStages=[labels[0]])
        assert secrets.get_secret_value(SecretId=name, VersionStage=labels[0])["SecretString"] == "y"
    finally:
        secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)


def test_an_arn_names_one_parameter(platform, name):
    ssm = platform.client("ssm")
    for first, second in ((f"{name}-a", f"/{name}-a"), (f"/{name}-b", f"{name}-b")):
        ssm.put_parameter(Name=first, Value="one", Type="String")
        try:
            found = ssm.get_parameter(Name=first)["Parameter"]
            for spelt in (second, found["ARN"], f"{found['ARN']}:1"):
                again = ssm.get_parameter(Name=spelt)["Parameter"]
                assert (again["Name"], again["ARN"]) == (first, found["ARN"]), spelt
            refused("ParameterAlreadyExists", ssm.put_parameter, Name=second, Value="two", Type="String")
        finally:
            ssm.delete_parameter(Name=second)
        refused("ParameterNotFound", ssm.get_parameter, Name=first)


def test_a_path_is_denied_however_it_is_spelt(own, name):
    root, vault = own.root.client("ssm"), f"/{name}/vault"
    root.put_parameter(Name=f"{vault}/key", Value="hush", Type="String")
    try:
        resource = f"arn:aws:ssm:{REGION}:{ACCOUNT}:parameter{vault}"
        user = own.user(allow("ssm:*"), deny("ssm:GetParametersByPath", resource))
        for path in (vault, f"{vault}/", f"{vault}//"):
            user.denied(
                "ssm:GetParametersByPath", resource, DENIED_BY_IDENTITY, user.client("ssm").get_parameters_by_path, Path=path
            )
        assert user.client("ssm").get_parameters_by_path(Path=f"/{name}/other/")["Parameters"] == []
    finally:
        root.delete_parameter(Name=f"{vault}/key")
