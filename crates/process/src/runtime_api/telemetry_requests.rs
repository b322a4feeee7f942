//! The one request of the Telemetry API and of the Logs API, and what the start of an instance is to their subscribers.
//!
//! Extensions subscribe while the instance starts; after that the door is closed, as on Lambda.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{Collect, RuntimeApi, collect_within, discard, extension_requests::identified, reply};
use crate::telemetry::{Api, Subscription, Telemetry, milliseconds};

pub(super) const PATH: &str = "/2022-07-01/telemetry";
pub(super) const LOGS_PATH: &str = "/2020-08-15/logs";

/// Most bytes of a subscription.
const SUBSCRIPTION_BYTES_MAX: usize = 64 * 1024;

impl RuntimeApi {
    /// What happens in this instance, for those who subscribe.
    pub(crate) fn telemetry(&self) -> &Arc<Telemetry> {
        &self.telemetry
    }

    /// The record of `platform.initStart`.
    pub(crate) fn describe_start(&self) -> Value {
        let about = &self.about;
        json!({
            "initializationType": "on-demand",
            "phase": "init",
            "functionName": about.function_name,
            "functionVersion": about.function_version,
            "instanceId": about.instance,
            "instanceMaxMemory": about.memory_bytes_max,
        })
    }

    /// The start is over, and took this long.
    pub(crate) fn tell_started(&self, is_ready: bool, took: Duration) {
        let status = if is_ready { "success" } else { "error" };
        let record = json!({ "initializationType": "on-demand", "phase": "init", "status": status });
        self.telemetry.starting("platform.initRuntimeDone", record.clone());
        let extensions: Vec<Value> = self
            .state
            .lock()
            .extensions
            .members()
            .iter()
            .map(|member| {
                let events = [(member.hears_invoke, "INVOKE"), (member.hears_shutdown, "SHUTDOWN")];
                let events: Vec<&str> = events.iter().filter(|(hears, _)| *hears).map(|(_, event)| *event).collect();
                json!({ "name": member.name, "state": "Ready", "events": events })
            })
            .collect();
        if is_ready {
            extensions.into_iter().for_each(|extension| self.telemetry.starting("platform.extension", extension));
        }
        let mut report = record;
        report["metrics"] = json!({ "durationMs": milliseconds(took) });
        self.telemetry.starting("platform.initReport", report);
        self.telemetry.started(took);
    }

    /// An extension subscribes.
    pub(super) async fn subscribe(&self, api: Api, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let allowed = {
            let state = self.state.lock();
            let is_closed = state.ended.is_some() || (state.machine.is_started() && state.extensions.are_ready());
            identified(&state, request.headers()).and_then(|place| {
                if is_closed {
                    let name = match api {
                        Api::Telemetry => "Telemetry",
                        Api::Logs => "Logs",
                    };
                    let message = format!("{name} API subscription is closed already");
                    let code = format!("{name}.SubscriptionClosed");
                    let closed = reply::error(StatusCode::FORBIDDEN, &code, &message);
                    return Err(Box::new(closed));
                }
                Ok((place, state.extensions.members()[place].name.clone()))
            })
        };
        let (place, name) = match allowed {
            Ok(allowed) => allowed,
            Err(response) => {
                discard(request.into_body()).await;
                return *response;
            }
        };
        let body = match collect_within(request.into_body(), SUBSCRIPTION_BYTES_MAX).await {
            Ok(body) => body,
            Err(Collect::TooLarge) => return reply::too_large_for(SUBSCRIPTION_BYTES_MAX),
            Err(Collect::Broken) => return reply::truncated(),
        };
        match Subscription::read(api, &body) {
            Ok(_) if self.telemetry.subscribes_elsewhere(place, api) => {
                let why = "The extension subscribes already, by the other of the Telemetry API and the Logs API";
                reply::error(StatusCode::BAD_REQUEST, "ValidationError", why)
            }
            Ok(subscription) => {
                self.telemetry.subscribe(place, &name, subscription);
                reply::json(StatusCode::OK, Bytes::from_static(b"\"OK\""))
            }
            Err(why) => reply::error(StatusCode::BAD_REQUEST, "ValidationError", &why),
        }
    }
}
