"""SSM's Parameter Store and Secrets Manager, as boto3 and the aws command line drive them."""

import pytest
from botocore.exceptions import ClientError


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
