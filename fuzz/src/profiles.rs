//! Any text as a file of profiles.

use aigw_auth::aws::keys::{KeysError, from_file};
use aigw_auth::aws::profile::{DEFAULT_PROFILE, FileKind, Section, SectionKind, parse};

/// All that is said of a file that cannot be read.
const MESSAGES: [&str; 7] = [
    "Expected a profile definition",
    "Expected a property definition, found continuation",
    "Expected an '=' sign defining a property",
    "Expected an '=' sign defining a sub-property",
    "Profile definition must end with ']'",
    "Property did not have a name",
    "Sub-property did not have a name",
];

/// A file is refused in words of our own, or it can be written out and read again; it gives keys as
/// they stand in it.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for kind in [FileKind::Credentials, FileKind::Config] {
        let facts = facts(&text, kind);
        if !text.starts_with('\u{feff}') {
            assert_eq!(self::facts(&format!("\u{feff}{text}"), kind), facts);
        }
        if !text.contains('\r') {
            assert_eq!(self::facts(&text.replace('\n', "\r\n"), kind), facts);
        }
        if facts.is_ok() {
            let written = written(&parse(&text, kind).ok().unwrap(), kind);
            assert_eq!(self::facts(&written, kind), facts);
        }
    }
    let sections = parse(&text, FileKind::Credentials);
    match &sections {
        Ok(sections) => {
            for section in sections {
                keys(&text, section);
            }
            let names = sections.iter().map(|section| section.name.to_owned()).collect();
            assert_eq!(from_file(&text, "no name"), Err(KeysError::NoProfile(names)));
        }
        Err(error) => assert_eq!(from_file(&text, "a"), Err(KeysError::File(*error))),
    }
}

/// Name, kind and properties of each section, or what is wrong with the file.
type Facts = Result<Vec<(String, SectionKind, Vec<(String, String)>)>, String>;

fn facts(text: &str, kind: FileKind) -> Facts {
    let sections = match parse(text, kind) {
        Ok(sections) => sections,
        Err(error) => {
            let (line, message) = (error.line, error.to_string());
            let message = message.strip_prefix(&format!("line {line}: ")).unwrap();
            assert!(MESSAGES.contains(&message), "{message}");
            assert!((1..=text.lines().count()).contains(&line), "line {line}");
            return Err(error.to_string());
        }
    };
    for (number, section) in sections.iter().enumerate() {
        let Section { name, kind: section_kind, .. } = section;
        assert!(name.chars().all(is_of_a_name) && !name.is_empty(), "{name:?}");
        assert!(*section_kind == SectionKind::Profile || kind == FileKind::Config);
        let same = |other: &Section<'_>| (other.name, other.kind) == (*name, *section_kind);
        assert!(!sections[..number].iter().any(same), "{name} is there twice");
        let names: Vec<_> = section.properties().map(|(name, _)| name).collect();
        for (number, name) in names.iter().enumerate() {
            assert!(name.chars().all(is_of_a_name) && !name.is_empty(), "{name:?}");
            assert!(!names[..number].contains(name), "{name} is there twice");
            assert_eq!(name.to_ascii_lowercase(), *name);
        }
    }
    let properties = |section: &Section<'_>| {
        section.properties().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    Ok(sections.iter().map(|s| (s.name.to_owned(), s.kind, properties(s))).collect())
}

fn is_of_a_name(character: char) -> bool {
    matches!(character, 'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '/' | '.' | '%' | '@' | ':' | '+')
}

/// A file with these sections.
fn written(sections: &[Section<'_>], kind: FileKind) -> String {
    let mut text = String::new();
    for section in sections {
        let prefix = match (kind, section.kind) {
            (FileKind::Credentials, _) => "",
            (FileKind::Config, SectionKind::Profile) => "profile ",
            (FileKind::Config, SectionKind::SsoSession) => "sso-session ",
        };
        text.push_str(&format!("# {prefix}\r\n[{prefix}{}]\r\n", section.name));
        for (name, value) in section.properties() {
            // White space in front of a value could make a comment of it.
            text.push_str(&format!("{name}={}\r\n", value.replace('\n', "\r\n\t")));
        }
    }
    if kind == FileKind::Config
        && sections.iter().any(|s| s.name == DEFAULT_PROFILE && s.kind == SectionKind::Profile)
    {
        text.push_str("[default]\r\nhidden = 1");
    }
    text
}

/// The keys of a profile are its own, without white space around them; no other text is part of what
/// is said about it.
fn keys(text: &str, section: &Section<'_>) {
    let value = |name: &str| section.get(name).map(str::trim).filter(|value| !value.is_empty());
    match from_file(text, section.name) {
        Ok(keys) => {
            assert_eq!(Some(keys.access_key_id().expose()), value("aws_access_key_id"));
            assert_eq!(Some(keys.secret_access_key().expose()), value("aws_secret_access_key"));
            let token = value("aws_session_token").or_else(|| value("aws_security_token"));
            assert_eq!(keys.session_token().map(|token| token.expose()), token);
            assert_eq!(value("role_arn"), None);
            let said = format!("{keys:?}").replace("[redacted]", "");
            assert!(!said.contains('['), "{said}");
        }
        Err(KeysError::NotFromAFile(name)) => assert!(section.get(name).is_some(), "{name}"),
        Err(KeysError::Missing(name)) => {
            assert!(section.get(name).is_none_or(str::is_empty), "{name}");
        }
        Err(KeysError::Keys(_)) => {}
        Err(error) => panic!("{error}"),
    }
}
