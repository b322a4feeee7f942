//! Every table of every database, and how a database of one version becomes one of the next.
//!
//! A database's version (`PRAGMA user_version`) is the number of migrations it has been through. Migrations are only
//! ever appended: one that has been released is never changed. All that are missing run in one transaction, so a
//! database has one version or the other and nothing between; one of a newer version is refused, untouched.

use rusqlite::{Connection, TransactionBehavior};

use crate::failure::Failure;

/// One database file: what is in it and how carefully it is written.
#[derive(Debug)]
pub(crate) struct Schema {
    /// Its name in the data directory.
    pub(crate) file: &'static str,
    /// `PRAGMA synchronous`: FULL syncs the write-ahead log at each commit, NORMAL only at checkpoints.
    pub(crate) synchronous: &'static str,
    /// `PRAGMA auto_vacuum`, fixed when the file is made.
    pub(crate) auto_vacuum: &'static str,
    /// Pages of 4096 bytes the write-ahead log may reach before it is moved into the database.
    pub(crate) checkpoint_pages: u32,
    /// Version n + 1 is version n after `migrations[n]`.
    pub(crate) migrations: &'static [&'static str],
}

/// What the platform must not forget.
pub(crate) const PLATFORM: Schema = Schema {
    file: "platform.db",
    synchronous: "FULL",
    auto_vacuum: "NONE",
    checkpoint_pages: 1_000,
    migrations: &[
        "
        -- One row a function. The document is types::Function as JSON; the columns beside it repeat what verbs
        -- look at. Fields added to the document later need a serde default, or a migration here.
        CREATE TABLE function (
            account  TEXT NOT NULL,
            name     TEXT NOT NULL,
            revision TEXT NOT NULL,
            document TEXT NOT NULL,
            PRIMARY KEY (account, name)
        ) STRICT;
    ",
        "
        -- What shows whether a master key is the one that secrets here were sealed with; one row once there is one.
        CREATE TABLE master_key (
            one   INTEGER PRIMARY KEY CHECK (one = 1),
            proof BLOB NOT NULL
        ) STRICT;

        -- Identities. Documents are the records of types::iam as JSON, without what has a table of its own. Names are
        -- looked up as they are written, and unique without regard to case.
        CREATE TABLE account (
            id       TEXT PRIMARY KEY,
            document TEXT NOT NULL
        ) STRICT;
        CREATE TABLE user (
            account  TEXT NOT NULL,
            name     TEXT NOT NULL,
            document TEXT NOT NULL,
            PRIMARY KEY (account, name)
        ) STRICT;
        CREATE UNIQUE INDEX user_by_name ON user (account, name COLLATE NOCASE);
        CREATE TABLE role (
            account  TEXT NOT NULL,
            name     TEXT NOT NULL,
            document TEXT NOT NULL,
            PRIMARY KEY (account, name)
        ) STRICT;
        CREATE UNIQUE INDEX role_by_name ON role (account, name COLLATE NOCASE);
        CREATE TABLE policy (
            account  TEXT NOT NULL,
            name     TEXT NOT NULL,
            document TEXT NOT NULL,
            PRIMARY KEY (account, name)
        ) STRICT;
        CREATE UNIQUE INDEX policy_by_name ON policy (account, name COLLATE NOCASE);
        CREATE TABLE inline_policy (
            account  TEXT NOT NULL,
            kind     TEXT NOT NULL, -- of the holder: user or role
            holder   TEXT NOT NULL,
            name     TEXT NOT NULL,
            document TEXT NOT NULL, -- the policy itself
            PRIMARY KEY (account, kind, holder, name)
        ) STRICT;
        CREATE TABLE attachment (
            account TEXT NOT NULL,
            kind    TEXT NOT NULL,
            holder  TEXT NOT NULL,
            policy  TEXT NOT NULL, -- its ARN
            PRIMARY KEY (account, kind, holder, policy)
        ) STRICT;
        CREATE INDEX attachment_by_policy ON attachment (account, policy);
        CREATE TABLE access_key (
            id       TEXT PRIMARY KEY,
            account  TEXT NOT NULL,
            user     TEXT, -- NULL for the root user
            document TEXT NOT NULL,
            secret   BLOB NOT NULL -- sealed for the account and the id
        ) STRICT;
        CREATE INDEX access_key_by_user ON access_key (account, user);
    ",
        "
        -- One row a published version. The document is types::Function as JSON.
        CREATE TABLE version (
            account  TEXT NOT NULL,
            name     TEXT NOT NULL,
            number   INTEGER NOT NULL,
            revision TEXT NOT NULL,
            document TEXT NOT NULL,
            PRIMARY KEY (account, name, number)
        ) STRICT;

        -- The last number given to a version of a function. It outlives the function: no number is given twice.
        CREATE TABLE version_number (
            account TEXT NOT NULL,
            name    TEXT NOT NULL,
            last    INTEGER NOT NULL,
            PRIMARY KEY (account, name)
        ) STRICT;

        -- One row an alias. The document is types::Alias as JSON.
        CREATE TABLE alias (
            account  TEXT NOT NULL,
            name     TEXT NOT NULL,
            alias    TEXT NOT NULL,
            revision TEXT NOT NULL,
            document TEXT NOT NULL,
            PRIMARY KEY (account, name, alias)
        ) STRICT;
    ",
        "
        -- One row a layer that ever had a version: it keeps count, also when all its versions are deleted.
        CREATE TABLE layer (
            account      TEXT NOT NULL,
            name         TEXT NOT NULL,
            last_version INTEGER NOT NULL,
            PRIMARY KEY (account, name)
        ) STRICT;

        -- One row a layer version. The document is types::LayerVersion as JSON and never changes.
        CREATE TABLE layer_version (
            account         TEXT NOT NULL,
            name            TEXT NOT NULL,
            version         INTEGER NOT NULL,
            document        TEXT NOT NULL,
            policy_revision TEXT, -- null until there is a first statement
            PRIMARY KEY (account, name, version)
        ) STRICT;

        -- One row a statement of a layer version's policy; ids are their order. types::LayerStatement as JSON.
        CREATE TABLE layer_statement (
            id       INTEGER PRIMARY KEY,
            account  TEXT NOT NULL,
            name     TEXT NOT NULL,
            version  INTEGER NOT NULL,
            sid      TEXT NOT NULL,
            document TEXT NOT NULL,
            UNIQUE (account, name, version, sid)
        ) STRICT;
    ",
        "
        -- One row a version of a parameter, the newest of which is the parameter. The document is
        -- parameters::Version as JSON; a SecureString's value is sealed for account, name and version.
        CREATE TABLE parameter (
            account  TEXT NOT NULL,
            name     TEXT NOT NULL,
            version  INTEGER NOT NULL,
            document TEXT NOT NULL,
            value    BLOB NOT NULL,
            PRIMARY KEY (account, name, version)
        ) STRICT;

        -- One row a secret and one a version of it. Documents are secrets::Secret and secrets::Version as JSON; values
        -- are sealed for account, secret and version.
        CREATE TABLE secret (
            account  TEXT NOT NULL,
            name     TEXT NOT NULL,
            document TEXT NOT NULL,
            PRIMARY KEY (account, name)
        ) STRICT;
        CREATE TABLE secret_version (
            account  TEXT NOT NULL,
            secret   TEXT NOT NULL,
            id       TEXT NOT NULL,
            document TEXT NOT NULL,
            value    BLOB NOT NULL,
            PRIMARY KEY (account, secret, id)
        ) STRICT;
    ",
        "
        -- Container images, each account's own. The document is types::image::Contents as JSON; layers are blobs. An
        -- image without a tag is there for the functions that have it.
        CREATE TABLE image (
            account  TEXT NOT NULL,
            digest   TEXT NOT NULL, -- of its manifest, hexadecimal
            document TEXT NOT NULL,
            PRIMARY KEY (account, digest)
        ) STRICT;
        CREATE TABLE image_tag (
            account   TEXT NOT NULL,
            name      TEXT NOT NULL,
            tag       TEXT NOT NULL,
            digest    TEXT NOT NULL,
            pushed_at INTEGER NOT NULL,
            PRIMARY KEY (account, name, tag)
        ) STRICT;
        CREATE INDEX image_tag_by_digest ON image_tag (account, digest);
    ",
        "
        -- One row a version of a function that has been called; version 0 is $LATEST. What keep_alive has learned of its
        -- calls, as bytes; idle_from in milliseconds since the Unix epoch, NULL while a call ran.
        CREATE TABLE habit (
            account   TEXT NOT NULL,
            name      TEXT NOT NULL,
            version   INTEGER NOT NULL,
            idle_from INTEGER,
            record    BLOB NOT NULL,
            PRIMARY KEY (account, name, version)
        ) STRICT, WITHOUT ROWID;
    ",
        "
        -- A function URL of AuthType NONE lets in whom its function's policy lets in. Those made before that rule were
        -- open to everybody, and get the two statements that say so.
        WITH open (account, name, qualifier, arn) AS (
            SELECT account, name, '', 'arn:aws:lambda:*:' || account || ':function:' || name
            FROM function WHERE document ->> '$.url.auth' = 'NONE'
            UNION ALL
            SELECT account, name, alias, 'arn:aws:lambda:*:' || account || ':function:' || name || ':' || alias
            FROM alias WHERE document ->> '$.url.auth' = 'NONE'
        ), wanted (sid, action, condition) AS (VALUES
            ('FunctionURLAllowPublicAccess', 'lambda:InvokeFunctionUrl',
             json_object('StringEquals', json_object('lambda:FunctionUrlAuthType', 'NONE'))),
            ('FunctionURLInvokeAllowPublicAccess', 'lambda:InvokeFunction',
             json_object('Bool', json_object('lambda:InvokedViaFunctionUrl', 'true')))
        ), policy (account, name, qualifier, statements) AS (
            SELECT account, name, one.key, one.value -> '$.statements'
            FROM function, json_each(function.document -> '$.policies') AS one
        ), opened (account, name, policies) AS (
            SELECT account, name, json_group_object(qualifier, json_object(
                'revision', lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2)
                    || '-8' || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))),
                'statements', json((SELECT json_group_array(json(statement)) FROM (
                    SELECT one.value AS statement FROM policy AS old, json_each(old.statements) AS one
                    WHERE old.account = open.account AND old.name = open.name AND old.qualifier = open.qualifier
                        AND one.value ->> '$.sid' NOT IN (SELECT sid FROM wanted)
                    UNION ALL
                    SELECT json_object('sid', sid, 'text', json_object('Sid', sid, 'Effect', 'Allow', 'Principal', '*',
                        'Action', action, 'Resource', arn, 'Condition', json(condition)) ->> '$')
                    FROM wanted
                )))
            )) FROM open GROUP BY account, name
        )
        UPDATE function SET document = json_set(document, '$.policies',
            json_patch(coalesce(document -> '$.policies', '{}'), opened.policies))
        FROM opened WHERE opened.account = function.account AND opened.name = function.name;
    ",
        "
        -- One row a group of users. The document is iam::Group as JSON, with the ids of its members.
        CREATE TABLE iam_group (
            account  TEXT NOT NULL,
            name     TEXT NOT NULL,
            document TEXT NOT NULL,
            PRIMARY KEY (account, name)
        ) STRICT;
        CREATE UNIQUE INDEX iam_group_by_name ON iam_group (account, name COLLATE NOCASE);
    ",
        "
        -- One row an asynchronous event; it never changes. Ids are their order, and never used again. Times are
        -- milliseconds since the Unix epoch.
        CREATE TABLE event (
            id             INTEGER PRIMARY KEY AUTOINCREMENT,
            request        TEXT NOT NULL,
            qualifier      TEXT, -- as the caller named the version, if it did
            client_context TEXT,
            trace          TEXT NOT NULL,
            accepted_at    INTEGER NOT NULL,
            payload        BLOB NOT NULL
        ) STRICT;

        -- What is still to be done with an event; both rows go together.
        CREATE TABLE delivery (
            event     INTEGER PRIMARY KEY, -- its id
            account   TEXT NOT NULL,
            name      TEXT NOT NULL,    -- of the function it is for
            due_at    INTEGER NOT NULL, -- not to be tried before; while leased, when the lease ends
            lease     INTEGER NOT NULL, -- the number of its last lease
            is_leased INTEGER NOT NULL,
            attempts  INTEGER NOT NULL, -- how often the function ran
            refusals  INTEGER NOT NULL, -- how often in a row it could not
            bytes     INTEGER NOT NULL  -- what the event takes
        ) STRICT;
        -- Holds what is summed up when the store is opened, so that no row need be read for that.
        CREATE INDEX delivery_by_function ON delivery (account, name, due_at, event, bytes);

        -- One row an event that was given up, or a record that could not be delivered.
        CREATE TABLE dead_letter (
            id      INTEGER PRIMARY KEY AUTOINCREMENT,
            account TEXT NOT NULL,
            name    TEXT NOT NULL,
            request TEXT NOT NULL,
            at      INTEGER NOT NULL,
            reason  TEXT NOT NULL,
            bytes   INTEGER NOT NULL,
            record  TEXT NOT NULL
        ) STRICT;
        CREATE INDEX dead_letter_by_function ON dead_letter (account, name, id, bytes);
        CREATE INDEX dead_letter_by_age ON dead_letter (at);
    ",
        "
        -- What is too old is found whether it is due or not, by the index alone. Both columns are as the event has them.
        ALTER TABLE delivery ADD COLUMN accepted_at INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE delivery ADD COLUMN qualifier TEXT;
        UPDATE delivery SET (accepted_at, qualifier) =
            (SELECT e.accepted_at, e.qualifier FROM event AS e WHERE e.id = delivery.event);
        DROP INDEX delivery_by_function;
        CREATE INDEX delivery_by_function ON delivery (account, name, due_at, event, bytes, accepted_at, qualifier);
    ",
        "
        -- Which images have a layer: what their documents say, by layer.
        CREATE TABLE image_layer (
            account    TEXT NOT NULL,
            digest     TEXT NOT NULL,    -- of the layer
            image      TEXT NOT NULL,    -- the digest of the image
            size_bytes INTEGER NOT NULL, -- of the layer
            PRIMARY KEY (account, digest, image)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX image_layer_by_image ON image_layer (account, image);
        INSERT OR IGNORE INTO image_layer
            SELECT image.account, layer.value ->> '$.digest', image.digest,
                CAST(layer.value ->> '$.size_bytes' AS INTEGER)
            FROM image, json_each(image.document -> '$.layers') AS layer;
    ",
    ],
};

/// Log lines: many, and no great loss. In a file of their own so that they never delay a commit of the platform's.
pub(crate) const LOGS: Schema = Schema {
    file: "logs.db",
    synchronous: "NORMAL",
    auto_vacuum: "INCREMENTAL",
    checkpoint_pages: 4_000,
    migrations: &[
        "
        -- One row a function with lines. Ids are never used again, nor are those of chunks: they are their order.
        CREATE TABLE function (
            id         INTEGER PRIMARY KEY AUTOINCREMENT,
            account    TEXT NOT NULL,
            name       TEXT NOT NULL,
            size_bytes INTEGER NOT NULL, -- the sum over its chunks
            UNIQUE (account, name)
        ) STRICT;

        -- One row for the lines of one stream that were appended together; `lines` as logs::chunk encodes them.
        -- Times are milliseconds since the Unix epoch.
        CREATE TABLE chunk (
            id         INTEGER PRIMARY KEY AUTOINCREMENT,
            function   INTEGER NOT NULL REFERENCES function (id),
            stream     TEXT NOT NULL,
            first_at   INTEGER NOT NULL, -- earliest and
            last_at    INTEGER NOT NULL, -- latest line
            size_bytes INTEGER NOT NULL, -- roughly what the row takes on disk
            lines      BLOB NOT NULL
        ) STRICT;
        CREATE INDEX chunk_by_function_and_last_at ON chunk (function, last_at);
    ",
        "
        -- Lines belong to groups, of which a function's is one. A group of account '' is deleted and its lines are
        -- on their way out.
        ALTER TABLE function RENAME TO log_group;
        ALTER TABLE log_group ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE log_group ADD COLUMN is_kept INTEGER NOT NULL DEFAULT 0; -- stays when it has no lines
        ALTER TABLE log_group ADD COLUMN retention_days INTEGER;             -- NULL: the platform's
        ALTER TABLE log_group ADD COLUMN tags TEXT NOT NULL DEFAULT '{}';    -- a JSON object of texts
        ALTER TABLE log_group ADD COLUMN span_ms INTEGER NOT NULL DEFAULT 0; -- no chunk spans more, first to last line
        UPDATE log_group SET name = '/aws/lambda/' || name;

        ALTER TABLE chunk RENAME COLUMN function TO log_group;
        ALTER TABLE chunk ADD COLUMN ingested_at INTEGER NOT NULL DEFAULT 0; -- 0: about when its last line was written
        UPDATE log_group SET (created_at, span_ms) =
            (SELECT coalesce(min(first_at), 0), coalesce(max(last_at - first_at), 0)
             FROM chunk WHERE chunk.log_group = log_group.id);
        DROP INDEX chunk_by_function_and_last_at;
        CREATE INDEX chunk_by_log_group ON chunk (log_group, last_at);
        CREATE INDEX chunk_by_stream ON chunk (log_group, stream, last_at);

        -- One row a stream, made by its first lines or by hand.
        CREATE TABLE log_stream (
            log_group   INTEGER NOT NULL REFERENCES log_group (id),
            name        TEXT NOT NULL,
            created_at  INTEGER NOT NULL,
            is_kept     INTEGER NOT NULL,
            first_at    INTEGER NOT NULL, -- about the earliest line, the latest line,
            last_at     INTEGER NOT NULL,
            ingested_at INTEGER NOT NULL, -- and when it came; each 0 while there is none
            size_bytes  INTEGER NOT NULL, -- the sum over its chunks
            PRIMARY KEY (log_group, name)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX log_stream_by_last_at ON log_stream (log_group, last_at, name);
        INSERT INTO log_stream SELECT log_group, stream, min(first_at), 0, min(first_at), max(last_at), max(last_at),
            sum(size_bytes) FROM chunk GROUP BY log_group, stream;
    ",
    ],
};

/// Why a database could not be brought to the version known here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MigrateError {
    /// It has a newer one.
    #[error("version {found} is newer than {known}")]
    Newer {
        /// The version it has.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// Reading or writing failed.
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl From<rusqlite::Error> for MigrateError {
    fn from(error: rusqlite::Error) -> Self {
        // What SQLite calls a plain error (no such table, table exists) says here that the file's contents are not
        // what its version claims.
        let plain = matches!(error, rusqlite::Error::SqlInputError { .. })
            || error.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown);
        MigrateError::Failure(if plain { Failure::Damaged(error.to_string()) } else { error.into() })
    }
}

const FEW: &str = "there are fewer migrations than 2^32";

/// The version a database has, if it is one known here. Writes nothing.
pub(crate) fn version(connection: &Connection, migrations: &[&str]) -> Result<u32, MigrateError> {
    let known = u32::try_from(migrations.len()).expect(FEW);
    let found = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known { Err(MigrateError::Newer { found, known }) } else { Ok(found) }
}

/// Brings a database to the version known here.
pub(crate) fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), MigrateError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction, migrations)? as usize;
    for migration in &migrations[found..] {
        transaction.execute_batch(migration)?;
    }
    if found < migrations.len() {
        transaction.pragma_update(None, "user_version", u32::try_from(migrations.len()).expect(FEW))?;
    }
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_migrations_run() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &["CREATE TABLE a (x)"]).unwrap();
        migrate(&mut connection, &["CREATE TABLE a (x)", "CREATE TABLE b (x)"]).unwrap();
        assert_eq!(version(&connection, &["", ""]).unwrap(), 2);
        connection.execute_batch("SELECT x FROM a; SELECT x FROM b").unwrap();
    }

    #[test]
    fn a_failing_migration_leaves_the_version_before() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &["CREATE TABLE a (x)"]).unwrap();
        let error = migrate(&mut connection, &["CREATE TABLE a (x)", "CREATE TABLE b (x)", "nonsense"]).unwrap_err();
        assert!(matches!(error, MigrateError::Failure(Failure::Damaged(_))), "{error}");
        assert_eq!(version(&connection, &[""]).unwrap(), 1);
        assert!(connection.execute_batch("SELECT x FROM b").is_err());
    }

    #[test]
    fn what_was_pending_keeps_its_age() {
        let at = PLATFORM.migrations.iter().position(|step| step.contains("delivery ADD COLUMN accepted_at")).unwrap();
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &PLATFORM.migrations[..at]).unwrap();
        let rows = "INSERT INTO event VALUES (7, 'r', 'live', NULL, 't', 41, x''), (8, 'r', NULL, NULL, 't', 42, x'');
                    INSERT INTO delivery VALUES (7, '111111111111', 'f', 90, 0, 0, 0, 0, 1),
                                                (8, '111111111111', 'f', 90, 0, 0, 0, 0, 1);";
        connection.execute_batch(rows).unwrap();
        migrate(&mut connection, PLATFORM.migrations).unwrap();
        let mut read = connection.prepare("SELECT accepted_at, qualifier FROM delivery ORDER BY event").unwrap();
        let read = read.query_map((), |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        let read: Vec<(u32, Option<String>)> = read.collect::<Result<_, _>>().unwrap();
        assert_eq!(read, [(41, Some("live".to_owned())), (42, None)]);
    }

    #[test]
    fn urls_that_were_open_stay_open() {
        let at = PLATFORM.migrations.iter().position(|step| step.contains("FunctionURLAllowPublicAccess")).unwrap();
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &PLATFORM.migrations[..at]).unwrap();
        let before = r#"{"url":{"auth":"NONE"},"policies":{"":{"revision":"r","statements":[{"sid":"s","text":"{}"},
            {"sid":"FunctionURLAllowPublicAccess","text":"{}"}]},"other":{"revision":"r","statements":[]}}}"#;
        let signed = r#"{"url":{"auth":"AWS_IAM"}}"#;
        for (name, document) in [("open", before), ("signed", signed), ("by-alias", "{}")] {
            let row = "INSERT INTO function VALUES ('111111111111', ?1, 'r', ?2)";
            connection.execute(row, (name, document)).unwrap();
        }
        let row = "INSERT INTO alias VALUES ('111111111111', 'by-alias', 'live', 'r', ?1)";
        connection.execute(row, [r#"{"url":{"auth":"NONE"}}"#]).unwrap();
        migrate(&mut connection, PLATFORM.migrations).unwrap();
        let document = |name: &str| -> serde_json::Value {
            let sql = "SELECT document FROM function WHERE name = ?1";
            let text: String = connection.query_row(sql, [name], |row| row.get(0)).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        let statement = |policy: &serde_json::Value, at: usize| -> serde_json::Value {
            serde_json::from_str(policy["statements"][at]["text"].as_str().unwrap()).unwrap()
        };
        let policies = &document("open")["policies"];
        assert_eq!(policies["other"], serde_json::json!({ "revision": "r", "statements": [] }));
        let own = &policies[""];
        assert_eq!(own["statements"].as_array().unwrap().len(), 3);
        own["revision"].as_str().unwrap().parse::<updraft_types::RevisionId>().unwrap();
        assert_eq!(statement(own, 1)["Condition"]["StringEquals"]["lambda:FunctionUrlAuthType"], "NONE");
        assert_eq!(statement(own, 2)["Resource"], "arn:aws:lambda:*:111111111111:function:open");
        let alias = &document("by-alias")["policies"]["live"];
        assert_eq!(statement(alias, 0)["Resource"], "arn:aws:lambda:*:111111111111:function:by-alias:live");
        assert_eq!(document("signed"), serde_json::from_str::<serde_json::Value>(signed).unwrap());
    }

    #[test]
    fn layers_of_images_that_were_there_are_found() {
        let at = PLATFORM.migrations.iter().position(|step| step.contains("CREATE TABLE image_layer")).unwrap();
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &PLATFORM.migrations[..at]).unwrap();
        let document =
            r#"{"layers":[{"digest":"b","size_bytes":2},{"digest":"a","size_bytes":1},{"digest":"b","size_bytes":2}]}"#;
        for (account, document) in [("111111111111", document), ("222222222222", r#"{"layers":[]}"#)] {
            connection.execute("INSERT INTO image VALUES (?1, 'i', ?2)", (account, document)).unwrap();
        }
        migrate(&mut connection, PLATFORM.migrations).unwrap();
        let mut statement = connection.prepare("SELECT account, digest, image, size_bytes FROM image_layer").unwrap();
        let read = |row: &rusqlite::Row<'_>| row.try_into();
        let rows: Vec<(String, String, String, i64)> =
            statement.query_map((), read).unwrap().collect::<rusqlite::Result<_>>().unwrap();
        let row = |digest: &str, size| ("111111111111".to_owned(), digest.to_owned(), "i".to_owned(), size);
        assert_eq!(rows, [row("a", 1), row("b", 2)]);
    }

    #[test]
    fn a_newer_version_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 7).unwrap();
        let error = migrate(&mut connection, &["CREATE TABLE a (x)"]).unwrap_err();
        assert!(matches!(error, MigrateError::Newer { found: 7, known: 1 }), "{error}");
    }
}
