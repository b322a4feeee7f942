//! Container images, at the platform's admin door.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Client, Error, segment};

const IMAGES: &str = "/_updraft/v1/images";

/// How far a blob has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Progress {
    /// Bytes that are there.
    pub received: u64,
    /// Whether it is whole.
    pub is_complete: bool,
}

impl Client {
    /// The account's images.
    pub fn images(&self) -> Result<Value, Error> {
        self.call(Call::new("listing images", Method::GET, IMAGES), &|_| ())?.json()
    }

    /// How far a blob for an image has come.
    pub fn image_blob(&self, name: &str, digest: &str) -> Result<Progress, Error> {
        let target = format!("{IMAGES}/{}/blobs/{digest}", segment(name));
        self.progress(Call::new("looking for a layer", Method::GET, target))
    }

    /// Sends a part of a blob of `size_bytes`, at `offset`.
    pub fn upload_image_blob(
        &self,
        name: &str,
        digest: &str,
        size_bytes: u64,
        offset: u64,
        part: &[u8],
    ) -> Result<Progress, Error> {
        let target = format!("{IMAGES}/{}/blobs/{digest}?size={size_bytes}&offset={offset}", segment(name));
        let mut call = Call::new("sending a layer", Method::PUT, target);
        call.body = part;
        self.progress(call)
    }

    /// Names an image whose layers have been sent.
    pub fn put_image(&self, name: &str, tag: &str, manifest: &str, config: &str) -> Result<Value, Error> {
        let body = json!({ "manifest": manifest, "config": config }).to_string();
        let target = format!("{IMAGES}/{}/tags/{}", segment(name), segment(tag));
        self.call(Call::new("pushing an image", Method::PUT, target).json(body.as_bytes()), &|_| ())?.json()
    }

    /// Takes a name away.
    pub fn delete_image(&self, name: &str, tag: &str) -> Result<(), Error> {
        let target = format!("{IMAGES}/{}/tags/{}", segment(name), segment(tag));
        self.call(Call::new("removing an image", Method::DELETE, target), &|_| ()).map(drop)
    }

    fn progress(&self, call: Call<'_>) -> Result<Progress, Error> {
        let operation = call.operation;
        let answer = self.call(call, &|_| ())?.json()?;
        Progress::deserialize(answer).map_err(|error| Error::Malformed { operation, why: error.to_string() })
    }
}
