//! Every case of `tests/exchanges`: what an exchange asks, what is answered, what comes of it. And nothing
//! of a secret or of an answer is in anything that can be printed on the way.

#![cfg(test)]

use aigw_auth::credential::Secret;
use aigw_auth::policy::{Endpoint, Scheme};
use aigw_auth::source::{
    Answer, Assertion, Call, Entra, FileForm, Fingerprint, Input, InputValue, Material,
    MountedFile, Obtained, Oidc, Proof, Reply, Source, Step, Target,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Friday, 15 January 2027, 08:00:00 UTC: the time of the last reply.
const NOW: Duration = Duration::from_secs(1_800_000_000);
/// Part of every secret, token and text of a provider that must not be printed.
const MARKERS: [&str; 4] = ["s3cret", "made-up", "MADEUP", "t0ld"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exchanges")
}

fn read(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

// What is asked.

/// A source, and what its inputs obtain.
struct Asker {
    source: Box<dyn Source>,
    inputs: Vec<Option<Secret>>,
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// An endpoint as a configuration has one, whose hosts may be called over `http` here.
fn endpoint(value: &Value) -> Endpoint {
    let text = value.as_str().unwrap();
    let host = text.split('/').nth(2).unwrap().to_owned();
    Endpoint::parse(text, &[host]).unwrap()
}

fn input(value: &Value, inputs: &mut Vec<Option<Secret>>) -> Input {
    let number = inputs.len();
    let secret = |value: &Value| value.as_str().map(|text| Secret::line(text).unwrap());
    let value = match value.get("obtained") {
        Some(value) => {
            inputs.push(secret(value));
            InputValue::Obtained(number)
        }
        None => {
            inputs.push(None);
            InputValue::Given(secret(value).unwrap())
        }
    };
    Input { id: format!("input {number}"), value }
}

fn oidc(value: &Value, inputs: &mut Vec<Option<Secret>>) -> Oidc {
    let at = &value["tokenEndpoint"];
    Oidc {
        issuer: value["issuer"].as_str().unwrap().to_owned(),
        token_endpoint: (!at.is_null()).then(|| endpoint(at)),
        client_id: input(&value["clientId"], inputs),
        client_secret: input(&value["clientSecret"], inputs),
        scopes: texts(&value["scopes"]),
        resources: texts(&value["resources"]),
        audience: value["audience"].as_str().map(str::to_owned),
        plaintext_hosts: texts(&value["plaintextHosts"]),
    }
}

fn asker(value: &Value) -> Asker {
    let mut inputs = Vec::new();
    let text = |name: &str| value[name].as_str().unwrap().to_owned();
    let source: Box<dyn Source> = match value["kind"].as_str().unwrap() {
        "oidc" => Box::new(oidc(value, &mut inputs)),
        "entra" => Box::new(Entra {
            token_endpoint: endpoint(&value["tokenEndpoint"]),
            client_id: text("clientId"),
            scope: text("scope"),
            proof: match value.get("assertion") {
                Some(assertion) => Proof::Assertion(Assertion::Oidc(oidc(assertion, &mut inputs))),
                None => Proof::Secret(input(&value["secret"], &mut inputs)),
            },
        }),
        "file" => Box::new(MountedFile {
            path: text("path"),
            subject: text("subject"),
            form: match value["profile"].as_str() {
                Some(profile) => FileForm::AwsKeys { profile: profile.to_owned() },
                None => FileForm::Line,
            },
        }),
        kind => panic!("{kind}"),
    };
    Asker { source, inputs }
}

impl Asker {
    fn start(&self, now: Duration) -> Step {
        self.source.start(&|number| self.inputs[number].clone(), now)
    }
}

/// A call as a case writes one.
fn written(call: &Call) -> Value {
    let mut headers = Map::new();
    for (name, value) in &call.headers {
        let name = name.clone().into_owned();
        assert!(headers.insert(name.clone(), json!(value)).is_none(), "{name} twice");
    }
    let mut written = json!({"step": call.step, "method": call.method, "headers": headers});
    match &call.target {
        Target::File(path) => written["path"] = json!(path),
        Target::Signer(_) => written["signer"] = json!(true),
        Target::Url(Endpoint { scheme, authority, path }) => {
            let scheme = if *scheme == Scheme::Http { "http" } else { "https" };
            written["url"] = json!(format!("{scheme}://{authority}{path}"));
        }
    }
    if call.method == "POST" {
        written["form"] = json!(fields(&call.body));
    } else {
        assert!(call.body.is_empty());
    }
    written
}

/// The fields of a form, sorted. Whatever is not surely itself has to be encoded.
fn fields(body: &[u8]) -> Vec<[String; 2]> {
    let body = std::str::from_utf8(body).unwrap();
    let mut fields: Vec<_> = body
        .split('&')
        .map(|field| {
            let (name, value) = field.split_once('=').unwrap();
            [decoded(name), decoded(value)]
        })
        .collect();
    fields.sort();
    fields
}

fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            let digits = std::str::from_utf8(&digits).unwrap();
            decoded.push(u8::from_str_radix(digits, 16).unwrap());
        } else {
            assert!(byte.is_ascii_alphanumeric() || b"-._~".contains(&byte), "{text}");
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).unwrap()
}

// What is answered.

#[derive(Clone)]
enum Given {
    Answer(u16, Vec<(String, Vec<u8>)>, Vec<u8>),
    TimedOut,
    Unreachable,
}

/// `before`, so many times `unit`, `after`.
fn repeated(value: &Value) -> Vec<u8> {
    let part = |index: usize| value[index].as_str().unwrap();
    let times = usize::try_from(value[2].as_u64().unwrap()).unwrap();
    [part(0), &part(1).repeat(times), part(3)].concat().into_bytes()
}

fn given(value: &Value) -> Given {
    match value.as_str() {
        Some("timeout") => return Given::TimedOut,
        Some("unreachable") => return Given::Unreachable,
        Some(other) => panic!("{other}"),
        None => {}
    }
    let base64 = |value: &Value| STANDARD.decode(value.as_str().unwrap()).unwrap();
    let (mut headers, mut body) = (Vec::new(), Vec::new());
    for (field, value) in value.as_object().unwrap() {
        match field.as_str() {
            "status" => {}
            "headers" => headers.extend(value.as_object().unwrap().iter().map(|(name, value)| {
                (name.to_ascii_lowercase(), value.as_str().unwrap().as_bytes().to_vec())
            })),
            "rawHeaders" => headers.extend(
                value.as_object().unwrap().iter().map(|(name, v)| (name.clone(), base64(v))),
            ),
            "json" => body = value.to_string().into_bytes(),
            "text" => body = value.as_str().unwrap().as_bytes().to_vec(),
            "base64" => body = base64(value),
            "repeat" => body = repeated(value),
            other => panic!("{other}"),
        }
    }
    Given::Answer(u16::try_from(value["status"].as_u64().unwrap()).unwrap(), headers, body)
}

impl Given {
    fn reply(&self) -> Reply<'_> {
        match self {
            Self::Answer(status, headers, body) => {
                Reply::Answer(Answer { status: *status, headers, body })
            }
            Self::TimedOut => Reply::TimedOut,
            Self::Unreachable => Reply::Unreachable,
        }
    }
}

// What comes of it.

/// The end of an exchange as a case writes it.
fn outcome(step: &Step) -> Value {
    match step {
        Step::Call(call, _) => panic!("one more call: {}", written(call)),
        Step::Done(Obtained { material: Material::Line(line), expires_at, .. }) => match expires_at
        {
            Some(end) => {
                let life = u64::try_from((*end - NOW).as_millis()).unwrap();
                json!({"token": line.expose(), "life": life})
            }
            None => json!({"line": line.expose()}),
        },
        Step::Done(Obtained { material: Material::Keys(keys), expires_at, .. }) => {
            assert_eq!(*expires_at, None);
            json!({"keys": {
                "id": keys.access_key_id().expose(),
                "secret": keys.secret_access_key().expose(),
                "token": keys.session_token().map(Secret::expose),
            }})
        }
        Step::Failed(failure) => {
            let mut failed = json!({"step": failure.step, "reason": failure.reason.name()});
            let mut set = |name: &str, value: Value| {
                if !value.is_null() && value != false {
                    failed[name] = value;
                }
            };
            set("status", json!(failure.status));
            set("subject", json!(failure.subject));
            set("code", json!(failure.code));
            set("retryAfter", json!(failure.retry_after.map(|wait| wait.as_secs())));
            set("lasting", json!(failure.lasting));
            set("gone", json!(failure.gone));
            json!({"failed": failed})
        }
    }
}

/// What a case expects, with its long texts written out.
fn expected(case: &Map<String, Value>) -> Value {
    let mut expected = case.clone();
    for name in ["case", "source", "steps", "reply"] {
        expected.remove(name);
    }
    for value in expected.values_mut() {
        if let Some(repeat) = value.get("repeat") {
            let times = usize::try_from(repeat[1].as_u64().unwrap()).unwrap();
            *value = json!(repeat[0].as_str().unwrap().repeat(times));
        }
    }
    Value::Object(expected)
}

// What can be printed.

fn verify_print(printed: &str, secrets: &[String]) {
    for secret in MARKERS.into_iter().chain(secrets.iter().map(String::as_str)) {
        assert!(!printed.contains(secret), "{secret:?} is in {printed}");
    }
}

/// Prints whatever can be printed. `answer` is what was answered last.
fn verify_step(step: &Step, secrets: &[String], answer: Option<&Value>) {
    verify_print(&format!("{step:?} {step:#?}"), secrets);
    match step {
        Step::Call(call, next) => verify_print(&format!("{call:?} {next:?}"), secrets),
        Step::Done(obtained) => assert!(format!("{obtained:?}").contains("[redacted]")),
        Step::Failed(failure) => {
            let printed = format!("{failure} {failure:?}");
            verify_print(&printed, secrets);
            assert!(!printed.contains(['\n', '\r', '\0']), "{printed}");
            let mut told = Vec::new();
            collect(answer.unwrap_or(&Value::Null), &mut told);
            for text in told.iter().filter(|text| text.len() > 8) {
                let is_code = failure.code.as_ref() == Some(text);
                assert!(is_code || !printed.contains(text.as_str()), "{text:?} is in {printed}");
            }
        }
    }
}

/// Every text in a value.
fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        Value::Object(fields) => fields.values().for_each(|value| collect(value, texts)),
        _ => {}
    }
}

/// The secrets of a source: in clear, and as they are sent.
fn secrets(source: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for place in [source, &source["assertion"]] {
        for name in ["clientSecret", "secret"] {
            collect(&place[name], &mut found);
        }
        if place["kind"] == "oidc" {
            collect(&place["clientId"], &mut found);
        }
    }
    found
}

// The cases.

/// `value` with the fields of `changes`; `null` takes a field away, if it is of a source of Entra ID.
fn changed(value: &Value, changes: &Value) -> Value {
    let mut changed = value.clone();
    for (name, change) in changes.as_object().unwrap() {
        if name != "like" {
            changed[name] = change.clone();
        }
    }
    if changed["assertion"].is_null()
        && let Some(fields) = changed.as_object_mut()
    {
        fields.remove("assertion");
    }
    changed
}

/// Runs the cases of a file, and says how many there were.
fn run(file: &str) -> usize {
    let file = read(&folder().join(file));
    let cases = file["cases"].as_array().unwrap();
    for case in cases {
        let case = case.as_object().unwrap();
        println!("{}", case["case"]);
        let source = match case.get("source") {
            Some(changes) => changed(&file["source"], changes),
            None => file["source"].clone(),
        };
        let asker = asker(&source);
        let secrets = secrets(&source);
        verify_print(&format!("{:?} {:#?}", asker.source, asker.source), &secrets);
        let steps = case["steps"].as_array().unwrap();
        let mut now = NOW - Duration::from_secs(steps.len() as u64);
        let mut at = asker.start(now);
        verify_step(&at, &secrets, None);
        for step in steps {
            let name = |field: &str| match (&step[field], field) {
                (Value::String(name), "call") => file["calls"][name].clone(),
                (Value::String(name), _) => match &file["replies"][name] {
                    Value::Null => json!(name),
                    reply => reply.clone(),
                },
                (call, "call") => changed(&file["calls"][call["like"].as_str().unwrap()], call),
                (reply, _) => reply.clone(),
            };
            let mut expected = name("call");
            if let Some(form) = expected.get_mut("form").and_then(Value::as_array_mut) {
                form.sort_by_key(Value::to_string);
            }
            let Step::Call(call, next) = at else { panic!("no call, but {:?}", outcome(&at)) };
            let mut asked = written(&call);
            if let Some(form) = asked.get_mut("form").and_then(Value::as_array_mut) {
                form.sort_by_key(Value::to_string);
            }
            assert_eq!(asked, expected);
            now += Duration::from_secs(1);
            let reply = name("reply");
            let given = given(&reply);
            verify_print(&format!("{:?}", given.reply()), &secrets);
            at = next.take(&given.reply(), now);
            verify_step(&at, &secrets, Some(&reply));
        }
        assert_eq!(outcome(&at), expected(case));
    }
    cases.len()
}

#[test]
fn oidc_goes_as_the_cases_say() {
    assert_eq!(run("oidc.json"), 183);
}

#[test]
fn entra_goes_as_the_cases_say() {
    assert_eq!(run("entra.json"), 50);
}

#[test]
fn files_go_as_the_cases_say() {
    assert_eq!(run("file.json"), 67);
}

#[test]
fn every_reply_means_the_same_at_every_token_endpoint() {
    let rows = read(&folder().join("replies.json"));
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 475);
    let oidc = read(&folder().join("oidc.json"))["source"].clone();
    let oidc = changed(&oidc, &json!({"tokenEndpoint": "https://login.example/token"}));
    let entra = read(&folder().join("entra.json"))["source"].clone();
    let assertion = changed(&entra, &json!({"secret": null, "assertion": oidc}));
    let first = json!({"status": 200, "json": {"access_token": "s3cret-assertion"}});
    let first = given(&first);
    for row in rows {
        let row = row.as_object().unwrap();
        println!("{}", row["case"]);
        let given = given(&row["reply"]);
        for (source, last) in
            [(&oidc, "oidc token"), (&entra, "entra token"), (&assertion, "entra token")]
        {
            let asker = asker(source);
            let secrets = secrets(source);
            let mut at = asker.start(NOW - Duration::from_secs(10));
            // The hop before is always answered well; this one is always answered by the row, however
            // often it is asked.
            for calls in 1.. {
                let Step::Call(call, next) = at else { break };
                assert!(calls <= 2, "{calls} calls");
                let reply = if call.step == last { &given } else { &first };
                at = next.take(&reply.reply(), NOW);
            }
            verify_step(&at, &secrets, Some(&row["reply"]));
            let mut expected = expected(row);
            if let Some(failed) = expected.get_mut("failed") {
                failed["step"] = json!(last);
                if let Some(status) = row["reply"].get("status") {
                    failed["status"] = status.clone();
                }
            }
            assert_eq!(outcome(&at), expected, "{last}");
        }
    }
}

/// The recorded request for a token, and the source that makes the same.
fn recorded(file: &Path) -> (Value, Value) {
    let recording = read(file);
    let requests = recording["requests"].as_array().unwrap().clone();
    let mut requests = requests.into_iter().filter(|request| request["method"] == "POST");
    let request = requests.next().unwrap();
    assert!(requests.next().is_none());
    let form = fields(request["body"].as_str().unwrap().as_bytes());
    let field = |name: &str| form.iter().find(|[other, _]| other == name).map(|[_, value]| value);
    let part = |name: &str| request[name].as_str().unwrap();
    let mut source = json!({
        "kind": "entra",
        "tokenEndpoint": format!("{}://{}{}", part("scheme"), part("host"), part("target")),
        "clientId": field("client_id"),
        "scope": field("scope"),
    });
    match field("client_assertion") {
        Some(assertion) => {
            source["assertion"] = json!({
                "issuer": "https://idp.example", "tokenEndpoint": "https://idp.example/token",
                "clientId": "client", "clientSecret": "secret", "scopes": [], "resources": [],
                "plaintextHosts": [],
            });
            source["given"] = json!({"status": 200, "json": {"access_token": assertion}});
        }
        None => source["secret"] = json!(field("client_secret").unwrap()),
    }
    (request, source)
}

#[test]
fn requests_are_those_of_the_official_clients() {
    let mut files: Vec<_> = std::fs::read_dir(folder().join("recordings"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 13);
    let mut errors = 0;
    for file in files {
        println!("{}", file.display());
        let (request, source) = recorded(&file);
        let mut at = asker(&source).start(NOW);
        if let Some(reply) = source.get("given") {
            let Step::Call(_, next) = at else { panic!() };
            at = next.take(&given(reply).reply(), NOW);
        }
        let Step::Call(call, next) = at else { panic!() };
        let asked = written(&call);
        assert_eq!(asked["method"], request["method"]);
        assert_eq!(asked["url"], source["tokenEndpoint"]);
        // What msal tells of itself is left out.
        let recorded = fields(request["body"].as_str().unwrap().as_bytes());
        let recorded: Vec<_> =
            recorded.into_iter().filter(|[name, _]| name != "client_info").collect();
        assert_eq!(asked["form"], json!(recorded));
        let kind = request["headers"].as_array().unwrap().iter();
        let kind = kind.filter(|h| h[0].as_str().unwrap().eq_ignore_ascii_case("content-type"));
        let kinds: Vec<_> = kind.map(|header| &header[1]).collect();
        assert_eq!(kinds, [&asked["headers"]["content-type"]]);

        let reply = &request["reply"];
        let reply = json!({
            "status": reply["status"], "headers": reply["headers"], "text": reply["body"],
        });
        let name = file.file_stem().unwrap().to_str().unwrap();
        let expected = match name.strip_prefix("azure-error-") {
            Some(code) => {
                errors += 1;
                json!({"failed": {
                    "step": "entra token", "reason": "denied", "status": reply["status"],
                    "code": code, "lasting": true,
                }})
            }
            None => json!({"token": "AZ-ACCESS-TOKEN-FAKE", "life": 3_599_000}),
        };
        assert_eq!(outcome(&next.take(&given(&reply).reply(), NOW)), expected);
    }
    assert_eq!(errors, 6);
}

// What tells sources apart.

fn print(asker: &Asker) -> String {
    let mut print = Fingerprint::default();
    asker.source.fingerprint(&mut print);
    print.finish()
}

#[test]
fn whatever_makes_a_token_another_makes_another_fingerprint() {
    let oidc = json!({
        "kind": "oidc", "issuer": "https://a.example", "tokenEndpoint": "https://a.example/t",
        "clientId": "a", "clientSecret": "b", "scopes": ["c", "d"], "resources": ["e"],
        "audience": "f", "plaintextHosts": ["g"],
    });
    let mut other = oidc.clone();
    other["clientSecret"] = json!("b2");
    let entra = json!({
        "kind": "entra", "tokenEndpoint": "https://a.example/t", "clientId": "a", "scope": "c",
        "secret": "b",
    });
    let file = json!({"kind": "file", "path": "/a/b", "subject": "Secret a/b", "profile": null});
    let mut prints = BTreeSet::new();
    let mut count = 0;
    for (source, changes) in [
        (
            &oidc,
            vec![
                json!({}),
                json!({"issuer": "https://b.example"}),
                json!({"tokenEndpoint": null}),
                json!({"tokenEndpoint": "http://a.example/t"}),
                json!({"tokenEndpoint": "https://a.example:444/t"}),
                json!({"tokenEndpoint": "https://a.example/u"}),
                json!({"clientId": "b", "clientSecret": "a"}),
                json!({"clientId": {"obtained": "a"}}),
                json!({"clientSecret": "b2"}),
                json!({"clientSecret": {"obtained": "b"}}),
                json!({"scopes": []}),
                json!({"scopes": ["d", "c"]}),
                json!({"scopes": ["c"], "resources": ["d", "e"]}),
                json!({"scopes": ["c d"]}),
                json!({"resources": []}),
                json!({"audience": null}),
                json!({"audience": ""}),
                json!({"audience": null, "plaintextHosts": ["g", "f"]}),
                json!({"plaintextHosts": []}),
            ],
        ),
        (
            &entra,
            vec![
                json!({}),
                json!({"tokenEndpoint": "https://b.example/t"}),
                json!({"clientId": "c", "scope": "a"}),
                json!({"scope": "c2"}),
                json!({"secret": "b2"}),
                json!({"secret": {"obtained": "b"}}),
                json!({"assertion": oidc}),
                json!({"assertion": other}),
            ],
        ),
        (
            &file,
            vec![
                json!({}),
                json!({"path": "/a/c"}),
                json!({"profile": "default"}),
                json!({"profile": "dev"}),
            ],
        ),
    ] {
        for change in changes {
            let source = changed(source, &change);
            let asker = asker(&source);
            assert_eq!(print(&asker), print(&self::asker(&source)));
            prints.insert(print(&asker));
            count += 1;
        }
    }
    assert_eq!(prints.len(), count);
}

#[test]
fn a_fingerprint_does_not_know_what_a_file_holds() {
    let source = |text: &str| {
        asker(&json!({
            "kind": "entra", "tokenEndpoint": "https://a.example/t", "clientId": "a", "scope": "c",
            "secret": {"obtained": text},
        }))
    };
    assert_eq!(print(&source("one")), print(&source("two")));
}

#[test]
fn a_source_needs_what_other_sources_obtain_and_nothing_else() {
    let file = read(&folder().join("oidc.json"));
    let entra = read(&folder().join("entra.json"))["source"].clone();
    let given = file["source"].clone();
    let secret = changed(&given, &json!({"clientSecret": {"obtained": "x"}}));
    let both = changed(&secret, &json!({"clientId": {"obtained": "x"}}));
    let needs = |source: &Value| asker(source).source.needs();
    assert_eq!(needs(&given), [0; 0]);
    assert_eq!(needs(&secret), [1]);
    assert_eq!(needs(&both), [0, 1]);
    assert_eq!(needs(&entra), [0; 0]);
    assert_eq!(needs(&changed(&entra, &json!({"secret": {"obtained": "x"}}))), [0]);
    assert_eq!(needs(&changed(&entra, &json!({"assertion": both}))), [0, 1]);
    let file = read(&folder().join("file.json"))["source"].clone();
    assert_eq!(needs(&file), [0; 0]);
}
