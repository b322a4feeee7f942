"""Records requests as boto3 sends them, signed with AWS's example credentials, into botocore.json.

Run it with a Python that has boto3; the file it writes is what the tests read.
"""

import base64
import json
import pathlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import botocore.exceptions
import botocore.parsers
import urllib3
from botocore.config import Config

KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
TOKEN = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflf+xo0rKw=="
FUNCTION = "arn:aws:lambda:eu-west-1:123456789012:function:my-function"

recorded = []


class Recorder(BaseHTTPRequestHandler):
    """Keeps what arrives and answers 400, which nobody tries again."""

    protocol_version = "HTTP/1.1"

    def record(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        recorded.append(
            {
                "method": self.command,
                "target": self.path,
                # Who sent it is not signed, and says too much of the machine.
                "headers": [[name, value] for name, value in self.headers.items() if name != "User-Agent"],
                "body": base64.b64encode(body).decode(),
            }
        )
        self.send_response(400)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = record

    def log_message(self, *_):
        pass


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"

    def client(service, token=None, **config):
        return boto3.client(
            service,
            region_name="eu-west-1",
            endpoint_url=endpoint,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            aws_session_token=token,
            config=Config(retries={"total_max_attempts": 1}, **config),
        )

    names = []

    def call(name, function, **arguments):
        try:
            function(**arguments)
        except (botocore.exceptions.ClientError, botocore.parsers.ResponseParserError):
            names.append(name)

    def fetch(name, method, url, **arguments):
        urllib3.PoolManager().request(method, url, retries=False, **arguments)
        names.append(name)

    functions = client("lambda")
    call("invoke", functions.invoke, FunctionName="my-function", Payload=b'{"a":  1}')
    call("invoke by ARN", functions.invoke, FunctionName=FUNCTION, Qualifier="$LATEST", LogType="Tail", Payload=b"x" * 9000)
    call("invoke with nothing", functions.invoke, FunctionName="my-function", InvocationType="Event")
    call("list functions", functions.list_functions, MaxItems=3, Marker="a b+c/d=é&x", FunctionVersion="ALL")
    call("delete", functions.delete_function, FunctionName=FUNCTION, Qualifier="7")
    call("tag", functions.tag_resource, Resource=FUNCTION, Tags={"ключ": "значение"})
    call("untag", functions.untag_resource, Resource=FUNCTION, TagKeys=["b", "a", "a b", "ключ"])
    call("publish", functions.publish_version, FunctionName="my-function", Description="  two  spaces ")
    call("invoke for a while", client("lambda", TOKEN).invoke, FunctionName="my-function", ClientContext="e30=")
    call("who am I", client("sts").get_caller_identity)
    call("assume", client("sts", TOKEN).assume_role, RoleArn="arn:aws:iam::123456789012:role/r", RoleSessionName="session")
    call("role", client("iam").get_role, RoleName="r")
    call("logs", client("logs").describe_log_groups, logGroupNamePrefix="/aws/lambda/")
    call("parameter", client("ssm", TOKEN).get_parameter, Name="/a/b", WithDecryption=True)

    s3 = client("s3", s3={"addressing_style": "path"})
    key = "a b/ü+ (x)//./y~!*'&$@=;:,?.txt"
    call("put", s3.put_object, Bucket="bucket", Key=key, Body=b"content", Metadata={"note": "two  spaces"})
    call("get", s3.get_object, Bucket="bucket", Key=key, Range="bytes=0-1")
    call("list", s3.list_objects_v2, Bucket="bucket", Prefix="a b/+", Delimiter="/")

    def presign(of, operation, expires, method=None, **parameters):
        return of.generate_presigned_url(operation, parameters, expires, method)

    signed = client("s3", TOKEN, signature_version="s3v4", s3={"addressing_style": "path"})
    fetch("presigned get", "GET", presign(signed, "get_object", 604800, Bucket="bucket", Key=key.replace("//./", "//")))
    fetch("presigned put", "PUT", presign(signed, "put_object", 60, Bucket="bucket", Key="k"), body=b"whatever")
    fetch("presigned who", "GET", presign(client("sts"), "get_caller_identity", 900, "GET"))
    fetch("presigned list", "GET", presign(client("lambda", TOKEN), "list_functions", 300, MaxItems=3, Marker="+ "))

    server.shutdown()
    assert len(names) == len(recorded), (names, len(recorded))
    document = {
        "source": f"boto3 {boto3.__version__}, botocore {botocore.__version__}, as it arrived; record.py",
        "access_key_id": KEY,
        "secret": SECRET,
        "token": TOKEN,
        "requests": [{"name": name, **request} for name, request in zip(names, recorded)],
    }
    path = pathlib.Path(__file__).with_name("botocore.json")
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


main()
