//! Answers `GET /<what>/<how often>` when it has done so: `scripts/bench` counts the time of the thread.
#![cfg(target_family = "wasm")]

mod work;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};
use std::hint::black_box;
use std::rc::Rc;
use work::Work;

/// Envoy calls it after the filter's own entry point, which comes with its library and would make the
/// filter's contexts: from here on they are these.
#[unsafe(no_mangle)]
extern "C" fn main(_: i32, _: i32) -> i32 {
    proxy_wasm::set_root_context(|_| Box::new(Root(Work::new().map(Rc::new))));
    0
}

struct Root(Option<Rc<Work>>);

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        self.0.is_some()
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream(Rc::clone(self.0.as_ref()?))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream(Rc<Work>);

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let path = self.get_http_request_header(":path").unwrap_or_default();
        let status = if self.repeat(&path).is_some() { 200 } else { 404 };
        self.send_http_response(status, vec![], None);
        Action::Pause
    }
}

impl Stream {
    /// `None` if there is no such work, or it failed.
    fn repeat(&self, path: &str) -> Option<()> {
        let (what, count) = path.strip_prefix('/')?.split_once('/')?;
        for _ in 0..count.parse().ok()? {
            match what {
                "cached" => drop(black_box(self.0.cached()?)),
                "derived" => drop(black_box(self.0.derived()?)),
                "hash" => _ = black_box(self.0.hash()),
                _ => return None,
            }
        }
        Some(())
    }
}
