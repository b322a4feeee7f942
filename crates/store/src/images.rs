//! Remembers container images: what each is made of, and the names it was pushed under. The layers themselves are blobs.
//!
//! Every account has its own; nothing here is shared between two. Each change is on disk when its verb returns. An image
//! without a name stays until [`Images::delete`]: functions may have it.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use updraft_types::{
    AccountId, Timestamp,
    image::{Contents, LayerBlob, Tagged},
};

use crate::{
    database::Database,
    failure::{Failure, passes_outward},
};

/// The images of every account.
#[derive(Clone)]
pub struct Images {
    database: Arc<Database>,
}

/// Why images could not be read or changed. Nothing half-made is left.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The account has as many names as it may.
    #[error("the account has as many images as it may")]
    TooMany,
    /// There is no room on the disk.
    #[error("the disk is full")]
    Full,
    /// The store failed; the text is for the operator.
    #[error("the images' store failed: {0}")]
    Internal(String),
}

passes_outward!(Error);

/// An image of some account, and whether it has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Whose it is.
    pub account: AccountId,
    /// What it is made of.
    pub contents: Contents,
    /// Whether it was pushed and is still called something.
    pub is_tagged: bool,
}

impl Images {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    /// Remembers an image under no name.
    pub async fn put(&self, account: AccountId, contents: Contents) -> Result<(), Error> {
        let document = encode(&contents)?;
        let put = self.database.write(move |connection| put(connection, &account, &contents, &document));
        Ok(put.await?)
    }

    /// Remembers an image under a name, of which an account may have `tags_max`. Answers the digest that had the name
    /// before, if it was another.
    pub async fn tag(&self, account: AccountId, tagged: Tagged, tags_max: usize) -> Result<Option<String>, Error> {
        let document = encode(&tagged.contents)?;
        let done = self.database.write(move |connection| {
            let digest = &tagged.contents.digest;
            let key = (account.as_str(), tagged.name.as_str(), tagged.tag.as_str());
            let before = digest_of(connection, key)?;
            if before.is_none() {
                let sql = "SELECT count(*) FROM image_tag WHERE account = ?1";
                let count: i64 = connection.prepare_cached(sql)?.query_row([account.as_str()], |row| row.get(0))?;
                if usize::try_from(count).unwrap_or(usize::MAX) >= tags_max {
                    return Ok(None);
                }
            }
            put(connection, &account, &tagged.contents, &document)?;
            let sql = "INSERT INTO image_tag (account, name, tag, digest, pushed_at) VALUES (?1, ?2, ?3, ?4, ?5)
                       ON CONFLICT DO UPDATE SET digest = excluded.digest, pushed_at = excluded.pushed_at";
            let pushed_at = i64::try_from(tagged.pushed_at.as_ms()).unwrap_or(i64::MAX);
            connection.prepare_cached(sql)?.execute(params![key.0, key.1, key.2, digest, pushed_at])?;
            Ok(Some(before.filter(|before| before != digest)))
        });
        done.await?.ok_or(Error::TooMany)
    }

    /// An image by its digest.
    pub async fn get(&self, account: AccountId, digest: String) -> Result<Option<Contents>, Error> {
        let found = self.database.read(move |connection| document(connection, &account, &digest));
        Ok(found.await?.map(|text| decode(&text)).transpose()?)
    }

    /// Those layers of `digests` that some image of the account has, each once.
    pub async fn layers(&self, account: AccountId, digests: Vec<String>) -> Result<Vec<LayerBlob>, Error> {
        let found = self.database.read(move |connection| {
            let sql = "SELECT size_bytes FROM image_layer WHERE account = ?1 AND digest = ?2 LIMIT 1";
            let mut statement = connection.prepare_cached(sql)?;
            let mut found: Vec<LayerBlob> = Vec::new();
            for digest in digests {
                let size = statement.query_row((account.as_str(), &digest), |row| row.get::<_, i64>(0)).optional()?;
                if let Some(size) = size.filter(|_| found.iter().all(|known| known.digest != digest)) {
                    found.push(LayerBlob { digest, size_bytes: size.unsigned_abs() });
                }
            }
            Ok(found)
        });
        Ok(found.await?)
    }

    /// The image that has a name.
    pub async fn find(&self, account: AccountId, name: String, tag: String) -> Result<Option<Contents>, Error> {
        let found =
            self.database.read(move |connection| match digest_of(connection, (account.as_str(), &name, &tag))? {
                Some(digest) => document(connection, &account, &digest),
                None => Ok(None),
            });
        Ok(found.await?.map(|text| decode(&text)).transpose()?)
    }

    /// The image with this digest, if some tag of the repository has it.
    pub async fn find_digest(
        &self,
        account: AccountId,
        name: String,
        digest: String,
    ) -> Result<Option<Contents>, Error> {
        let found = self.database.read(move |connection| {
            let sql = "SELECT 1 FROM image_tag WHERE account = ?1 AND name = ?2 AND digest = ?3 LIMIT 1";
            let key = (account.as_str(), &name, &digest);
            let is_there = connection.prepare_cached(sql)?.query_row(key, |_| Ok(())).optional()?.is_some();
            if is_there { document(connection, &account, &digest) } else { Ok(None) }
        });
        Ok(found.await?.map(|text| decode(&text)).transpose()?)
    }

    /// The names of an account's images, in order, and what is behind them.
    pub async fn list(&self, account: AccountId) -> Result<Vec<Tagged>, Error> {
        let rows = self.database.read(move |connection| {
            let sql = "SELECT name, tag, pushed_at, document FROM image_tag
                       JOIN image ON image.account = image_tag.account AND image.digest = image_tag.digest
                       WHERE image_tag.account = ?1 ORDER BY name, tag";
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
            let mut statement = connection.prepare_cached(sql)?;
            statement
                .query_map([account.as_str()], read)?
                .collect::<rusqlite::Result<Vec<(String, String, i64, String)>>>()
        });
        let tagged = rows.await?.into_iter().map(|(name, tag, pushed_at, text)| {
            let pushed_at = Timestamp::from_ms(pushed_at.unsigned_abs());
            decode(&text).map(|contents| Tagged { name, tag, contents, pushed_at })
        });
        Ok(tagged.collect::<Result<_, _>>()?)
    }

    /// Takes a name away; answers the digest that had it.
    pub async fn untag(&self, account: AccountId, name: String, tag: String) -> Result<Option<String>, Error> {
        let removed = self.database.write(move |connection| {
            let sql = "DELETE FROM image_tag WHERE account = ?1 AND name = ?2 AND tag = ?3 RETURNING digest";
            connection.prepare_cached(sql)?.query_row((account.as_str(), &name, &tag), |row| row.get(0)).optional()
        });
        Ok(removed.await?)
    }

    /// Every image of every account.
    pub async fn all(&self) -> Result<Vec<Held>, Error> {
        let rows = self.database.read(|connection| {
            let sql =
                "SELECT account, document, EXISTS (SELECT 1 FROM image_tag WHERE image_tag.account = image.account
                       AND image_tag.digest = image.digest) FROM image";
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?));
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_map((), read)?.collect::<rusqlite::Result<Vec<(String, String, bool)>>>()
        });
        let held = rows.await?.into_iter().map(|(account, text, is_tagged)| {
            let account = account.parse().map_err(|error| Failure::Internal(format!("an image's account: {error}")))?;
            Ok(Held { account, contents: decode(&text)?, is_tagged })
        });
        Ok(held.collect::<Result<_, Failure>>()?)
    }

    /// Forgets an image, unless it has a name. Its layers are removed by their own verb.
    pub async fn delete(&self, account: AccountId, digest: String) -> Result<(), Error> {
        let deleted = self.database.write(move |connection| {
            let sql = "DELETE FROM image WHERE account = ?1 AND digest = ?2
                       AND NOT EXISTS (SELECT 1 FROM image_tag WHERE account = ?1 AND digest = ?2)";
            let count = connection.prepare_cached(sql)?.execute((account.as_str(), &digest))?;
            if count > 0 {
                let sql = "DELETE FROM image_layer WHERE account = ?1 AND image = ?2";
                connection.prepare_cached(sql)?.execute((account.as_str(), &digest))?;
            }
            Ok(())
        });
        deleted.await?;
        Ok(())
    }
}

fn put(connection: &Connection, account: &AccountId, contents: &Contents, document: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO image (account, digest, document) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    if connection.prepare_cached(sql)?.execute((account.as_str(), &contents.digest, document))? == 0 {
        return Ok(());
    }
    let sql = "INSERT INTO image_layer (account, digest, image, size_bytes) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO NOTHING";
    let mut statement = connection.prepare_cached(sql)?;
    for layer in &contents.layers {
        let size_bytes = i64::try_from(layer.size_bytes).unwrap_or(i64::MAX);
        statement.execute(params![account.as_str(), layer.digest, contents.digest, size_bytes])?;
    }
    Ok(())
}

fn document(connection: &Connection, account: &AccountId, digest: &str) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT document FROM image WHERE account = ?1 AND digest = ?2";
    connection.prepare_cached(sql)?.query_row((account.as_str(), digest), |row| row.get(0)).optional()
}

/// The digest that has a name: of an account, in a repository, by a tag.
fn digest_of(connection: &Connection, key: (&str, &str, &str)) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT digest FROM image_tag WHERE account = ?1 AND name = ?2 AND tag = ?3";
    connection.prepare_cached(sql)?.query_row(key, |row| row.get(0)).optional()
}

fn encode(contents: &Contents) -> Result<String, Failure> {
    serde_json::to_string(contents).map_err(|error| Failure::Internal(error.to_string()))
}

fn decode(text: &str) -> Result<Contents, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::Internal(format!("an image's document: {error}")))
}
