//! For any path: those of Vertex AI get the policy's project and location and are otherwise what they were, and
//! the others are left alone. The rule is written out here a second time, over the list of segments.

#![cfg(test)]

#[path = "common/contract.rs"]
#[allow(dead_code, reason = "each test uses a part")]
mod contract;

use aigw_auth::credential::{Credential, Secret};
use aigw_auth::inject::{Earlier, Put, Rewritten, VertexPath, inject};
use aigw_auth::policy::ClientCredentials;
use contract::{apply, expected_path};
use proptest::prelude::*;

const OURS: [&str; 2] = ["ours", "us-east1"];

/// The path that is sent for this one, and what is remembered.
fn sent(path: &[u8], client: ClientCredentials) -> (Vec<u8>, Option<Rewritten>) {
    let [project, location] = OURS.map(str::to_owned);
    let vertex = VertexPath { project, location };
    let credential = Credential::bearer(&Secret::line("ours").unwrap());
    let headers = [(":path".to_owned(), path.to_vec())];
    let earlier = Earlier::default();
    let put = Put::Vertex(&credential, &vertex);
    let changes = inject(&headers, &earlier, client, &|_| false, put).unwrap();
    let mut sent = apply(&headers, &changes);
    assert_eq!(sent.len(), 2, "the path and the token");
    (sent.remove(0).1, changes.path)
}

/// A segment as the provider reads it.
fn read(segment: &[u8]) -> Vec<u8> {
    let mut bytes = segment;
    let mut read = Vec::new();
    while let [first, rest @ ..] = bytes {
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        match (first, digits) {
            (b'%', Some(digits)) => {
                read.push(u8::from_str_radix(digits, 16).unwrap());
                bytes = &rest[2..];
            }
            _ => {
                read.push(*first);
                bytes = rest;
            }
        }
    }
    read
}

fn is_version(segment: &[u8]) -> bool {
    let read = read(segment);
    read.len() >= 2
        && read[0] == b'v'
        && read[1].is_ascii_digit()
        && read.iter().all(u8::is_ascii_alphanumeric)
}

/// Path and query, apart.
fn halves(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().position(|b| *b == b'?').unwrap_or(path.len()))
}

/// What the path has to become.
fn expected(path: &[u8]) -> Vec<u8> {
    let (before, query) = halves(path);
    let segments: Vec<&[u8]> = before.split(|b| *b == b'/').collect();
    let words: Vec<Vec<u8>> = segments.iter().map(|segment| read(segment)).collect();
    let word = |index: usize| words.get(index).map(Vec::as_slice);
    let root = segments[0].is_empty() && segments.len() > 1;
    let place = format!("projects/{}/locations/{}", OURS[0], OURS[1]).into_bytes();
    let joined = |parts: &[&[u8]]| [&parts.join(&b'/'), query].concat();
    let publishers = usize::from(root);
    if word(publishers) == Some(b"publishers") && segments.len() > publishers + 1 {
        let rest = segments[publishers..].join(&b'/');
        return joined(&[b"", b"v1", &place, &rest]);
    }
    if !root {
        return path.to_vec();
    }
    let media = matches!(word(1), Some(b"upload" | b"download"));
    let version = if media { 2 } else { 1 };
    let Some(number) = segments.get(version).filter(|segment| is_version(segment)) else {
        return path.to_vec();
    };
    let head =
        if media { [b"", segments[1], *number].join(&b'/') } else { [b"", *number].join(&b'/') };
    let rest = &segments[version + 1..];
    match word(version + 1) {
        Some(b"publishers") if rest.len() > 1 => joined(&[&head, &place, &rest.join(&b'/')]),
        Some(b"projects") if word(version + 3) == Some(b"locations") && rest.len() > 3 => {
            let colon = rest[3].iter().position(|b| *b == b':').unwrap_or(rest[3].len());
            let place = [&place[..], &rest[3][colon..]].concat();
            let mut parts: Vec<&[u8]> = vec![&head, &place];
            parts.extend(&rest[4..]);
            joined(&parts)
        }
        _ => path.to_vec(),
    }
}

/// Project and location of a path of Vertex, as the provider reads them.
fn place(path: &[u8]) -> Option<[Vec<u8>; 2]> {
    let segments: Vec<Vec<u8>> = halves(path).0.split(|b| *b == b'/').map(read).collect();
    let from = segments.iter().position(|segment| is_version(segment))?;
    let of_media = matches!(segments.get(1)?.as_slice(), b"upload" | b"download");
    if !segments[0].is_empty()
        || from != 1 + usize::from(of_media)
        || segments.get(from + 1)? != b"projects"
    {
        return None;
    }
    let location = segments.get(from + 4)?.split(|b| *b == b':').next()?.to_vec();
    (segments.get(from + 3)? == b"locations").then(|| [segments[from + 2].clone(), location])
}

fn segment() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&str; 31] = [
        "",
        "publishers",
        "projects",
        "locations",
        "v1",
        "v1beta1",
        "upload",
        "download",
        "global",
        "%70rojects",
        "location%73",
        "publisher%73",
        "v%31",
        "%75pload",
        "ours",
        "us-east1",
        "-",
        "theirs",
        "l:method",
        ":method",
        "l%3Am",
        "Projects",
        "v",
        "vx",
        "v1-x",
        "..",
        ".",
        "%2e%2e",
        "%",
        "%7",
        "a%2Fb",
    ];
    prop_oneof![
        8 => prop::sample::select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ]
}

/// A path that is one of Vertex, or nearly.
fn vertex() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let text = |options: &'static [&'static str]| {
        prop::sample::select(options).prop_map(|word| word.as_bytes().to_vec())
    };
    let media = text(&["", "upload", "download", "%75pload", "x"]);
    let version = text(&["v1", "v1beta1", "v%31", "v2a", "v1-x", "vx", "x", ""]);
    let projects = text(&["projects", "%70rojects", "publishers", "project"]);
    let locations = text(&["locations", "location%73", "global"]);
    let rest = prop::collection::vec(segment(), 0..4);
    (media, version, projects, segment(), locations, prop::option::of(segment()), rest).prop_map(
        |(media, version, projects, project, locations, location, rest)| {
            let mut segments = vec![Vec::new()];
            if !media.is_empty() {
                segments.push(media);
            }
            segments.extend([version, projects, project, locations]);
            segments.extend(location);
            segments.extend(rest);
            segments
        },
    )
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let segments = prop_oneof![prop::collection::vec(segment(), 0..8), vertex()];
    let query = prop::option::of(prop_oneof![
        Just(b"alt=sse&key=secret&a=/v1/projects/x/locations/y".to_vec()),
        prop::collection::vec(any::<u8>(), 0..8),
    ]);
    (segments, query).prop_map(|(segments, query)| {
        let mut path = segments.join(&b'/');
        if let Some(query) = query {
            path.push(b'?');
            path.extend(query);
        }
        path
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16384, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_path_of_vertex_gets_project_and_location_and_no_other_changes(path in path()) {
        let (after, changed) = sent(&path, ClientCredentials::Keep);
        prop_assert_eq!(&after, &expected(&path));
        // Neither the query nor anything behind it is looked at.
        prop_assert_eq!(halves(&after).1, halves(&path).1);
        // Who comes again finds it as it is to be.
        prop_assert_eq!(&sent(&after, ClientCredentials::Keep).0, &after);
        // It can be put back.
        let remembered = (after != path).then(|| Rewritten { before: path.clone(), after });
        prop_assert_eq!(changed, remembered);
    }

    #[test]
    fn nobody_chooses_whom_we_bill(path in path()) {
        let (after, _) = sent(&path, ClientCredentials::Keep);
        if let Some(place) = place(&after) {
            prop_assert_eq!(place, OURS.map(|name| name.as_bytes().to_vec()));
        }
        // A path that names a place still names one.
        prop_assert!(place(&path).is_none() || place(&after).is_some());
    }

    #[test]
    fn a_query_loses_the_keys_of_the_client_on_the_way(path in path()) {
        let (after, _) = sent(&path, ClientCredentials::Strip);
        prop_assert_eq!(after, expected(&expected_path(&path)));
    }
}

#[test]
fn the_paths_that_are_made_up_are_of_every_kind() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut changed, mut placed) = (0, 0);
    for _ in 0..2_000 {
        let path = path().new_tree(&mut runner).unwrap().current();
        changed += usize::from(expected(&path) != path);
        placed += usize::from(place(&path).is_some());
    }
    assert!(changed > 200 && placed > 100, "{changed} {placed}");
}
