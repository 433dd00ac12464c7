//! Formats that print credentials: after the filter has worked they are in the request headers, for
//! whatever reads those.

use super::contents::{Contents, Manager};
use super::credentials::is_credential;
use super::findings::Findings;
use super::format::commands;
use super::node::Node;
use aigw_auth::policy::quote;

/// Loggers that print a line of text or JSON, and what the line is.
const LINE_LOGGERS: [&str; 3] = [
    "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
    "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
];
const LINE_FORMATS: [&str; 4] = ["log_format", "format", "json_format", "typed_json_format"];

/// Notes formats that print credentials of requests that pass the filter.
pub(crate) fn check(contents: &Contents<'_>, findings: &mut Findings) {
    for manager in contents.managers.iter().filter(|manager| passes_filter(contents, manager)) {
        log(&manager.listener.field("access_log"), findings);
        log(&manager.node.field("access_log"), findings);
        if let Some(router) = manager.chain.router() {
            log(&router.field("upstream_log"), findings);
        }
        spans(&manager.node.field("tracing"), findings);
        credentials(&manager.node.field("local_reply_config"), findings);
        // A route that answers itself has no credential of ours to show.
        for text in manager.node.field("route_config").texts(&["direct_response"]) {
            credentials(&text, findings);
        }
    }
}

/// Whether requests of a listener can pass the filter.
fn passes_filter(contents: &Contents<'_>, manager: &Manager<'_>) -> bool {
    manager.chain.names_filter()
        || (manager.is_open() && contents.clusters.iter().any(|c| contents.is_covered(c)))
        || manager
            .routes
            .iter()
            .flat_map(|route| route.clusters())
            .any(|cluster| contents.carries(cluster.text(), manager) == Some(true))
}

/// Access logs.
fn log(logs: &Node<'_>, findings: &mut Findings) {
    for logger in logs.items() {
        let (kind, config) = logger.field("typed_config").message();
        if LINE_LOGGERS.contains(&kind)
            && !LINE_FORMATS.iter().any(|format| config.field(format).is_there())
        {
            findings.warning(
                &config.field("log_format"),
                "is not given, and Envoy's own format prints the query, in which callers send keys: \
                 add `log_format: {text_format_source: {inline_string: \"%REQ(:METHOD)% \
                 %PATH(NQ:ORIG)% %RESPONSE_CODE%\\n\"}}`",
            );
        }
        credentials(&config, findings);
        queries(&config, findings);
        for header in config.field("additional_request_headers_to_log").items() {
            sent_header(&header, findings);
        }
        tags(&config, findings);
    }
}

/// What is written into spans.
fn spans(tracing: &Node<'_>, findings: &mut Findings) {
    credentials(tracing, findings);
    queries(tracing, findings);
    tags(tracing, findings);
}

fn tags(config: &Node<'_>, findings: &mut Findings) {
    for tag in config.field("custom_tags").items() {
        sent_header(&tag.at(["request_header", "name"]), findings);
    }
}

/// A header that is sent away under its name.
fn sent_header(header: &Node<'_>, findings: &mut Findings) {
    let name = quote(header.text());
    if is_credential(&name) {
        findings.error(header, &format!("{} remove `{name}`", shows(&format!("header {name}"))));
    }
}

/// Commands that print credentials.
fn credentials(node: &Node<'_>, findings: &mut Findings) {
    for text in node.texts(&[]) {
        for command in commands(text.text()) {
            if let Some(what) = command.credential() {
                let command = quote(command.text);
                findings.error(&text, &format!("{} remove `{command}`", shows(&quote(&what))));
            }
        }
    }
}

/// Commands that print the query.
fn queries(node: &Node<'_>, findings: &mut Findings) {
    for text in node.texts(&[]) {
        for command in commands(text.text()).into_iter().filter(|c| c.prints_query()) {
            findings.warning(
                &text,
                &format!(
                    "{} prints the query, in which callers send keys: use `%PATH(NQ:ORIG)%`",
                    quote(command.text)
                ),
            );
        }
    }
}

fn shows(what: &str) -> String {
    format!("shows {what}, which holds a credential:")
}
