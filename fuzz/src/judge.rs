//! What has to hold for whatever is said of a configuration.

use aigw_auth::aws::sigv4::EMPTY_BODY;
use aigw_auth::engine::{Attempt, Decision, Filter, Place, decide};
use aigw_auth::inject::Earlier;
use aigw_auth::policy::{Loaded, Position, Problem, Severity, Tree, Variable};
use std::time::Duration;

/// Part of every secret that is planted, in clear and in base64.
const MARKER: &str = "fuzz-secret-marker";
const MARKER_BASE64: &str = "ZnV6ei1zZWNyZXQtbWFya2Vy";
/// Longest line, in bytes.
const LONGEST: usize = 4096;
/// Most lines.
const MOST: usize = 1001;

/// An environment whose variables say by their first letter what is in them.
pub(crate) fn environment(name: &str) -> Variable {
    match name.as_bytes().first() {
        Some(b'S') => Variable::Set(MARKER.to_owned()),
        Some(b'E') => Variable::Set(" ".to_owned()),
        Some(b'L') => Variable::Set(format!("{MARKER}\n{MARKER}")),
        Some(b'O') => Variable::Unknown,
        _ => Variable::Unset,
    }
}

/// Whether a text holds a secret.
pub(crate) fn shows_secret(text: &str) -> bool {
    text.contains(MARKER) || text.contains(MARKER_BASE64)
}

/// Whether a secret stands in `tree` already, where a message may repeat it.
pub(crate) fn holds_secret(tree: &Tree) -> bool {
    match tree {
        Tree::Null | Tree::Bool(_) | Tree::Number(_) => false,
        Tree::Text(text) => shows_secret(text),
        Tree::List(items) => items.iter().any(holds_secret),
        Tree::Map(entries) => {
            entries.iter().any(|(key, value)| shows_secret(key) || holds_secret(value))
        }
    }
}

/// Puts the marker into every value of every Secret. What was there decides about the rest, so that
/// broken values stay broken.
pub(crate) fn plant(tree: &mut Tree) {
    let is_secret = tree.field("kind").and_then(Tree::as_text) == Some("Secret");
    match tree {
        Tree::List(items) => items.iter_mut().for_each(plant),
        Tree::Map(entries) => {
            for (key, value) in entries {
                match (is_secret, key.as_str(), value) {
                    (true, "stringData", Tree::Map(values)) => plant_values(values, MARKER),
                    (true, "data", Tree::Map(values)) => plant_values(values, MARKER_BASE64),
                    (_, _, value) => plant(value),
                }
            }
        }
        _ => {}
    }
}

fn plant_values(values: &mut [(String, Tree)], marker: &str) {
    for (_, value) in values {
        match value {
            Tree::Text(text) => text.insert_str(0, marker),
            Tree::Null => *value = Tree::Text(marker.to_owned()),
            Tree::List(items) => items.push(Tree::Text(marker.to_owned())),
            Tree::Map(entries) => entries.push((marker.to_owned(), Tree::Text(marker.to_owned()))),
            Tree::Bool(_) | Tree::Number(_) => {}
        }
    }
}

/// Whatever is said of a configuration is a list of single lines without a secret, and a reason if
/// it is refused; whatever is taken can be put to work.
pub(crate) fn judge(result: Result<Loaded, Vec<Problem>>) {
    match result {
        Ok(loaded) => taken(loaded),
        Err(problems) => {
            assert!(
                problems.iter().any(|p| p.severity == Severity::Error),
                "refused without reason"
            );
            sound(&problems);
        }
    }
}

fn taken(loaded: Loaded) {
    let Loaded { config, warnings } = loaded;
    assert!(warnings.iter().all(|w| w.severity == Severity::Warning), "an error is taken");
    sound(&warnings);
    assert!(!config.policies.is_empty(), "taken without a policy");
    assert!(!shows_secret(&format!("{config:?}")), "a configuration shows a secret");
    for (number, policy) in config.policies.iter().enumerate() {
        for target in &policy.targets {
            let spelling = format!("{}/{}/{}", target.kind, target.namespace, target.name);
            let found = config.backends.target(spelling.as_bytes()).map(|target| target.policy);
            let renamed = config.settings.backend_names.iter().any(|(name, _)| *name == spelling);
            assert!(renamed || found == Some(number), "{spelling} is not found");
        }
    }
    let position = config.settings.position;
    match Filter::new(config) {
        Ok((filter, plan)) => {
            let printed = format!("{plan:?}");
            assert!(!shows_secret(&printed), "what has to be obtained shows a secret");
            at_work(&filter, position);
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without reason");
            sound(&problems);
        }
    }
}

fn at_work(filter: &Filter, position: Position) {
    assert!(!shows_secret(&format!("{filter:?}")), "a filter shows a secret");
    assert!(!filter.property().is_empty(), "no attribute names the backend");
    let headers = [(":path", "/"), (":method", "POST"), (":authority", "a.example")]
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
    let headers = Some(&headers[..]);
    for backend in [None, Some(&b"a"[..]), Some(b"default/a")] {
        let place = match position {
            Position::Upstream => Place::Upstream,
            Position::Listener => Place::Listener,
        };
        let earlier = Earlier::default();
        let attempt = |body| {
            let now = Duration::from_secs(1_700_000_000);
            let (chosen, ready) = (filter.choose(backend), None);
            Attempt { place, chosen, ready, headers, earlier: &earlier, body, now }
        };
        let mut awaited = false;
        match decide(filter, &attempt(None)) {
            Decision::Inject(_, changes) => assert_eq!(changes.mutations.len(), 1),
            Decision::AwaitBody(_) => awaited = true,
            Decision::AwaitCredential(entry) => assert!(entry.obtains && !entry.signs),
            Decision::Pass(changes) => assert!(changes.mutations.is_empty()),
            Decision::Refuse(..) => {}
        }
        if awaited {
            match decide(filter, &attempt(Some(&EMPTY_BODY))) {
                // The signature, its date, perhaps a token, and the host.
                Decision::Inject(_, changes) => {
                    assert!((2..=4).contains(&changes.mutations.len()), "{:?}", changes.written);
                }
                Decision::AwaitCredential(entry) => assert!(entry.obtains && entry.signs),
                _ => panic!("its body has come and it is not signed"),
            }
        }
    }
}

/// Few enough problems, each a line of its own, short enough, and without a secret.
pub(crate) fn sound(problems: &[Problem]) {
    assert!(problems.len() <= MOST, "{} problems", problems.len());
    for problem in problems {
        let line = problem.to_string();
        assert!(!line.chars().any(breaks_line), "not one line: {line:?}");
        assert!(line.len() <= LONGEST, "{} bytes: {line:?}", line.len());
        assert!(!shows_secret(&line), "shows a secret: {line:?}");
        assert!(!problem.message.is_empty(), "says nothing: {line:?}");
    }
}

fn breaks_line(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}
