//! Removes six headers, without looking whether they are there, and sets one to a constant.

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

const REMOVED: [&str; 6] =
    ["authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key"];
const CREDENTIAL: &str = "Bearer sk-bench-0123456789abcdefghijklmnopqrstuvwxyz";

proxy_wasm::main! {{
    proxy_wasm::set_http_context(|_, _| Box::new(Minimal));
}}

struct Minimal;

impl Context for Minimal {}

impl HttpContext for Minimal {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        for name in REMOVED {
            self.set_http_request_header(name, None);
        }
        self.set_http_request_header("authorization", Some(CREDENTIAL));
        Action::Continue
    }
}
