//! Layouts and archives as tools write them, and as they should not be.

use super::*;

const CONFIG: &str = r#"{"os":"linux","architecture":"amd64","config":{"Cmd":["/bootstrap"]}}"#;
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

fn described(media_type: &str, content: &[u8]) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": Digest::of(content), "size": content.len() })
}

/// The files of a layout with one image of one layer, and another entry for a second name of it.
fn layout() -> Vec<(String, Vec<u8>)> {
    let layer = b"a layer's bytes".to_vec();
    let manifest = json!({
        "schemaVersion": 2,
        "config": described("application/vnd.oci.image.config.v1+json", CONFIG.as_bytes()),
        "layers": [described("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut entry = described(MANIFEST_TYPE, &manifest);
    entry["annotations"] = json!({ "org.opencontainers.image.ref.name": "v1" });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string().into_bytes();
    let blobs = [manifest, CONFIG.into(), layer];
    let blobs = blobs.into_iter().map(|bytes| (blob(&Digest::of(&bytes)), bytes));
    [("oci-layout".to_owned(), b"{}".to_vec()), ("index.json".to_owned(), index)].into_iter().chain(blobs).collect()
}

fn folder_of(files: &[(String, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    folder
}

fn archive_of(files: &[(String, Vec<u8>)], links: &[(&str, &str)]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut builder = tar::Builder::new(file.reopen().unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    for (name, target) in links {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_entry_type(tar::EntryType::Symlink);
        builder.append_link(&mut header, name, target).unwrap();
    }
    builder.finish().unwrap();
    file
}

fn layers_of(found: &Found) -> Vec<Vec<u8>> {
    let read = |index| {
        let mut bytes = Vec::new();
        found.open_layer(index).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    (0..found.layers.len()).map(read).collect()
}

#[test]
fn a_layout_is_the_same_image_as_a_folder_and_as_an_archive() {
    let (folder, archive) = (folder_of(&layout()), archive_of(&layout(), &[]));
    assert!(is_image(folder.path()) && is_image(archive.path()));
    for path in [folder.path(), archive.path()] {
        for tag in [None, Some("v1")] {
            let found = open(path, tag, Architecture::X86_64).unwrap();
            assert_eq!(found.digest(), Digest::of(&layout()[2].1));
            assert_eq!(layers_of(&found), [b"a layer's bytes"]);
        }
        assert!(matches!(open(path, Some("v2"), Architecture::X86_64), Err(Error::NotNamed { .. })));
        assert!(matches!(open(path, None, Architecture::Arm64), Err(Error::Manifest(_))));
    }
}

#[test]
fn a_layout_that_is_not_what_it_says_is_refused() {
    for spoiled in 1..5 {
        let mut files = layout();
        files[spoiled].1 = b"{}".to_vec();
        let folder = folder_of(&files);
        let opened = open(folder.path(), None, Architecture::X86_64);
        // A layer's bytes are not looked at before they are sent, and checked when they arrive.
        assert_eq!(opened.is_ok(), spoiled == 4, "{spoiled}: {opened:?}");
        files.remove(spoiled);
        assert!(open(folder_of(&files).path(), None, Architecture::X86_64).is_err(), "{spoiled}");
    }
    let mut outside = layout();
    let climbing = String::from_utf8(outside[1].1.clone()).unwrap().replace("sha256:", "sha256:../");
    outside[1].1 = climbing.into_bytes();
    assert!(open(folder_of(&outside).path(), None, Architecture::X86_64).is_err());
}

#[test]
fn what_docker_saved_has_a_manifest_made_for_it() {
    let saved = json!([{ "Config": "abc.json", "RepoTags": ["hello:v1", "hello:v2"], "Layers": ["one/layer.tar", "two/layer.tar"] }]);
    let files = [
        ("one/layer.tar".to_owned(), b"one".to_vec()),
        ("abc.json".to_owned(), CONFIG.into()),
        ("manifest.json".to_owned(), saved.to_string().into_bytes()),
    ];
    let archive = archive_of(&files, &[("two/layer.tar", "../one/layer.tar")]);
    assert!(is_image(archive.path()));
    let found = open(archive.path(), Some("v2"), Architecture::X86_64).unwrap();
    assert_eq!(layers_of(&found), [b"one", b"one"]);
    let Document::Manifest(manifest) = manifest::read(&found.manifest, Architecture::X86_64).unwrap() else {
        panic!("an image's manifest was made")
    };
    assert_eq!((manifest.layers, manifest.config), (found.layers.clone(), Digest::of(CONFIG.as_bytes())));
    assert_eq!(open(archive.path(), None, Architecture::X86_64).unwrap().digest(), found.digest());
    let missing = archive_of(&files, &[("two/layer.tar", "two/layer.tar")]);
    assert!(matches!(open(missing.path(), None, Architecture::X86_64), Err(Error::Missing(_))));
}

#[test]
fn what_is_meant_has_to_be_said_where_there_is_a_choice_and_only_then() {
    let refusal = |files: &[(String, Vec<u8>)], tag| {
        open(folder_of(files).path(), tag, Architecture::X86_64).unwrap_err().to_string()
    };
    // The same layout with entries that are called so.
    let with = |names: &[Option<&str>]| {
        let mut files = layout();
        let mut index: serde_json::Value = serde_json::from_slice(&files[1].1).unwrap();
        let entry = |name: &Option<&str>| {
            let mut entry = index["manifests"][0].clone();
            entry["platform"] = json!({ "os": "linux", "architecture": "amd64" });
            entry["annotations"] = json!({});
            name.iter().for_each(|name| entry["annotations"][NAMES[0]] = json!(name));
            if *name == Some("other") {
                entry["digest"] = json!(Digest::of(b"other"));
            }
            entry
        };
        let entries: Vec<_> = names.iter().map(entry).collect();
        index["manifests"] = json!(entries);
        files[1].1 = index.to_string().into_bytes();
        files
    };
    assert_eq!(refusal(&with(&[]), None), "it holds no image");
    assert_eq!(refusal(&with(&[]), Some("v1")), "it holds no image");
    assert_eq!(
        refusal(&with(&[Some("v1"), Some("other"), None]), None),
        "it holds several images, v1, other, one without a name; say which with the tag"
    );
    assert_eq!(
        refusal(&with(&[None, None]), Some("v1")),
        "it does not hold just one image that is called \"v1\", but one without a name, one without a name"
    );
    for (names, tag) in [
        (&[Some("v1"), Some("v2")][..], None),
        (&[None, Some("other")], None),
        (&[Some("other"), Some("v2")], Some("v2")),
    ] {
        open(folder_of(&with(names)).path(), tag, Architecture::X86_64).unwrap();
    }
    let saved = |tags: serde_json::Value| {
        let image = |tags: &serde_json::Value| json!({ "Config": "c", "RepoTags": tags, "Layers": [] });
        let saved: Vec<_> = tags.as_array().unwrap().iter().map(image).collect();
        [("manifest.json".to_owned(), json!(saved).to_string().into_bytes())]
    };
    assert_eq!(refusal(&saved(json!([])), None), "it holds no image");
    assert_eq!(
        refusal(&saved(json!([["a:1"], null])), None),
        "it holds several images, a:1, one without a name; say which with the tag"
    );
    assert_eq!(
        refusal(&saved(json!([["a:1"], ["b:1"]])), Some("1")),
        "it does not hold just one image that is called \"1\", but a:1, b:1"
    );
}

#[test]
fn other_files_are_no_images() {
    let plain = tempfile::NamedTempFile::new().unwrap();
    for content in [&b""[..], b"hello", &[0x1f, 0x8b, 8, 0], &[0; 2048]] {
        fs::write(plain.path(), content).unwrap();
        assert!(!is_image(plain.path()));
        assert!(open(plain.path(), None, Architecture::X86_64).is_err());
    }
    let archive = archive_of(&[("app.py".to_owned(), b"print()".to_vec())], &[]);
    assert!(!is_image(archive.path()));
}

#[test]
fn names_are_seen_from_where_they_are() {
    assert_eq!(normal("./a//b/../c", None), "a/c");
    assert_eq!(normal("../one/layer.tar", Some("two/layer.tar")), "one/layer.tar");
    assert_eq!(normal("../../../../etc/passwd", Some("x/y")), "etc/passwd");
}
