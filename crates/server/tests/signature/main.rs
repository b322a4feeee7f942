//! The signature verifier against those who sign: AWS's own signer and its vectors, boto3, the documentation's
//! examples; and against those who tamper.

#![expect(clippy::unwrap_used, reason = "a test helper fails its test by panicking")]

mod botocore;
mod chunks;
mod mutation;
mod refusals;
mod signer;
mod vectors;

use http::{HeaderName, HeaderValue, Request, Uri, request::Parts};
use updraft_server::signature::{Error, Head, Keys, Presented, sha256};
use updraft_types::Timestamp;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// A request with its body.
#[derive(Debug, Clone)]
struct Sent {
    head: Parts,
    body: Vec<u8>,
}

impl Sent {
    fn new(method: &str, target: &str, headers: &[(String, String)], body: &[u8]) -> Self {
        let mut request = Request::builder().method(method).uri(target.parse::<Uri>().unwrap()).body(()).unwrap();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Self { head: request.into_parts().0, body: body.to_vec() }
    }

    fn read(&self) -> Result<Option<Presented>, Error> {
        Presented::read(Head::from(&self.head))
    }

    /// Reads and verifies at a moment, in seconds since the epoch.
    fn verify(&self, secret: &str, now_s: u64) -> Result<Presented, Error> {
        let presented = self.read()?.ok_or(Error::Missing)?;
        let now = Timestamp::from_ms(now_s * 1_000);
        presented.verify(Head::from(&self.head), secret, &sha256(&self.body), now, &Keys::default())?;
        Ok(presented)
    }
}

/// Seconds since the epoch of `20150830T123600Z`.
fn seconds(basic: &str) -> u64 {
    let at = |from: usize, to: usize| basic[from..to].parse::<i64>().unwrap();
    let (year, month, day) = (at(0, 4), at(4, 6), at(6, 8));
    // Days from civil, by Howard Hinnant: independent of the calendar the verifier uses.
    let year = if month <= 2 { year - 1 } else { year };
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let days = year.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    u64::try_from(days * 86_400 + at(9, 11) * 3_600 + at(11, 13) * 60 + at(13, 15)).unwrap()
}
