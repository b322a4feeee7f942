//! Which request of the Extensions API is allowed when, and which event each extension gets next.
//!
//! Pure, like `machine`: requests arrive as method calls, refusals and events leave as values. External extensions are
//! processes of their own, known by their file's name before they register; whatever else registers is internal, a
//! part of the runtime's process, and must do so before the runtime asks for its first event.
//!
//! Invariants: an extension hears of each invocation it registered for once; after a shutdown it hears of that alone;
//! at most [`EXTENSIONS_MAX`] are known.

use updraft_types::RequestId;

/// Most extensions of one instance, external and internal ones together (source: AWS's page of Lambda quotas).
pub(crate) const EXTENSIONS_MAX: usize = 10;

/// Why a request is refused. All are 403; see [`super::extension_requests`] for the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A name of nobody, or too long a one.
    InvalidName,
    /// An event that there is not, or that an internal extension cannot have.
    InvalidEvent,
    /// The name has registered before.
    AlreadyRegistered,
    /// The time for that is over.
    Closed,
    /// There are as many as there may be.
    TooMany,
    /// The identifier is no extension's.
    Unknown,
    /// Not now.
    State {
        /// Where the extension is.
        from: &'static str,
        /// What it asked for.
        to: &'static str,
    },
}

/// What an extension is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Invoke,
    Shutdown,
}

/// What an extension that asks for an event gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Event(Event),
    /// Nothing yet; [`Extensions::take`] has it later.
    Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Registered,
    /// Asks for an event.
    Ready,
    /// Works on one.
    Running,
    /// Said that it failed.
    Failed,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Phase::Registered => "Registered",
            Phase::Ready => "Ready",
            Phase::Running => "Running",
            Phase::Failed => "Failed",
        }
    }
}

/// One extension that has registered.
#[derive(Debug)]
pub(crate) struct Extension {
    pub(crate) name: String,
    pub(crate) id: String,
    /// Its place among the programs that were started.
    pub(crate) program: Option<usize>,
    pub(crate) hears_invoke: bool,
    pub(crate) hears_shutdown: bool,
    phase: Phase,
    pending: Option<Event>,
}

/// The extensions of one instance.
#[derive(Debug)]
pub(crate) struct Extensions {
    /// The names of the programs that were started, in their order.
    programs: Vec<String>,
    members: Vec<Extension>,
    is_closed: bool,
    is_ending: bool,
}

impl Extensions {
    /// For an instance that has these external ones, by their files' names.
    pub(crate) fn new(programs: Vec<String>) -> Self {
        Self { programs, members: Vec::new(), is_closed: false, is_ending: false }
    }

    /// Those that have registered.
    pub(crate) fn members(&self) -> &[Extension] {
        &self.members
    }

    /// Whether there are any, registered or not.
    pub(crate) fn is_any(&self) -> bool {
        !self.programs.is_empty() || !self.members.is_empty()
    }

    /// Whether every external one has registered, so that the runtime may start.
    pub(crate) fn have_registered(&self) -> bool {
        self.members.iter().filter(|member| member.program.is_some()).count() == self.programs.len()
    }

    /// Whether all have registered and asked for their first event.
    pub(crate) fn are_ready(&self) -> bool {
        self.have_registered() && self.members.iter().all(|member| member.phase != Phase::Registered)
    }

    /// Whether none has anything left to do for an invocation.
    pub(crate) fn are_idle(&self) -> bool {
        let is_idle = |member: &Extension| member.phase != Phase::Running && member.pending.is_none();
        self.members.iter().filter(|member| member.hears_invoke).all(is_idle)
    }

    /// Whether any hears of invocations.
    pub(crate) fn hear_invokes(&self) -> bool {
        self.members.iter().any(|member| member.hears_invoke)
    }

    /// An extension registers. Answers with its place.
    pub(crate) fn register(&mut self, name: &str, events: &[String]) -> Result<usize, Refusal> {
        if name.is_empty() || name.len() > 128 || name.contains(char::is_control) {
            return Err(Refusal::InvalidName);
        }
        let program = self.programs.iter().position(|program| program == name);
        let hears = |event: &str| events.iter().any(|wanted| wanted == event);
        let is_known = |event: &String| event == "INVOKE" || (event == "SHUTDOWN" && program.is_some());
        if !events.iter().all(is_known) {
            return Err(Refusal::InvalidEvent);
        }
        if self.is_ending || (program.is_none() && self.is_closed) {
            return Err(Refusal::Closed);
        }
        if self.members.iter().any(|member| member.name == name) {
            return Err(if self.is_closed { Refusal::Closed } else { Refusal::AlreadyRegistered });
        }
        let expected = self.programs.len();
        let internal = self.members.iter().filter(|member| member.program.is_none()).count();
        if program.is_none() && expected + internal >= EXTENSIONS_MAX {
            return Err(Refusal::TooMany);
        }
        self.members.push(Extension {
            name: name.to_owned(),
            id: RequestId::random().to_string(),
            program,
            hears_invoke: hears("INVOKE"),
            hears_shutdown: hears("SHUTDOWN"),
            phase: Phase::Registered,
            pending: None,
        });
        Ok(self.members.len() - 1)
    }

    /// The runtime has asked for its first event: no internal extension any more.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whose identifier this is.
    pub(crate) fn find(&self, id: &str) -> Result<usize, Refusal> {
        self.members.iter().position(|member| member.id == id).ok_or(Refusal::Unknown)
    }

    /// An extension asks for an event, and is done with the one before.
    pub(crate) fn next(&mut self, place: usize) -> Result<Next, Refusal> {
        let member = &mut self.members[place];
        if member.phase == Phase::Failed {
            return Err(Refusal::State { from: member.phase.name(), to: Phase::Ready.name() });
        }
        member.phase = Phase::Ready;
        Ok(self.take(place).map_or(Next::Wait, Next::Event))
    }

    /// What there is for an extension that asks, which thereby has it.
    pub(crate) fn take(&mut self, place: usize) -> Option<Event> {
        let member = &mut self.members[place];
        if member.phase != Phase::Ready {
            return None;
        }
        let event = member.pending.take()?;
        member.phase = Phase::Running;
        Some(event)
    }

    /// An event that did not reach the extension, which has hung up; it gets it when it asks again.
    pub(crate) fn put_back(&mut self, place: usize, event: Event) {
        let member = &mut self.members[place];
        if member.phase == Phase::Running {
            member.phase = Phase::Ready;
            member.pending.get_or_insert(event);
        }
    }

    /// An invocation begins. All must be idle.
    pub(crate) fn invoke(&mut self) {
        assert!(self.are_idle(), "an invocation begins when the one before is over");
        if self.is_ending {
            return;
        }
        for member in self.members.iter_mut().filter(|member| member.hears_invoke && member.phase != Phase::Failed) {
            member.pending = Some(Event::Invoke);
        }
    }

    /// The instance is about to end.
    pub(crate) fn shut_down(&mut self) {
        self.is_ending = true;
        for member in &mut self.members {
            member.pending = (member.hears_shutdown && member.phase != Phase::Failed).then_some(Event::Shutdown);
        }
    }

    /// The extension says that it could not initialise.
    pub(crate) fn init_error(&mut self, place: usize) -> Result<(), Refusal> {
        let member = &mut self.members[place];
        if member.phase != Phase::Registered {
            return Err(Refusal::State { from: member.phase.name(), to: "InitError" });
        }
        member.phase = Phase::Failed;
        Ok(())
    }

    /// The extension says that it is about to end.
    pub(crate) fn exit_error(&mut self, place: usize) -> Result<(), Refusal> {
        let member = &mut self.members[place];
        if member.phase == Phase::Failed {
            return Err(Refusal::State { from: member.phase.name(), to: "ExitError" });
        }
        member.phase = Phase::Failed;
        member.pending = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn both() -> Vec<String> {
        names(&["INVOKE", "SHUTDOWN"])
    }

    #[test]
    fn a_life_from_registering_to_shutdown() {
        let mut extensions = Extensions::new(names(&["agent"]));
        assert!(extensions.is_any() && !extensions.have_registered());
        let agent = extensions.register("agent", &both()).unwrap();
        let inner = extensions.register("inner", &names(&["INVOKE"])).unwrap();
        assert!(extensions.have_registered() && !extensions.are_ready());
        extensions.close();
        assert_eq!(extensions.next(agent), Ok(Next::Wait));
        assert!(!extensions.are_ready(), "the internal one has not asked");
        assert_eq!(extensions.next(inner), Ok(Next::Wait));
        assert!(extensions.are_ready() && extensions.are_idle());
        extensions.invoke();
        assert!(!extensions.are_idle());
        assert_eq!(extensions.take(agent), Some(Event::Invoke));
        assert_eq!(extensions.take(agent), None);
        assert_eq!(extensions.take(inner), Some(Event::Invoke));
        assert!(!extensions.are_idle());
        assert_eq!(extensions.next(inner), Ok(Next::Wait));
        assert!(!extensions.are_idle());
        extensions.shut_down();
        assert_eq!(extensions.next(agent), Ok(Next::Event(Event::Shutdown)));
        assert_eq!(extensions.take(inner), None, "internal ones hear nothing of it");
    }

    #[test]
    fn who_may_register_and_when() {
        let mut extensions = Extensions::new(names(&["agent"]));
        assert_eq!(extensions.register("", &both()), Err(Refusal::InvalidName));
        assert_eq!(extensions.register("agent", &names(&["WAKE"])), Err(Refusal::InvalidEvent));
        assert_eq!(extensions.register("inner", &both()), Err(Refusal::InvalidEvent));
        assert_eq!(extensions.find("nonsense"), Err(Refusal::Unknown));
        extensions.register("agent", &both()).unwrap();
        assert_eq!(extensions.register("agent", &both()), Err(Refusal::AlreadyRegistered));
        for number in 0..EXTENSIONS_MAX - 1 {
            extensions.register(&format!("inner-{number}"), &[]).unwrap();
        }
        assert_eq!(extensions.register("one-more", &[]), Err(Refusal::TooMany));
        extensions.close();
        assert_eq!(extensions.register("late", &[]), Err(Refusal::Closed));
        assert_eq!(extensions.register("agent", &both()), Err(Refusal::Closed));
    }

    #[test]
    fn one_that_failed_gets_nothing_more() {
        let mut extensions = Extensions::new(names(&["agent"]));
        let agent = extensions.register("agent", &both()).unwrap();
        extensions.init_error(agent).unwrap();
        assert!(matches!(extensions.next(agent), Err(Refusal::State { from: "Failed", .. })));
        assert!(extensions.exit_error(agent).is_err());
        let mut extensions = Extensions::new(names(&["agent"]));
        let agent = extensions.register("agent", &both()).unwrap();
        extensions.next(agent).unwrap();
        assert!(extensions.init_error(agent).is_err());
        extensions.invoke();
        extensions.exit_error(agent).unwrap();
        assert!(extensions.are_idle());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Register(u8, bool, bool),
        Next(u8),
        Take(u8),
        PutBack(u8),
        Close,
        Invoke,
        ShutDown,
        Fail(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..14_u8, any::<bool>(), any::<bool>()).prop_map(|(name, a, b)| Step::Register(name, a, b)),
            (0..14_u8).prop_map(Step::Next),
            (0..14_u8).prop_map(Step::Take),
            (0..14_u8).prop_map(Step::PutBack),
            Just(Step::Close),
            Just(Step::Invoke),
            Just(Step::Invoke),
            Just(Step::ShutDown),
            (0..14_u8).prop_map(Step::Fail),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        /// Against a count of what each should have heard.
        #[test]
        fn each_hears_of_each_invocation_once_and_of_nothing_after_the_end(steps in prop::collection::vec(step(), 0..120)) {
            let mut extensions = Extensions::new(names(&["x0", "x1", "x2"]));
            let mut owed = [0_usize; EXTENSIONS_MAX];
            let mut has_ended = false;
            for step in steps {
                let count = extensions.members().len();
                let place = |number: u8| usize::from(number) % count.max(1);
                let mut heard = None;
                match step {
                    Step::Register(name, invoke, shutdown) => {
                        let mut events = Vec::new();
                        if invoke { events.push("INVOKE".to_owned()); }
                        if shutdown { events.push("SHUTDOWN".to_owned()); }
                        let _ = extensions.register(&format!("x{name}"), &events);
                    }
                    Step::Next(number) if count > 0 => {
                        if let Ok(Next::Event(event)) = extensions.next(place(number)) {
                            heard = Some((place(number), event));
                        }
                    }
                    Step::Take(number) if count > 0 => {
                        heard = extensions.take(place(number)).map(|event| (place(number), event));
                    }
                    Step::PutBack(number) if count > 0 && !has_ended => {
                        let place = place(number);
                        if extensions.members()[place].phase == Phase::Running {
                            extensions.put_back(place, Event::Invoke);
                            owed[place] += 1;
                        }
                    }
                    Step::Close => extensions.close(),
                    Step::Invoke if extensions.are_idle() => {
                        extensions.invoke();
                        for (place, member) in extensions.members().iter().enumerate() {
                            if !has_ended && member.hears_invoke && member.phase != Phase::Failed {
                                owed[place] += 1;
                            }
                        }
                    }
                    Step::ShutDown => {
                        extensions.shut_down();
                        has_ended = true;
                        owed = Default::default();
                    }
                    Step::Fail(number) if count > 0 => {
                        let place = place(number);
                        if extensions.exit_error(place).is_ok() { owed[place] = 0; }
                    }
                    _ => {}
                }
                if let Some((place, event)) = heard {
                    prop_assert_eq!(event == Event::Shutdown, has_ended);
                    if event == Event::Invoke {
                        prop_assert!(owed[place] == 1, "owed {}", owed[place]);
                        owed[place] = 0;
                    }
                }
                prop_assert!(extensions.members().len() <= EXTENSIONS_MAX);
                if extensions.are_idle() && !has_ended {
                    prop_assert!(owed.iter().all(|owed| *owed == 0));
                }
            }
        }
    }
}
