//! The stream context: one per attempt in an upstream chain, one per request in a listener's.

use super::flow::{Flow, Outcome};
use super::host;
use super::shared::Shared;
use crate::aws::sigv4::EMPTY_BODY;
use crate::engine::{Place, Refusal};
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;
use std::cell::RefCell;
use std::rc::Rc;

/// The error of AWS for keys that have ended
/// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>).
const EXPIRED_TOKEN: &[u8] = b"ExpiredToken";

/// Takes one attempt through the filter.
pub(super) struct Stream {
    id: u32,
    shared: Option<Rc<Shared>>,
    flow: Rc<RefCell<Flow>>,
}

impl Stream {
    pub(super) fn new(id: u32, shared: Option<Rc<Shared>>) -> Self {
        Self { id, shared, flow: Flow::new(id) }
    }

    fn proceed(&self) -> Action {
        let Some(shared) = &self.shared else {
            // Envoy does not use a configuration that was refused.
            host::reply(&Refusal::Internal.reply());
            return Action::Pause;
        };
        match Flow::proceed(&self.flow, shared) {
            Outcome::Continue => Action::Continue,
            Outcome::Pause => Action::Pause,
        }
    }

    /// The body has come to its end.
    fn finish_body(&self) -> Action {
        let body = self.flow.borrow_mut().body.take();
        self.flow.borrow_mut().hash = body.map(|body| body.finish());
        self.proceed()
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        if end_of_stream {
            self.flow.borrow_mut().hash = Some(EMPTY_BODY);
        }
        self.proceed()
    }

    fn on_http_request_body(&mut self, size: usize, end_of_stream: bool) -> Action {
        let Some(shared) = &self.shared else { return Action::Pause };
        let mut flow = self.flow.borrow_mut();
        if flow.refused {
            return Action::Pause;
        }
        if flow.resumable {
            flow.resumable = false;
            drop(flow);
            return self.proceed();
        }
        if flow.waits_for.is_some() {
            (flow.held, flow.open) = (size, !end_of_stream);
            if !shared.grow(self.id, size) {
                shared.forget(self.id);
                flow.refuse_unavailable(shared, None);
            }
            return Action::Pause;
        }
        let Some(mut body) = flow.body.take() else { return Action::Continue };
        if body.length() == 0 {
            shared.body_seen();
        }
        flow.held = size;
        // What cannot be read is left out, and so cannot be signed.
        if host::hash_body(&mut body, size).is_none() {
            shared.refuse(None, Refusal::Internal, Place::Upstream, None);
            flow.refused = true;
            return Action::Pause;
        }
        flow.body = Some(body);
        drop(flow);
        if end_of_stream { self.finish_body() } else { Action::Pause }
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        if self.flow.borrow().body.is_some() {
            let _ = self.finish_body();
        } else if std::mem::take(&mut self.flow.borrow_mut().resumable) {
            let _ = self.proceed();
        } else {
            // The body has come to its end.
            self.flow.borrow_mut().open = false;
        }
        let Some(shared) = &self.shared else { return Action::Pause };
        let flow = self.flow.borrow();
        if let Some(written) = flow.written.or(flow.waits_for) {
            host::strip_trailers(shared.filter.client_credentials(), written);
        }
        if flow.refused || flow.waits_for.is_some() { Action::Pause } else { Action::Continue }
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        let used = self.flow.borrow_mut().used.take();
        if let (Some((policy, serial)), Some(shared)) = (used, &self.shared) {
            let signs = shared.filter.entries().get(policy).is_some_and(|entry| entry.signs);
            let rejected = match host::response_header(":status").as_deref() {
                Some(b"401") => true,
                Some(b"403") if signs => host::response_header("x-amzn-errortype")
                    .is_some_and(|error| error.starts_with(EXPIRED_TOKEN)),
                _ => false,
            };
            if rejected {
                shared.rejected(policy, serial);
            }
        }
        Action::Continue
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let flow = self.flow.borrow();
        if flow.body.is_some() || flow.waits_for.is_some() {
            drop(flow);
            if let Some(shared) = &self.shared {
                shared.forget(self.id);
            }
        }
    }
}
