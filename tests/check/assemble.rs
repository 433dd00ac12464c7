//! Envoy configurations of the cases.

use serde_json::{Value, json};

const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// Puts fields of `changes` in place of those of `object`; `null` takes one away.
fn change(mut object: Value, changes: Option<&Value>) -> Value {
    let fields = object.as_object_mut().unwrap();
    for (name, value) in changes.and_then(Value::as_object).into_iter().flatten() {
        match value {
            Value::Null => fields.remove(name),
            value => fields.insert(name.clone(), value.clone()),
        };
    }
    object
}

/// The wasm filter of a case.
fn filter(case: &Value) -> Value {
    let settings = json!({
        "resources": [{
            "apiVersion": "aigateway.envoyproxy.io/v1beta1",
            "kind": "BackendSecurityPolicy",
            "metadata": {"name": "openai"},
            "spec": {
                "targetRefs": [
                    {"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": "openai"}
                ],
                "type": "APIKey",
                "apiKey": {"secretRef": {"name": "openai"}},
            },
        }],
        "secrets": {
            "env": [{"name": "openai", "key": "apiKey", "variable": "AIGW_AUTH_TEST_UNSET"}],
        },
    });
    let plugin = json!({
        "name": "aigw-auth",
        "failure_policy": "FAIL_RELOAD",
        "allow_on_headers_stop_iteration": true,
        "vm_config": {
            "vm_id": "aigw-auth",
            "environment_variables": {"host_env_keys": ["AIGW_AUTH_TEST_UNSET"]},
        },
        "configuration": {
            "@type": "type.googleapis.com/google.protobuf.Struct",
            "value": change(settings, case.get("settings")),
        },
    });
    json!({
        "name": "envoy.filters.http.wasm",
        "typed_config": {
            "@type": format!("{TYPES}.filters.http.wasm.v3.Wasm"),
            "config": change(plugin, case.get("plugin")),
        },
    })
}

/// A chain: what `order` says, or the filter, if there is one, and the end. An object in `order` is
/// another filter, with the end of its type's name and its fields.
fn chain(order: Option<&Value>, filter: Option<Value>, end: &Value) -> Value {
    let order = order.cloned().unwrap_or_else(|| json!(["filter", "end"]));
    let part = |part: &Value| match part.as_str() {
        Some("filter") => filter.clone(),
        Some(_) => Some(end.clone()),
        None => Some(other_filter(part)),
    };
    order.as_array().unwrap().iter().filter_map(part).collect()
}

fn other_filter(filter: &Value) -> Value {
    let kind = format!("{TYPES}.filters.http.{}", filter["type"].as_str().unwrap());
    let config =
        change(filter.clone(), Some(&json!({"@type": kind, "type": null, "disabled": null})));
    json!({"name": "other", "typed_config": config, "disabled": filter.get("disabled")})
}

fn codec() -> Value {
    json!({
        "name": "envoy.filters.http.upstream_codec",
        "typed_config": {"@type": format!("{TYPES}.filters.http.upstream_codec.v3.UpstreamCodec")},
    })
}

/// A cluster of a case.
pub(crate) fn cluster(case: &Value, name: &str, settings: &Value) -> Value {
    let mut cluster = change(json!({"name": name}), Some(settings));
    let fields = cluster.as_object_mut().unwrap();
    let wanted = fields.remove("filter").unwrap_or(json!(true)) == true;
    let order = fields.remove("order");
    let protocol = fields.remove("protocol");
    let mut own = filter(case);
    if let Some(disabled) = fields.remove("disabled") {
        own["disabled"] = disabled;
    }
    let in_clusters = case.get("place").is_none_or(|place| place == "clusters");
    let http_filters = (order.is_some() || (in_clusters && wanted))
        .then(|| chain(order.as_ref(), Some(own), &codec()));
    if http_filters.is_some() || protocol.is_some() {
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        fields.insert(
            "typed_extension_protocol_options".to_owned(),
            json!({options: {
                "@type": format!("type.googleapis.com/{options}"),
                "explicit_http_config": {"http_protocol_options": {}},
                "upstream_http_protocol_options": protocol,
                "http_filters": http_filters,
            }}),
        );
    }
    cluster
}

/// The bootstrap of a case.
pub(crate) fn assemble(case: &Value) -> Value {
    let place = case.get("place").map_or("clusters", |place| place.as_str().unwrap());
    let mut router = json!({"@type": format!("{TYPES}.filters.http.router.v3.Router")});
    if place == "router" {
        router["upstream_http_filters"] =
            chain(case.get("upstream_order"), Some(filter(case)), &codec());
    }
    let router = json!({
        "name": "envoy.filters.http.router",
        "typed_config": change(router, case.get("router")),
    });
    let route = json!({"match": {"prefix": "/openai/"}, "route": {"cluster": "openai"}});
    let host = json!({
        "name": "providers",
        "domains": ["*"],
        "routes": case.get("routes").cloned().unwrap_or_else(|| json!([route])),
    });
    let table = json!({"name": "table", "virtual_hosts": [change(host, case.get("host"))]});
    let in_listener = (place == "listener").then(|| filter(case));
    let manager = json!({
        "@type": format!("{TYPES}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "gateway",
        "route_config": change(table, case.get("table")),
        "http_filters": chain(case.get("order"), in_listener, &router),
    });
    let manager = change(manager, case.get("manager"));
    let listener = json!({
        "name": "gateway",
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    });
    let openai = json!({"openai": {}});
    let clusters = case.get("clusters").unwrap_or(&openai).as_object().unwrap();
    json!({"static_resources": {
        "listeners": [change(listener, case.get("listener"))],
        "clusters": clusters.iter().map(|(name, c)| cluster(case, name, c)).collect::<Value>(),
    }})
}

/// The resources of a bootstrap as a discovery service has them.
pub(crate) fn discovery(resources: &Value, kind: &str) -> String {
    let resources = resources.as_array().unwrap().iter().map(|resource| {
        let kind = format!("type.googleapis.com/envoy.config.{kind}");
        change(resource.clone(), Some(&json!({"@type": kind})))
    });
    json!({"resources": resources.collect::<Value>()}).to_string()
}
