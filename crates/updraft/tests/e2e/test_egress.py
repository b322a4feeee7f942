"""Where functions may connect to: said in the manifest or at the admin door, and held to."""

import json

from harness import PYTHON, Platform, zip_of

# Tries what it is sent: how the proxy answers a CONNECT, or how a plain connection ends.
PROBE = """
import errno, os, socket
def handler(event, context):
    if "name" in event:
        return os.environ.get(event["name"])
    try:
        if "tunnel" in event:
            with socket.create_connection(("127.1.0.1", 3128), timeout=20) as s:
                s.sendall(f"CONNECT {event['tunnel']} HTTP/1.1\\r\\n\\r\\n".encode())
                return s.makefile().readline().split(" ")[1]
        with socket.create_connection((event["host"], event["port"]), timeout=20) as s:
            s.sendall(b"x")
            return s.recv(100).decode()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
"""


def get_egress(platform, name):
    return json.loads(platform.updraft("--json", "get", name).stdout)["Egress"]


def test_the_manifest_says_it_and_get_shows_it(platform, name, folder):
    (folder / "app.py").write_text(PROBE)
    manifest = folder / "function.toml"
    said = f'name = "{name}"\nruntime = "{PYTHON}"\nhandler = "app.handler"\ntimeout_s = 60\n'
    manifest.write_text(said + 'allow = ["API.example.com:443", "10.0.0.0/8:5432"]\n')
    platform.updraft("deploy", folder)
    assert get_egress(platform, name) == {"allow": ["api.example.com:443", "10.0.0.0/8:5432"]}
    assert "api.example.com:443, 10.0.0.0/8:5432" in platform.updraft("get", name).stdout
    assert "unchanged" in platform.updraft("deploy", folder).stdout
    # Made the sandbox's own, tried by the platform, and nobody is there or the name is not.
    assert platform.invoke(name, {"host": "api.example.com", "port": 80}).expect_ok() == "ECONNREFUSED"
    assert platform.invoke(name, {"host": "10.1.2.3", "port": 80}).expect_ok() == "ECONNREFUSED"
    assert platform.invoke(name, {"host": "8.8.8.8", "port": 443}).expect_ok() == "ENETUNREACH"
    # What the manifest leaves out goes back to the default.
    manifest.write_text(said)
    assert "updated" in platform.updraft("deploy", folder).stdout
    assert get_egress(platform, name) is None
    assert platform.invoke(name, {"host": "10.1.2.3", "port": 5432}).expect_ok() == "ENETUNREACH"
    platform.updraft("deploy", folder, "--egress", "all")
    assert get_egress(platform, name) == "all"
    manifest.write_text(said + 'allow = ["169.254.169.254:80"]\n')
    refused = platform.updraft("deploy", folder, check=False)
    assert refused.returncode == 2
    assert "no rule can open it" in refused.stderr


def test_neither_the_platform_nor_metadata_is_reached_whatever_is_allowed(platform, name):
    platform.create(name, zip_of({"app.py": PROBE}), Timeout=60)
    target = f"/_updraft/v1/functions/{name}/egress"
    allow = json.dumps({"allow": ["*:*", "0.0.0.0/0:*", "10.0.0.0/8:*"]})
    status, _, body = platform.request("PUT", target, body=allow)
    assert (status, json.loads(body)["egress"]["allow"][0]) == (200, "*:*")
    platform.client().get_waiter("function_updated_v2").wait(FunctionName=name)
    port = platform.url.rsplit(":", 1)[1]
    for tunnel in (
        f"127.0.0.1:{port}",
        f"localhost:{port}",
        f"0.0.0.0:{port}",
        f"[::1]:{port}",
        f"[::ffff:127.0.0.1]:{port}",
        "169.254.169.254:80",
        "100.100.100.200:80",
        "[fd00:ec2::254]:80",
    ):
        assert platform.invoke(name, {"tunnel": tunnel}).expect_ok() == "403", tunnel
    log = platform.updraft("logs", name).stdout
    assert "egress refused: 169.254.169.254:80: it is link-local, where clouds have their metadata service" in log
    assert platform.request("DELETE", target)[0] == 200
    platform.client().get_waiter("function_updated_v2").wait(FunctionName=name)
    assert platform.invoke(name, {"tunnel": f"127.0.0.1:{port}"}).expect_ok() == "ECONNREFUSED"


def test_the_operator_has_the_last_word(tmp_path):
    arguments = ["--egress", "all", "--egress-deny", "8.8.8.0/24"]
    platform = Platform(tmp_path / "data", arguments=arguments).start()
    try:
        platform.create("silent", zip_of({"app.py": PROBE}), Timeout=60)
        assert platform.invoke("silent", {"name": "HTTPS_PROXY"}).expect_ok() == "http://127.1.0.1:3128"
        assert platform.invoke("silent", {"tunnel": "8.8.8.8:443"}).expect_ok() == "403"
        assert platform.invoke("silent", {"tunnel": "10.1.2.3:443"}).expect_ok() == "403"
        log = platform.updraft("logs", "silent").stdout
        assert "egress refused: 8.8.8.8:443: the platform's operator denies it" in log
        assert 'the rule "10.1.2.3:443" would' in log
    finally:
        platform.stop()
