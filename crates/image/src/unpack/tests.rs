//! What unpacking makes of layers, good and hostile: written as tars byte by byte, since no tool writes such ones.

use std::{io::Cursor, os::unix::fs::MetadataExt};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

/// One entry of a layer: a name, and what it is.
#[derive(Debug, Clone)]
enum Item {
    Folder,
    File(Vec<u8>, u32),
    Link(Vec<u8>),
    Hard(Vec<u8>),
    Device,
}

fn file(text: &str) -> Item {
    Item::File(text.into(), 0o644)
}

fn link(target: &str) -> Item {
    Item::Link(target.into())
}

/// A tar whose names are written as they are, however odd: `tar`'s builder would refuse them. Long ones are GNU's.
fn tar(items: &[(&[u8], Item)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut add = |name: &[u8], kind: EntryType, link: &[u8], content: &[u8], mode: u32| {
        for (long, kind) in [(name, EntryType::GNULongName), (link, EntryType::GNULongLink)] {
            if long.len() > 100 {
                push(&mut bytes, b"././@LongLink", kind, b"", long, 0);
            }
        }
        push(&mut bytes, &name[..name.len().min(100)], kind, &link[..link.len().min(100)], content, mode);
    };
    for (name, item) in items {
        match item {
            Item::Folder => add(name, EntryType::Directory, b"", b"", 0o755),
            Item::File(content, mode) => add(name, EntryType::Regular, b"", content, *mode),
            Item::Link(target) => add(name, EntryType::Symlink, target, b"", 0o777),
            Item::Hard(target) => add(name, EntryType::Link, target, b"", 0o644),
            Item::Device => add(name, EntryType::Char, b"", b"", 0o666),
        }
    }
    bytes.extend([0; 1024]);
    bytes
}

fn push(bytes: &mut Vec<u8>, name: &[u8], kind: EntryType, link: &[u8], content: &[u8], mode: u32) {
    let mut header = tar::Header::new_gnu();
    let old = header.as_gnu_mut().unwrap();
    old.name[..name.len()].copy_from_slice(name);
    old.linkname[..link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(1_700_000_000);
    header.set_size(content.len() as u64);
    header.set_cksum();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
}

fn layer_of(bytes: &[u8]) -> Layer {
    Layer { digest: Digest::of(bytes), size_bytes: bytes.len() as u64 }
}

const SMALL: Limits = Limits { bytes_max: 1 << 20, entries_max: 1000 };

/// An image's folder, beside which there is a file that nothing may touch.
struct Unpacked {
    whole: TempDir,
    result: Result<(), Error>,
}

impl Unpacked {
    fn of(layers: &[Vec<u8>]) -> Self {
        Self::within(layers, SMALL)
    }

    fn within(layers: &[Vec<u8>], limits: Limits) -> Self {
        let whole = tempfile::tempdir().unwrap();
        fs::write(whole.path().join("outside"), "untouched").unwrap();
        let root = whole.path().join("root");
        fs::create_dir(&root).unwrap();
        let unpack = || {
            let mut unpacker = Unpacker::new(&root, limits)?;
            for layer in layers {
                unpacker.layer(&layer_of(layer), Cursor::new(layer))?;
            }
            unpacker.finish("/srv/work")
        };
        let unpacked = Self { result: unpack(), whole };
        let mut names: Vec<_> =
            fs::read_dir(unpacked.whole.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["outside", "root"], "something was made beside the image");
        assert_eq!(fs::read_to_string(unpacked.whole.path().join("outside")).unwrap(), "untouched");
        assert_eq!(fs::metadata(unpacked.whole.path().join("outside")).unwrap().nlink(), 1);
        unpacked
    }

    fn at(&self, inside: &str) -> PathBuf {
        self.whole.path().join("root").join(inside)
    }

    fn read(&self, inside: &str) -> String {
        self.result.as_ref().unwrap();
        fs::read_to_string(self.at(inside)).unwrap_or_else(|error| format!("{:?}", error.kind()))
    }

    fn is_refused(&self) -> bool {
        matches!(self.result, Err(Error::Entry { .. }))
    }
}

#[test]
fn files_folders_and_links_arrive_with_their_times_and_without_their_owners() {
    let long = format!("{}/file", "deep".repeat(40));
    let layer = tar(&[
        (b"./", Item::Folder),
        (b"./bin/", Item::Folder),
        (b"bin/tool", Item::File(b"x".to_vec(), 0o4711)),
        (b"/etc/passwd", file("root")),
        (b"private", Item::File(b"y".to_vec(), 0o600)),
        (b"lib", link("usr/lib")),
        (b"same", Item::Hard(b"bin/tool".to_vec())),
        (b"abs", link("/nowhere")),
        (b"dev/mem", Item::Device),
        (long.as_bytes(), file("long")),
    ]);
    let image = Unpacked::of(&[layer]);
    let found = |path: &str| fs::symlink_metadata(image.at(path)).unwrap();
    assert_eq!(
        (image.read("bin/tool"), image.read("etc/passwd"), image.read(&long)),
        ("x".into(), "root".into(), "long".into())
    );
    let mode = |path: &str| found(path).permissions().mode() & 0o7777;
    assert_eq!((mode("bin/tool"), mode("private"), mode("bin")), (0o755, 0o644, 0o755));
    assert_eq!(found("same").ino(), found("bin/tool").ino());
    assert_eq!(found("bin/tool").mtime(), 1_700_000_000);
    assert_eq!(fs::read_link(image.at("abs")).unwrap(), Path::new("/nowhere"));
    assert!(fs::symlink_metadata(image.at("dev/mem")).is_err(), "devices are left out");
    assert!(found("srv/work").is_dir() && found("tmp").is_dir() && found("etc/resolv.conf").is_file());
}

#[test]
fn upper_layers_hide_and_replace_what_lower_ones_have() {
    let lower = tar(&[
        (b"a/one", file("1")),
        (b"a/two", file("1")),
        (b"b/deep/one", file("1")),
        (b"b/two", file("1")),
        (b"flat", file("1")),
        (b"folder/x", file("1")),
        (b"usr/lib/kept", file("1")),
        (b"lib", link("usr/lib")),
    ]);
    let upper = tar(&[
        (b"a/.wh.one", file("")),
        // What the same layer puts into an opaque folder stays, whichever comes first.
        (b"b/deep/new", file("2")),
        (b"b/.wh..wh..opq", file("")),
        (b"b/newer", file("2")),
        (b"flat/inside", Item::Folder),
        (b"lib/added", file("2")),
        (b".wh..wh.plnk", Item::Folder),
    ]);
    let refused = Unpacked::of(&[lower.clone(), upper]);
    assert!(refused.is_refused(), "a file is on the way to flat/inside: {:?}", refused.result);
    let upper = tar(&[
        (b"a/.wh.one", file("")),
        (b"b/deep/new", file("2")),
        (b"b/.wh..wh..opq", file("")),
        (b"b/newer", file("2")),
        (b"flat", Item::Folder),
        (b"flat/inside", Item::Folder),
        (b"folder", file("2")),
        (b"lib/added", file("2")),
        (b".wh..wh.plnk", Item::Folder),
    ]);
    let image = Unpacked::of(&[lower, upper]);
    let gone = "NotFound";
    assert_eq!([image.read("a/one"), image.read("a/two")], [gone, "1"]);
    assert_eq!(
        [image.read("b/deep/one"), image.read("b/deep/new"), image.read("b/two"), image.read("b/newer")],
        [gone, "2", gone, "2"]
    );
    assert_eq!([image.read("folder"), image.read("usr/lib/added"), image.read("usr/lib/kept")], ["2", "2", "1"]);
    assert!(image.at("flat/inside").is_dir());
    assert!(fs::symlink_metadata(image.at("lib")).unwrap().is_symlink());
}

#[test]
fn links_lead_where_the_images_own_root_would_have_them() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("victim"), "untouched").unwrap();
    let away = outside.path().to_str().unwrap();
    let layer = tar(&[
        (b"away", link(away)),
        (b"away/victim", file("overwritten")),
        (b"up", link("../../../../../..")),
        (b"up/top", file("top")),
        (b"away/.wh.other", file("")),
    ]);
    let image = Unpacked::of(&[layer]);
    assert_eq!(image.read(&format!("{}/victim", away.trim_start_matches('/'))), "overwritten");
    assert_eq!(image.read("top"), "top");
    assert_eq!(fs::read_to_string(outside.path().join("victim")).unwrap(), "untouched");
    let hard = tar(&[(b"passwd", Item::Hard(b"/etc/passwd".to_vec()))]);
    assert!(Unpacked::of(&[hard]).is_refused(), "/etc/passwd of a hard link is the image's, which has none");
    let through = format!("x{away}/victim");
    let hard = tar(&[(b"x", link("/")), (b"stolen", Item::Hard(through.into_bytes()))]);
    assert!(Unpacked::of(&[hard]).is_refused());
    let over = tar(&[(b"a/b", file("x")), (b"a", Item::Hard(b"a/b".to_vec()))]);
    assert!(Unpacked::of(&[over]).is_refused());
    // A hard link to a link is the link itself.
    let hard = tar(&[(b"x", link("/etc/shadow")), (b"y", Item::Hard(b"x".to_vec())), (b"y", file("own"))]);
    assert_eq!(Unpacked::of(&[hard]).read("y"), "own");
}

#[test]
fn places_that_a_sandbox_mounts_at_are_real_ones() {
    let layer = tar(&[
        (b"tmp", link("/outside")),
        (b"proc", link("../../outside")),
        (b"dev", file("a file")),
        (b"etc", link("/usr/etc")),
        (b"usr/etc/hosts", link("/proc/1/environ")),
        (b"srv", link("/nonexistent/place")),
    ]);
    let image = Unpacked::of(&[layer]);
    for folder in ["tmp", "proc", "dev", "etc"] {
        assert!(fs::symlink_metadata(image.at(folder)).unwrap().is_dir(), "{folder}");
    }
    for file in FILES {
        assert!(fs::symlink_metadata(image.at(file)).unwrap().is_file(), "{file}");
    }
    assert!(image.at("nonexistent/place/work").is_dir());
    let layer = tar(&[(b"etc/hosts", link("/proc/1/environ")), (b"etc/resolv.conf", Item::Folder)]);
    let image = Unpacked::of(&[layer]);
    assert!(FILES.iter().all(|file| fs::symlink_metadata(image.at(file)).unwrap().is_file()));
}

#[test]
fn names_that_leave_the_image_and_endless_links_are_refused() {
    let long_part = "x".repeat(256);
    for name in ["../evil", "a/../../evil", "..", "a/.wh...", "a/.wh.", ".wh../..", &long_part] {
        let image = Unpacked::of(&[tar(&[(name.as_bytes(), file("x"))])]);
        assert!(image.is_refused(), "{name}: {:?}", image.result);
    }
    let loops = tar(&[(b"a", link("b")), (b"b", link("a")), (b"a/x", file("x"))]);
    assert!(Unpacked::of(&[loops]).is_refused());
    assert!(Unpacked::of(&[tar(&[(b"s", link(""))])]).is_refused());
    // Longer than any path may be, through links that each are short.
    let step = format!("{}/", "d".repeat(200)).repeat(15);
    let mut items = vec![(b"l0".to_vec(), link(&step))];
    for number in 1..10 {
        items.push((format!("l{number}").into_bytes(), link(&format!("l{}/{step}", number - 1))));
    }
    items.push((b"l9/x".to_vec(), file("x")));
    let items: Vec<_> = items.iter().map(|(name, item)| (name.as_slice(), item.clone())).collect();
    assert!(Unpacked::of(&[tar(&items)]).is_refused());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

#[test]
fn layers_are_plain_gzip_or_zstd_of_several_frames() {
    let plain = tar(&[(b"file", Item::File(vec![b'x'; 200_000], 0o644))]);
    let (first, second) = plain.split_at(70_000);
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
    for layer in [
        plain.clone(),
        gzip(&plain),
        [gzip(first), gzip(second)].concat(),
        zstd(&plain),
        [skipped.clone(), zstd(first), skipped.clone(), zstd(second), skipped].concat(),
    ] {
        assert_eq!(Unpacked::of(&[layer]).read("file").len(), 200_000);
    }
}

#[test]
fn bombs_are_stopped_by_what_comes_out() {
    let zeros = tar(&[(b"zeros", Item::File(vec![0; 2 << 20], 0o644))]);
    for bomb in [gzip(&zeros), zstd(&zeros), zeros] {
        let image = Unpacked::of(&[bomb]);
        assert!(matches!(image.result, Err(Error::TooLarge(_))), "{:?}", image.result);
    }
    let names: Vec<String> = (0..1001).map(|number| format!("f{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_bytes(), Item::Folder)).collect();
    let image = Unpacked::of(&[tar(&many)]);
    assert!(matches!(image.result, Err(Error::TooManyEntries(1000))), "{:?}", image.result);
    // Folders on the way count as well.
    let deep: Vec<String> = (0..6).map(|number| format!("{number}/{}", "d/".repeat(200))).collect();
    let deep: Vec<_> = deep.iter().map(|name| (name.as_bytes(), Item::Folder)).collect();
    let image = Unpacked::of(&[tar(&deep)]);
    assert!(matches!(image.result, Err(Error::TooManyEntries(1000))), "{:?}", image.result);
    let mut name = Vec::new();
    push(&mut name, b"././@LongLink", EntryType::GNULongName, b"", &vec![b'n'; 500_000], 0);
    let image = Unpacked::of(&[name]);
    assert!(matches!(image.result, Err(Error::Unreadable(_))), "{:?}", image.result);
}

#[test]
fn work_is_bounded_whatever_links_and_whiteouts_say() {
    // Every entry leads through forty links, each of them by a long way round.
    let around = format!("{}r", "x/../".repeat(700));
    let mut items = vec![(b"x".to_vec(), Item::Folder), (b"r0".to_vec(), Item::Folder)];
    for number in 1..38 {
        items.push((format!("r{number}").into_bytes(), link(&format!("{around}{}", number - 1))));
    }
    items.extend((0..10).map(|number| (format!("r37/{number}").into_bytes(), file("x"))));
    let items: Vec<_> = items.iter().map(|(name, item)| (name.as_slice(), item.clone())).collect();
    let image = Unpacked::of(&[tar(&items)]);
    assert!(matches!(image.result, Err(Error::TooManySteps(32_000))), "{:?}", image.result);
    assert!(image.result.unwrap_err().to_string().contains("32000 steps"));

    // A layer that says of every folder, and again and again of one, that it hides what is below: each is looked through
    // once, so this is an image like any other.
    let lower: Vec<_> = (0..300).map(|number| format!("a/b/c/lower{number}")).collect();
    let lower: Vec<_> = lower.iter().map(|name| (name.as_bytes(), file("x"))).collect();
    let mut upper: Vec<_> = (0..300).map(|number| (format!("a/b/c/{number}").into_bytes(), file("x"))).collect();
    for folder in ["a/b/c", "a/b", "a"].iter().cycle().take(300) {
        upper.push((format!("{folder}/.wh..wh..opq").into_bytes(), file("")));
    }
    let upper: Vec<_> = upper.iter().map(|(name, item)| (name.as_slice(), item.clone())).collect();
    let image = Unpacked::of(&[tar(&lower), tar(&upper)]);
    assert_eq!((image.read("a/b/c/lower7"), image.read("a/b/c/7")), ("NotFound".into(), "x".into()));
}

#[test]
fn what_was_hidden_stays_so_and_what_came_after_is_kept() {
    let lower = tar(&[(b"a/old", file("1")), (b"a/b/old", file("1"))]);
    let upper = tar(&[
        (b"a/.wh..wh..opq", file("")),
        (b"a/new", file("2")),
        (b"a/b/new", file("2")),
        (b"a/b/.wh..wh..opq", file("")),
        (b"a/.wh..wh..opq", file("")),
    ]);
    let image = Unpacked::of(&[lower.clone(), upper]);
    assert_eq!([image.read("a/old"), image.read("a/b/old")], ["NotFound"; 2]);
    assert_eq!([image.read("a/new"), image.read("a/b/new")], ["2"; 2]);
    // Of the next layer all of this is lower again.
    let whiteout = tar(&[(b"a/newest", file("3")), (b"a/.wh..wh..opq", file(""))]);
    let image = Unpacked::of(&[lower.clone(), lower, whiteout]);
    assert_eq!([image.read("a/old"), image.read("a/b/old"), image.read("a/newest")], ["NotFound", "NotFound", "3"]);
}

#[test]
fn folders_lie_only_so_deep() {
    for name in ["d/".repeat(400), format!("{}file", "d/".repeat(300))] {
        let image = Unpacked::of(&[tar(&[(name.as_bytes(), file("x"))])]);
        assert!(image.is_refused(), "{:?}", image.result);
    }
    // Through links each of which is short.
    let half = "d/".repeat(200);
    let deep = format!("{half}l");
    let items = tar(&[(half.as_bytes(), Item::Folder), (deep.as_bytes(), link("./")), (b"x", link(&half))]);
    assert!(Unpacked::of(&[items]).result.is_ok());
    let far = format!("x/{half}");
    let items = tar(&[(half.as_bytes(), Item::Folder), (b"x", link(&half)), (far.as_bytes(), Item::Folder)]);
    assert!(Unpacked::of(&[items]).is_refused());
}

#[test]
fn a_layer_that_is_another_than_promised_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let promised = layer_of(&tar(&[(b"a", file("x"))]));
    let mut unpacker = Unpacker::new(folder.path(), SMALL).unwrap();
    let other = tar(&[(b"a", file("y"))]);
    let refused = unpacker.layer(&promised, Cursor::new(other)).unwrap_err();
    assert!(matches!(refused, Error::Digest { .. }));
    assert!(refused.to_string().ends_with("push the image again"), "{refused}");
    let endless = io::repeat(0);
    assert!(matches!(unpacker.layer(&promised, endless), Err(Error::Digest { .. })));
}

#[test]
fn broken_layers_are_refused_and_nothing_panics() {
    let plain = tar(&[(b"a/b", file("x")), (b"l", link("a/b")), (b"h", Item::Hard(b"a/b".to_vec()))]);
    for good in [gzip(&plain), zstd(&plain)] {
        for cut in 1..good.len() {
            assert!(Unpacked::of(&[good[..cut].to_vec()]).result.is_err(), "cut at {cut}");
        }
        for at in 0..good.len() {
            let mut bent = good.clone();
            bent[at] ^= 0x55;
            Unpacked::of(&[bent]);
        }
    }
    for at in (0..plain.len()).step_by(3) {
        let mut bent = plain.clone();
        bent[at] ^= 0x55;
        Unpacked::of(&[bent]);
    }
}

/// A part of a name: few and telling, so that entries meet.
fn part() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "a",
        "b",
        "c",
        "..",
        ".",
        "",
        ".wh.a",
        ".wh.b",
        ".wh..wh..opq",
        ".wh...",
        "outside",
        "etc",
        "tmp",
    ])
}

fn name() -> impl Strategy<Value = String> {
    prop::collection::vec(part(), 1..5).prop_map(|parts| parts.join("/"))
}

fn item() -> impl Strategy<Value = Item> {
    let target = prop_oneof![
        name(),
        name().prop_map(|name| format!("/{name}")),
        name().prop_map(|name| format!("../../{name}"))
    ];
    prop_oneof![
        Just(Item::Folder),
        Just(file("x")),
        target.clone().prop_map(|target| Item::Link(target.into_bytes())),
        target.prop_map(|target| Item::Hard(target.into_bytes())),
        Just(Item::Device),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { fork: false, cases: 400, ..ProptestConfig::default() })]
    /// Whatever the names, links and whiteouts: nothing beside the image is touched ([`Unpacked::within`] looks), and an
    /// image that is taken can be mounted over.
    #[test]
    fn no_image_reaches_beyond_its_folder(layers in prop::collection::vec(prop::collection::vec((name(), item()), 0..12), 1..4)) {
        let tars: Vec<_> = layers
            .iter()
            .map(|items| {
                let items: Vec<_> = items.iter().map(|(name, item)| (name.as_bytes(), item.clone())).collect();
                tar(&items)
            })
            .collect();
        let image = Unpacked::of(&tars);
        if image.result.is_ok() {
            for folder in FOLDERS {
                prop_assert!(fs::symlink_metadata(image.at(folder)).unwrap().is_dir());
            }
            for file in FILES {
                prop_assert!(fs::symlink_metadata(image.at(file)).unwrap().is_file());
            }
        }
    }
}
