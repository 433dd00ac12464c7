//! The files in which the AWS tools keep profiles
//! (<https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>).
//!
//! The grammar is that of the SDKs' common test suite (`tests/vectors/README.md`): it is not any INI.
//! No text of a file is part of an error.

use std::fmt;

/// What the specification calls white space.
const WHITE_SPACE: [char; 2] = [' ', '\t'];
const COMMENT: [char; 2] = ['#', ';'];
/// Some editors put it in front of UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// The profile that is used when none is named.
pub const DEFAULT_PROFILE: &str = "default";

/// Which of the two files a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// `credentials`, where a profile is `[name]`.
    Credentials,
    /// `config`, where a profile is `[profile name]`, and there are sections of other kinds.
    Config,
}

/// What is wrong with a file, and in which line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileError {
    /// The line, from 1.
    pub line: usize,
    message: &'static str,
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// What a section of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// A profile.
    Profile,
    /// A session of IAM Identity Center, to which profiles refer.
    SsoSession,
}

/// A section of a file: a name, and properties whose names are in lower case.
pub struct Section<'t> {
    /// What it is.
    pub kind: SectionKind,
    /// Its name.
    pub name: &'t str,
    /// Whether the name had a prefix, which makes a difference for `default` in a config file.
    prefixed: bool,
    /// Its properties; each name occurs once.
    properties: Vec<(String, String)>,
}

impl Section<'_> {
    /// The value of a property.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Its properties, in the order in which they first occur.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        self.properties.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn set(&mut self, name: &str, value: &str) {
        match self.properties.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.properties.push((name.to_owned(), value.to_owned())),
        }
    }

    /// Appends a line to the value of a property.
    fn go_on(&mut self, name: &str, line: &str) {
        if let Some((_, value)) = self.properties.iter_mut().find(|(key, _)| key == name) {
            value.push('\n');
            value.push_str(line);
        }
    }
}

/// What a line in white space would continue.
enum Open {
    /// There is no section yet.
    Nothing,
    /// A section without a property.
    Section,
    /// A property.
    Property { name: String, nested: bool },
}

/// Reads a file. Sections and properties with names that the specification does not allow are
/// ignored, as the SDKs do.
///
/// # Errors
///
/// If a line is neither a section, a property, the continuation of one, nor a comment.
pub fn parse(text: &str, kind: FileKind) -> Result<Vec<Section<'_>>, ProfileError> {
    let mut sections: Vec<Section<'_>> = Vec::new();
    // The number of the section that lines belong to; `None` if its name is not allowed.
    let mut current = None;
    let mut open = Open::Nothing;
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    for (number, line) in text.lines().enumerate() {
        let error = |message| ProfileError { line: number + 1, message };
        if line.trim_matches(WHITE_SPACE).is_empty() || line.starts_with(COMMENT) {
            continue;
        }
        if line.starts_with('[') {
            let header = without_comment(line, false);
            let name = header
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .ok_or_else(|| error("Profile definition must end with ']'"))?;
            current = section(name, kind).map(|section| enter(&mut sections, section));
            open = Open::Section;
        } else if line.starts_with(WHITE_SPACE) {
            match &open {
                Open::Nothing => return Err(error("Expected a profile definition")),
                Open::Section => {
                    return Err(error("Expected a property definition, found continuation"));
                }
                Open::Property { name, nested } => {
                    if *nested {
                        property(line).map_err(|absent| error(absent.of_sub_property()))?;
                    }
                    if let Some(section) = current.and_then(|number| sections.get_mut(number)) {
                        section.go_on(name, line.trim_matches(WHITE_SPACE));
                    }
                }
            }
        } else {
            if matches!(open, Open::Nothing) {
                return Err(error("Expected a profile definition"));
            }
            let (name, value) = property(line).map_err(|absent| error(absent.of_property()))?;
            let name = name.to_ascii_lowercase();
            if let Some(section) = current.and_then(|number| sections.get_mut(number)) {
                section.set(&name, value);
            }
            open = Open::Property { name, nested: value.is_empty() };
        }
    }
    for section in &mut sections {
        section.properties.retain(|(name, _)| is_identifier(name));
    }
    // `[profile default]` hides `[default]`.
    let is_default = |s: &Section<'_>| s.kind == SectionKind::Profile && s.name == DEFAULT_PROFILE;
    let hidden = sections.iter().any(|s| is_default(s) && s.prefixed);
    sections.retain(|s| !(hidden && is_default(s) && !s.prefixed));
    Ok(sections)
}

/// What the brackets hold; `None` if the specification does not allow it.
fn section(name: &str, kind: FileKind) -> Option<Section<'_>> {
    let name = name.trim_matches(WHITE_SPACE);
    let (section_kind, name, prefixed) = match (kind, name.split_once(WHITE_SPACE)) {
        (FileKind::Credentials, None) => (SectionKind::Profile, name, false),
        (FileKind::Config, Some(("profile", name))) => (SectionKind::Profile, name, true),
        (FileKind::Config, Some(("sso-session", name))) => (SectionKind::SsoSession, name, true),
        (FileKind::Config, None) if name == DEFAULT_PROFILE => (SectionKind::Profile, name, false),
        _ => return None,
    };
    let name = name.trim_matches(WHITE_SPACE);
    is_identifier(name).then(|| Section {
        kind: section_kind,
        name,
        prefixed,
        properties: Vec::new(),
    })
}

/// The number of this section, which may be there already.
fn enter<'t>(sections: &mut Vec<Section<'t>>, section: Section<'t>) -> usize {
    let same = |other: &Section<'_>| {
        (other.kind, other.name, other.prefixed) == (section.kind, section.name, section.prefixed)
    };
    sections.iter().position(same).unwrap_or_else(|| {
        sections.push(section);
        sections.len() - 1
    })
}

/// What a line lacks to be a property.
enum Absent {
    Equals,
    Name,
}

impl Absent {
    fn of_property(self) -> &'static str {
        match self {
            Self::Equals => "Expected an '=' sign defining a property",
            Self::Name => "Property did not have a name",
        }
    }

    fn of_sub_property(self) -> &'static str {
        match self {
            Self::Equals => "Expected an '=' sign defining a sub-property",
            Self::Name => "Sub-property did not have a name",
        }
    }
}

/// Name and value of a property.
fn property(line: &str) -> Result<(&str, &str), Absent> {
    let (name, value) = without_comment(line, true).split_once('=').ok_or(Absent::Equals)?;
    let name = name.trim_matches(WHITE_SPACE);
    if name.is_empty() {
        return Err(Absent::Name);
    }
    Ok((name, value.trim_matches(WHITE_SPACE)))
}

/// A line without white space around it and without its comment, which in a property needs white space
/// before it.
fn without_comment(line: &str, after_white_space: bool) -> &str {
    let line = line.trim_matches(WHITE_SPACE);
    let mut before = None;
    let comment = line.char_indices().find(|(_, character)| {
        let begins = COMMENT.contains(character)
            && (!after_white_space || before.is_some_and(|c| WHITE_SPACE.contains(&c)));
        before = Some(*character);
        begins
    });
    let line = match comment {
        Some((index, _)) => line.get(..index).unwrap_or_default(),
        None => line,
    };
    line.trim_matches(WHITE_SPACE)
}

/// A name that the specification allows.
fn is_identifier(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-/.%@:+".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(text: &str) -> Vec<Section<'_>> {
        parse(text, FileKind::Credentials).unwrap()
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        let sections = credentials("\u{feff}[default]\r\naws_access_key_id = A # mine\r\n");
        assert_eq!(sections[0].get("aws_access_key_id"), Some("A"));
    }

    #[test]
    fn a_secret_with_signs_of_the_grammar_in_it_stays_whole() {
        let sections = credentials("[a]\nk = ab/+=c%d;e#f==\n");
        assert_eq!(sections[0].get("k"), Some("ab/+=c%d;e#f=="));
    }

    #[test]
    fn an_error_tells_the_line_and_nothing_of_it() {
        let error = parse("[a]\n\nmarker", FileKind::Credentials).err().unwrap();
        assert_eq!(error.to_string(), "line 3: Expected an '=' sign defining a property");
    }

    #[test]
    fn a_property_whose_name_is_not_allowed_takes_its_continuation_along() {
        let sections = credentials("[a]\nin valid = 1\n 2\nk = v\n");
        assert_eq!(sections[0].properties().collect::<Vec<_>>(), [("k", "v")]);
    }
}
