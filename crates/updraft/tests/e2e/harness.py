"""Drives the real `updraft` binary: starts it on a temporary directory, talks to it, and sees that it leaves nothing.

A test never waits for a fixed time: it waits for something to become true, with a deadline only a hang reaches.
"""

import base64
import dataclasses
import http.client
import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
import urllib.parse
import urllib.request
import zipfile

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

REPOSITORY = pathlib.Path(__file__).resolve().parents[4]
BINARY = pathlib.Path(os.environ.get("UPDRAFT_BIN", REPOSITORY / "target/debug/updraft")).absolute()
EXAMPLES = REPOSITORY / "examples"
ROLE = "arn:aws:iam::000000000000:role/test"
REGION = "us-east-1"
ACCOUNT = "000000000000"
# Reached only by a hang: a slow machine under load stays well below it.
DEADLINE_S = 60


def wait_until(check, what, deadline_s=DEADLINE_S):
    """The first true value of `check()`; fails naming `what` if there is none before the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline_s} s in vain: {what}")
        time.sleep(0.05)


def zip_of(files, executable=()):
    """A zip package; `executable` names the files that get the executable bit."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            mode = 0o755 if name in executable else 0o644
            entry.external_attr = (stat.S_IFREG | mode) << 16
            package.writestr(entry, content)
    return buffer.getvalue()


def zip_folder(folder, executable=()):
    """A zip of everything in `folder`."""
    folder = pathlib.Path(folder)
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    return zip_of(files, executable)


def component(source, world, folder):
    """A WebAssembly component from its text in components/."""
    here = pathlib.Path(__file__).parent / "components"
    tool = str(pathlib.Path(sys.executable).with_name("wasm-tools"))
    embedded, made = str(folder / "embedded.wasm"), folder / f"{source}.wasm"
    embed = [tool, "component", "embed", "--world", world, str(here / "guest.wit"), str(here / f"{source}.wat")]
    subprocess.run([*embed, "-o", embedded], check=True)
    subprocess.run([tool, "component", "new", embedded, "-o", str(made)], check=True)
    return made.read_bytes()


def python_runtime():
    """The `python3.N` whose interpreter a function finds as `python3`: the distribution's own, if there is one."""
    program = next((path for path in ("/usr/bin/python3", shutil.which("python3")) if path and os.path.exists(path)))
    out = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return f"python3.{re.search(r'3[.]([0-9]+)', out).group(1)}"


def node_runtime():
    """The `nodejsN.x` of the host's Node.js."""
    out = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return f"nodejs{re.match(r'v([0-9]+)', out).group(1)}.x"


PYTHON = python_runtime()
NODE = node_runtime()


@dataclasses.dataclass
class Answer:
    """What Invoke returned."""

    status: int
    error: str | None
    text: bytes
    log: str | None
    raw: dict

    @property
    def value(self):
        return json.loads(self.text)

    def expect_ok(self):
        assert self.error is None, (self.error, self.text[:2000])
        return self.value


class Platform:
    """One running `updraft serve`, private to a test or shared by a worker."""

    def __init__(self, data, *, arguments=(), environment=None, user=None, binary=BINARY, listen="127.0.0.1:0"):
        self.data = pathlib.Path(data)
        self.arguments = list(arguments)
        self.environment = environment or {}
        self.user = user
        self.binary = binary
        self.listen = listen
        self.log_path = self.data.parent / f"{self.data.name}.platform.log"
        self.process = None
        self.url = None

    # Life

    def start(self):
        assert self.process is None
        self.process = self.spawn()
        offset = self._log_offset
        found = wait_until(lambda: self._listening(offset), "the platform prints where it listens")
        self.url = found
        wait_until(self.is_healthy, f"{self.url}/healthz answers 200")
        return self

    def spawn(self):
        """Starts the process without waiting for it, for tests in which it does not get far."""
        self._log_offset = self.log_path.stat().st_size if self.log_path.exists() else 0
        command = [str(self.binary), "serve", "--listen", self.listen, "--data", str(self.data), *self.arguments]
        with open(self.log_path, "ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.data.parent,
                # Most tests are not about roles.
                env=client_environment(None) | ROOT | {"UPDRAFT_ROLES": "optional"} | self.environment,
                user=self.user,
                group=self.user,
                extra_groups=[] if self.user is not None else None,
                start_new_session=True,
            )

    def _listening(self, offset):
        with open(self.log_path, "rb") as log:
            log.seek(offset)
            text = log.read().decode(errors="replace")
        if self.process.poll() is not None:
            raise AssertionError(f"the platform ended with {self.process.returncode} instead of starting:\n{text}")
        found = re.search(r"listening on (https?://[0-9.:\[\]]+)", text)
        return found and found.group(1)

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def is_healthy(self):
        try:
            arguments = [str(argument) for argument in self.arguments]
            given = arguments.index("--tls-certificate") + 1 if "--tls-certificate" in arguments else None
            made = self.data / "tls" / "certificate.pem" if given is None else arguments[given]
            trusted = ssl.create_default_context(cafile=made) if self.url.startswith("https:") else None
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=30, context=trusted) as answer:
                return answer.status == 200
        except OSError:
            return False

    def stop(self):
        """Ends it as an operator would, and checks that nothing of it is left."""
        if self.process is None:
            return
        groups = control_groups(descendants(self.process.pid))
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the platform did not end on SIGTERM:\n{self.log()[-4000:]}") from None
        self.process = None
        assert code == 0, f"the platform ended with {code} on SIGTERM:\n{self.log()[-4000:]}"
        self.check_nothing_left(groups)

    def kill(self):
        """Ends it as a power cut would: SIGKILL, at once."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        wait_until(lambda: not self.processes_left(), f"its processes are gone: {self.processes_left()}", 20)

    def check_nothing_left(self, groups=()):
        wait_until(lambda: not self.processes_left(), f"its processes are gone: {self.processes_left()}", 20)
        wait_until(
            lambda: not [group for group in groups if os.path.exists(group)], f"its control groups are gone: {groups}", 20
        )
        mounts = [line for line in open("/proc/self/mountinfo") if str(self.data) in line and " - tmpfs " not in line]
        assert not mounts, mounts

    def processes_left(self):
        """Processes that hold the data directory: by command line, or mounted into their namespace."""
        name, left = str(self.data).encode(), []
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            try:
                command = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes()
                mounts = pathlib.Path(f"/proc/{entry}/mountinfo").read_bytes()
                shares_ours = os.readlink(f"/proc/{entry}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
            except OSError:
                continue
            if (name in command and b"serve" in command) or (name in mounts and not shares_ours):
                left.append((int(entry), command.replace(b"\0", b" ").decode(errors="replace").strip()))
        return left

    # Clients

    def client(self, service="lambda", **config):
        """A boto3 client that tries once and tells what it got."""
        settings = {"retries": {"total_max_attempts": 1}, "read_timeout": 120, "max_pool_connections": 64} | config
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(**settings),
        )

    def aws(self, *arguments, check=True):
        """Runs the aws command line; its parsed output."""
        program = pathlib.Path(sys.executable).with_name("aws")
        result = subprocess.run(
            [str(program), *arguments], capture_output=True, text=True, env=client_environment(self.url), timeout=120
        )
        if not check:
            return result
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout) if result.stdout.strip() else None

    def updraft(self, *arguments, check=True, stdin=None, cwd=None, environment=None, timeout=600):
        """Runs the updraft command against this platform; the completed process."""
        result = subprocess.run(
            [str(self.binary), *map(str, arguments)],
            capture_output=True,
            text=True,
            input=stdin,
            cwd=cwd,
            env=client_environment(self.url) | (environment or {}),
            timeout=timeout,
        )
        if check:
            assert result.returncode == 0, (arguments, result.returncode, result.stdout[-4000:], result.stderr[-4000:])
        return result

    def create(self, name, code, *, runtime=PYTHON, handler="app.handler", wait=True, client=None, **more):
        """Creates a function and waits until it is active."""
        client = client or self.client()
        made = client.create_function(
            FunctionName=name, Runtime=runtime, Handler=handler, Role=ROLE, Code={"ZipFile": code}, **more
        )
        if wait:
            client.get_waiter("function_active_v2").wait(FunctionName=name)
        return made

    def invoke(self, name, event=None, *, client=None, **more):
        """Invokes with a JSON event (or bytes as they are)."""
        client = client or self.client()
        payload = event if isinstance(event, bytes) else json.dumps({} if event is None else event).encode()
        raw = client.invoke(FunctionName=name, Payload=payload, **more)
        log = raw.get("LogResult")
        return Answer(
            status=raw["StatusCode"],
            error=raw.get("FunctionError"),
            text=raw["Payload"].read(),
            log=base64.b64decode(log).decode(errors="replace") if log else None,
            raw=raw,
        )

    def open_url(self, name, *, client=None, mode="BUFFERED"):
        """Gives a function a URL that everybody may call; its host name."""
        client = client or self.client()
        made = client.create_function_url_config(FunctionName=name, AuthType="NONE", InvokeMode=mode)
        self.allow_everybody(name, client=client)
        return urllib.parse.urlsplit(made["FunctionUrl"]).netloc

    def allow_everybody(self, name, *, client=None, **more):
        """What a URL of AuthType NONE needs in its function's policy."""
        for sid, action, condition in [
            ("url", "lambda:InvokeFunctionUrl", {"FunctionUrlAuthType": "NONE"}),
            ("call", "lambda:InvokeFunction", {"InvokedViaFunctionUrl": True}),
        ]:
            (client or self.client()).add_permission(
                FunctionName=name, StatementId=sid, Action=action, Principal="*", **condition, **more
            )

    def connection(self, timeout=DEADLINE_S):
        port = urllib.parse.urlsplit(self.url).port
        return http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def signed(self, method, path, headers, body=None):
        """Headers with a signature among them. A body that is read piece by piece is not signed."""
        host = headers.get("host") or urllib.parse.urlsplit(self.url).netloc
        known = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else b""
        request = AWSRequest(method, f"http://{host}{path}", headers=headers, data=known)
        SigV4Auth(Credentials("test", "test"), "lambda", REGION).add_auth(request)
        return dict(request.headers.items())

    def socket(self):
        return socket.create_connection(("127.0.0.1", urllib.parse.urlsplit(self.url).port), timeout=DEADLINE_S)

    def request(self, method, path, *, host=None, body=None, headers=None, signed=True):
        """One HTTP request, signed where it goes to the API and that is wanted; status, headers and body."""
        headers = ({"host": host} if host else {}) | (headers or {})
        if signed and re.match("/(20[0-9]{2}-|_updraft/)", path):
            headers = self.signed(method, path, headers, body)
        connection = self.connection()
        try:
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()


# Whom the tests sign as.
ROOT = {"UPDRAFT_ROOT_ACCESS_KEY_ID": "test", "UPDRAFT_ROOT_SECRET_ACCESS_KEY": "test"}


def client_environment(url):
    """The environment of a client: this process's, without what would point it elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "UPDRAFT_"))}
    kept |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        "NO_COLOR": "1",
    }
    return kept | ({"AWS_ENDPOINT_URL": url} if url else {})


def descendants(pid):
    """The process and everything under it."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(pathlib.Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry))
    found, queue = [], [pid]
    while queue:
        found.append(queue.pop())
        queue.extend(children.get(found[-1], []))
    return found


def control_groups(pids):
    """The folders of the control groups these processes are in, as far as Updraft made them."""
    folders = set()
    for pid in pids:
        try:
            lines = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            _, controllers, path = line.split(":", 2)
            if "/updraft-" in path:
                mount = "unified" if not controllers else controllers.split(",")[0].removeprefix("name=")
                folders.update([f"/sys/fs/cgroup{path}", f"/sys/fs/cgroup/{mount}{path}"])
    return sorted(folder for folder in folders if os.path.exists(folder))
