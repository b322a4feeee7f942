//! Where records of events go: which function an ARN names, and whether the source's role may invoke it.
//!
//! Functions of the same account and region are all there is to deliver to; whoever configures another destination is told
//! so, and a record for one that was configured all the same becomes a dead letter. Permission is asked for at each
//! delivery, as of the function's role: by its own policies, or by the destination's.

use updraft_engine::events::Condition;
use updraft_store::events::{DeadLetter, Follow};
use updraft_types::{
    Caller, Event, Function, FunctionId, Principal, Qualifier, RequestId, Timestamp, Version, limits::EVENT_BYTES_MAX,
};

use super::record::{self, Answered};
use crate::{
    Context, Handle,
    identity::{
        Ask, RoleEntry, Snapshot,
        document::{Document, Kind},
    },
};

/// Characters of a function's resource policy at most; whoever adds to it keeps to fewer.
const POLICY_CHARS_MAX: usize = 131_072;

/// Why nothing can be delivered to a destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Undeliverable {
    /// It is no ARN of a function of this account and region.
    #[error("it is not a function of this account and region, and Updraft delivers to nothing else yet")]
    NotAFunction,
    /// There is no such function, version or alias.
    #[error("there is no such function")]
    NoFunction,
    /// The source has no role that Lambda may assume.
    #[error("the function's role {0} is not there, or does not trust lambda.amazonaws.com")]
    NoRole(String),
    /// The role may not invoke it.
    #[error("{0}")]
    Denied(String),
}

/// A function that can be delivered to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    function: FunctionId,
    qualifier: Option<Qualifier>,
}

/// How an event ended.
pub(super) struct Ended {
    /// Why it was given up; `None` for a success.
    pub(super) condition: Option<Condition>,
    /// How often the function ran.
    pub(super) attempts: u32,
    /// What it answered at the last try, if it ran.
    pub(super) answered: Option<Answered>,
    /// The trace header that it was called with.
    pub(super) trace: String,
}

/// What comes of an event's end.
pub(super) enum Passed {
    /// Nothing: it was a success that nobody wants to hear of.
    Nothing,
    /// An event for its destination, counted on the board.
    Follows(Box<Follow>),
    /// There is nobody to tell.
    Buried(DeadLetter),
}

impl Handle {
    /// Whether records of `source`'s events could be delivered to what the ARN names.
    pub fn check_destination(&self, source: &Function, arn: &str) -> Result<(), Undeliverable> {
        self.target_of(source, arn).map(drop)
    }

    /// Passes an event's end on to the destination that is configured for it now. What cannot be passed on is buried.
    pub(super) fn pass_on(&self, event: &Event, ended: &Ended) -> Passed {
        let catalog = self.catalog();
        let config = catalog.get(&event.function).and_then(|latest| {
            let config = latest.settings.event_invoke.get(&event.qualifier_text())?;
            Some(config.clone())
        });
        let (member, arn) = match ended.condition {
            None => ("OnSuccess", config.and_then(|config| config.on_success)),
            Some(_) => ("OnFailure", config.and_then(|config| config.on_failure)),
        };
        if arn.is_none() && ended.condition.is_none() {
            return Passed::Nothing;
        }
        let now = Timestamp::now();
        let Ended { condition, attempts, answered, trace } = ended;
        let record = record::build(event, *condition, *attempts, answered.as_ref(), self.region(), now);
        let letter = |why: &str, record: String| {
            let told = condition.map_or("Success", Condition::name);
            let reason = match &arn {
                Some(arn) => format!("{told}; the {member} destination {arn} was not told: {why}"),
                None => format!("{told}; there is no {member} destination"),
            };
            let (function, request) = (event.function.clone(), event.request);
            tracing::info!(%function, %request, reason, "a dead letter");
            DeadLetter { function, request, at: now, reason, record }
        };
        let Some(destination) = &arn else { return Passed::Buried(letter("", record)) };
        if record.len() > EVENT_BYTES_MAX {
            return Passed::Buried(letter("the record is larger than an event may be", record));
        }
        let qualifier = event.qualifier.clone().unwrap_or(Qualifier::Version(Version::Latest));
        let Some(source) = catalog.find(&event.function, &qualifier).or_else(|| catalog.get(&event.function)) else {
            return Passed::Buried(letter("the function is gone", record));
        };
        let target = match self.target_of(source, destination) {
            Ok(target) => target,
            Err(why) => return Passed::Buried(letter(&why.to_string(), record)),
        };
        let follows = Event {
            request: RequestId::random(),
            function: target.function,
            qualifier: target.qualifier,
            client_context: None,
            trace: trace.clone(),
            payload: record.into(),
            accepted_at: now,
        };
        match self.inner.board.admit(&follows, self.inner.config.events.limits) {
            Ok(()) => {
                let otherwise = format!("the {member} destination {destination} was deleted");
                let (source, request) = (event.function.clone(), event.request);
                Passed::Follows(Box::new(Follow { event: follows, source, request, otherwise }))
            }
            Err(_) => {
                let record = String::from_utf8_lossy(&follows.payload).into_owned();
                Passed::Buried(letter("too many events are pending there", record))
            }
        }
    }

    fn target_of(&self, source: &Function, arn: &str) -> Result<Target, Undeliverable> {
        let target = self.parse_destination(source, arn).ok_or(Undeliverable::NotAFunction)?;
        let catalog = self.catalog();
        let there = match &target.qualifier {
            Some(qualifier) => catalog.find(&target.function, qualifier),
            None => catalog.get(&target.function),
        };
        there.ok_or(Undeliverable::NoFunction)?;
        let latest = catalog.get(&target.function).ok_or(Undeliverable::NoFunction)?;

        let snapshot = self.identity().snapshot();
        let role = snapshot.role_by_arn(&source.configuration.role);
        let role = role.filter(|role| role.account == source.id.account);
        let role = role.filter(|role| Snapshot::service_may_assume("lambda.amazonaws.com", role));
        let role = role.ok_or_else(|| Undeliverable::NoRole(source.configuration.role.clone()))?;
        let caller = session(role, source);
        let qualifier = target.qualifier.as_ref().map(ToString::to_string).unwrap_or_default();
        let policy = latest.policies.get(&qualifier);
        let policy = policy.and_then(|policy| {
            let read = Document::parse(&policy.document(), Kind::Resource, POLICY_CHARS_MAX);
            read.inspect_err(|error| tracing::error!(%error, "a stored resource policy cannot be read")).ok()
        });
        let allowed = snapshot.authorize(&Ask {
            caller: &caller,
            session: &[],
            action: "lambda:InvokeFunction",
            resource: arn,
            owner: &target.function.account,
            resource_policy: policy.as_ref(),
            context: &self.context_of_delivery(&caller, role, &target.function),
        });
        allowed.map(|()| target).map_err(|denied| Undeliverable::Denied(denied.to_string()))
    }

    fn parse_destination(&self, source: &Function, arn: &str) -> Option<Target> {
        let rest = arn.strip_prefix("arn:aws:lambda:")?;
        let rest = rest.strip_prefix(self.region().as_str())?.strip_prefix(':')?;
        let rest = rest.strip_prefix(source.id.account.as_str())?.strip_prefix(":function:")?;
        let (name, qualifier) = match rest.split_once(':') {
            Some((name, qualifier)) => (name, Some(qualifier.parse().ok()?)),
            None => (rest, None),
        };
        let function = FunctionId { account: source.id.account.clone(), name: name.parse().ok()? };
        Some(Target { function, qualifier })
    }

    /// The condition keys of a call that Lambda makes for a function.
    fn context_of_delivery(&self, caller: &Caller, role: &RoleEntry, target: &FunctionId) -> Context {
        let now = Timestamp::now();
        Context::new()
            .with("aws:PrincipalArn", role.arn())
            .with("aws:PrincipalAccount", caller.account.as_str())
            .with("aws:PrincipalType", "AssumedRole")
            .with("aws:userid", caller.user_id())
            .with("aws:SecureTransport", "true")
            .with("aws:CurrentTime", now.to_rfc3339())
            .with("aws:EpochTime", (now.as_ms() / 1_000).to_string())
            .with("aws:RequestedRegion", self.region().as_str())
            .with("aws:ResourceAccount", target.account.as_str())
            .with("aws:ViaAWSService", "true")
    }
}

/// The function's own session of its role.
fn session(role: &RoleEntry, source: &Function) -> Caller {
    let principal = Principal::Session {
        role_path: role.path.clone(),
        role: role.name.clone(),
        role_id: role.id.clone(),
        session: source.id.name.to_string(),
    };
    Caller { account: role.account.clone(), principal }
}
