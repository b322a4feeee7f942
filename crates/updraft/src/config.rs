//! The platform's configuration: every setting, merged and checked, as one value that flows down from here.
//!
//! Refuses what could only fail later: an address that anybody reaches without TLS or a signature, half a pair of credentials, a number
//! out of bounds. Nothing below the binary reads a file, a variable or a flag.

pub mod layers;
pub mod settings;

use std::{
    collections::BTreeMap,
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use updraft_process::egress::Grant;
use updraft_server::{Authentication, Roles};
use updraft_store::MasterKey;
use updraft_types::{AccountId, Region, egress::Network};

use crate::problem::Problem;
use layers::{Merged, Sources};

/// Whose defaults apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `updraft dev`: lenient, on a developer's machine.
    Dev,
    /// `updraft serve`: strict.
    Serve,
}

/// Everything the platform is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Port 0 picks a free one. Beyond loopback only with authentication, and with TLS here or in front.
    pub listen: SocketAddr,
    /// Whether requests have to be signed.
    pub authentication: Authentication,
    /// Whether a function's role has to be one.
    pub roles: Roles,
    /// What protects requests on their way.
    pub tls: TlsSource,
    /// Proxies that are believed about whose requests they pass on.
    pub trusted_proxies: Vec<Network>,
    /// The data directory; made if it is not there.
    pub data: PathBuf,
    /// In every ARN and function URL.
    pub region: Region,
    /// In every ARN.
    pub account: AccountId,
    /// Root credentials, if set.
    pub root: Option<Credentials>,
    /// The master key, if it is kept elsewhere than in the data directory.
    pub master_key: Option<MasterKey>,
    /// What to do where a sandbox mechanism is missing.
    pub isolation: Isolation,
    /// Which interpreters may run a function.
    pub interpreters: Interpreters,
    /// Whose word counts about egress.
    pub egress: Grant,
    /// Networks that no function reaches.
    pub egress_deny: Vec<Network>,
    /// Registries that container images may come from.
    pub image_registries: Vec<updraft_node::images::Allowed>,
    /// What a container image may unpack to.
    pub image_limits: updraft_node::images::Limits,
    /// What the node may hold.
    pub capacity: updraft_node::CapacityLimits,
    /// What bounds an account.
    pub admission: updraft_node::AdmissionLimits,
    /// What bounds a function.
    pub placement: updraft_node::PlacementLimits,
    /// How fast one function may grow.
    pub burst: updraft_node::BurstLimits,
    /// Longest a caller waits for an instance.
    pub queue_wait: Duration,
    /// How instances without work are kept.
    pub keep_alive: updraft_node::KeepAlivePolicy,
    /// Most interpreters of one kind kept running without a function.
    pub prewarmed_max: u32,
    /// How asynchronous events are treated.
    pub events: updraft_node::events::Config,
    /// How long running invocations may take to finish at a stop.
    pub drain: Duration,
    /// How long functions' logs are kept, days.
    pub log_retention_days: u32,
    /// How much log is kept for each function, bytes.
    pub log_bytes_max: u64,
    /// A tracing filter for the platform's own log.
    pub log: String,
    /// How the platform's own log is written.
    pub log_format: LogFormat,
}

/// A key pair. Its debug form keeps the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.access_key_id)
    }
}

/// What protects requests on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsSource {
    /// Nothing.
    Off,
    /// A certificate made here and kept in the data directory.
    Generated,
    /// PEM files.
    Files {
        /// The certificate, with those that vouch for it after it.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// A proxy in front.
    Proxy,
}

/// What to do where the kernel lacks a sandbox mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Refuse to start functions.
    Required,
    /// Warn, and do without it.
    BestEffort,
}

/// Which interpreter may run a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpreters {
    /// The version it names.
    Exact,
    /// That, or else the nearest one on this host, with a warning.
    Nearest,
}

/// How the platform's own log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Reads all layers and checks the result.
    pub fn load(mode: Mode, sources: &Sources<'_>) -> Result<(Config, Merged), Problem> {
        let merged = Merged::read(mode, sources)?;
        Ok((Config::from_merged(&merged)?, merged))
    }

    fn from_merged(merged: &Merged) -> Result<Config, Problem> {
        Ok(Config {
            listen: listen(merged)?,
            authentication: authentication(merged)?,
            roles: [Roles::Required, Roles::Optional][merged.choice("roles")?],
            tls: tls(merged)?,
            trusted_proxies: list(merged, "trusted_proxies")?,
            data: data(merged)?,
            region: merged.parse("region")?,
            account: merged.parse("account")?,
            root: root(merged)?,
            master_key: master_key(merged)?,
            isolation: [Isolation::Required, Isolation::BestEffort][merged.choice("isolation")?],
            interpreters: [Interpreters::Exact, Interpreters::Nearest][merged.choice("interpreters")?],
            egress: [Grant::Off, Grant::Rules, Grant::RulesOrAll][merged.choice("egress")?],
            egress_deny: list(merged, "egress_deny")?,
            image_registries: list(merged, "image_registries")?,
            image_limits: updraft_node::images::Limits {
                bytes_max: u64::from(bounded(merged, "image_megabytes_max", 1, 1_000_000)?) << 20,
                ..updraft_node::images::Limits::default()
            },
            capacity: updraft_node::CapacityLimits {
                memory_mb_max: match merged.value("memory_mb_max").text.is_empty() {
                    true => updraft_node::CapacityLimits::default().memory_mb_max,
                    false => u64::from(bounded(merged, "memory_mb_max", 128, 1_000_000_000)?),
                },
                instances_max: bounded(merged, "instances_max", 1, 4_000)?,
            },
            admission: updraft_node::AdmissionLimits {
                in_flight_max: bounded(merged, "concurrency_max", 1, 1_000_000)?,
                code_bytes_max: u64::from(bounded(merged, "code_mb_max", 1, 1_000_000_000)?) << 20,
            },
            placement: updraft_node::PlacementLimits {
                instances_max: bounded(merged, "function_instances_max", 1, 4_000)?,
                waiting_max: bounded(merged, "queue_max", 1, 1_000_000)?,
                node_waiting_max: bounded(merged, "node_queue_max", 1, 1_000_000)?,
                busy_instances_max: match merged.value("busy_instances_max").text.is_empty() {
                    true => busy_instances_max(),
                    false => bounded(merged, "busy_instances_max", 1, 4_000)?,
                },
                ..updraft_node::PlacementLimits::default()
            },
            burst: updraft_node::BurstLimits {
                growth_max: bounded(merged, "growth_max", 1, 1_000_000)?,
                ..updraft_node::BurstLimits::default()
            },
            queue_wait: seconds(merged, "queue_wait_s", 900)?,
            keep_alive: keep_alive(merged)?,
            prewarmed_max: bounded(merged, "prewarmed_max", 0, 64)?,
            events: events(merged)?,
            drain: seconds(merged, "drain_s", 3_600)?,
            log_retention_days: bounded(merged, "log_retention_days", 1, 3_650)?,
            log_bytes_max: u64::from(bounded(merged, "log_megabytes_max", 1, 1_000_000)?) * 1_000_000,
            log: log_filter(merged)?,
            log_format: [LogFormat::Auto, LogFormat::Text, LogFormat::Json][merged.choice("log_format")?],
        })
    }
}

/// The process's variables that start with `UPDRAFT_`.
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("UPDRAFT_"))
        .collect()
}

fn listen(merged: &Merged) -> Result<SocketAddr, Problem> {
    let value = merged.value("listen");
    let address = value.text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    let address = address.ok_or_else(|| value.problem("expected HOST:PORT, such as 127.0.0.1:4566"))?;
    if !address.ip().is_loopback() {
        if authentication(merged)? == Authentication::Off {
            return Err(value
                .problem("with authentication off, whoever reaches the port could run code on this machine")
                .try_next("leave authentication = \"required\", or listen on 127.0.0.1 or [::1]"));
        }
        if tls(merged)? == TlsSource::Off {
            return Err(value
                .problem("without TLS, code and secrets would go over the wire for all to read")
                .try_next("set tls_certificate and tls_key, or tls = \"generated\" for trying out, or tls = \"proxy\" if one in front has TLS; or listen on 127.0.0.1"));
        }
    }
    Ok(address)
}

fn authentication(merged: &Merged) -> Result<Authentication, Problem> {
    Ok([Authentication::Required, Authentication::Off][merged.choice("authentication")?])
}

fn tls(merged: &Merged) -> Result<TlsSource, Problem> {
    let (certificate, key) = (merged.value("tls_certificate"), merged.value("tls_key"));
    let how = merged.value("tls");
    let files = match (certificate.text.is_empty(), key.text.is_empty()) {
        (true, true) => None,
        (false, false) => {
            Some(TlsSource::Files { certificate: PathBuf::from(&certificate.text), key: PathBuf::from(&key.text) })
        }
        (true, false) => return Err(Problem::usage("tls_key is set and tls_certificate is not")),
        (false, true) => return Err(Problem::usage("tls_certificate is set and tls_key is not")),
    };
    match (how.text.as_str(), files) {
        ("files", Some(files)) => Ok(files),
        // The two files alone say it all.
        ("off", Some(files)) if how.origin == layers::Origin::Default => Ok(files),
        ("files", None) => Err(how.problem("tls_certificate and tls_key are not set")),
        (_, Some(_)) => Err(how.problem("tls_certificate and tls_key are set, which only tls = \"files\" uses")),
        (_, None) => {
            Ok([TlsSource::Off, TlsSource::Generated, TlsSource::Off, TlsSource::Proxy][merged.choice("tls")?].clone())
        }
    }
}

fn data(merged: &Merged) -> Result<PathBuf, Problem> {
    let value = merged.value("data");
    if value.text.is_empty() {
        return Err(value.problem("expected a folder"));
    }
    Ok(PathBuf::from(&value.text))
}

fn root(merged: &Merged) -> Result<Option<Credentials>, Problem> {
    let (id, secret) = (merged.value("root_access_key_id"), merged.value("root_secret_access_key"));
    match (id.text.is_empty(), secret.text.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => {
            Ok(Some(Credentials { access_key_id: id.text.clone(), secret_access_key: secret.text.clone() }))
        }
        (true, false) => Err(Problem::usage("root_secret_access_key is set and root_access_key_id is not")),
        (false, true) => Err(Problem::usage("root_access_key_id is set and root_secret_access_key is not")),
    }
}

fn master_key(merged: &Merged) -> Result<Option<MasterKey>, Problem> {
    let (key, file) = (merged.value("master_key"), merged.value("master_key_file"));
    match (key.text.is_empty(), file.text.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Err(Problem::usage("master_key and master_key_file are both set")),
        (false, true) => key.text.parse().map(Some).map_err(|error| key.problem(error)),
        (true, false) => {
            let text = std::fs::read_to_string(&file.text).map_err(|error| file.problem(error))?;
            text.parse().map(Some).map_err(|error| file.problem(error))
        }
    }
}

fn bounded(merged: &Merged, key: &str, min: u32, max: u32) -> Result<u32, Problem> {
    let number: u32 = merged.parse(key)?;
    if !(min..=max).contains(&number) {
        return Err(merged.value(key).problem(format!("expected {min} to {max}")));
    }
    Ok(number)
}

/// Two for each core this process may use: enough to keep it busy while one waits for something.
fn busy_instances_max() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(cores * 2).unwrap_or(u32::MAX)
}

fn seconds(merged: &Merged, key: &str, max: u32) -> Result<Duration, Problem> {
    Ok(Duration::from_secs(u64::from(bounded(merged, key, 0, max)?)))
}

/// Entries with commas between.
fn list<T: FromStr<Err: std::fmt::Display>>(merged: &Merged, key: &str) -> Result<Vec<T>, Problem> {
    let value = merged.value(key);
    let each = value.text.split(',').map(str::trim).filter(|text| !text.is_empty());
    each.map(|text| text.parse().map_err(|error| value.problem(error))).collect()
}

fn events(merged: &Merged) -> Result<updraft_node::events::Config, Problem> {
    use updraft_node::events::{Config, Limits, Policy};
    let megabytes = bounded(merged, "async_account_megabytes_max", 2, 1_000_000)?;
    let days = bounded(merged, "dead_letter_days", 1, 3_650)?;
    Ok(Config {
        policy: Policy::default().with_retry_pause(seconds(merged, "async_retry_pause_s", 3_600)?),
        limits: Limits {
            function_events_max: bounded(merged, "async_events_max", 1, 10_000_000)?.into(),
            account_events_max: bounded(merged, "async_account_events_max", 1, 10_000_000)?.into(),
            account_bytes_max: u64::from(megabytes) * 1_000_000,
        },
        in_flight_max: bounded(merged, "async_in_flight_max", 1, 100_000)?,
        letters_age_max: Duration::from_secs(u64::from(days) * 24 * 3600),
        ..Config::default()
    })
}

fn keep_alive(merged: &Merged) -> Result<updraft_node::KeepAlivePolicy, Problem> {
    use updraft_node::KeepAlivePolicy as Policy;
    let window = seconds(merged, "keep_alive_s", 86_400)?;
    let policies = [Policy::default(), Policy::Histogram(Default::default()), Policy::Fixed(window)];
    let policy = policies[merged.choice("keep_alive")?];
    let is_given = |key| merged.value(key).origin != layers::Origin::Default;
    match (is_given("keep_alive_s"), is_given("keep_alive")) {
        // Who names a window means it.
        (true, false) => Ok(Policy::Fixed(window)),
        (true, true) if policy != Policy::Fixed(window) => Err(merged
            .value("keep_alive_s")
            .problem("a window is kept by the fixed policy only")
            .try_next("set keep_alive = \"fixed\", or leave keep_alive_s out")),
        _ => Ok(policy),
    }
}

fn log_filter(merged: &Merged) -> Result<String, Problem> {
    let value = merged.value("log");
    tracing_subscriber::EnvFilter::try_new(&value.text).map_err(|error| value.problem(error))?;
    Ok(value.text.clone())
}

#[cfg(test)]
mod tests {
    use super::{layers::Origin, settings::Flags, *};

    struct Case {
        file: &'static str,
        environment: &'static [(&'static str, &'static str)],
        flags: &'static [(&'static str, &'static str)],
    }

    const NOTHING: Case = Case { file: "", environment: &[], flags: &[] };

    fn load(mode: Mode, case: Case) -> Result<(Config, Merged), Problem> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("updraft.toml");
        std::fs::write(&path, case.file).unwrap();
        let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let flags = Flags(case.flags.iter().map(|(key, value)| (*key, value.to_string())).collect());
        Config::load(mode, &Sources { file: Some(&path), environment: &owned(case.environment), flags: &flags })
    }

    fn refusal(case: Case) -> String {
        match load(Mode::Serve, case) {
            Ok(_) => panic!("accepted"),
            Err(problem) => format!("{problem:?}"),
        }
    }

    #[test]
    fn defaults_differ_between_dev_and_serve_where_they_should() {
        let (serve, _) = load(Mode::Serve, NOTHING).unwrap();
        let (dev, _) = load(Mode::Dev, NOTHING).unwrap();
        assert_eq!(serve.listen.to_string(), "127.0.0.1:4566");
        assert_eq!((serve.isolation, dev.isolation), (Isolation::Required, Isolation::BestEffort));
        assert_eq!((serve.interpreters, dev.interpreters), (Interpreters::Exact, Interpreters::Nearest));
        assert_eq!((serve.egress, dev.egress), (Grant::Rules, Grant::RulesOrAll));
        assert_eq!(serve.root, None);
        assert_eq!(dev.root.unwrap().access_key_id, "test");
    }

    #[test]
    fn a_later_layer_wins_and_its_origin_is_kept() {
        let (config, merged) = load(
            Mode::Serve,
            Case {
                file: "region = \"eu-west-1\"\naccount = \"111111111111\"\nlisten = \"127.0.0.1:1\"\nlog_retention_days = 3",
                environment: &[("UPDRAFT_ACCOUNT", "222222222222"), ("UPDRAFT_LISTEN", "127.0.0.1:2")],
                flags: &[("listen", "127.0.0.1:3")],
            },
        )
        .unwrap();
        assert_eq!(config.listen.port(), 3);
        assert_eq!(config.account.as_str(), "222222222222");
        assert_eq!(config.region.as_str(), "eu-west-1");
        assert_eq!(config.log_retention_days, 3);
        assert_eq!(merged.value("listen").origin, Origin::Flag("listen".into()));
        assert_eq!(merged.value("account").origin, Origin::Environment("UPDRAFT_ACCOUNT".into()));
        assert!(matches!(merged.value("region").origin, Origin::File(_)));
        assert_eq!(merged.value("data").origin, Origin::Default);
    }

    #[test]
    fn unknown_keys_are_refused_with_a_suggestion() {
        assert!(refusal(Case { file: "lisen = \"x\"", ..NOTHING }).contains("did you mean `listen`?"));
        assert!(refusal(Case { file: "log-format = \"x\"", ..NOTHING }).contains("did you mean `log_format`?"));
        assert!(refusal(Case { file: "log_format = \"jsn\"", ..NOTHING }).contains("did you mean `json`?"));
    }

    #[test]
    fn a_misspelt_variable_is_warned_about() {
        let case = Case { environment: &[("UPDRAFT_LISTN", "x"), ("UPDRAFT_SOMETHING_ELSE_ENTIRELY", "x")], ..NOTHING };
        let (_, merged) = load(Mode::Serve, case).unwrap();
        assert_eq!(merged.warnings.len(), 1);
        assert!(merged.warnings[0].contains("UPDRAFT_LISTEN"));
    }

    #[test]
    fn only_loopback_is_listened_on_without_protection() {
        for open in ["0.0.0.0:4566", "[::]:4566", "192.0.2.1:80"] {
            let flags: &'static [_] = Box::leak(Box::new([("listen", open)]));
            assert!(refusal(Case { flags, ..NOTHING }).contains("without TLS"), "{open}");
            assert!(load(Mode::Serve, Case { flags, file: "tls = \"proxy\"", ..NOTHING }).is_ok(), "{open}");
            let file = "tls = \"generated\"\nauthentication = \"off\"";
            assert!(refusal(Case { flags, file, ..NOTHING }).contains("authentication off"), "{open}");
        }
        assert!(load(Mode::Serve, Case { flags: &[("listen", "[::1]:0")], ..NOTHING }).is_ok());
    }

    #[test]
    fn certificates_come_with_keys() {
        let tls = |file| load(Mode::Serve, Case { file, ..NOTHING }).unwrap().0.tls;
        let files = TlsSource::Files { certificate: "/c".into(), key: "/k".into() };
        assert_eq!(tls(""), TlsSource::Off);
        assert_eq!(tls("tls_certificate = \"/c\"\ntls_key = \"/k\""), files);
        assert_eq!(tls("tls = \"files\"\ntls_certificate = \"/c\"\ntls_key = \"/k\""), files);
        assert_eq!(tls("tls = \"generated\""), TlsSource::Generated);
        let TlsSource::Files { key, .. } = tls("tls_certificate = \"c\"\ntls_key = \"k\"") else { panic!("files") };
        assert!(key.is_absolute(), "relative to the file: {}", key.display());
        for (file, why) in [
            ("tls_certificate = \"/c\"", "tls_key is not"),
            ("tls_key = \"/k\"", "tls_certificate is not"),
            ("tls = \"files\"", "are not set"),
            ("tls = \"off\"\ntls_certificate = \"/c\"\ntls_key = \"/k\"", "only tls"),
            ("tls = \"proxy\"\ntls_certificate = \"/c\"\ntls_key = \"/k\"", "only tls"),
        ] {
            assert!(refusal(Case { file, ..NOTHING }).contains(why), "{file}");
        }
    }

    #[test]
    fn a_master_key_is_given_once_and_well() {
        let key = "ab".repeat(32);
        let environment: &'static [_] = Box::leak(Box::new([("UPDRAFT_MASTER_KEY", &*key.clone().leak())]));
        let (config, _) = load(Mode::Serve, Case { environment, ..NOTHING }).unwrap();
        assert_eq!(config.master_key, key.parse().ok());
        assert_eq!(load(Mode::Serve, NOTHING).unwrap().0.master_key, None);
        let wrong = refusal(Case { environment: &[("UPDRAFT_MASTER_KEY", "abc")], ..NOTHING });
        assert!(wrong.contains("64 hexadecimal digits") && !wrong.contains("abc"), "{wrong}");
        let both = Case { environment, flags: &[("master_key_file", "/nowhere")], ..NOTHING };
        assert!(refusal(both).contains("both set"));
        let missing = Case { flags: &[("master_key_file", "/nowhere/at/all")], ..NOTHING };
        assert!(refusal(missing).contains("/nowhere/at/all"));
    }

    #[test]
    fn a_keep_alive_window_means_the_fixed_policy() {
        use updraft_node::KeepAlivePolicy as Policy;
        let policy = |file| load(Mode::Serve, Case { file, ..NOTHING }).unwrap().0.keep_alive;
        assert_eq!(policy(""), Policy::default());
        assert_eq!(policy("keep_alive = \"fixed\""), Policy::Fixed(Duration::from_secs(600)));
        assert_eq!(policy("keep_alive = \"fixed\"\nkeep_alive_s = 5"), Policy::Fixed(Duration::from_secs(5)));
        assert_eq!(policy("keep_alive_s = 5"), Policy::Fixed(Duration::from_secs(5)));
        assert_eq!(policy("keep_alive = \"histogram\""), Policy::Histogram(Default::default()));
        let both = "keep_alive = \"adaptive\"\nkeep_alive_s = 5";
        assert!(refusal(Case { file: both, ..NOTHING }).contains("fixed policy only"));
    }

    #[test]
    fn wrong_values_name_their_layer() {
        assert!(refusal(Case { file: "log_retention_days = \"3\"", ..NOTHING }).contains("whole number"));
        assert!(refusal(Case { file: "listen = 4566", ..NOTHING }).contains("text in quotes"));
        assert!(refusal(Case { environment: &[("UPDRAFT_REGION", "x")], ..NOTHING }).contains("UPDRAFT_REGION"));
        assert!(refusal(Case { flags: &[("log_retention_days", "0")], ..NOTHING }).contains("1 to 3650"));
        let denied = Case { file: "egress_deny = \"10.0.0.0/8, 192.0.2.1\"\negress = \"off\"", ..NOTHING };
        let (config, _) = load(Mode::Dev, denied).unwrap();
        assert_eq!((config.egress, config.egress_deny.len()), (Grant::Off, 2));
        assert!(refusal(Case { file: "egress_deny = \"10.0.0.1/8\"", ..NOTHING }).contains("bits are set"));
        let images = Case { file: "image_registries = \"ghcr.io, http://127.0.0.1:5000\"", ..NOTHING };
        assert_eq!(load(Mode::Serve, images).unwrap().0.image_registries.len(), 2);
        assert!(refusal(Case { file: "image_registries = \"http://ghcr.io\"", ..NOTHING }).contains("loopback"));
        assert!(refusal(Case { file: "root_access_key_id = \"a\"", ..NOTHING }).contains("root_secret_access_key"));
    }
}
