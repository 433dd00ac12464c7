//! What the log and the statistics are told of the link that answered.

use crate::platform::{NOW, Platform};
use crate::store::Data;
use aigw_auth::cache::Now;
use aigw_auth::engine::{Effect, Filter, Refresh, Statistic};
use aigw_auth::policy::{Variable, parse};
use aigw_auth::source::Reason;
use serde_json::{Value, json};
use std::time::Duration;

const MINUTE: u64 = 60;

/// A worker that has the policy `default/p` with the default chain, and a file before the machine.
fn worker(owner: u64) -> Refresh {
    let configuration = json!({
        "resources": [{
            "apiVersion": "aigateway.envoyproxy.io/v1beta1",
            "kind": "BackendSecurityPolicy",
            "metadata": {"name": "p"},
            "spec": {
                "type": "AWSCredentials",
                "awsCredentials": {"region": "us-east-1"},
                "targetRefs": [
                    {"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": "a"}
                ],
            },
        }],
        "egress": {"cluster": "egress"},
        "files": {"cluster": "files"},
    });
    let variable = |name: &str| match name {
        "AWS_SHARED_CREDENTIALS_FILE" => Variable::Set("/aws".to_owned()),
        _ => Variable::Unset,
    };
    let loaded = parse(configuration.to_string().as_bytes(), &variable).unwrap();
    Refresh::new(Filter::new(loaded.config).unwrap().1, owner)
}

fn at(seconds: u64) -> Now {
    let since = Duration::from_secs(seconds);
    Now { steady: Duration::from_secs(1_000) + since, wall: NOW + since }
}

/// What the host is told within a tick.
#[derive(Default, Debug)]
struct Told {
    lines: Vec<String>,
    counted: Vec<Statistic>,
    calls: usize,
}

/// One tick, and everything that it sets off.
fn tick(worker: &mut Refresh, platform: &mut Platform, data: &Data, now: Now) -> Told {
    let mut told = Told::default();
    let mut effects = worker.tick(data, now);
    while !effects.is_empty() {
        let mut further = Vec::new();
        for effect in effects {
            match effect {
                Effect::Probe => further.extend(worker.probed(true, data, now)),
                Effect::Call(number, call) => {
                    told.calls += 1;
                    let given = platform.take(&call);
                    further.extend(worker.reply(number, &given.reply(), data, now));
                }
                Effect::Count(policy, statistic) => {
                    assert_eq!(policy, 0);
                    told.counted.push(statistic);
                }
                Effect::Warn(line) => told.lines.push(format!("warning: {line}")),
                Effect::Inform(line) => told.lines.push(line),
            }
        }
        effects = further;
    }
    told
}

fn platform(file: Value, expiration: &str) -> Platform {
    let root = "http://169.254.169.254/latest";
    let keys = json!({"AccessKeyId": "ASIA", "SecretAccessKey": "s", "Token": "t",
        "Expiration": expiration});
    let mut platform = Platform::default();
    platform.add(
        0,
        &json!({
            "GET /aws": file,
            format!("PUT {root}/api/token"): {"status": 200, "text": "token"},
            format!("GET {root}/meta-data/iam/security-credentials/"):
                {"status": 200, "text": "role"},
            format!("GET {root}/meta-data/iam/security-credentials/role"):
                {"status": 200, "text": keys.to_string()},
        }),
    );
    platform
}

const MACHINE: &str = "default/p: the default chain: instance metadata answered (AWS_ACCESS_KEY_ID \
    and AWS_SECRET_ACCESS_KEY are not both set; /aws: it has no profile default; AWS_WEB_IDENTITY_TOKEN_FILE is \
    not set; neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is \
    set)";
const FILE: &str = "default/p: the default chain: profile default of /aws answered \
    (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set)";
fn without_the_profile() -> Value {
    json!({"status": 200, "text": "[dev]\nregion = us-east-1\n"})
}

#[test]
fn the_log_is_told_which_link_answered_and_again_when_it_is_another() {
    let data = Data::default();
    let (mut one, mut other) = (worker(1), worker(2));
    let mut machine = platform(without_the_profile(), "2027-01-15T08:30:00Z");
    let told = tick(&mut one, &mut machine, &data, at(0));
    assert_eq!(told.lines, [MACHINE]);
    let end = (NOW + Duration::from_secs(30 * MINUTE)).as_secs();
    assert_eq!(told.counted, [Statistic::Fetched, Statistic::ExpiresAt(end)]);
    assert!(one.ready(0, at(0).wall).is_some());
    // The other worker has them from the first.
    let told = tick(&mut other, &mut machine, &data, at(1));
    assert!(told.lines.is_empty() && told.calls == 0, "{told:?}");
    assert!(other.ready(0, at(1).wall).is_some());
    // The same link once more is no news, whoever asked it.
    let mut machine = platform(without_the_profile(), "2027-01-15T09:00:00Z");
    let told = tick(&mut other, &mut machine, &data, at(29 * MINUTE));
    assert!(told.lines.is_empty() && told.calls == 4, "{told:?}");
    // Another is.
    let keys = "[default]\naws_access_key_id = AKIA\naws_secret_access_key = s\n";
    let mut with_file = platform(json!({"status": 200, "text": keys}), "");
    let told = tick(&mut one, &mut with_file, &data, at(59 * MINUTE));
    assert_eq!(told.lines, [FILE]);
    assert_eq!(told.counted, [Statistic::Fetched]);
}

#[test]
fn keys_that_have_ended_are_used_and_warned_of() {
    let data = Data::default();
    let mut worker = worker(1);
    let mut late = platform(without_the_profile(), "2027-01-15T07:00:00Z");
    let told = tick(&mut worker, &mut late, &data, at(0));
    let [machine, late_line] = told.lines.as_slice() else { panic!("{told:?}") };
    assert_eq!(machine, MACHINE);
    assert!(late_line.starts_with("warning: default/p: ") && late_line.contains("have ended"));
    let end = (NOW + Duration::from_secs(10 * MINUTE)).as_secs();
    let counted =
        [Statistic::Fetched, Statistic::ExpiresAt(end), Statistic::FetchFailed(Reason::Server)];
    assert_eq!(told.counted, counted);
    assert!(worker.ready(0, at(0).wall).is_some());
    // As long as the service is late, they go on.
    let mut seconds = 0;
    let mut calls = 0;
    while seconds < 30 * MINUTE {
        seconds += 1;
        calls += tick(&mut worker, &mut late, &data, at(seconds)).calls;
        assert!(worker.ready(0, at(seconds).wall).is_some(), "after {seconds} s");
    }
    // Four calls an exchange, which is neither each second nor once.
    assert!((4 * 3..4 * 60).contains(&calls), "{calls} calls");
    // And when it is not any more, it is said that all is well.
    let mut well = platform(without_the_profile(), "2027-01-15T12:00:00Z");
    let mut lines = Vec::new();
    for second in 1..=10 * MINUTE {
        lines.extend(tick(&mut worker, &mut well, &data, at(seconds + second)).lines);
    }
    assert_eq!(lines, ["default/p: the credential is obtained again"]);
}
