//! A configuration under attack: huge, deep, and wrong in every place. Whatever is wrong is said where
//! it is wrong, in lines that are few and short enough, and never with a word of a secret.

#![cfg(test)]

mod common;

use aigw_auth::policy::{Loaded, Problem, Severity, Variable, parse};
use common::{check, struct_bytes};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::mpsc;
use std::time::Duration;

/// Part of every secret, in clear and as it stands in `data`.
const MARKERS: [&str; 2] = ["marker", "c2VjcmV0LW1hcmtlci0x"];
/// The most problems that are told, and one more line that says that there are more.
const MOST: usize = 1001;
/// Longest line, in bytes.
const LONGEST: usize = 2048;

/// The complete configuration, which is good.
fn complete() -> Value {
    let text = include_str!("attack/complete.yaml");
    serde_saphyr::from_str(text).unwrap()
}

fn environment(name: &str) -> Variable {
    match name {
        "AZURE_KEY" => Variable::Set("secret-marker-5".to_owned()),
        "AZURE_FEDERATED_TOKEN_FILE" => Variable::Set("/var/run/secrets/token".to_owned()),
        _ => Variable::Unset,
    }
}

/// What is said of a configuration; never a secret, and always lines.
fn said(configuration: &[u8]) -> Result<Loaded, Vec<Problem>> {
    let result = parse(configuration, &environment);
    let problems = match &result {
        Ok(loaded) => &loaded.warnings,
        Err(problems) => problems,
    };
    assert!(problems.len() <= MOST, "{} problems", problems.len());
    assert_eq!(result.is_err(), problems.iter().any(|p| p.severity == Severity::Error));
    for problem in problems {
        let line = problem.to_string();
        assert!(!MARKERS.iter().any(|marker| line.contains(marker)), "shows a secret: {line}");
        assert!(line.len() <= LONGEST, "{} bytes: {line}", line.len());
        let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
        assert!(!line.contains(breaks), "not one line: {line:?}");
    }
    result
}

fn errors(configuration: &Value) -> Vec<Problem> {
    said(configuration.to_string().as_bytes()).err().unwrap_or_default()
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

/// A place in a configuration: the keys and indices that lead to it.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

/// Every place of `value`, itself first.
fn places(value: &Value) -> Vec<Vec<Step>> {
    fn visit(value: &Value, place: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
        found.push(place.clone());
        let mut enter = |step, inner| {
            place.push(step);
            visit(inner, place, found);
            place.pop();
        };
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(key, inner)| enter(Step::Key(key.clone()), inner));
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, inner)| enter(Step::Index(i), inner));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    visit(value, &mut Vec::new(), &mut found);
    found
}

fn at<'v>(value: &'v Value, place: &[Step]) -> &'v Value {
    place.iter().fold(value, |value, step| match step {
        Step::Key(key) => &value[key],
        Step::Index(index) => &value[index],
    })
}

fn at_mut<'v>(value: &'v mut Value, place: &[Step]) -> &'v mut Value {
    place.iter().fold(value, |value, step| match step {
        Step::Key(key) => &mut value[key],
        Step::Index(index) => &mut value[index],
    })
}

fn replaced(configuration: &Value, place: &[Step], with: Value) -> Value {
    let mut changed = configuration.clone();
    *at_mut(&mut changed, place) = with;
    changed
}

/// The place without the indices of lists: `spec.targetRefs[].name`, from the resource down.
fn pattern(place: &[Step]) -> String {
    let place = match place {
        [Step::Key(top), Step::Index(_), inner @ ..] if top == "resources" => inner,
        place => place,
    };
    let mut pattern = String::new();
    for step in place {
        match step {
            Step::Key(key) if pattern.is_empty() => pattern.push_str(key),
            Step::Key(key) => write!(pattern, ".{key}").unwrap(),
            Step::Index(_) => pattern.push_str("[]"),
        }
    }
    pattern
}

/// Object and field as a problem names them.
fn named(configuration: &Value, place: &[Step]) -> (String, String) {
    let (object, inner) = match place {
        [Step::Key(top), Step::Index(index), inner @ ..] if top == "resources" => {
            let resource = &configuration["resources"][index];
            // What gives an object its name has none to be called by.
            let nameless = match inner {
                [Step::Key(key), ..] => ["apiVersion", "kind", "metadata"].contains(&key.as_str()),
                _ => true,
            };
            let object = if nameless {
                format!("resources[{index}]")
            } else {
                format!(
                    "{} {}/{}",
                    resource["kind"].as_str().unwrap(),
                    resource["metadata"]["namespace"].as_str().unwrap_or("default"),
                    resource["metadata"]["name"].as_str().unwrap()
                )
            };
            (object, inner)
        }
        place => (String::new(), place),
    };
    let mut field = String::new();
    for step in inner {
        match step {
            Step::Key(key) if field.is_empty() => field.push_str(key),
            Step::Key(key) => write!(field, ".{key}").unwrap(),
            Step::Index(index) => write!(field, "[{index}]").unwrap(),
        }
    }
    (object, field)
}

fn names(problem: &Problem, (object, field): &(String, String)) -> bool {
    problem.severity == Severity::Error && problem.object == *object && problem.field == *field
}

/// Whether the place is in an object that does not concern the filter.
fn is_other_kind(configuration: &Value, place: &[Step]) -> bool {
    matches!(place, [Step::Key(top), Step::Index(index), ..]
        if top == "resources" && configuration["resources"][index]["kind"] == "AIServiceBackend")
}

/// What Kubernetes fills in or what nothing here reads: it may hold anything.
fn anything_goes(configuration: &Value, place: &[Step]) -> bool {
    let [Step::Key(top), Step::Index(index), inner @ ..] = place else { return false };
    if top != "resources" || inner.is_empty() {
        return false;
    }
    let pattern = pattern(place);
    let kind = configuration["resources"][index]["kind"].as_str().unwrap();
    let identity = ["apiVersion", "kind"].contains(&pattern.as_str());
    match pattern.split_once('.').unwrap_or((&pattern, "")) {
        ("metadata", "" | "name" | "namespace") if kind != "AIServiceBackend" => false,
        ("metadata" | "status", _) => true,
        // A Secret has fields that nobody reads.
        ("type" | "immutable", _) => true,
        _ if kind == "AIServiceBackend" => !identity,
        _ => ["backendRef.", "backendRefs[].", "backendSettings."]
            .iter()
            .any(|unread| pattern.contains(&format!("provider.{unread}"))),
    }
}

#[test]
fn the_complete_configuration_is_good_and_complete() {
    let configuration = complete();
    let loaded = said(configuration.to_string().as_bytes()).unwrap_or_else(|problems| {
        panic!("{:#?}", lines(&problems));
    });
    assert_eq!(loaded.config.policies.len(), 13);
    let kinds: BTreeSet<_> = loaded.config.policies.iter().map(|policy| policy.kind).collect();
    assert_eq!(kinds.len(), 6);
    let printed = format!("{:?}", loaded.config);
    assert!(!MARKERS.iter().any(|marker| printed.contains(marker)));
    // Every field of the CRD (v1beta1), and that of each of our settings.
    let patterns: Vec<String> = places(&configuration).iter().map(|p| pattern(p)).collect();
    for field in include_str!("attack/fields.txt").lines() {
        assert!(patterns.iter().any(|pattern| pattern == field), "{field} is missing");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_an_error_at_its_field() {
    let configuration = complete();
    let mut broken = 0;
    for place in places(&configuration) {
        if anything_goes(&configuration, &place) {
            continue;
        }
        let kind = std::mem::discriminant(at(&configuration, &place));
        for other in [json!(true), json!(7), json!("text"), json!([]), json!({})] {
            if std::mem::discriminant(&other) == kind {
                continue;
            }
            let expected = match (&place[..], &other) {
                // One object may stand for a list of one; this one has no kind.
                ([Step::Key(top)], Value::Object(_)) if top == "resources" => {
                    ("resources".to_owned(), "kind".to_owned())
                }
                _ => named(&configuration, &place),
            };
            let errors = errors(&replaced(&configuration, &place, other.clone()));
            let found = errors.iter().any(|problem| names(problem, &expected));
            assert!(found, "{place:?}: {other}: no {expected:?} in {:#?}", lines(&errors));
            broken += 1;
        }
    }
    assert!(broken > 1000, "only {broken}");
}

#[test]
fn null_is_the_same_as_absent_except_where_a_value_has_to_be() {
    let configuration = complete();
    for place in places(&configuration) {
        let with_null = replaced(&configuration, &place, Value::Null);
        let Some((Step::Key(key), above)) = place.split_last() else {
            let found = errors(&with_null);
            if !anything_goes(&configuration, &place) {
                let expected = named(&configuration, &place);
                assert!(found.iter().any(|p| names(p, &expected)), "{place:?}: {found:#?}");
            }
            continue;
        };
        if USERS_KEYS.contains(&pattern(above).as_str()) {
            // Who writes a key means something by it.
            let found = errors(&with_null);
            let expected = named(&configuration, &place);
            assert!(found.iter().any(|p| names(p, &expected)), "{place:?}: {found:#?}");
            continue;
        }
        let mut without = configuration.clone();
        at_mut(&mut without, above).as_object_mut().unwrap().remove(key);
        assert_eq!(lines(&errors(&with_null)), lines(&errors(&without)), "{place:?}");
    }
}

#[test]
fn a_field_may_be_null_wherever_it_may_be() {
    let configuration = complete();
    let mut fields: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for place in places(&configuration) {
        if let Some((Step::Key(key), above)) = place.split_last()
            && !is_other_kind(&configuration, &place)
        {
            fields.entry(object_type(above)).or_default().insert(key.clone());
        }
    }
    let usual = lines(&said(configuration.to_string().as_bytes()).unwrap().warnings);
    let mut added = 0;
    for place in places(&configuration) {
        let Value::Object(object) = at(&configuration, &place) else { continue };
        let above = object_type(&place);
        if anything_goes(&configuration, &place)
            || is_other_kind(&configuration, &place)
            || USERS_KEYS.contains(&above.as_str())
        {
            continue;
        }
        for key in fields[&above].iter().filter(|key| !object.contains_key(*key)) {
            // A version that has no such field, and two types that share a form.
            if object_type(&place) == "spec" && key == "credentialOverride"
                || key == "awsRoleArn"
                || above.is_empty()
            {
                continue;
            }
            let mut changed = configuration.clone();
            at_mut(&mut changed, &place)[key] = Value::Null;
            match said(changed.to_string().as_bytes()) {
                Ok(loaded) => assert_eq!(lines(&loaded.warnings), usual, "{place:?}: {key}"),
                Err(problems) => panic!("{place:?}: {key}: {:#?}", lines(&problems)),
            }
            added += 1;
        }
    }
    assert!(added > 150, "only {added}");
}

/// What kind of object stands in a place: those with the same fields have the same.
fn object_type(place: &[Step]) -> String {
    let pattern = pattern(place);
    if let Some((_, oidc)) = pattern.split_once("oidcExchangeToken")
        && !["clientSecret", "clientIDRef"].iter().any(|name| oidc.ends_with(name))
    {
        return oidc.to_owned();
    }
    let reference = ["secretRef", "clientSecretRef", "clientSecret", "clientIDRef"];
    match pattern.rsplit('.').next() {
        Some(last) if reference.contains(&last) => "a reference".to_owned(),
        _ if pattern.starts_with("policies.") && pattern.ends_with(".managedIdentity") => {
            "a managed identity".to_owned()
        }
        _ => pattern,
    }
}

/// Objects whose keys are the user's.
const USERS_KEYS: [&str; 7] = [
    "backend.names",
    "backend.hosts",
    "egress.clusters",
    "policies",
    "policies.default/aws-file.assumeRole.tags",
    "stringData",
    "data",
];

#[test]
fn a_misspelt_word_is_an_error_at_its_field() {
    let configuration = complete();
    let mut broken = 0;
    for place in places(&configuration) {
        let Some(word) = at(&configuration, &place).as_str() else { continue };
        if anything_goes(&configuration, &place) || is_other_kind(&configuration, &place) {
            continue;
        }
        let pattern = pattern(&place);
        let expected = match WORDS.iter().find(|name| pattern.ends_with(*name)) {
            // The upstream's own rule is one of the whole list.
            Some(_) if pattern.starts_with("spec.targetRefs[]") => {
                named(&configuration, &place[..place.len() - 2])
            }
            Some(_) => named(&configuration, &place),
            None => continue,
        };
        for misspelt in misspellings(word) {
            let errors = errors(&replaced(&configuration, &place, json!(misspelt)));
            let found = errors.iter().any(|problem| names(problem, &expected));
            assert!(found, "{place:?}: {misspelt}: no {expected:?} in {:#?}", lines(&errors));
            broken += 1;
        }
    }
    assert!(broken > 200, "only {broken}");
}

/// Fields that hold one of a few words. `kind` of an object is not one of them: see the next test.
const WORDS: [&str; 12] = [
    "apiVersion",
    "spec.type",
    "targetRefs[].group",
    "targetRefs[].kind",
    "secretRef.kind",
    "grantType",
    "sameSite",
    "headers[].type",
    "position",
    "clientCredentials",
    "unmatchedBackend",
    "azureIdentity",
];

/// The other letter case, a letter too much, a letter too few.
fn misspellings(word: &str) -> Vec<String> {
    if word.is_empty() {
        return vec!["x".to_owned()];
    }
    let other_case = |c: char| {
        if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }
    };
    let first = word.chars().next().unwrap();
    let mut found = vec![
        format!("{}{}", other_case(first), &word[1..]),
        word.chars().map(other_case).collect(),
        format!("{first}{word}"),
        format!("{word}{}", word.chars().last().unwrap()),
        word[..word.len() - 1].to_owned(),
        format!("{word} "),
    ];
    found.retain(|misspelt| misspelt != word);
    found
}

#[test]
fn a_misspelt_kind_is_told_of() {
    let configuration = complete();
    let resources = configuration["resources"].as_array().unwrap();
    for (index, resource) in resources.iter().enumerate() {
        let kind = resource["kind"].as_str().unwrap();
        if kind == "Secret" {
            // Any kind may come along; who needs this Secret says that it is not there.
            continue;
        }
        for misspelt in misspellings(kind) {
            let place = [
                Step::Key("resources".to_owned()),
                Step::Index(index),
                Step::Key("kind".to_owned()),
            ];
            let changed = replaced(&configuration, &place, json!(misspelt));
            let problems = match said(changed.to_string().as_bytes()) {
                Ok(loaded) => loaded.warnings,
                Err(problems) => problems,
            };
            let told = problems.iter().any(|problem| {
                problem.object == format!("resources[{index}]") && problem.field == "kind"
            });
            assert!(told, "{misspelt}: {:#?}", lines(&problems));
        }
    }
}

#[test]
fn a_misspelt_field_is_an_error_at_that_field_or_at_the_one_that_is_missing() {
    let configuration = complete();
    let mut broken = 0;
    for place in places(&configuration) {
        let Some((Step::Key(key), above)) = place.split_last() else { continue };
        let above_pattern = pattern(above);
        let in_secret = matches!(above, [_, Step::Index(index)]
            if configuration["resources"][index]["kind"] == "Secret");
        if anything_goes(&configuration, &place)
            || USERS_KEYS.contains(&above_pattern.as_str())
            // The fields of an object that nothing here reads, and the metadata, are Kubernetes' own.
            || is_other_kind(&configuration, &place) && key != "kind"
            || in_secret && !["kind", "apiVersion"].contains(&key.as_str())
            || above_pattern == "metadata" && key != "name"
            || above_pattern.is_empty() && key == "status"
            || above_pattern.contains("provider.backend")
        {
            continue;
        }
        for misspelt in misspellings(key) {
            let mut changed = configuration.clone();
            let fields = at_mut(&mut changed, above).as_object_mut().unwrap();
            let value = fields.remove(key).unwrap();
            fields.insert(misspelt.clone(), value);
            let mut misplaced = above.to_vec();
            misplaced.push(Step::Key(misspelt.clone()));
            let expected = [named(&configuration, &misplaced), named(&configuration, &place)];
            let errors = errors(&changed);
            let found = errors.iter().any(|p| {
                // Of an object that is missing, the field that it has to have.
                let below = format!("{}.", expected[1].1);
                expected.iter().any(|place| names(p, place))
                    || p.object == expected[1].0 && p.field.starts_with(&below)
            });
            assert!(found, "{place:?}: {misspelt}: no {expected:?} in {:#?}", lines(&errors));
            broken += 1;
        }
    }
    assert!(broken > 1000, "only {broken}");
}

#[test]
fn a_name_of_300_characters_is_refused_where_names_have_an_end() {
    let configuration = complete();
    let mut refused = 0;
    for place in places(&configuration) {
        if !at(&configuration, &place).is_string() || anything_goes(&configuration, &place) {
            continue;
        }
        let pattern = pattern(&place);
        let bounded = BOUNDED.iter().any(|name| pattern.ends_with(name));
        for letter in ["x", "é"] {
            // Still longer, no line repeats it whole.
            let _ = errors(&replaced(&configuration, &place, json!(letter.repeat(5_000))));
            let errors = errors(&replaced(&configuration, &place, json!(letter.repeat(300))));
            let mut expected = named(&configuration, &place);
            if pattern == "metadata.name" {
                // Long or not, it is the object's name.
                let kind = &configuration["resources"][place_index(&place)]["kind"];
                let shown = format!("{}...", letter.repeat(120));
                expected.0 = format!("{} default/{shown}", kind.as_str().unwrap());
            }
            let found = errors.iter().any(|problem| names(problem, &expected));
            assert!(found || !bounded, "{place:?}: no {expected:?} in {:#?}", lines(&errors));
            refused += usize::from(found);
        }
    }
    assert!(refused > 150, "only {refused}");
}

fn place_index(place: &[Step]) -> usize {
    match place {
        [_, Step::Index(index), ..] => *index,
        _ => panic!("not in a list: {place:?}"),
    }
}

/// Names that Kubernetes, DNS or a path bound.
const BOUNDED: [&str; 20] = [
    "metadata.name",
    "metadata.namespace",
    "secretRef.name",
    "secretRef.namespace",
    "secretRef.group",
    "secretRef.kind",
    "clientSecretRef.name",
    "clientIDRef.name",
    "clientSecret.name",
    "targetRefs[].name",
    "targetRefs[].group",
    "targetRefs[].kind",
    "cookieDomain",
    "secrets.env[].namespace",
    "secrets.env[].name",
    "secrets.env[].key",
    "secrets.mountPath",
    "backend.hosts.default/aws-file",
    "backend.names.outbound|443||api.openai.com",
    "egress.plaintextHosts[]",
];

#[test]
fn the_users_keys_may_be_long_and_odd_without_breaking_a_line() {
    let configuration = complete();
    for pattern in USERS_KEYS.map(|keys| keys.to_owned()).iter().chain([&String::new()]) {
        for key in ["x".repeat(300), "é".repeat(300), "a\nb\u{2028}c\u{7f}".repeat(50), ".".into()]
        {
            for place in places(&configuration) {
                if self::pattern(&place) != *pattern {
                    continue;
                }
                let mut changed = configuration.clone();
                let fields = at_mut(&mut changed, &place).as_object_mut().unwrap();
                let value = fields.values().next().unwrap().clone();
                fields.insert(key.clone(), value);
                let _ = errors(&changed);
                at_mut(&mut changed, &place)[&key] = json!(7);
                let _ = errors(&changed);
            }
        }
    }
}

#[test]
fn text_that_would_break_a_line_does_not() {
    let configuration = complete();
    for place in places(&configuration) {
        let Some(text) = at(&configuration, &place).as_str() else { continue };
        for odd in ["a\nb", "a\u{2028}b", "\u{7f}\u{1b}[31m", "a\u{85}b\0"] {
            let _ = errors(&replaced(&configuration, &place, json!(odd)));
            let _ = errors(&replaced(&configuration, &place, json!(format!("{text}{odd}"))));
        }
    }
}

#[test]
fn two_names_that_would_break_a_line_and_meet_do_not() {
    let configuration = complete();
    let odd = "a\u{2028}b\n";
    let env =
        |variable: &str| json!({"namespace": odd, "name": odd, "key": odd, "variable": variable});
    let mut changed = configuration.clone();
    changed["secrets"]["env"] = json!([env("A"), env("B")]);
    for index in 0..4 {
        changed["resources"][index]["spec"]["targetRefs"][0]["name"] = json!(odd);
    }
    changed["resources"][0]["spec"]["apiKey"]["secretRef"] = json!({"name": odd, "namespace": odd});
    changed["secrets"]["mountPath"] = Value::Null;
    assert!(!errors(&changed).is_empty());
    // Without what stops them earlier.
    let odd = "a\u{2028}b";
    let mut changed = configuration;
    changed["secrets"]["mountPath"] = Value::Null;
    changed["secrets"]["env"] = json!([
        {"name": odd, "key": "apiKey", "variable": "A"},
        {"name": odd, "key": "apiKey", "variable": "x".repeat(300)},
    ]);
    changed["resources"][0]["spec"]["apiKey"]["secretRef"] = json!({"name": odd});
    changed["resources"][1]["spec"]["anthropicAPIKey"]["secretRef"] =
        json!({"name": format!("{odd}c")});
    for index in 0..4 {
        changed["resources"][index]["spec"]["targetRefs"][0]["name"] = json!(odd);
    }
    changed["backend"]["names"] = json!({odd: format!("{odd}d")});
    changed["backend"]["hosts"] = json!({odd: "a.example"});
    let found = lines(&errors(&changed));
    for part in [
        "occurs twice",
        "neither in resources",
        "multiple Backend",
        "no policy targets",
        "not set in",
    ] {
        assert!(found.iter().any(|line| line.contains(part)), "{part}: {found:#?}");
    }
}

/// Ten million bytes.
const HUGE: usize = 10_000_000;

/// Reads a huge configuration in a time that grows with its size, not with its square: that would be
/// minutes or hours.
fn said_in_time(configuration: impl Into<Vec<u8>>) -> Result<usize, Vec<String>> {
    let configuration = configuration.into();
    assert!(configuration.len() >= HUGE, "only {} bytes", configuration.len());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let result = said(&configuration);
        let _ = sender.send(result.map(|l| l.config.policies.len()).map_err(|p| lines(&p)));
    });
    receiver.recv_timeout(Duration::from_secs(60)).expect("an answer in time")
}

/// Calls `each` with numbers from 0 on until the text is huge; a comma comes between.
fn huge(each: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for number in 0.. {
        if text.len() >= HUGE {
            break;
        }
        if number > 0 {
            text.push(',');
        }
        text.push_str(&each(number));
    }
    text
}

fn policy(name: &str, target: &str, secret: &str) -> String {
    json!({
        "apiVersion": "aigateway.envoyproxy.io/v1beta1",
        "kind": "BackendSecurityPolicy",
        "metadata": {"name": name},
        "spec": {
            "type": "APIKey",
            "targetRefs": [
                {"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": target}
            ],
            "apiKey": {"secretRef": {"name": secret}},
        },
    })
    .to_string()
}

fn secret(name: &str, key: &str) -> String {
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": {key: "secret-marker"},
    })
    .to_string()
}

/// A configuration of one good policy and more of everything.
fn with(resources: &str, settings: &str) -> String {
    let (policy, secret) = (policy("p", "a", "s"), secret("s", "apiKey"));
    let comma = if resources.is_empty() { "" } else { "," };
    format!("{{\"resources\":[{policy},{secret}{comma}{resources}]{settings}}}")
}

#[test]
fn many_policies_and_many_secrets_are_good() {
    let policies = huge(|n| policy(&format!("p{n}"), &format!("b{n}"), "s"));
    assert!(said_in_time(with(&policies, "")).unwrap() > 25_000);
    let secrets = huge(|n| secret(&format!("s{n}"), "apiKey"));
    assert_eq!(said_in_time(with(&secrets, "")), Ok(1));
    let pairs = huge(|n| {
        let (p, b, s) = (format!("p{n}"), format!("b{n}"), format!("s{n}"));
        format!("{},{}", policy(&p, &b, &s), secret(&s, "apiKey"))
    });
    assert!(said_in_time(with(&pairs, "")).unwrap() > 15_000);
}

#[test]
fn a_huge_struct_is_read_like_json() {
    let policies = huge(|n| policy(&format!("p{n}"), &format!("b{n}"), "s"));
    let value: Value = serde_json::from_str(&with(&policies, "")).unwrap();
    let mut bytes = struct_bytes(&value);
    assert!(said_in_time(bytes.clone()).unwrap() > 25_000);
    bytes.pop();
    let found = said_in_time(bytes).unwrap_err();
    assert_eq!(found.len(), 1);
}

#[test]
fn policies_that_meet_are_told_of_but_not_for_ever() {
    let policies = huge(|n| policy(&format!("p{n}"), "b", "s"));
    let found = said_in_time(with(&policies, "")).unwrap_err();
    assert_eq!(found.len(), MOST);
    assert!(found[0].ends_with("[default/p0, default/p1]"), "{}", found[0]);
    assert!(found[MOST - 1].starts_with("there are "), "{}", found[MOST - 1]);
    let found = said_in_time(with(&huge(|_| policy("p", "a", "s")), "")).unwrap_err();
    assert_eq!(found[0], "BackendSecurityPolicy default/p: occurs twice in resources");
    assert_eq!(found.len(), 2, "{found:#?}");
    let found = said_in_time(with(&huge(|_| secret("s", "x")), "")).unwrap_err();
    assert_eq!(found[0], "Secret default/s: occurs twice in resources");
    assert!(found.len() <= 2, "{found:#?}");
}

#[test]
fn one_huge_text_is_taken_as_a_secret_and_refused_as_a_name() {
    let text = "x".repeat(HUGE);
    let mut configuration: Value = serde_json::from_str(&with("", "")).unwrap();
    configuration["resources"][1]["stringData"]["apiKey"] = json!(text);
    assert_eq!(said_in_time(configuration.to_string()), Ok(1));
    configuration["resources"][1]["stringData"]["apiKey"] = json!(format!("{text}\n{text}"));
    let found = said_in_time(configuration.to_string()).unwrap_err();
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("Secret default/s: stringData.apiKey: must not contain CR"));
    for place in ["/resources/0/metadata/name", "/resources/0/spec/type", "/resources/0/kind"] {
        let mut configuration: Value = serde_json::from_str(&with("", "")).unwrap();
        *configuration.pointer_mut(place).unwrap() = json!(text);
        assert!(!said_in_time(configuration.to_string()).unwrap_err().is_empty());
    }
    let found = said_in_time(with("", &format!(",\"{text}\":1"))).unwrap_err();
    assert_eq!(found, [format!("{}...: unknown field", "x".repeat(120))]);
}

#[test]
fn huge_lists_are_told_of_but_not_for_ever() {
    let numbers = huge(|_| "1".to_owned());
    let found = said_in_time(with(&numbers, "")).unwrap_err();
    assert_eq!(found.len(), MOST);
    assert_eq!(found[0], "resources[2]: must be an object, not a number");
    for setting in ["backend\":{\"property", "egress\":{\"plaintextHosts", "secrets\":{\"env"] {
        let found = said_in_time(with("", &format!(",\"{setting}\":[{numbers}]}}"))).unwrap_err();
        assert_eq!(found.len(), MOST, "{setting}");
    }
    let mut configuration: Value = serde_json::from_str(&with("", "")).unwrap();
    let targets: Vec<Value> = (0..120_000)
        .map(|n| {
            json!({"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": format!("b{n}")})
        })
        .collect();
    configuration["resources"][0]["spec"]["targetRefs"] = json!(targets);
    let found = said_in_time(format!("{configuration}{}", " ".repeat(HUGE))).unwrap_err();
    assert_eq!(
        found,
        [
            "BackendSecurityPolicy default/p: spec.targetRefs: Too many: 120000: must have at most 16 items"
        ]
    );
}

#[test]
fn many_unknown_fields_are_told_of_but_not_for_ever() {
    let fields = huge(|n| format!("\"x{n}\":{n}"));
    let found = said_in_time(with("", &format!(",{fields}"))).unwrap_err();
    assert_eq!(found.len(), MOST);
    assert_eq!(found[0], "x0: unknown field");
    let policy = policy("q", "b", "s").replace("\"spec\":{", &format!("\"spec\":{{{fields},"));
    let found = said_in_time(with(&policy, "")).unwrap_err();
    assert_eq!(found.len(), MOST);
    assert_eq!(found[0], "BackendSecurityPolicy default/q: spec.x0: unknown field");
}

#[test]
fn keys_that_occur_twice_are_told_of_but_not_for_ever() {
    let same = huge(|_| "\"position\":\"Upstream\"".to_owned());
    assert_eq!(
        said_in_time(with("", &format!(",{same}"))).unwrap_err(),
        ["position: occurs twice"]
    );
    let pairs = huge(|n| format!("\"k{}\":\"a\"", n / 2));
    let settings = format!(",\"backend\":{{\"names\":{{{pairs}}}}}");
    let found = said_in_time(with("", &settings)).unwrap_err();
    assert_eq!(found.len(), MOST);
    assert_eq!(found[0], "backend.names.k0: occurs twice");
}

#[test]
fn many_secrets_in_the_environment_with_many_policies_take_no_square_of_time() {
    let env =
        huge(|n| format!("{{\"name\":\"s{n}\",\"key\":\"apiKey\",\"variable\":\"AZURE_KEY\"}}"));
    let policies: Vec<String> = (0..10_000)
        .map(|n| policy(&format!("p{n}"), &format!("b{n}"), &format!("s{n}x")))
        .collect();
    let settings = format!(
        ",\"secrets\":{{\"env\":[{env}],\"mountPath\":\"/m\"}},\"files\":{{\"cluster\":\"c\"}}"
    );
    assert_eq!(said_in_time(with(&policies.join(","), &settings)), Ok(10_001));
    let same =
        huge(|_| "{\"name\":\"s\",\"key\":\"apiKey\",\"variable\":\"AZURE_KEY\"}".to_owned());
    let found = said_in_time(with("", &format!(",\"secrets\":{{\"env\":[{same}]}}"))).unwrap_err();
    assert_eq!(found.len(), MOST);
    assert_eq!(found[0], "secrets.env[1]: Secret default/s, key apiKey, occurs twice");
}

#[test]
fn a_secret_with_many_keys_and_many_policies_takes_no_square_of_time() {
    let keys = huge(|n| format!("\"k{n}\":\"secret-marker\""));
    let big =
        secret("big", "apiKey").replace("\"stringData\":{", &format!("\"stringData\":{{{keys},"));
    let policies: Vec<String> =
        (0..10_000).map(|n| policy(&format!("p{n}"), &format!("b{n}"), "big")).collect();
    assert_eq!(said_in_time(with(&format!("{big},{}", policies.join(",")), "")), Ok(10_001));
}

#[test]
fn many_settings_of_policies_and_backends_take_no_square_of_time() {
    let own = huge(|n| format!("\"default/q{n}\":{{}}"));
    let policies: Vec<String> =
        (0..10_000).map(|n| policy(&format!("p{n}"), &format!("b{n}"), "s")).collect();
    let policies = policies.join(",");
    let found = said_in_time(with(&policies, &format!(",\"policies\":{{{own}}}"))).unwrap_err();
    assert_eq!(found.len(), MOST);
    assert_eq!(found[0], "policies.default/q0: there is no BackendSecurityPolicy default/q0");
    let names = huge(|n| format!("\"cluster{n}\":\"b{}\"", n % 10_000));
    let settings = format!(",\"backend\":{{\"names\":{{{names}}}}}");
    assert_eq!(said_in_time(with(&policies, &settings)), Ok(10_001));
    let names = huge(|n| format!("\"b{n}\":\"a.example\""));
    let settings = format!(",\"backend\":{{\"hosts\":{{{names}}}}}");
    assert_eq!(said_in_time(with(&policies, &settings)), Ok(10_001));
}

/// Deeper than any stack would take.
const DEEP: usize = 10_000;

#[test]
fn nesting_without_end_is_an_error_with_its_place() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(DEEP), close.repeat(DEEP));
        let found = said(with("", &format!(",\"position\":{deep}")).as_bytes()).unwrap_err();
        let line = found[0].to_string();
        assert!(line.contains("it is nested too deeply at line 1 column "), "{line}");
        let found = said(open.repeat(DEEP).as_bytes()).unwrap_err();
        assert!(found[0].to_string().contains("it is nested too deeply"), "{}", found[0]);
    }
    let found = said(&deep_struct()).unwrap_err();
    assert_eq!(lines(&found), ["the configuration is nested too deeply"]);
}

/// `{"position": [[[...]]]}` as a Struct, written by hand: the generated code cannot encode it.
fn deep_struct() -> Vec<u8> {
    let delimited = |tag: u8, mut inner: Vec<u8>| {
        let mut outer = vec![tag << 3 | 2];
        prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        outer.append(&mut inner);
        outer
    };
    let mut value = Vec::new();
    for _ in 0..DEEP {
        value = delimited(6, delimited(1, value));
    }
    let mut entry = delimited(1, b"position".to_vec());
    entry.append(&mut delimited(2, value));
    delimited(1, entry)
}

#[test]
fn check_survives_nesting_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let blocks: String = (0..DEEP).fold(String::new(), |mut text, depth| {
        writeln!(text, "{}a:", " ".repeat(depth % 2_000)).unwrap();
        text
    });
    let stairs: String = (0..2_000).fold(String::new(), |mut text, depth| {
        writeln!(text, "{}a:", " ".repeat(depth)).unwrap();
        text
    });
    for (name, text) in [
        ("flow.yaml", format!("resources: {}{}", "[".repeat(DEEP), "]".repeat(DEEP))),
        ("objects.yaml", format!("resources: {}1{}", "{a: ".repeat(DEEP), "}".repeat(DEEP))),
        ("open.yaml", "[".repeat(DEEP)),
        ("dashes.yaml", format!("resources:\n  {}1\n", "- ".repeat(DEEP))),
        ("blocks.yaml", blocks),
        ("stairs.yaml", stairs),
        ("lists.json", format!("{{\"resources\":{}1{}}}", "[".repeat(DEEP), "]".repeat(DEEP))),
        ("objects.json", format!("{}1{}", "{\"a\":".repeat(DEEP), "}".repeat(DEEP))),
        ("open.json", "{\"a\":".repeat(DEEP)),
        (
            "aliases.yaml",
            (0..30).fold("a0: &a0 [marker]\n".to_owned(), |mut text, n| {
                writeln!(text, "a{}: &a{} [*a{n}, *a{n}, *a{n}, *a{n}]", n + 1, n + 1).unwrap();
                text
            }),
        ),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let (good, output, errors) = check(&[&file]);
        assert!(!good, "{name} passes");
        assert_eq!(output, "");
        let line = errors.strip_suffix('\n').unwrap();
        assert!(line.starts_with(&format!("{}: is ", file.display())), "{line}");
        assert!(line.contains(": line ") && line.contains(" column "), "{line}");
        assert!(!line.contains('\n') && !line.contains("marker"), "{line}");
    }
}

#[test]
fn check_reads_ten_million_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("many.json");
    let policies = huge(|n| policy(&format!("p{n}"), &format!("b{n}"), "s"));
    std::fs::write(&file, with(&policies, "")).unwrap();
    let (good, _, errors) = check(&[&file]);
    assert!(good, "{}", &errors[..errors.len().min(1_000)]);
    std::fs::write(&file, with("", &format!(",{}", huge(|n| format!("\"x{n}\":{n}"))))).unwrap();
    let (good, _, errors) = check(&[&file]);
    assert!(!good);
    assert_eq!(errors.lines().count(), MOST);
}

#[test]
fn a_list_in_a_list_is_read_and_names_its_place() {
    let mut inner = json!({"kind": "BackendSecurityPolicy", "apiVersion": 7});
    for _ in 0..50 {
        inner = json!({"kind": "List", "items": [inner]});
    }
    let configuration = Value::Object(Map::from_iter([("resources".to_owned(), inner)]));
    let found = errors(&configuration);
    assert!(!found.is_empty());
    assert!(found.iter().all(|problem| problem.to_string().len() < LONGEST));
}
