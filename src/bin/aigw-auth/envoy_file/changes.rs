//! What changes a request after the filter has signed it.

use super::credentials::is_signed;
use super::node::Node;

/// The filters that leave alone whatever is signed, below `envoy.extensions.filters.http`.
const HARMLESS: [&str; 17] = [
    "adaptive_concurrency.v3.AdaptiveConcurrency",
    "admission_control.v3.AdmissionControl",
    "bandwidth_limit.v3.BandwidthLimit",
    "body_size_limit.v3.BodySizeLimit",
    "buffer.v3.Buffer",
    "cors.v3.Cors",
    "csrf.v3.CsrfPolicy",
    "fault.v3.HTTPFault",
    "file_system_buffer.v3.FileSystemBufferFilterConfig",
    "grpc_stats.v3.FilterConfig",
    "health_check.v3.HealthCheck",
    "local_ratelimit.v3.LocalRateLimit",
    "ratelimit.v3.RateLimit",
    "rbac.v3.RBAC",
    "set_filter_state.v3.Config",
    "set_metadata.v3.Config",
    "tap.v3.Tap",
];

/// Whether an HTTP filter may change what is signed: only those that are known not to are trusted.
pub(crate) fn may_change(filter: &Node<'_>) -> bool {
    let (kind, config) = filter.field("typed_config").message();
    match kind.strip_prefix("envoy.extensions.filters.http.") {
        Some("header_mutation.v3.HeaderMutation") => mutates(&config.field("mutations")),
        Some("compressor.v3.Compressor") => config.field("request_direction_config").is_there(),
        Some(kind) => !HARMLESS.contains(&kind),
        None => true,
    }
}

/// Whether `mutations` of a `header_mutation` filter are of anything that is signed.
fn mutates(mutations: &Node<'_>) -> bool {
    let of_headers = mutations.field("request_mutations").items();
    !mutations.field("query_parameter_mutations").items().is_empty()
        || of_headers.iter().any(|mutation| {
            mutation.field("remove_on_match").is_there()
                || is_signed(mutation.field("remove").text())
                || sets_signed(&mutation.field("append"))
        })
}

/// Whether a `HeaderValueOption` changes a header that is signed: not if it only stands in for one that
/// a request does not have.
pub(crate) fn sets_signed(option: &Node<'_>) -> bool {
    let action = option.field("append_action");
    is_signed(option.at(["header", "key"]).text())
        && action.text() != "ADD_IF_ABSENT"
        && action.number() != Some(1.0)
}
