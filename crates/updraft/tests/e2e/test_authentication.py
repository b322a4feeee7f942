"""Who gets in, as boto3 sees it: signatures, and TLS."""

import urllib.request

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, SSLError

from harness import REGION


def client(platform, key="test", secret="test", **settings):
    return boto3.client(
        "lambda",
        endpoint_url=platform.url,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
        **settings,
    )


@pytest.mark.parametrize(
    "credentials, code, text",
    [
        ({"secret": "another"}, "InvalidSignatureException", "The request signature we calculated does not match"),
        ({"key": "AKIAIOSFODNN7EXAMPLE"}, "UnrecognizedClientException", "The security token included in the request"),
        ({"aws_session_token": "x"}, "UnrecognizedClientException", "The security token included in the request"),
    ],
)
def test_who_does_not_sign_well_hears_what_aws_says(platform, credentials, code, text):
    with pytest.raises(ClientError) as raised:
        client(platform, **credentials).list_functions()
    error = raised.value.response
    assert (error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]) == (code, 403)
    assert error["Error"]["Message"].startswith(text)


def test_presigned_requests_and_links_get_in(platform):
    url = client(platform).generate_presigned_url("list_functions", {"MaxItems": 1}, 60)
    with urllib.request.urlopen(url) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.request.HTTPError) as raised:
        urllib.request.urlopen(url.replace("MaxItems=1", "MaxItems=2"))
    assert raised.value.code == 403


def test_a_certificate_is_made_for_trying_out(private):
    platform = private(arguments=["--tls", "generated"])
    assert platform.url.startswith("https://")
    certificate = platform.data / "tls" / "certificate.pem"
    assert client(platform, verify=str(certificate)).list_functions()["Functions"] == []
    with pytest.raises(SSLError):
        client(platform).list_functions()
    platform.stop()
    made = certificate.read_text()
    platform.start()
    assert certificate.read_text() == made
