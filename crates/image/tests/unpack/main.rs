//! Images made of arbitrary bytes, unpacked: the same that the fuzz target `image_layer` does, for a bounded while.

mod from_bytes;

/// Xorshift: the same bytes in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 32) as u8).collect()
    }
}

#[test]
fn whatever_layers_are_made_of_nothing_happens_beside_the_image() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut taken = [0; 4];
    for round in 0..1_500_u32 {
        let count = 1 + (random.next() % 300) as usize;
        let mut bytes = random.bytes(count);
        bytes[0] = round as u8;
        taken[usize::from(bytes[0] % 4)] += usize::from(from_bytes::drive(&bytes));
    }
    // Few are images, and not none: what always fails early would show nothing.
    assert!(taken[2] > 10 && taken[3] > 10, "{taken:?}");
}

#[test]
fn a_mended_tar_is_read() {
    let mut bytes = vec![0; 3 * 512 + 1];
    bytes[0] = 1;
    bytes[1] = b'a';
    bytes[1 + 124] = b'0';
    bytes[1 + 156] = b'5';
    assert!(from_bytes::drive(&bytes));
    bytes[1 + 124..1 + 128].copy_from_slice(b"7000");
    assert!(!from_bytes::drive(&bytes), "its content is not there");
}
