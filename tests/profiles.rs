//! The files of the AWS tools: the suite that AWS's SDKs share (`tests/vectors/README.md`), and what it
//! lacks.

#![cfg(test)]

use aigw_auth::aws::keys::from_file;
use aigw_auth::aws::profile::{FileKind, ProfileError, Section, SectionKind, parse};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

type Properties = BTreeMap<String, String>;

/// What both files have of one kind, as the SDKs put it together.
type Merged = BTreeMap<String, Properties>;

fn merge(files: &[Vec<Section<'_>>], kind: SectionKind) -> Merged {
    let mut merged = Merged::new();
    for section in files.iter().flatten().filter(|section| section.kind == kind) {
        let properties = section.properties();
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
        merged.entry(section.name.to_owned()).or_default().extend(properties);
    }
    merged
}

fn expected(output: &Value, field: &str) -> Merged {
    let sections = &output["config"][field];
    if sections.is_null() {
        Merged::new()
    } else {
        serde_json::from_value(sections.clone()).unwrap()
    }
}

#[test]
fn every_case_of_the_suite_of_the_sdks_is_read_as_it_says() {
    let file = "tests/vectors/aws-profiles/profile-parser-tests.json";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let suite: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let cases = suite["tests"].as_array().unwrap();
    assert_eq!(cases.len(), 65);
    let mut errors = 0;
    for case in cases {
        let name = &case["name"];
        let file = |field: &str, kind| {
            parse(case["input"].get(field).map_or("", |text| text.as_str().unwrap()), kind)
        };
        // What the credentials file says wins, so it comes last.
        let files: Result<Vec<_>, ProfileError> =
            [("configFile", FileKind::Config), ("credentialsFile", FileKind::Credentials)]
                .into_iter()
                .map(|(field, kind)| file(field, kind))
                .collect();
        let output = &case["output"];
        match (files, output["errorContaining"].as_str()) {
            (Ok(files), None) => {
                let profiles = merge(&files, SectionKind::Profile);
                assert_eq!(profiles, expected(output, "profiles"), "{name}");
                let sessions = merge(&files, SectionKind::SsoSession);
                assert_eq!(sessions, expected(output, "sso_sessions"), "{name}");
            }
            (Err(error), Some(text)) => {
                assert!(error.to_string().contains(text), "{name}: {error}");
                errors += 1;
            }
            (Ok(_), Some(text)) => panic!("{name}: no error {text}"),
            (Err(error), None) => panic!("{name}: {error}"),
        }
    }
    assert_eq!(errors, 10);
}

/// The sections of a file as one text: `name{key=value key=value} name{}`, white space in values shown.
fn shown(text: &str, kind: FileKind) -> String {
    let sections = match parse(text, kind) {
        Ok(sections) => sections,
        Err(error) => return error.to_string(),
    };
    let sections = sections.iter().map(|section| {
        let properties = section.properties();
        let properties = properties.map(|(name, value)| format!("{name}={}", value.escape_debug()));
        let properties = properties.collect::<Vec<_>>().join(" ");
        let kind = if section.kind == SectionKind::SsoSession { "sso-session " } else { "" };
        format!("{kind}{}{{{properties}}}", section.name)
    });
    sections.collect::<Vec<_>>().join(" ")
}

fn verify(kind: FileKind, rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        assert_eq!(shown(text, kind), *expected, "{text:?}");
    }
}

#[test]
fn a_byte_order_mark_is_read_over_where_it_begins_the_file_only() {
    verify(
        FileKind::Credentials,
        &[
            ("\u{feff}[a]\nk = v", "a{k=v}"),
            ("\u{feff}# c\r\n[a]\r\nk = v\r\n", "a{k=v}"),
            ("\u{feff}", ""),
            ("\u{feff}k = v", "line 1: Expected a profile definition"),
            ("\u{feff}\u{feff}[a]", "line 1: Expected a profile definition"),
            ("[a]\n\u{feff}[b]", "line 2: Expected an '=' sign defining a property"),
            ("[a]\nk = \u{feff}v", "a{k=\\u{feff}v}"),
        ],
    );
    verify(FileKind::Config, &[("\u{feff}[profile a]\nk = v", "a{k=v}")]);
}

#[test]
fn a_line_ends_in_lf_or_crlf() {
    verify(
        FileKind::Credentials,
        &[
            ("[a]\r\nk = v\r\n w\r\n\r\n[b] # c\r\n", "a{k=v\\nw} b{}"),
            ("[a]\nk = v\r\nl = w\n", "a{k=v l=w}"),
            ("[a]\r\n\r\nmarker\r\n", "line 3: Expected an '=' sign defining a property"),
            ("[a]\rk = v\r", "line 1: Profile definition must end with ']'"),
            ("", ""),
            ("\r\n \t\r\n;\r\n#", ""),
        ],
    );
}

#[test]
fn the_last_of_several_values_is_the_one() {
    verify(
        FileKind::Credentials,
        &[
            ("[a]\nk = 1\nK = 2\n[b]\nk = 3\n[a]\nl = 4\nk = 5", "a{k=5 l=4} b{k=3}"),
            ("[a]\nk = 1\n 2\nk = 3\n 4", "a{k=3\\n4}"),
            ("[a]\nk = 1\nk =", "a{k=}"),
        ],
    );
    verify(FileKind::Config, &[("[profile a]\nk = 1\n[ profile\ta ]\nk = 2", "a{k=2}")]);
}

#[test]
fn a_line_that_is_nothing_is_an_error_of_the_whole_file() {
    let (no_equals, no_section) =
        ("Expected an '=' sign defining a property", "Expected a profile definition");
    for (text, line, message) in [
        ("[a]\nkey", 2, no_equals),
        ("[a]\nkey : marker", 2, no_equals),
        ("[a]\nkey # = marker", 2, no_equals),
        ("[a]\nk = v\n\n]", 4, no_equals),
        ("[in valid]\nkey", 2, no_equals),
        ("[a]\n =", 2, "Expected a property definition, found continuation"),
        ("[a]\n = = marker\n", 2, "Expected a property definition, found continuation"),
        ("[a]\n# c\n== marker", 3, "Property did not have a name"),
        ("[a]\nk =\n # c\n", 3, "Expected an '=' sign defining a sub-property"),
        ("[a]\nk =\n = c\n", 3, "Sub-property did not have a name"),
        ("k = marker\n[a]", 1, no_section),
        (" # marker\n[a]", 1, no_section),
        ("\u{a0}[a]", 1, no_section),
        ("[a] marker", 1, "Profile definition must end with ']'"),
        ("[a # ]", 1, "Profile definition must end with ']'"),
        ("[", 1, "Profile definition must end with ']'"),
    ] {
        for kind in [FileKind::Credentials, FileKind::Config] {
            assert_eq!(shown(text, kind), format!("line {line}: {message}"), "{text:?}");
        }
    }
}

#[test]
fn a_section_of_another_name_is_read_over_with_all_that_it_has() {
    verify(
        FileKind::Config,
        &[
            ("[profile a b]\nk = v\n w\n[profile b]", "b{}"),
            ("[profile \"a b\"]\nk = v\n[profile   b  ]", "b{}"),
            ("[profile \"a\"]\n[profile a!]\n[profile é]\n[profile]\n[profile ]\n[]", ""),
            ("[a]\nk = v\n[Profile a]\n[profilea]\n[Default]", ""),
            ("[services s]\ns3 =\n endpoint_url = x\n[sso-session s]\nk = v", "sso-session s{k=v}"),
            ("[profile s]\n[sso-session s]", "s{} sso-session s{}"),
            ("[default]\nk = 1\n[default]\nl = 2", "default{k=1 l=2}"),
            ("[sso-session default]\n[default]\nk = v", "sso-session default{} default{k=v}"),
        ],
    );
    verify(
        FileKind::Credentials,
        &[
            ("[profile a]\nk = v\n[a]\nl = w", "a{l=w}"),
            ("[profile default]\nk = v\n[default]\nl = w", "default{l=w}"),
            ("[sso-session s]\n[services s]\n[\"a\"]\n[a]]\n[[a]]\n[]\n[ ]", ""),
            ("[sso-session]\n[profile]\n[\ta\t] ; c", "sso-session{} profile{} a{}"),
        ],
    );
}

#[test]
fn a_comment_has_white_space_before_it_and_is_none_in_a_continuation() {
    verify(
        FileKind::Credentials,
        &[
            ("[a]# c\nk = 1 # c\nl = 1\t; c\nm = 1#c\nn = 1;c", "a{k=1 l=1 m=1#c n=1;c}"),
            ("[a]\nk = # c\n s = 1 # c", "a{k=\\ns = 1 # c}"),
            ("[a]\nk = v\n# c\n\n w # c\n # d", "a{k=v\\nw # c\\n# d}"),
            ("[a]\nk =#c", "a{k=#c}"),
        ],
    );
}

#[test]
fn keys_are_taken_as_they_stand() {
    for secret in
        ["a/b+c=d==", "%(x)s%%", "\"q\"", "'q'", "\\n", "$HOME", "a;b#c", "=x", "[y]", "é"]
    {
        let text = format!(
            "\u{feff}[x]\r\n[p]\r\nAWS_ACCESS_KEY_ID=AKID\r\naws_Secret_Access_Key = {secret} # c\r\n"
        );
        let keys = from_file(&text, "p").unwrap();
        assert_eq!(keys.access_key_id().expose(), "AKID");
        assert_eq!(keys.secret_access_key().expose(), secret);
        assert_eq!(keys.session_token(), None);
    }
    // An indented line goes on with the value, even where it looks like a comment.
    let text = "[p]\naws_access_key_id = AKID\naws_secret_access_key = marker\n # marker\n";
    let error = from_file(text, "p").unwrap_err().to_string();
    assert!(error.starts_with("aws_secret_access_key must not contain CR, LF"), "{error}");
    // Names of profiles are compared as they stand.
    assert!(from_file("[P]\naws_access_key_id = A\naws_secret_access_key = b", "p").is_err());
}

/// Text that is almost a file, with the word `marker` in all places but the name of a profile.
fn almost_a_file() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => "(AWS_ACCESS_KEY_ID|aws_access_key_id) ?= ?(AKID|marker/)?",
        4 => "aws_secret_access_key = ?(marker|\u{a0}|é|;|=){0,2}",
        8 => "(aws_session_token|Role_ARN|k l|marker)\t?= ?(marker)?( [#;] marker)?",
        3 => "\\[(profile |sso-session )?(a|b|default)\\]( ?[#;] ?marker)?",
        2 => "( |\t){0,2}(marker)?( ?= ?marker)?|[#;]marker",
        1 => ".{0,8}|marker|= marker|\\[marker|\\[a\\] marker",
    ];
    let text = prop::collection::vec((line, "\r?\n"), 0..12).prop_map(|lines| {
        let lines = lines.into_iter().map(|(line, end)| line + &end);
        format!("[a]\n{}", lines.collect::<String>())
    });
    prop_oneof![9 => text, 1 => "\u{feff}?.{0,40}", 1 => any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_stops_the_reader_and_none_is_part_of_what_it_says(text in almost_a_file()) {
        for kind in [FileKind::Config, FileKind::Credentials] {
            match parse(&text, kind) {
                Ok(sections) => for section in sections {
                    prop_assert!(section.properties().all(|(name, _)| !name.contains(' ')));
                },
                Err(error) => {
                    let said = format!("{error} {error:?}");
                    prop_assert!(!said.contains("marker"), "{}", said);
                    prop_assert!((1..=text.lines().count()).contains(&error.line), "{}", said);
                }
            }
        }
        for profile in ["a", "default", "marker"] {
            let said = match from_file(&text, profile) {
                Ok(keys) => format!("{keys:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            prop_assert!(!said.contains("marker"), "{}", said);
        }
    }
}
