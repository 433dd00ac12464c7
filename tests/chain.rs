//! The default chain of AWS: every two links, each in every state, and which of them decides. What is expected
//! follows from the order of the links and the states alone: `tests/chain/links.yaml`.

#![cfg(test)]

#[path = "common/chain.rs"]
mod chain;
#[path = "chain/log.rs"]
mod log;
#[path = "chain/platform.rs"]
mod platform;
#[path = "workers/store.rs"]
#[allow(dead_code, reason = "each test uses a part")]
mod store;

use aigw_auth::policy::AwsSource;
use aigw_auth::source::{Material, Source, Step};
use platform::{NOW, Platform};
use serde_json::{Map, Value};

const EVERYTHING_PASSED: &str = "no link of the default chain is configured";

/// A link in one of its states: its number in the order, and the state.
type Link<'l> = (usize, &'l Value);

fn links() -> Vec<Value> {
    serde_saphyr::from_str(include_str!("chain/links.yaml")).unwrap()
}

/// What came of a chain.
#[derive(Debug)]
enum End {
    /// It was answered with this key or token; the log is told this.
    Answered(String, String),
    /// It was stopped by this.
    Stopped(String),
}

/// Runs the chain in an environment.
fn end(environment: &Map<String, Value>, platform: &mut Platform) -> End {
    let aws = match chain::credentials(environment, &Value::Null) {
        Ok(aws) => aws,
        Err(problems) => {
            assert_eq!(problems.len(), 1, "{problems:?}");
            return End::Stopped(problems[0].clone());
        }
    };
    let said = aws.answered.map(str::to_owned);
    match &aws.source {
        AwsSource::Keys(keys) => {
            return End::Answered(keys.access_key_id().expose().to_owned(), said.unwrap());
        }
        AwsSource::Bearer(token) => {
            return End::Answered(token.expose().to_owned(), said.unwrap());
        }
        _ => assert_eq!(said, None),
    }
    let mut at = chain::chain_of(aws).start(&|_| None, NOW);
    while let Step::Call(call, next) = at {
        at = next.take(&platform.take(&call).reply(), NOW);
    }
    match at {
        Step::Done(obtained) => {
            let Material::Keys(keys) = obtained.material else { panic!("no keys") };
            End::Answered(keys.access_key_id().expose().to_owned(), obtained.note.unwrap())
        }
        Step::Failed(failure) => End::Stopped(failure.to_string()),
        Step::Call(..) => unreachable!(),
    }
}

/// What has to come of these states, one for each link in their order.
fn verify(states: &[Link<'_>]) {
    let mut environment = Map::new();
    let mut platform = Platform::default();
    for (number, state) in states {
        environment.extend(
            state["environment"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| {
                    assert!(!environment.contains_key(name), "{name} twice");
                    (name.clone(), value.clone())
                })
                .collect::<Vec<_>>(),
        );
        platform.add(*number, &state["replies"]);
    }
    let names: Vec<_> = states.iter().map(|(_, state)| state["state"].as_str().unwrap()).collect();
    let end = end(&environment, &mut platform);
    let decides = states.iter().position(|(_, state)| state["passes"] != true);
    let before = &states[..decides.unwrap_or(states.len())];
    let passed: Vec<_> = before.iter().filter_map(|(_, state)| state["passed"].as_str()).collect();
    let passed = passed.join("; ");
    // Nobody is asked who comes after the one that decides.
    let last = platform.last_asked();
    assert!(decides.is_none() || last <= decides, "{names:?} asked {last:?}");
    let Some(decides) = decides.map(|number| states[number].1) else {
        let End::Stopped(text) = end else { panic!("{names:?} {end:?}") };
        assert!(text.contains(&format!("{EVERYTHING_PASSED} ({passed})")), "{names:?} {text}");
        return;
    };
    match (end, decides["answers"].as_str(), decides["stops"].as_str()) {
        (End::Answered(keys, said), Some(expected), None) => {
            assert_eq!(keys, expected, "{names:?}");
            match decides["named"].as_str() {
                Some(named) => {
                    let line = format!("the default chain: {named} answered ({passed})");
                    assert_eq!(said, line, "{names:?}");
                }
                None => assert!(said.starts_with("the default chain: "), "{said}"),
            }
        }
        (End::Stopped(text), None, Some(expected)) => {
            assert!(text.contains(expected), "{names:?} {text}");
            // The log says why it came to this one.
            let told = decides["stops"].as_str().unwrap().contains("the default chain");
            assert!(!told || text.ends_with(&format!("({passed})")), "{names:?} {text}");
        }
        (end, _, _) => panic!("{names:?} {end:?}"),
    }
}

#[test]
fn the_first_of_every_two_links_that_does_not_pass_decides() {
    let links = links();
    let states = |link: usize| links[link]["states"].as_array().unwrap();
    for link in 0..links.len() {
        assert_eq!(states(link)[0]["state"], "first");
        assert_eq!(states(link)[0]["passes"], true);
    }
    let mut count = 0;
    for first in 0..links.len() {
        for second in first + 1..links.len() {
            for one in states(first) {
                for other in states(second) {
                    let of = |link: usize| match link {
                        _ if link == first => one,
                        _ if link == second => other,
                        _ => &states(link)[0],
                    };
                    let all: Vec<_> = (0..links.len()).map(|link| (link, of(link))).collect();
                    verify(&all);
                    count += 1;
                }
            }
        }
    }
    assert_eq!(count, 1_499);
}
