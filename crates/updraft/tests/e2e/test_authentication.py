"""Who gets in, as boto3 sees it: signatures, and TLS."""

import json
import shutil
import socket
import ssl
import urllib.parse
import urllib.request

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, SSLError

from harness import REGION, wait_until, zip_of


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


def shown(platform):
    """The certificate that a client sees."""
    host, port = urllib.parse.urlsplit(platform.url).netloc.rsplit(":", 1)
    return ssl.get_server_certificate((host, int(port)))


def test_a_renewed_certificate_needs_no_restart(private, folder):
    """The files of one platform are exchanged for those of another."""
    others = private("others", arguments=["--tls", "generated"]).data / "tls"
    mine = folder / "mine"
    shutil.copytree(private("first", arguments=["--tls", "generated"]).data / "tls", mine)
    certificate, key = mine / "certificate.pem", mine / "key.pem"
    platform = private(arguments=["--tls-certificate", certificate, "--tls-key", key])
    first = shown(platform)
    context = ssl.create_default_context(cafile=certificate)
    port = urllib.parse.urlsplit(platform.url).port
    with socket.create_connection(("127.0.0.1", port)) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as kept:
            certificate.write_text("this is none")
            wait_until(lambda: "the certificate stays as it was" in platform.log(), "the log tells of it")
            assert shown(platform) == first
            shutil.copy(others / "key.pem", key)
            shutil.copy(others / "certificate.pem", certificate)
            wait_until(lambda: shown(platform) == (others / "certificate.pem").read_text(), "the new one is shown")
            # Who came before stays.
            kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert kept.recv(1024).startswith(b"HTTP/1.1 200")


def test_the_updraft_command_trusts_what_it_is_told_to(private, folder):
    platform = private(arguments=["--tls", "generated"])
    certificate = platform.data / "tls" / "certificate.pem"
    distrusted = platform.updraft("ls", check=False)
    assert distrusted.returncode == 3, distrusted
    assert platform.updraft("ls", "--ca-file", certificate).returncode == 0
    for variable in ("UPDRAFT_CA_FILE", "AWS_CA_BUNDLE"):
        assert platform.updraft("ls", environment={variable: str(certificate)}).returncode == 0
    nothing = folder / "nothing.pem"
    nothing.write_text("no certificate")
    said = platform.updraft("ls", "--ca-file", nothing, check=False)
    assert said.returncode == 2 and "there is no certificate in" in said.stderr, said
    # Where the folder's own configuration says where to go, what was made there is trusted.
    port = urllib.parse.urlsplit(platform.url).port
    (folder / "updraft.toml").write_text(f'listen = "127.0.0.1:{port}"\ntls = "generated"\ndata = "{platform.data}"\n')
    assert platform.updraft("ls", cwd=folder, environment={"AWS_ENDPOINT_URL": ""}).returncode == 0


def test_a_trusted_proxy_says_who_asks(private):
    code = zip_of({"app.py": "def handler(event, context):\n    return event['requestContext']['http']['sourceIp']\n"})

    def asked(platform, forwarded):
        host = platform.open_url("who", client=platform.client())
        policy = {"Condition": {"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}}
        iam = platform.client("iam")
        iam.create_user(UserName="ada")
        statement = {"Effect": "Allow", "Action": "lambda:GetFunction", "Resource": "*"} | policy
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName="ada", PolicyName="from-there", PolicyDocument=document)
        made = iam.create_access_key(UserName="ada")["AccessKey"]
        lambda_ = client(platform, made["AccessKeyId"], made["SecretAccessKey"])
        add = lambda request, **_: request.headers.__setitem__("X-Forwarded-For", forwarded)
        lambda_.meta.events.register("before-send.lambda.GetFunction", add)
        try:
            status = lambda_.get_function(FunctionName="who")["ResponseMetadata"]["HTTPStatusCode"]
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        _, _, body = platform.request("GET", "/", host=host, headers={"X-Forwarded-For": forwarded})
        return status, body.decode()

    forwarded = "127.0.0.1, 203.0.113.7, 10.1.2.3"
    for name, arguments, expected in [
        ("plain", [], (403, "127.0.0.1")),
        ("proxied", ["--trusted-proxies", "127.0.0.1, 10.0.0.0/8"], (200, "203.0.113.7")),
    ]:
        platform = private(name, arguments=arguments)
        platform.create("who", code, client=platform.client())
        assert asked(platform, forwarded) == expected, name
