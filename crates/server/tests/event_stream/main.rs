//! Event streams from any bytes, as the fuzz target of the same name has them.

mod from_bytes;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { fork: false, ..ProptestConfig::default() })]
    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        from_bytes::drive(&bytes);
    }

    /// Of bytes by chance hardly any are a message; of these all are, but for one bit or none.
    #[test]
    fn nor_do_bytes_that_are_nearly_right(
        kind in "[A-Za-z:-]{0,40}",
        payload in prop::collection::vec(any::<u8>(), 0..100),
        changed in prop::option::of((any::<prop::sample::Index>(), 0..8)),
    ) {
        let mut stream = updraft_server::event_stream::event(&kind, "application/json", &payload).to_vec();
        if let Some((at, bit)) = changed {
            let at = at.index(stream.len());
            stream[at] ^= 1_u8 << bit;
        }
        from_bytes::drive(&stream);
    }
}
