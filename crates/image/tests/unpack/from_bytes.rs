//! What untrusted bytes can do to the unpacker: layers are made of them and unpacked, and everything that must not happen is
//! looked for. Shared with the fuzz target `image_layer`.
//!
//! Bytes as they are hardly ever pass a tar's checksums, so they are read as a recipe as well: a first byte says whether they
//! are layers themselves, a tar whose checksums are mended, or entries one after the other, whose names are of parts that
//! meet each other.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::Path,
};

use updraft_image::{
    Digest, Layer,
    unpack::{Error, Limits, Unpacker},
};

const LIMITS: Limits = Limits { bytes_max: 1 << 20, entries_max: 500 };
const BLOCK: usize = 512;

/// Makes layers of bytes and unpacks them. Panics at what must not happen; says whether they were an image.
pub(crate) fn drive(bytes: &[u8]) -> bool {
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let layers = match first % 4 {
        0 => vec![rest.to_vec()],
        1 => vec![mended(rest)],
        _ => built(&mut Recipe(rest)),
    };
    let around = tempfile::tempdir().expect("a temporary folder");
    let (folder, outside) = (around.path().join("image"), around.path().join("outside"));
    fs::create_dir(&folder).expect("a folder of its own");
    fs::write(&outside, "untouched").expect("a file beside it");
    let unpacked = Unpacker::new(&folder, LIMITS).and_then(|mut unpacker| {
        for bytes in &layers {
            let layer = Layer { digest: Digest::of(bytes), size_bytes: bytes.len() as u64 };
            unpacker.layer(&layer, bytes.as_slice())?;
        }
        unpacker.finish("/var/task")
    });
    assert_eq!(fs::read(&outside).expect("the file beside it"), b"untouched");
    assert_eq!(fs::metadata(&outside).expect("the file beside it").nlink(), 1, "it has another name in the image");
    assert_eq!(
        fs::read_dir(around.path()).expect("the folder around").count(),
        2,
        "something was made beside the image"
    );
    check(&folder, 0);
    match &unpacked {
        Ok(()) => {
            let found = |place: &str| fs::symlink_metadata(folder.join(place)).expect("a place to mount at");
            for place in ["dev", "etc", "proc", "tmp"] {
                assert!(found(place).is_dir(), "{place} is none");
            }
            for place in ["etc/hostname", "etc/hosts", "etc/resolv.conf"] {
                assert!(found(place).is_file(), "{place} is none");
            }
        }
        Err(Error::Digest { .. }) => panic!("the digests are right: {unpacked:?}"),
        Err(Error::Io(error)) => panic!("a layer's fault is its author's, not the platform's: {error:?}"),
        Err(_) => {}
    }
    unpacked.is_ok()
}

/// Everything in the folder is a file, a folder or a link, readable, and with no bits beyond those.
fn check(folder: &Path, depth: usize) {
    assert!(depth <= 257, "it is too deep to be taken away");
    for entry in fs::read_dir(folder).expect("a folder of the image") {
        let path = entry.expect("an entry of it").path();
        let found = fs::symlink_metadata(&path).expect("what the entry is");
        let kind = found.file_type();
        assert!(!kind.is_char_device() && !kind.is_block_device() && !kind.is_fifo() && !kind.is_socket(), "{path:?}");
        if !kind.is_symlink() {
            let mode = found.permissions().mode() & 0o7777;
            assert!(mode == 0o755 || (kind.is_file() && mode == 0o644), "{path:?} has {mode:o}");
        }
        if kind.is_dir() {
            check(&path, depth + 1);
        }
    }
}

/// A tar with every header's checksum made right. What is empty is no header but the end.
fn mended(tar: &[u8]) -> Vec<u8> {
    let mut tar = tar.to_vec();
    let mut at = 0;
    while let Some(header) = tar.get_mut(at..at + BLOCK) {
        let digits = header[124..136].iter().filter(|digit| (b'0'..=b'7').contains(*digit));
        let size = digits.fold(0_usize, |size, digit| (size << 3 | usize::from(digit - b'0')) & 0xff_ffff);
        if header.iter().any(|byte| *byte != 0) {
            sign(header);
        }
        at += BLOCK + size.next_multiple_of(BLOCK);
    }
    tar
}

fn sign(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Bytes that say what comes next; zeros once they are used up.
struct Recipe<'a>(&'a [u8]);

impl<'a> Recipe<'a> {
    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A name or a link's target: parts that other entries have too, and some that nothing should have.
    fn name(&mut self) -> Vec<u8> {
        const PARTS: [&[u8]; 20] = [
            b"a",
            b"b",
            b"c",
            b"d",
            b"etc",
            b"tmp",
            b"dev",
            b"proc",
            b"hosts",
            b"outside",
            b"..",
            b".",
            b"",
            b".wh.a",
            b".wh.b",
            b".wh..wh..opq",
            b".wh...",
            b".wh.",
            b".wh..wh.x",
            b"\xff",
        ];
        let shape = self.byte();
        let mut name = if shape & 0x80 == 0 { Vec::new() } else { b"/".to_vec() };
        for number in 0..=shape % 6 {
            if number > 0 {
                name.push(b'/');
            }
            match usize::from(self.byte()) {
                known if known < 240 => name.extend_from_slice(PARTS[known % PARTS.len()]),
                // As many folders as the byte says, a long part, or anything at all.
                240..245 => name.extend_from_slice(&b"d/".repeat(usize::from(self.byte()))),
                245..250 => name.resize(name.len() + usize::from(self.byte()), b'n'),
                _ => name.extend_from_slice(self.bytes(3)),
            }
        }
        name
    }
}

/// Layers of entries, one after the other.
fn built(recipe: &mut Recipe<'_>) -> Vec<Vec<u8>> {
    let mut layers = vec![Vec::new()];
    while !recipe.0.is_empty() {
        let may_end = layers.len() < 4;
        let layer = layers.last_mut().expect("there is one");
        match recipe.byte() % 16 {
            0..3 => put(layer, &recipe.name(), b'5', b"", b"", 0o755),
            3..6 => {
                let (name, mode) = (recipe.name(), u64::from(recipe.byte()) << 4 | 0o7);
                let content = recipe.bytes(usize::from(name.len() as u8 % 7));
                put(layer, &name, b'0', b"", content, mode);
            }
            6..9 => put(layer, &recipe.name(), b'2', &recipe.name(), b"", 0o777),
            9..11 => put(layer, &recipe.name(), b'1', &recipe.name(), b"", 0o644),
            11 => {
                let mut name = recipe.name();
                name.extend_from_slice(b"/.wh..wh..opq");
                put(layer, &name, b'0', b"", b"", 0o644);
            }
            // Kinds that layers do not have, or that say something of the next entry.
            12 => put(layer, &recipe.name(), recipe.byte(), &recipe.name(), recipe.bytes(5), 0o644),
            13 => {
                let key = [&b"path"[..], b"linkpath", b"size", b"GNU.sparse.map"][usize::from(recipe.byte() % 4)];
                let mut record = [&b" "[..], key, b"=", &recipe.name(), b"\n"].concat();
                let lengths = (1..6).map(|digits| (record.len() + digits).to_string());
                let length =
                    lengths.enumerate().find(|(at, length)| length.len() == at + 1).expect("it has few digits");
                record.splice(0..0, length.1.into_bytes());
                put(layer, b"x", b'x', b"", &record, 0o644);
            }
            14 if may_end => layers.push(Vec::new()),
            _ => put(layer, &recipe.name(), b'3', b"", b"", 0o6777),
        }
    }
    layers.iter_mut().for_each(|layer| layer.extend_from_slice(&[0; 2 * BLOCK]));
    layers
}

/// Adds an entry. Long names go before it, as GNU's tar has them.
fn put(layer: &mut Vec<u8>, name: &[u8], kind: u8, link: &[u8], content: &[u8], mode: u64) {
    for (long, kind) in [(name, b'L'), (link, b'K')] {
        if long.len() > 100 {
            put(layer, b"././@LongLink", kind, b"", long, 0);
        }
    }
    let mut header = [0_u8; BLOCK];
    let mut field = |at: usize, text: &[u8], most: usize| {
        let text = &text[..text.len().min(most)];
        header[at..at + text.len()].copy_from_slice(text);
    };
    field(0, name, 100);
    field(100, format!("{mode:07o}").as_bytes(), 8);
    field(124, format!("{:011o}", content.len()).as_bytes(), 12);
    field(136, b"14524770400", 12);
    field(156, &[kind], 1);
    field(157, link, 100);
    field(257, b"ustar  \0", 8);
    sign(&mut header);
    layer.extend_from_slice(&header);
    layer.extend_from_slice(content);
    layer.resize(layer.len().next_multiple_of(BLOCK), 0);
}
