"""Container images: pushed, pulled from a registry, and run as functions; bad ones refused, unused ones gone."""

import json
import os
import re
import shutil

import pytest
from botocore.exceptions import ClientError

import images
from harness import ACCOUNT, BINARY, REGION, ROLE, Platform, wait_until
from images import Device, Folder, Image, Link, digest

TEXT_OF_MEMBERS = "Please don't provide Handler or Runtime or Layer when the intended function PackageType is Image."


@pytest.fixture(scope="session")
def bootstrap(workspace):
    """A runtime in one static program."""
    folder = workspace / "bootstrap"
    folder.mkdir()
    return images.bootstrap(folder)


@pytest.fixture(scope="session")
def plain(bootstrap):
    """An image of a few files in two layers, with what an image should not have beside them."""
    lower = images.layer({"bin/bootstrap": bootstrap, "srv/data": "lower", "srv/gone": "x", "srv/old/x": "x"})
    upper = images.layer(
        {
            "srv/data": "upper",
            "srv/.wh.gone": "",
            "srv/old/.wh..wh..opq": "",
            "srv/old/new": "x",
            "tmp": Link("/srv"),
            "proc": Link("../../../../proc/1/root"),
            "dev/mem": Device(),
            "etc/hosts": Link("/proc/1/environ"),
            "work": Folder(),
        }
    )
    config = {
        "Entrypoint": ["/bin/bootstrap", "entry"],
        "Cmd": ["app.handler"],
        "WorkingDir": "/work",
        "Env": ["MODE=image", "PATH=/bin"],
        "User": "1000:1000",
    }
    return Image([lower, upper], config, packed="gzip")


def create(client, name, uri, **more):
    made = client.create_function(FunctionName=name, PackageType="Image", Role=ROLE, Code={"ImageUri": uri}, **more)
    client.get_waiter("function_active_v2").wait(FunctionName=name)
    return made


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return caught.value.response["Error"]["Message"]


@pytest.fixture
def pushed(platform, plain, folder, name):
    """The image above under the test's name."""
    platform.updraft("image", "push", name, plain.layout(folder / "layout"))
    yield name
    platform.updraft("image", "rm", name, check=False)


def test_an_image_runs_as_a_function(platform, client, plain, pushed, name):
    made = create(client, name, pushed)
    assert "USER" in made["ResponseMetadata"]["HTTPHeaders"]["x-updraft-warning"]
    assert (made["PackageType"], made["CodeSize"], made["CodeSha256"]) == ("Image", 0, digest(plain.manifest)[7:])
    assert not {"Runtime", "Handler", "Layers", "ImageConfigResponse"} & made.keys()
    code = client.get_function(FunctionName=name)["Code"]
    resolved = f"{pushed}@{digest(plain.manifest)}"
    assert code == {"ImageUri": pushed, "RepositoryType": "ECR", "ResolvedImageUri": resolved}
    said = platform.invoke(name, {"n": 1}).expect_ok()
    assert said["event"] == {"n": 1}
    assert (said["arguments"], said["handler"]) == ("entry app.handler ", "app.handler")
    assert (said["directory"], said["data"], said["mode"]) == ("/work", "upper", "image")
    assert (said["uid"], said["writes"], said["tmp"]) == (993, 0, 1)
    assert set(said["root"].split()) == {"bin", "dev", "etc", "proc", "srv", "tmp", "work"}
    wait_until(lambda: "image runtime up" in platform.updraft("logs", name).stdout, "what it wrote is in its log")
    listed = client.list_functions()["Functions"]
    assert [one["PackageType"] for one in listed if one["FunctionName"] == name] == ["Image"]


def test_image_config_replaces_what_the_image_says(platform, client, pushed, name):
    create(
        client,
        name,
        f"{pushed}:latest",
        Environment={"Variables": {"MODE": "function"}},
        ImageConfig={"EntryPoint": ["bootstrap"], "Command": ["other.handler", "x"], "WorkingDirectory": "/srv"},
    )
    said = platform.invoke(name).expect_ok()
    assert (said["arguments"], said["directory"], said["mode"]) == ("other.handler x ", "/srv", "function")
    shown = client.get_function_configuration(FunctionName=name)["ImageConfigResponse"]["ImageConfig"]
    assert shown == {"EntryPoint": ["bootstrap"], "Command": ["other.handler", "x"], "WorkingDirectory": "/srv"}
    client.update_function_configuration(FunctionName=name, ImageConfig={"Command": ["third"]})
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert platform.invoke(name).expect_ok()["arguments"] == "entry third "
    client.update_function_configuration(FunctionName=name, ImageConfig={})
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert "ImageConfigResponse" not in client.get_function_configuration(FunctionName=name)
    assert platform.invoke(name).expect_ok()["arguments"] == "entry app.handler "
    for config, said in [
        ({"WorkingDirectory": "/nowhere"}, "chdir /nowhere: no such file or directory"),
        ({"EntryPoint": ["/nowhere"]}, "fork/exec /nowhere: no such file or directory"),
    ]:
        client.update_function_configuration(FunctionName=name, ImageConfig=config)
        client.get_waiter("function_updated_v2").wait(FunctionName=name)
        assert said in platform.invoke(name).value["errorMessage"]


def test_members_that_do_not_go_together_are_refused_in_awss_words(client, pushed, name):
    image = {"FunctionName": name, "PackageType": "Image", "Role": ROLE, "Code": {"ImageUri": pushed}}
    for more in [{"Runtime": "python3.12"}, {"Handler": "a.b"}]:
        assert refused(client.create_function, **image, **more) == TEXT_OF_MEMBERS
    zipped = {"FunctionName": name, "Runtime": "provided.al2023", "Handler": "x", "Role": ROLE}
    assert "ImageUri" in refused(client.create_function, **zipped, Code={"ImageUri": pushed})
    assert "ImageUri" in refused(client.create_function, **(image | {"Code": {"ZipFile": b"x"}}))
    for uri in ["nowhere", f"{pushed}:v2", f"{pushed}@{digest(b'')}", f"222222222222.dkr.ecr.{REGION}.amazonaws.com/{pushed}"]:
        said = refused(client.create_function, **(image | {"Code": {"ImageUri": uri}}))
        assert said == f"Source image {uri} does not exist. Provide a valid source image."
    for uri in ["/etc/passwd", "oci:/etc", "docker-archive:/etc/passwd", "file:///etc/passwd", "http://127.0.0.1/x", ""]:
        said = refused(client.create_function, **(image | {"Code": {"ImageUri": uri}}))
        assert said == f"Source image {uri} is not valid. Provide a valid source image."
    assert refused(client.create_function, **image, Architectures=["arm64"]).endswith("the function for linux/arm64.")
    create(client, name, f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{pushed}:latest")
    said = refused(client.update_function_code, FunctionName=name, ZipFile=b"x")
    assert said == "Please provide ImageUri when updating a function with packageType Image."
    assert refused(client.update_function_configuration, FunctionName=name, Handler="a.b") == TEXT_OF_MEMBERS


def test_a_new_image_serves_and_a_version_keeps_the_old_one(platform, client, plain, bootstrap, pushed, folder, name):
    create(client, name, pushed)
    version = client.publish_version(FunctionName=name)["Version"]
    newer = Image([images.layer({"bin/bootstrap": bootstrap, "srv/data": "newer"})], {"Cmd": ["/bin/bootstrap"]})
    platform.updraft("image", "push", pushed, newer.docker_archive(folder / "saved.tar"))
    assert platform.invoke(name).expect_ok()["data"] == "upper", "the name alone changes nothing"
    dry = client.update_function_code(FunctionName=name, ImageUri=pushed, DryRun=True)
    assert dry["CodeSha256"] != digest(plain.manifest)[7:]
    client.update_function_code(FunctionName=name, ImageUri=pushed)
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    said = platform.invoke(name).expect_ok()
    assert (said["data"], said["directory"]) == ("newer", "/var/task")
    assert platform.invoke(name, Qualifier=version).expect_ok()["data"] == "upper"


def test_an_unmodified_python_runtime_client_runs_in_an_image(platform, client, folder, name):
    source = "import os, sys\ndef handler(event, context):\n    return [event, context.function_name, sys.prefix, os.listdir('/')]\n"
    files = images.python_files({"app.py": source}, ["awslambdaric", "simplejson", "runtime_client*.so", "snapshot_restore_py"])
    image = Image(
        [images.layer(files)],
        {
            "Entrypoint": ["/usr/local/bin/python3", "-m", "awslambdaric"],
            "Cmd": ["app.handler"],
            "WorkingDir": "/var/task",
            "Env": ["PYTHONHOME=/usr/local", "PATH=/usr/local/bin"],
        },
        packed="gzip",
    )
    deployed = json.loads(platform.updraft("deploy", image.layout(folder / "image"), "--name", name, "--json").stdout)
    assert deployed["Action"] == "created"
    client.update_function_configuration(FunctionName=name, Timeout=60)
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    event, function, prefix, root = platform.invoke(name, {"a": 1}).expect_ok()
    assert (event, function, prefix) == ({"a": 1}, name, "/usr/local")
    assert set(root) == {path.split("/")[0] for path in files} | {"dev", "etc", "proc", "tmp"}, "the image is all there is"
    again = json.loads(platform.updraft("deploy", folder / "image", "--name", name, "--json").stdout)
    assert again["Action"] == "unchanged"


def test_extensions_of_an_image_run_beside_it(platform, client, bootstrap, folder, name):
    files = {"bin/bootstrap": bootstrap, "opt/extensions/beside": bootstrap}
    image = Image([images.layer(files)], {"Cmd": ["/bin/bootstrap"]})
    platform.updraft("deploy", image.docker_archive(folder / f"{name}.tar"), "--name", name)
    platform.invoke(name).expect_ok()
    wait_until(lambda: "extension up" in platform.updraft("logs", name).stdout, "the extension has started")
    unable = images.layer({"opt/extensions/beside": "#!/nowhere\n"})
    image = Image([*image.tars, unable], {"Cmd": ["/bin/bootstrap"]})
    platform.updraft("deploy", image.docker_archive(folder / f"{name}.tar"), "--name", name)
    answer = platform.invoke(name)
    assert answer.error and "Extension" in answer.value["errorType"], answer
    # On this machine there are files where the link leads; they are none of the image's.
    linked = Image(
        [images.layer({"bin/bootstrap": bootstrap, "opt": Link("/usr")})], {"Cmd": ["/bin/bootstrap"]}
    )
    platform.updraft("deploy", linked.docker_archive(folder / f"{name}.tar"), "--name", name)
    platform.invoke(name).expect_ok()


def test_registries_are_asked_that_are_allowed_and_no_others(private, plain, bootstrap, name):
    allowed, other = images.Registry(token="secret"), images.Registry()
    try:
        platform = private(arguments=["--image-registries", allowed.url])
        client = platform.client()
        arm = Image(plain.tars, {"Cmd": ["/x"]}, architecture="arm64")
        for registry in (allowed, other):
            registry.push_index({"linux/arm64": arm, "linux/amd64": plain}, "v1")
        create(client, name, f"{allowed.host}/team/app:v1")
        assert platform.invoke(name).expect_ok()["data"] == "upper"
        code = client.get_function(FunctionName=name)["Code"]
        assert code["ResolvedImageUri"] == f"{allowed.host}/team/app@{digest(plain.manifest)}"
        asked = len(allowed.asked)
        dry = client.update_function_code(FunctionName=name, ImageUri=f"{allowed.host}/team/app:v1", DryRun=True)
        assert dry["CodeSha256"] == digest(plain.manifest)[7:]
        blobs = [path for path in allowed.asked[asked:] if "/blobs/" in path]
        assert all(digest(plain.config) in path for path in blobs), "layers that are there are not asked for again"

        image = {"FunctionName": f"{name}-2", "PackageType": "Image", "Role": ROLE}
        for uri in [f"{other.host}/team/app:v1", "169.254.169.254/x", "ghcr.io/x/y"]:
            said = refused(client.create_function, **image, Code={"ImageUri": uri})
            assert f"images from {uri.split('/')[0]} are not allowed here" in said
        assert other.asked == []
        assert "does not give the image" in refused(
            client.create_function, **image, Code={"ImageUri": f"{allowed.host}/team/app:v2"}
        )
        # A layer that is another than its digest, and addresses in a manifest.
        lying = Image([images.layer({"bin/bootstrap": bootstrap})], {"Cmd": ["/bin/bootstrap"]})
        allowed.push(lying, "lying")
        allowed.blobs[digest(lying.packed[0])] = ("application/octet-stream", lying.packed[0].replace(b"\x7fELF", b"\x7fFLE"))
        said = refused(client.create_function, **image, Code={"ImageUri": f"{allowed.host}/app:lying"})
        assert "digest" in said.lower() or "is sha256:" in said, said
        manifest = json.loads(lying.manifest)
        del allowed.blobs[digest(lying.packed[0])]
        manifest["layers"][0]["urls"] = [f"{other.url}/v2/x/blobs/{digest(lying.packed[0])}"]
        other.push(lying)
        elsewhere = json.dumps(manifest).encode()
        allowed.manifests["elsewhere"] = (images.OCI_MANIFEST, elsewhere)
        refused(client.create_function, **image, Code={"ImageUri": f"{allowed.host}/app:elsewhere"})
        assert other.asked == [], "an image does not say where to fetch from"
        assert not list((platform.data / "images").rglob("pull-*"))
    finally:
        allowed.stop()
        other.stop()


def roots(platform):
    return [path for path in (platform.data / "packages").glob("*/image-*")]


def layers(platform):
    return [path for path in (platform.data / "blobs").glob("layer-*")]


def test_what_nothing_names_is_removed_and_a_kill_leaves_nothing_half_made(private, plain, folder, name):
    platform = private()
    layout = plain.layout(folder / "layout")
    platform.updraft("image", "push", f"{name}:v1", layout)
    assert (len(roots(platform)), len(layers(platform))) == (1, 2)
    create(platform.client(), name, f"{name}:v1")
    platform.updraft("image", "rm", f"{name}:v1")
    assert platform.updraft("image", "rm", f"{name}:v1", check=False).returncode == 4
    platform.kill()
    # As a kill in the middle of unpacking and of pulling would leave it, and an image whose root is lost.
    (root,) = roots(platform)
    half = root.with_name(f"{root.name}.0.partial")
    root.rename(half)
    pulled = platform.data / "images" / ACCOUNT / "pull-0"
    pulled.parent.mkdir(exist_ok=True)
    pulled.write_bytes(b"x")
    (platform.data / "blobs" / f"layer-{ACCOUNT}-{'0' * 64}").write_bytes(b"x")
    platform.start()
    assert platform.invoke(name).expect_ok()["data"] == "upper", "the function has its image without a name"
    assert not half.exists() and not pulled.exists()
    assert (len(roots(platform)), len(layers(platform))) == (1, 2)
    platform.client().delete_function(FunctionName=name)
    wait_until(lambda: not roots(platform) and not layers(platform), "the image is gone with its function")


def test_an_upload_that_broke_off_goes_on(private, plain, name):
    platform = private()
    content = plain.packed[0]
    path = f"/_updraft/v1/images/{name}/blobs/{digest(content)}"
    half = len(content) // 2

    def put(offset, part, size=len(content)):
        status, _, body = platform.request("PUT", f"{path}?size={size}&offset={offset}", body=part)
        return status, json.loads(body)

    assert put(0, content[:half]) == (200, {"received": half, "is_complete": False})
    platform.kill()
    platform.start()
    status, _, body = platform.request("GET", path)
    assert (status, json.loads(body)) == (200, {"received": half, "is_complete": False})
    assert put(0, content[:half])[0] == 409
    assert put(half, content[half:]) == (200, {"received": len(content), "is_complete": True})
    body = json.dumps({"manifest": plain.manifest.decode(), "config": plain.config.decode()})
    status, _, body = platform.request("PUT", f"/_updraft/v1/images/{name}/tags/v1", body=body.encode())
    assert status == 400 and "has not been uploaded" in body.decode(), "its other layer is missing"
    other = f"/_updraft/v1/images/{name}/blobs/{digest(b'x')}"
    status, _, _ = platform.request("PUT", f"{other}?size=1&offset=0", body=b"y")
    assert status == 400, "it is not what its digest says"


def test_images_that_are_not_acceptable_are_refused_and_leave_nothing(private, bootstrap, folder, name):
    platform = private(arguments=["--image-megabytes-max", "1"])
    small = {"Cmd": ["/bin/x"]}
    bad = {
        "climbs": Image([images.layer({"../evil": "x"})], small),
        "bomb": Image([images.layer({"zeros": bytes(2 << 20)})], small, packed="gzip"),
        "loop": Image([images.layer({"a": Link("b"), "b": Link("a"), "a/x": "x"})], small),
        "broken": Image([b"not a tar, but long enough for one" * 100], small),
    }
    for kind, image in bad.items():
        done = platform.updraft("image", "push", name, image.layout(folder / kind), check=False)
        assert done.returncode == 4, (kind, done.stderr)
    arm = Image([images.layer({"bin/x": bootstrap})], small, architecture="arm64")
    assert platform.updraft("image", "push", name, arm.layout(folder / "arm"), check=False).returncode == 5
    assert json.loads(platform.updraft("image", "ls", "--json").stdout) == []
    wait_until(lambda: not roots(platform) and not layers(platform), "nothing is left of them")
    assert not list((platform.data / "packages").glob("*/*.partial"))


def test_images_are_each_accounts_own(private, plain, folder, name):
    platform = private()
    made = platform.updraft("account", "create", "other", "--id", "222222222222").stdout
    key, secret = re.findall(r"=(\S+)", made)
    others = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    layout = plain.layout(folder / "layout")
    platform.updraft("image", "push", name, layout)
    shown = platform.updraft("image", "ls", "--json", environment=others).stdout
    assert json.loads(shown) == []
    assert platform.updraft("image", "rm", name, check=False, environment=others).returncode == 4
    # Knowing what another's layers are called gives nothing.
    path = f"/_updraft/v1/images/{name}/blobs/{digest(plain.packed[0])}"
    assert json.loads(platform.request("GET", path)[2])["is_complete"]
    platform.updraft("image", "push", f"{name}:theirs", layout, environment=others)
    assert {path.name[:18] for path in layers(platform)} == {f"layer-{ACCOUNT}", "layer-222222222222"}


def test_an_ordinary_user_runs_images_too(workspace, plain, folder, name):
    if os.geteuid() != 0:
        pytest.skip("the tests run as an ordinary user already, so every other test shows it")
    user, home = 65534, folder / "home"
    binary = workspace / f"updraft-images-{os.getpid()}"
    shutil.copy2(BINARY, binary)
    binary.chmod(0o755)
    home.mkdir()
    folder.chmod(0o755)
    os.chown(home, user, user)
    arguments = ["--isolation", "best-effort"]
    platform = Platform(home / "data", user=user, binary=binary, environment={"HOME": str(home)}, arguments=arguments)
    platform.log_path.touch()
    os.chown(platform.log_path, user, user)
    platform.start()
    try:
        platform.updraft("deploy", plain.layout(folder / "layout"), "--name", name)
        said = platform.invoke(name).expect_ok()
        assert (said["uid"], said["data"], said["writes"]) == (993, "upper", 0)
        owners = {path.lstat().st_uid for (root,) in [roots(platform)] for path in root.rglob("*")}
        assert owners == {user}
    finally:
        platform.stop()


def test_the_aws_command_line_makes_one(platform, pushed, name):
    platform.aws(
        "lambda", "create-function", "--function-name", name, "--package-type", "Image", "--role", ROLE,
        "--code", f"ImageUri={pushed}:latest", "--image-config", '{"Command":["from.cli"]}',
    )
    platform.aws("lambda", "wait", "function-active-v2", "--function-name", name)
    shown = platform.aws("lambda", "get-function", "--function-name", name)
    assert shown["Code"]["RepositoryType"] == "ECR" and shown["Configuration"]["PackageType"] == "Image"
    assert platform.invoke(name).expect_ok()["arguments"] == "entry from.cli "
