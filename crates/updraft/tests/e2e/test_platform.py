"""The platform's own life: starting, stopping, restarting, running out of disk, refusing what cannot work."""

import os
import pathlib
import shutil
import socket
import sqlite3
import subprocess
import threading
import urllib.parse

import pytest
from botocore.exceptions import ClientError

from harness import BINARY, DEADLINE_S, Platform, wait_until, zip_of

CODE = "def handler(event, context):\n    return {which}\n"


def refused(platform):
    """Starts a platform that must not start; what it says."""
    process = platform.spawn()
    try:
        code = process.wait(DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    assert code == 7 or code == 2, platform.log()
    return platform.log()


def test_a_restart_finds_everything(private):
    platform = private()
    client = platform.client()
    platform.create("kept", zip_of({"app.py": CODE.format(which=1)}), Tags={"a": "b"}, Description="as it was")
    host = platform.open_url("kept")
    platform.create("gone", zip_of({"app.py": CODE.format(which=2)}))
    client.delete_function(FunctionName="gone")
    assert platform.invoke("kept", LogType="Tail").expect_ok() == 1
    before = client.get_function(FunctionName="kept")
    platform.stop()
    platform.start()
    client = platform.client()
    after = client.get_function(FunctionName="kept")
    assert after["Configuration"] == before["Configuration"]
    assert after["Tags"] == {"a": "b"}
    assert [function["FunctionName"] for function in client.list_functions()["Functions"]] == ["kept"]
    assert platform.invoke("kept").expect_ok() == 1
    url = urllib.parse.urlsplit(client.get_function_url_config(FunctionName="kept")["FunctionUrl"])
    assert url.hostname == host.split(":")[0]
    assert platform.request("GET", "/", host=url.netloc)[2] == b"1"
    assert "REPORT RequestId" in platform.updraft("logs", "kept").stdout


def test_stopping_lets_a_running_call_finish(private):
    platform = private()
    code = "import time\ndef handler(event, context):\n    print('begun', flush=True)\n    time.sleep(2)\n    return 'whole'\n"
    platform.create("slow", zip_of({"app.py": code}), Timeout=30)
    answers = []
    caller = threading.Thread(target=lambda: answers.append(platform.invoke("slow").expect_ok()))
    caller.start()
    wait_until(lambda: "begun" in platform.updraft("logs", "slow", check=False).stdout, "the call has begun")
    platform.stop()
    caller.join(DEADLINE_S)
    assert answers == ["whole"]


def test_a_data_directory_is_used_once(private):
    platform = private()
    said = refused(second := Platform(platform.data))
    assert second.data.name in said
    assert "in use" in said
    assert platform.is_healthy()
    platform.create("still", zip_of({"app.py": CODE.format(which=1)}))
    assert platform.invoke("still").expect_ok() == 1


def test_a_taken_port_is_named(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = refused(Platform(folder / "data", listen=address))
    assert address in said
    assert "in use" in said


def test_a_newer_data_directory_is_left_alone(private):
    platform = private()
    platform.create("kept", zip_of({"app.py": CODE.format(which=1)}))
    platform.stop()
    databases = [path for path in platform.data.rglob("*") if path.is_file() and is_database(path)]
    assert databases
    versions = {path: version(path) for path in databases}
    for path in databases:
        version(path, 9_999)
    before = {path: path.read_bytes() for path in databases}
    said = refused(platform)
    assert "newer" in said
    assert {path: path.read_bytes() for path in databases} == before
    for path, number in versions.items():
        version(path, number)
    platform.start()
    assert platform.invoke("kept").expect_ok() == 1


def is_database(path):
    with open(path, "rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def version(path, new=None):
    connection = sqlite3.connect(path)
    try:
        if new is not None:
            connection.execute(f"pragma user_version = {new:d}")
            connection.commit()
            connection.execute("pragma wal_checkpoint(truncate)")
        return connection.execute("pragma user_version").fetchone()[0]
    finally:
        connection.close()


def test_a_data_directory_that_is_a_file_is_named(folder):
    (folder / "data").write_text("not a folder")
    assert str(folder / "data") in refused(Platform(folder / "data"))


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.1:4566"])
def test_only_loopback_is_listened_on_without_protection(folder, address):
    said = refused(Platform(folder / "data", listen=address))
    assert "without TLS" in said
    assert "127.0.0.1" in said
    said = refused(Platform(folder / "data", listen=address, arguments=["--authentication", "off", "--tls", "proxy"]))
    assert "authentication off" in said


def test_a_full_disk_loses_nothing(folder):
    if os.geteuid() != 0:
        pytest.skip("a small disk can only be mounted by root")
    data = folder / "data"
    data.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(data)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"this host does not let tests mount a small disk: {mounted.stderr.decode().strip()}")
    platform = Platform(data)
    try:
        platform.start()
        fill_and_recover(platform)
        platform.stop()
    finally:
        if platform.process:
            platform.process.kill()
            platform.process.wait()
        wait_until(
            lambda: subprocess.run(["umount", str(data)], capture_output=True).returncode == 0 or not data.is_mount(),
            "the small disk is let go of",
        )


def test_a_log_that_cannot_be_written_ends_nothing(folder):
    """As on a disk that is full: what the platform says is lost, and it serves on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    platform = Platform(folder / "data", listen=address, environment={"UPDRAFT_LOG": "debug"})
    platform.log_path = pathlib.Path("/dev/full")
    platform.process = platform.spawn()
    platform.url = f"http://{address}"
    try:
        wait_until(platform.is_healthy, "it serves")
        platform.create("told", zip_of({"app.py": CODE.format(which=1)}))
        assert platform.invoke("told").expect_ok() == 1
        platform.process.terminate()
        assert platform.process.wait(DEADLINE_S) == 0
    finally:
        if platform.process.poll() is None:
            platform.process.kill()
            platform.process.wait()


def fill_and_recover(platform):
    client, made = platform.client(), []
    for number in range(40):
        code = zip_of({"app.py": CODE.format(which=number), "noise": os.urandom(1_500_000)})
        try:
            platform.create(f"full-{number}", code)
        except ClientError as error:
            refusal = error.response
            break
        made.append(number)
    else:
        raise AssertionError("a disk of 24 MB held 60 MB")
    assert made, "nothing fitted at all"
    assert refusal["ResponseMetadata"]["HTTPStatusCode"] >= 400
    assert refusal["Error"]["Code"] in ("CodeStorageExceededException", "InsufficientStorage", "ServiceException")
    assert platform.is_healthy()
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.get_function(FunctionName=f"full-{len(made)}")
    listed = [function["FunctionName"] for function in client.list_functions()["Functions"]]
    assert sorted(listed) == sorted(f"full-{number}" for number in made)
    for number in made:
        assert platform.invoke(f"full-{number}").expect_ok() == number
    for number in made:
        client.delete_function(FunctionName=f"full-{number}")

    def fits_again():
        try:
            platform.create("after", zip_of({"app.py": CODE.format(which=99), "noise": os.urandom(1_500_000)}))
            return True
        except ClientError:
            return False

    wait_until(fits_again, "deleting makes room")
    assert platform.invoke("after").expect_ok() == 99


def test_an_ordinary_user_can_run_it(workspace, folder):
    if os.geteuid() != 0:
        pytest.skip("the tests run as an ordinary user already, so every other test shows it")
    user = 65534
    binary = workspace / f"updraft-{os.getpid()}"
    shutil.copy2(BINARY, binary)
    binary.chmod(0o755)
    home = folder / "home"
    home.mkdir()
    folder.chmod(0o755)
    os.chown(home, user, user)
    platform = Platform(home / "data", user=user, binary=binary, environment={"HOME": str(home)})
    platform.log_path.touch()
    os.chown(platform.log_path, user, user)
    # Without a share of the host's control groups an ordinary user cannot limit memory; doctor says so, and
    # running all the same has to be asked for.
    platform.arguments = ["--isolation", "best-effort"]
    platform.start()
    try:
        runtime = "python3." + subprocess.run(
            ["/usr/bin/python3", "-c", "import sys; print(sys.version_info.minor)"], capture_output=True, text=True
        ).stdout.strip()
        code = "import os\ndef handler(event, context):\n    return [os.getuid(), event]\n"
        platform.create("mine", zip_of({"app.py": code}), runtime=runtime)
        uid, event = platform.invoke("mine", {"k": 1}).expect_ok()
        assert event == {"k": 1}
        assert pathlib.Path(f"/proc/{platform.process.pid}").stat().st_uid == user
    finally:
        platform.stop()
