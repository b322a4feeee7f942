//! A request's caller at the doors: whose things it sees, and what it may do with them.
//!
//! Every operation of every AWS door and of the admin door gets a `Scope`, never the bare doors, so that none can
//! forget whom it works for. Each door asks [`Scope::authorize`] at one place, before an operation looks at anything.

use std::{collections::BTreeMap, net::IpAddr, ops::Deref, sync::Arc};

use http::{header, request::Parts};
use updraft_node::{
    Context,
    identity::{
        Ask, Denied, Explanation, RoleEntry, Snapshot, credential::SessionBounds, document::Document, sessions::Terms,
    },
};
use updraft_types::{AccountId, Caller, FunctionId, FunctionName, Principal, Timestamp};

use crate::{authenticate::Authenticated, connection::Peer, doors::Doors};

/// Most characters of a header that conditions may look at.
const HEADER_CHARS_MAX: usize = 512;

/// The doors, as one caller finds them.
pub(crate) struct Scope<'a> {
    doors: &'a Doors,
    /// Who asks.
    pub(crate) caller: Caller,
    session: Option<SessionBounds>,
    source: IpAddr,
    user_agent: Option<String>,
}

/// What is done to something, beside by whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Act<'a> {
    /// Such as `lambda:InvokeFunction`.
    pub(crate) action: &'a str,
    /// An ARN, or `*`.
    pub(crate) resource: &'a str,
    /// Whose that is.
    pub(crate) owner: &'a AccountId,
    /// The resource's own policy.
    pub(crate) policy: Option<&'a Document>,
    /// The resource's tags, as far as it can have any.
    pub(crate) tags: Option<&'a BTreeMap<String, String>>,
    /// Condition keys of the service, beside the global ones; one with several values stands there once for each.
    pub(crate) keys: &'a [(&'a str, &'a str)],
}

impl<'a> Act<'a> {
    fn ask(&self, caller: &'a Caller, session: &'a [Arc<Document>], context: &'a Context) -> Ask<'a> {
        let Self { action, resource, owner, policy: resource_policy, .. } = *self;
        Ask { caller, session, action, resource, owner, resource_policy, context }
    }
}

impl<'a> Scope<'a> {
    pub(crate) fn new(doors: &'a Doors, who: Authenticated, head: &Parts, peer: &Peer) -> Self {
        let user_agent = head.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Self {
            doors,
            caller: who.caller,
            session: who.session,
            source: peer.address.ip(),
            user_agent: user_agent.map(|text| text.chars().take(HEADER_CHARS_MAX).collect()),
        }
    }

    /// The doors themselves, whoever asks.
    pub(crate) fn doors(&self) -> &Doors {
        self.doors
    }

    /// The account the caller works in.
    pub(crate) fn account(&self) -> &AccountId {
        &self.caller.account
    }

    /// The full identity of a function of the caller's account.
    pub(crate) fn id(&self, name: FunctionName) -> FunctionId {
        FunctionId { account: self.account().clone(), name }
    }

    /// Whether the caller may do something in its own account.
    pub(crate) fn authorize(&self, action: &str, resource: &str) -> Result<(), Denied> {
        self.authorize_act(&Act { action, resource, owner: self.account(), policy: None, tags: None, keys: &[] })
    }

    /// Whether the caller may do something.
    pub(crate) fn authorize_act(&self, act: &Act<'_>) -> Result<(), Denied> {
        self.authorize_each(act, &[act.action])
    }

    /// Whether the caller may do each of `actions`, all else as the act says.
    pub(crate) fn authorize_each(&self, act: &Act<'_>, actions: &[&str]) -> Result<(), Denied> {
        if self.needs_no_policy(act) {
            return Ok(());
        }
        let (context, snapshot) = (self.context(act), self.node.identity().snapshot());
        let session = self.session_policies();
        actions
            .iter()
            .try_for_each(|action| snapshot.authorize(&Act { action, ..*act }.ask(&self.caller, session, &context)))
    }

    /// Refuses what the resource's own policy denies the caller; whether anything allows it is not asked.
    pub(crate) fn check_denials(&self, act: &Act<'_>) -> Result<(), Denied> {
        match act.policy.is_some_and(Document::has_deny) {
            true => Snapshot::check_denials(&act.ask(&self.caller, self.session_policies(), &self.context(act))),
            false => Ok(()),
        }
    }

    /// Why somebody of the caller's account may do something, or not, with these condition keys beside its own.
    pub(crate) fn explain(&self, caller: &Caller, act: &Act<'_>) -> Explanation {
        let context = self.context_of(caller, None, act);
        self.node.identity().snapshot().explain(&act.ask(caller, &[], &context))
    }

    /// Why the resource's own policy denies it to somebody of the caller's account, if it does.
    pub(crate) fn explain_denials(&self, caller: &Caller, act: &Act<'_>) -> Option<Explanation> {
        let context = self.context_of(caller, None, act);
        let denied = Snapshot::check_denials(&act.ask(caller, &[], &context)).err()?;
        Some(Explanation { is_allowed: false, because: denied.to_string(), near_misses: Vec::new() })
    }

    /// The root user in its own account, where nothing denies it anything.
    pub(crate) fn needs_no_policy(&self, act: &Act<'_>) -> bool {
        let is_denied = act.policy.is_some_and(Document::has_deny);
        self.is_root_of(act.owner) && !is_denied && self.session_policies().is_empty()
    }

    /// Whether the caller is an account's root user.
    pub(crate) fn is_root_of(&self, account: &AccountId) -> bool {
        self.caller.principal == Principal::Root && self.caller.account == *account
    }

    fn session_policies(&self) -> &[Arc<Document>] {
        self.session.as_ref().map_or(&[], |session| session.policies.as_slice())
    }

    /// Whether the caller's credentials are GetSessionToken's: they neither make nor renew any.
    pub(crate) fn is_token_session(&self) -> bool {
        self.session.is_some() && matches!(self.caller.principal, Principal::Root | Principal::User { .. })
    }

    /// What the caller's session was made with; `None` for who has none.
    pub(crate) fn terms(&self) -> Option<&Terms> {
        self.session.as_ref().map(|session| &session.terms)
    }

    /// Whether the caller may assume a role, by one of STS's actions for that; its trust policy has the last word.
    pub(crate) fn may_assume(&self, role: &RoleEntry, action: &str, keys: &[(&str, &str)]) -> bool {
        let arn = role.arn();
        let act = Act { action, resource: &arn, owner: &role.account, policy: None, tags: Some(&role.tags), keys };
        let context = self.context(&act);
        self.node.identity().snapshot().may_assume(&self.caller, self.session_policies(), action, role, &context)
    }

    /// The condition keys of one act (source: IAM user guide, «AWS global condition context keys»).
    fn context(&self, act: &Act<'_>) -> Context {
        self.context_of(&self.caller, self.session.as_ref(), act)
    }

    fn context_of(&self, caller: &Caller, session: Option<&SessionBounds>, act: &Act<'_>) -> Context {
        let (now, terms) = (Timestamp::now(), session.map(|session| &session.terms));
        let kind = match &caller.principal {
            Principal::Root => "Account",
            Principal::User { .. } => "User",
            Principal::Session { .. } => "AssumedRole",
            Principal::Anonymous => "Anonymous",
        };
        let mut context = Context::new();
        if caller.principal != Principal::Anonymous {
            context = context
                .with("aws:PrincipalArn", principal_arn(caller))
                .with("aws:PrincipalAccount", caller.account.as_str());
        }
        let mut context = context
            .with("aws:PrincipalType", kind)
            .with("aws:userid", caller.user_id())
            .with("aws:SourceIp", self.source.to_string())
            .with("aws:SecureTransport", (self.scheme == "https").to_string())
            .with("aws:CurrentTime", now.to_rfc3339())
            .with("aws:EpochTime", (now.as_ms() / 1_000).to_string())
            .with("aws:RequestedRegion", self.node.region().as_str())
            .with("aws:ResourceAccount", act.owner.as_str())
            .with("aws:ViaAWSService", "false");
        if let Principal::User { name, .. } = &caller.principal {
            context = context.with("aws:username", name.as_str());
        }
        if let Some(user_agent) = &self.user_agent {
            context = context.with("aws:UserAgent", user_agent.as_str());
        }
        let snapshot = self.node.identity().snapshot();
        // A session's tags go before those of its role.
        for tags in snapshot.tags_of(caller).into_iter().chain(terms.map(|terms| &terms.tags)) {
            add_tags(&mut context, "aws:PrincipalTag", tags);
        }
        if let Some(tags) = act.tags {
            // IAM's and Secrets Manager's policies call them by the service, too: `iam:ResourceTag/KEY`.
            let service = act.resource.split(':').nth(2).unwrap_or_default();
            add_tags(&mut context, "aws:ResourceTag", tags);
            add_tags(&mut context, &format!("{service}:ResourceTag"), tags);
        }
        if let Some(source) = terms.and_then(|terms| terms.source_identity.as_ref()) {
            context = context.with("aws:SourceIdentity", source.as_str());
        }
        if let Some(session) = session {
            context = context.with("aws:TokenIssueTime", session.issued_at.to_rfc3339());
        }
        for (key, _) in act.keys {
            let of_key = act.keys.iter().filter(|(other, _)| other.eq_ignore_ascii_case(key));
            context.set(key, of_key.map(|(_, value)| (*value).to_owned()));
        }
        context
    }
}

/// Adds a key for each tag. What was tagged before two keys that differ in case alone were refused may have both: then the one key
/// has both values, so that none hides the other.
fn add_tags(context: &mut Context, prefix: &str, tags: &BTreeMap<String, String>) {
    for key in tags.keys() {
        let same = tags.iter().filter(|(other, _)| other.eq_ignore_ascii_case(key));
        context.set(&format!("{prefix}/{key}"), same.map(|(_, value)| value.clone()));
    }
}

/// What `aws:PrincipalArn` holds: of a session, the role's ARN.
fn principal_arn(caller: &Caller) -> String {
    match &caller.principal {
        Principal::Session { role_path, role, .. } => {
            format!("arn:aws:iam::{}:role{role_path}{role}", caller.account)
        }
        _ => caller.arn(),
    }
}

impl Deref for Scope<'_> {
    type Target = Doors;

    fn deref(&self) -> &Doors {
        self.doors
    }
}
