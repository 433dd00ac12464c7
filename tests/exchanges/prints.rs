//! What tells sources apart.

use crate::asker::Asker;
use crate::calls::changed;
use crate::cases::source_of;
use crate::google;
use crate::{NOW, folder, read};
use aigw_auth::source::{Fingerprint, Step};
use serde_json::{Value, json};
use std::collections::BTreeSet;

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
            let source = source_of(&json!({"source": source}), Some(&change));
            let asker = Asker::new(&source);
            assert_eq!(print(&asker), print(&Asker::new(&source)));
            prints.insert(print(&asker));
            count += 1;
        }
    }
    assert_eq!(prints.len(), count);
}

#[test]
fn a_fingerprint_does_not_know_what_a_file_holds() {
    let source = |text: &str| {
        Asker::new(&json!({
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
    let needs = |source: &Value| Asker::new(source).source.needs();
    assert_eq!(needs(&given), [0; 0]);
    assert_eq!(needs(&secret), [1]);
    assert_eq!(needs(&both), [0, 1]);
    assert_eq!(needs(&entra), [0; 0]);
    assert_eq!(needs(&changed(&entra, &json!({"secret": {"obtained": "x"}}))), [0]);
    assert_eq!(needs(&changed(&entra, &json!({"assertion": both}))), [0, 1]);
    let file = read(&folder().join("file.json"))["source"].clone();
    assert_eq!(needs(&file), [0; 0]);
}

/// Whether all of these differ, and each is the same twice.
fn verify_all_differ(sources: &[Value]) {
    let mut prints = BTreeSet::new();
    for source in sources {
        let asker = Asker::new(source);
        assert_eq!(print(&asker), print(&Asker::new(source)));
        assert!(prints.insert(print(&asker)), "{source}");
    }
}

#[test]
fn whatever_makes_keys_of_a_role_others_makes_another_fingerprint() {
    let source = |name: &str| read(&folder().join("aws").join(name))["source"].clone();
    let (token, role) = (source("sts.json"), source("assume_role.json"));
    let keys = &role["keys"];
    let with = |change: Value| changed(&role, &json!({"role": changed(&role["role"], &change)}));
    let oidc = json!({"issuer": "https://a.example", "tokenEndpoint": null, "clientId": "a",
        "clientSecret": "b", "scopes": [], "resources": [], "plaintextHosts": []});
    let mut sources = vec![
        keys.clone(),
        changed(keys, &json!({"keyId": "AKIAMADEUP9"})),
        changed(keys, &json!({"secretKey": "other"})),
        changed(keys, &json!({"sessionToken": "other"})),
        token.clone(),
        changed(&token, &json!({"token": {"tokenFile": "/other"}})),
        changed(&token, &json!({"token": oidc})),
        changed(&token, &json!({"token": changed(&oidc, &json!({"clientSecret": "c"}))})),
        changed(&token, &json!({"role": with(json!({"arn": "other"}))["role"]})),
        changed(&token, &json!({"sts": "https://sts.example/"})),
        changed(&token, &json!({"region": "eu-west-1"})),
        role.clone(),
        changed(&role, &json!({"sts": "https://sts.example/"})),
        changed(&role, &json!({"region": "eu-west-1"})),
        changed(&role, &json!({"keys": token})),
        changed(&role, &json!({"keys": role})),
        changed(&role, &json!({"keys": changed(keys, &json!({"secretKey": "other"}))})),
    ];
    sources.extend(
        [
            json!({"arn": "arn:aws:iam::123456789012:role/s"}),
            json!({"session": "other"}),
            json!({"externalId": "x1"}),
            json!({"externalId": "x2"}),
            json!({"duration": 900}),
            json!({"duration": 901}),
            json!({"tags": [["a", "b"]]}),
            json!({"tags": [["a", "c"]]}),
            json!({"tags": [["b", "a"]]}),
            json!({"tags": [["c", "b"]]}),
            json!({"tags": [["a", "b"], ["c", "d"]]}),
            json!({"tags": [["c", "d"], ["a", "b"]]}),
        ]
        .map(with),
    );
    verify_all_differ(&sources);
}

#[test]
fn whatever_makes_keys_of_the_platform_others_makes_another_fingerprint() {
    let source = |name: &str| read(&folder().join(name))["source"].clone();
    let container = source("aws/container.json");
    let instance = source("aws/instance.json");
    let identity = source("managed_identity.json");
    let (file, role) = ("AWS_SHARED_CREDENTIALS_FILE", "AWS_ROLE_ARN");
    let token = "AWS_WEB_IDENTITY_TOKEN_FILE";
    let (full, shown) = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN");
    let off = "AWS_EC2_METADATA_DISABLED";
    let mut sources = vec![
        container.clone(),
        changed(&container, &json!({"endpoint": "http://169.254.170.23/v2"})),
        changed(&container, &json!({"authorization": null})),
        changed(&container, &json!({"authorization": "/t"})),
        changed(&container, &json!({"authorization": {"file": "/t"}})),
        instance.clone(),
        changed(&instance, &json!({"endpoint": "http://[fd00:ec2::254]/"})),
        changed(&instance, &json!({"version1": false})),
        identity.clone(),
        changed(&identity, &json!({"endpoint": "http://a.example/metadata"})),
        changed(&identity, &json!({"header": "a"})),
        changed(&identity, &json!({"header": "b"})),
        changed(&identity, &json!({"resource": "https://a.example"})),
        changed(&identity, &json!({"identity": {"clientId": "a"}})),
        changed(&identity, &json!({"identity": {"clientId": "b"}})),
        changed(&identity, &json!({"identity": {"objectId": "a"}})),
        changed(&identity, &json!({"identity": {"resourceId": "a"}})),
    ];
    sources.extend(
        [
            json!({}),
            json!({"AWS_EC2_METADATA_V1_DISABLED": "true"}),
            json!({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://a.example"}),
            json!({file: "/a", "AWS_STS_REGIONAL_ENDPOINTS": "legacy"}),
            json!({token: "/t", role: "r", "AWS_STS_REGIONAL_ENDPOINTS": "legacy"}),
            json!({file: "/a"}),
            json!({file: "/b"}),
            json!({file: "/a", "AWS_PROFILE": "b"}),
            json!({file: "/a", "AWS_PROFILE": "default"}),
            json!({file: "/a", off: "true"}),
            json!({file: "/a", token: "/t"}),
            json!({file: "/a", token: "/t", role: "r"}),
            json!({file: "/a", full: "https://a.example/"}),
            json!({file: "/a", full: "https://b.example/"}),
            json!({file: "/a", full: "https://b.example/", off: "true"}),
            // The profile can have `credential_source = EcsContainer`.
            json!({file: "/a", token: "/t", role: "r", full: "https://a.example/"}),
            json!({file: "/a", token: "/t", role: "r", off: "true"}),
            json!({token: "/t", role: "r"}),
            json!({token: "/t", role: "s"}),
            json!({token: "/u", role: "r"}),
            json!({token: "/t", role: "r", "AWS_ROLE_SESSION_NAME": "ss"}),
            json!({full: "https://a.example/"}),
            json!({full: "https://a.example/", shown: "a"}),
            json!({full: "https://a.example/", shown: "b"}),
            json!({full: "https://a.example/", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/a"}),
        ]
        .map(|environment| json!({"kind": "chain", "environment": environment, "own": null})),
    );
    verify_all_differ(&sources);
    // Who asks no STS shares what the machine gives, whatever STS would be asked.
    let chain = |environment: Value| {
        print(&Asker::new(&json!({"kind": "chain", "environment": environment, "own": null})))
    };
    assert_eq!(chain(json!({"AWS_STS_REGIONAL_ENDPOINTS": "legacy"})), chain(json!({})));
}

#[test]
fn sources_of_the_platform_need_what_their_client_needs_and_nothing_else() {
    let source = |name: &str| read(&folder().join(name))["source"].clone();
    let needs = |source: &Value| Asker::new(source).source.needs();
    let mut nothing: Vec<_> = ["sts", "assume_role", "container", "instance", "chain"]
        .map(|name| source(&format!("aws/{name}.json")))
        .into();
    nothing.push(nothing[1]["keys"].clone());
    nothing.push(source("managed_identity.json"));
    for source in &nothing {
        assert_eq!(needs(source), [0; 0], "{source}");
    }
    let oidc = json!({"issuer": "https://a.example", "tokenEndpoint": null,
        "clientId": {"obtained": "a"}, "clientSecret": {"obtained": "b"}, "scopes": [],
        "resources": [], "plaintextHosts": []});
    let token = changed(&nothing[0], &json!({"token": oidc}));
    assert_eq!(needs(&token), [0, 1]);
    assert_eq!(needs(&changed(&nothing[1], &json!({"keys": token}))), [0, 1]);
}

#[test]
fn whatever_makes_a_token_of_google_another_makes_another_fingerprint() {
    let [key, federation, metadata] =
        ["key", "federation", "metadata"].map(|name| google::source(&format!("{name}.json")));
    let path = json!({"kind": "google", "from": "path", "path": "/a"});
    let acting = |change: Value| {
        let usual = json!({"endpoint": "https://a.example/", "delegates": [], "lifetime": 3600});
        changed(&federation, &json!({"impersonation": changed(&usual, &change)}))
    };
    let subject = |change: Value| {
        changed(&federation, &json!({"subject": changed(&federation["subject"], &change)}))
    };
    let mut sources = vec![
        changed(&key, &json!({"file": "{}"})),
        changed(&key, &json!({"file": "{\"type\": \"service_account\"}"})),
        federation.clone(),
        changed(&federation, &json!({"tokenUrl": "https://sts.example/"})),
        changed(&federation, &json!({"audience": "//other"})),
        changed(&federation, &json!({"subject": {"tokenFile": "/t"}})),
        changed(&federation, &json!({"subject": {"tokenFile": "/u"}})),
        subject(json!({"clientSecret": "other"})),
        subject(json!({"scopes": ["b"]})),
        acting(json!({})),
        acting(json!({"endpoint": "https://b.example/"})),
        acting(json!({"delegates": ["a"]})),
        acting(json!({"delegates": ["a", "b"]})),
        acting(json!({"delegates": ["b", "a"]})),
        acting(json!({"delegates": ["ab"]})),
        acting(json!({"lifetime": 3601})),
        metadata.clone(),
        changed(&metadata, &json!({"root": "http://127.0.0.1:8080/"})),
        changed(&path, &json!({"path": "/b"})),
    ];
    for source in [&key, &changed(&key, &json!({"mounted": "/a"})), &path] {
        sources.extend(
            [
                json!({}),
                json!({"mountPath": "/a"}),
                json!({"mountPath": "/b"}),
                json!({"plaintextHosts": ["/a"]}),
                json!({"plaintextHosts": ["/b"]}),
                json!({"plaintextHosts": ["/a", "/b"]}),
                json!({"plaintextHosts": ["/b"], "mountPath": "/a"}),
            ]
            .map(|limits| changed(source, &limits)),
        );
    }
    verify_all_differ(&sources);
}

#[test]
fn a_token_of_google_needs_its_file_or_what_proves_who_asks() {
    let [key, user, federation, metadata] = ["key", "user", "federation", "metadata"]
        .map(|name| google::source(&format!("{name}.json")));
    let needs = |source: &Value| Asker::new(source).source.needs();
    let path = json!({"kind": "google", "from": "path", "path": "/a"});
    for source in [&key, &user, &federation, &metadata, &path] {
        assert_eq!(needs(source), [0; 0], "{source}");
    }
    assert_eq!(needs(&changed(&key, &json!({"mounted": "/a"}))), [0]);
    let secret = changed(&federation["subject"], &json!({"clientSecret": {"obtained": "x"}}));
    assert_eq!(needs(&changed(&federation, &json!({"subject": secret}))), [1]);
    // Whoever asks too early is told so.
    let mounted = changed(&key, &json!({"mounted": "/a"}));
    let asker = Asker::new(&mounted);
    let Step::Failed(failure) = asker.source.start(&|_| None, NOW) else { panic!() };
    assert_eq!(
        failure.to_string(),
        "google credentials file failed: malformed: Secret default/g, key service_account.json /a \
         is not there"
    );
}
