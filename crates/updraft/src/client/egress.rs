//! Reads and sets where a function may connect to, at the platform's admin door.

use http::Method;
use serde::Deserialize;
use updraft_types::Egress;

use super::{Answer, Call, Client, Error, segment};

#[derive(Deserialize)]
struct View {
    egress: Option<Egress>,
}

impl Client {
    /// What a function says about egress; `None` where it leaves that to the platform.
    pub fn egress(&self, name: &str) -> Result<Option<Egress>, Error> {
        let operation = "reading egress";
        read(operation, &self.call(Call::new(operation, Method::GET, target(name)), &|_| ())?)
    }

    /// Sets it, or with `None` takes it back. A new revision of the function follows.
    pub fn set_egress(&self, name: &str, egress: Option<&Egress>) -> Result<(), Error> {
        let operation = "setting egress";
        let body = serde_json::to_vec(&egress).map_err(|error| Error::Request { operation, why: error.to_string() })?;
        let call = match egress {
            Some(_) => Call::new(operation, Method::PUT, target(name)).json(&body),
            None => Call::new(operation, Method::DELETE, target(name)),
        };
        read(operation, &self.call(call, &|_| ())?).map(drop)
    }
}

fn target(name: &str) -> String {
    format!("/_updraft/v1/functions/{}/egress", segment(name))
}

fn read(operation: &'static str, answer: &Answer) -> Result<Option<Egress>, Error> {
    let view = View::deserialize(answer.json()?);
    view.map(|view| view.egress).map_err(|error| Error::Malformed { operation, why: error.to_string() })
}
