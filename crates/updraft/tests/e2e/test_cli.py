"""The `updraft` command: what it prints, how it exits, and `dev`."""

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request

import pytest

from harness import BINARY, DEADLINE_S, EXAMPLES, NODE, PYTHON, client_environment, wait_until, zip_of

ECHO = "def handler(event, context):\n    print('saw', event)\n    return event\n"


def run(*arguments, cwd, **environment):
    """The command without a platform."""
    return subprocess.run(
        [str(BINARY), *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=client_environment(None) | environment,
        timeout=DEADLINE_S,
    )


def test_help_names_every_command_and_exit_code(folder):
    text = run("--help", cwd=folder).stdout
    for command in "dev serve deploy invoke ls get rm logs runtimes doctor config completions".split():
        assert re.search(rf"^  {command}\b", text, re.MULTILINE), command
        assert run(command, "--help", cwd=folder).returncode == 0
    assert "Exit codes" in text
    assert run(cwd=folder).returncode == 2
    assert re.fullmatch(r"updraft \d+[.]\d+[.]\d+\n", run("--version", cwd=folder).stdout)


def test_a_function_lives_on_the_command_line(platform, name, folder):
    (folder / "app.py").write_text(ECHO)
    deployed = platform.updraft("deploy", folder, "--name", name, "--memory-mb", "256", "-e", "MODE=1")
    assert f"/fn/{name}" in deployed.stdout + deployed.stderr or "lambda-url" in deployed.stdout + deployed.stderr
    assert json.loads(platform.updraft("invoke", name, "--payload", '{"n": 1}').stdout) == {"n": 1}
    (folder / "event.json").write_text('{"n": 2}')
    assert json.loads(platform.updraft("invoke", name, "-p", f"@{folder}/event.json").stdout) == {"n": 2}
    assert json.loads(platform.updraft("invoke", name, "-p", "-", stdin='{"n": 3}').stdout) == {"n": 3}
    tailed = platform.updraft("invoke", name, "--tail")
    assert "REPORT RequestId" in tailed.stderr
    assert name in platform.updraft("ls").stdout
    listed = json.loads(platform.updraft("--json", "ls").stdout)
    assert name in json.dumps(listed)
    got = json.loads(platform.updraft("get", name, "--json").stdout)
    assert '"MemorySize": 256' in json.dumps(got)
    assert "256" in platform.updraft("get", name).stdout
    said = json.loads(platform.updraft("--json", "invoke", name, "-p", "[]").stdout)
    assert (said["StatusCode"], said["Payload"]) == (200, [])
    assert "saw {'n': 2}" in platform.updraft("logs", name).stdout
    lines = [json.loads(line) for line in platform.updraft("logs", name, "--json").stdout.splitlines()]
    assert any(line["text"] == "saw {'n': 3}" for line in lines)
    assert platform.updraft("logs", name, "-n", "1").stdout.count("\n") == 1
    assert platform.updraft("logs", name, "--since", "2999-01-01T00:00:00Z").stdout == ""
    platform.updraft("rm", name)
    assert platform.updraft("get", name, check=False).returncode == 4


def test_a_zip_and_a_component_are_deployed(platform, name, folder):
    (folder / "package.zip").write_bytes(zip_of({"app.py": ECHO}))
    platform.updraft("deploy", folder / "package.zip", "--name", name, "--runtime", PYTHON, "--handler", "app.handler")
    assert platform.invoke(name, {"z": 1}).expect_ok() == {"z": 1}
    platform.updraft("rm", name)
    shutil.copy(EXAMPLES / "edge/hello.wasm", folder / "greeting.wasm")
    platform.updraft("deploy", folder / "greeting.wasm", "--name", name)
    assert platform.request("GET", f"/fn/{name}/")[0] == 200


def test_exit_codes_tell_what_went_wrong(platform, name, folder):
    platform.create(name, zip_of({"app.py": "def handler(event, context):\n    raise ValueError('on purpose')\n"}))
    failed = platform.updraft("invoke", name, check=False)
    assert failed.returncode == 1
    assert "on purpose" in failed.stdout + failed.stderr
    assert platform.updraft("invoke", name, "--nonsense", check=False).returncode == 2
    assert platform.updraft("invoke", name, "-p", "{", check=False).returncode in (2, 4)
    missing = platform.updraft("invoke", "nobody", check=False)
    assert missing.returncode == 4
    assert "nobody" in missing.stderr
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    away = run("ls", cwd=folder, AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}")
    assert away.returncode == 3
    assert f"127.0.0.1:{port}" in away.stderr
    assert run("deploy", "/nowhere/at/all", cwd=folder).returncode in (2, 5)
    (folder / "function.toml").write_text("memroy_mb = 1\n")
    wrong = run("deploy", ".", cwd=folder)
    assert wrong.returncode == 2
    assert "memory_mb" in wrong.stderr


def test_logs_follow_live(platform, name):
    platform.create(name, zip_of({"app.py": ECHO}))
    follower = subprocess.Popen(
        [str(BINARY), "logs", name, "-f"], stdout=subprocess.PIPE, env=client_environment(platform.url), text=True
    )
    try:
        seen, number = "", 0

        def sees_a_new_line():
            nonlocal seen, number
            number += 1
            platform.invoke(name, {"number": number})
            while select.select([follower.stdout], [], [], 0.2)[0]:
                line = follower.stdout.readline()
                if not line:
                    raise AssertionError("following ended by itself")
                seen += line
            return "saw {'number': " in seen

        wait_until(sees_a_new_line, "a line written while following")
    finally:
        follower.send_signal(signal.SIGINT)
        follower.wait(DEADLINE_S)
        follower.stdout.close()


class Dev:
    """`updraft dev`, its output collected as it comes."""

    def __init__(self, folder, *arguments):
        self.text = ""
        self.process = subprocess.Popen(
            [str(BINARY), "dev", *arguments, "--listen", "127.0.0.1:0", "--data", str(folder / "data")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=client_environment(None) | {"XDG_CACHE_HOME": str(folder / "cache")},
            start_new_session=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.text += line

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
            self.process.wait()


def test_dev_runs_a_folder_and_redeploys_it_on_save(folder):
    source = folder / "greeter"
    source.mkdir()
    (source / "app.py").write_text("def handler(event, context):\n    return 'first'\n")
    dev = Dev(folder, "greeter")
    try:
        url = wait_until(lambda: re.search(r"http://127[.]0[.]0[.]1:\d+/fn/greeter/", dev.text), f"dev prints the URL: {dev.text}")
        url = url.group(0)

        def answers(text):
            def check():
                if dev.process.poll() is not None:
                    raise AssertionError(dev.text)
                try:
                    with urllib.request.urlopen(url, timeout=30) as answer:
                        return answer.read().decode() == text
                except (urllib.error.URLError, OSError):
                    return False

            return check

        wait_until(answers("first"), "the folder is served")
        (source / "app.py").write_text("def handler(event, context):\n    return 'second'\n")
        wait_until(answers("second"), "saving redeploys")
        (source / "function.toml").write_text("memroy_mb = 1\n")
        wait_until(lambda: "memory_mb" in dev.text, "a mistake is shown")
        assert answers("second")(), "the last good version goes on serving"
        (source / "function.toml").unlink()
        (source / "app.py").write_text("def handler(event, context):\n    return 'third'\n")
        wait_until(answers("third"), "it recovers from the mistake")
    finally:
        code = dev.stop()
    assert code == 0, dev.text


def test_dev_runs_the_nearest_interpreter_with_a_warning(folder):
    source = folder / "near"
    source.mkdir()
    (source / "app.py").write_text("def handler(event, context):\n    return 'ran'\n")
    (source / "function.toml").write_text('runtime = "python3.99"\n')
    dev = Dev(folder, "near")
    try:
        wait_until(lambda: "/fn/near/" in dev.text, "dev deploys it all the same")
        assert "python3.99" in dev.text
        assert re.search(r"warning", dev.text, re.IGNORECASE)
    finally:
        dev.stop()


def test_settings_come_from_every_layer(folder):
    (folder / "updraft.toml").write_text('region = "eu-central-1"\nlog_retention_days = 30\n')
    shown = run("config", "show", "--listen", "127.0.0.1:9", cwd=folder, UPDRAFT_LOG_RETENTION_DAYS="31").stdout
    for part in ["eu-central-1", "31", "127.0.0.1:9"]:
        assert part in shown
    assert run("config", "check", cwd=folder).returncode == 0
    assert json.loads(run("config", "show", "--json", cwd=folder).stdout)


@pytest.mark.parametrize(
    "text, said",
    [('regoin = "x"', "region"), ('listen = "0.0.0.0:1"', "127.0.0.1"), ("log_retention_days = 0", "log_retention_days"), ("= 1", "updraft.toml")],
)
def test_wrong_settings_are_refused_with_a_suggestion(folder, text, said):
    (folder / "updraft.toml").write_text(text + "\n")
    for command in (["config", "check"], ["serve"]):
        refused = run(*command, cwd=folder)
        assert refused.returncode == 2
        assert said in refused.stderr
    assert not os.path.exists(folder / ".updraft")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_are_printed(folder, shell):
    printed = run("completions", shell, cwd=folder)
    assert printed.returncode == 0
    assert "deploy" in printed.stdout


def test_doctor_says_what_this_host_offers(folder):
    printed = run("doctor", cwd=folder)
    assert printed.returncode in (0, 1)
    for mechanism in ("user", "mount", "network", "seccomp", "memory"):
        assert mechanism in printed.stdout.lower(), mechanism
    assert json.loads(run("doctor", "--json", cwd=folder).stdout)


def test_runtimes_lists_the_interpreters(folder):
    printed = run("runtimes", cwd=folder).stdout
    for runtime in (PYTHON, NODE, "provided.al2023", "wasm", "web"):
        assert runtime in printed, runtime
    assert json.loads(run("runtimes", "--json", cwd=folder).stdout)
