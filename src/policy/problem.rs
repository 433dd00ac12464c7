//! What is wrong with a configuration: the object, the field, and what to do.

use super::index::Index;
use super::place::Step;
use std::cell::RefCell;
use std::fmt;

/// Longest piece of outside text (a name, a value) that a message repeats, in characters.
const LONGEST_QUOTE: usize = 120;
/// Longest message, in characters: those that are meant to be repeated whole fit.
const LONGEST_MESSAGE: usize = 1000;
/// How many problems are told; who has more mends these first.
const MOST: usize = 1000;
const AND_MORE: &str = "there are more problems than these";

/// Whether a configuration can be used in spite of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration works, but probably not as meant.
    Warning,
}

/// One thing that is wrong, in one line: `BackendSecurityPolicy default/openai:
/// spec.apiKey.secretRef.name: must not be empty`.
///
/// No text of a Secret is ever part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The Kubernetes object, `Kind namespace/name`; empty for the filter's own settings.
    pub object: String,
    /// The path of the field in the object; empty if it is the whole object.
    pub field: String,
    /// What is wrong with the field.
    pub message: String,
    /// Which of the flattened `resources` the object is.
    pub resource: Option<usize>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.object, &self.field] {
            if !part.is_empty() {
                write!(f, "{part}: ")?;
            }
        }
        f.write_str(&self.message)
    }
}

/// Outside text made fit for one line of a message: control characters escaped, cut when long.
pub fn quote(text: &str) -> String {
    let mut quoted = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == LONGEST_QUOTE {
            quoted.push_str("...");
            break;
        }
        if breaks_line(character) {
            quoted.extend(character.escape_default());
        } else {
            quoted.push(character);
        }
    }
    quoted
}

/// A message that is one line and has an end, whatever it repeats of the configuration.
fn clean(message: &str) -> String {
    let mut cleaned = String::new();
    for (count, character) in message.chars().enumerate() {
        if count == LONGEST_MESSAGE {
            cleaned.push_str("...");
            break;
        }
        if breaks_line(character) {
            cleaned.extend(character.escape_default());
        } else {
            cleaned.push(character);
        }
    }
    cleaned
}

fn breaks_line(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}' | '\u{2029}')
}

/// Collects every problem of a configuration, not only the first.
#[derive(Default)]
pub(crate) struct Report {
    problems: RefCell<Vec<Problem>>,
    /// The lines of these problems: nothing is said twice.
    said: RefCell<Index>,
    /// The places that were entered, by number; each comes after the one that it is in.
    places: RefCell<Vec<Step>>,
}

impl Report {
    /// Notes a problem of a field of `subject`.
    pub(crate) fn add(&self, subject: &Subject, severity: Severity, field: &str, message: &str) {
        let mut problems = self.problems.borrow_mut();
        if problems.len() > MOST {
            // An error among those that are not told still makes the configuration a bad one.
            if let (Some(last), Severity::Error) = (problems.last_mut(), severity) {
                last.severity = severity;
            }
            return;
        }
        let (object, resource) = (subject.object.clone(), subject.resource);
        let (field, message) = (field.to_owned(), clean(message));
        let mut problem = Problem { severity, object, field, message, resource };
        if self.said.borrow_mut().set(&problem.to_string(), 0).is_some() {
            return;
        }
        if problems.len() == MOST {
            let (object, field) = (String::new(), String::new());
            let message = AND_MORE.to_owned();
            problem = Problem { severity, object, field, message, resource: None };
        }
        problems.push(problem);
    }

    /// Notes an error in a field of `subject`.
    #[cold]
    pub(crate) fn error(&self, subject: &Subject, field: &str, message: &str) {
        self.add(subject, Severity::Error, field, message);
    }

    /// Notes an error in the filter's own settings.
    #[cold]
    pub(crate) fn setting(&self, field: &str, message: &str) {
        self.add(&Subject::settings(), Severity::Error, field, message);
    }

    /// Notes a warning about the filter's own settings.
    #[cold]
    pub(crate) fn setting_warning(&self, field: &str, message: &str) {
        self.add(&Subject::settings(), Severity::Warning, field, message);
    }

    /// Everything that was noted, in order.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }

    /// Remembers a place, and gives its number.
    pub(crate) fn enter(&self, step: Step) -> usize {
        let mut places = self.places.borrow_mut();
        places.push(step);
        places.len() - 1
    }

    /// The object that a place is in, and its path there.
    #[cold]
    pub(crate) fn locate(&self, number: usize) -> (Subject, String) {
        let places = self.places.borrow();
        let mut path = String::new();
        let mut number = number;
        let subject = loop {
            // From the inside out.
            number = match places.get(number) {
                Some(Step::Field(above, name)) => {
                    path = format!(".{}{path}", quote(name));
                    *above
                }
                Some(Step::Item(above, index)) => {
                    path = format!("[{index}]{path}");
                    *above
                }
                Some(Step::Top(subject)) => break subject.clone(),
                None => break Subject::settings(),
            };
        };
        // A field of the top has no dot before it.
        (subject, path.strip_prefix('.').map_or_else(|| path.clone(), str::to_owned))
    }
}

/// The object that a problem is about.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    object: String,
    resource: Option<usize>,
}

impl Subject {
    /// The filter's own settings, which are no object.
    pub(crate) fn settings() -> Self {
        Self { object: String::new(), resource: None }
    }

    /// A Kubernetes object, the `resource`-th of the flattened resources.
    pub(crate) fn object(kind: &str, namespace: &str, name: &str, resource: usize) -> Self {
        Self {
            object: format!("{} {}/{}", quote(kind), quote(namespace), quote(name)),
            resource: Some(resource),
        }
    }

    /// The `resource`-th of the flattened resources, which has no name to call it by.
    pub(crate) fn nameless(place: &str, resource: usize) -> Self {
        Self { object: place.to_owned(), resource: Some(resource) }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line_that_names_object_and_field() {
        let report = Report::default();
        let subject = Subject::object("Secret", "de\nfault", "a", 0);
        report.error(&subject, "data.apiKey", "is not base64");
        let problems = report.into_problems();
        assert_eq!(problems[0].to_string(), "Secret de\\nfault/a: data.apiKey: is not base64");
    }

    #[test]
    fn nothing_is_said_twice_and_not_everything_is_told() {
        let report = Report::default();
        for number in 0..=2 * MOST {
            report.setting_warning(&format!("a{}", number / 2), "is odd");
        }
        report.setting_warning("b", "is odd");
        report.setting("c", "is bad");
        let problems = report.into_problems();
        assert_eq!(problems.len(), MOST + 1);
        assert_eq!(problems[MOST - 1].to_string(), "a999: is odd");
        assert_eq!(problems[MOST].to_string(), AND_MORE);
        // It stands for an error too.
        assert_eq!(problems[MOST].severity, Severity::Error);
        assert!(problems[..MOST].iter().all(|p| p.severity == Severity::Warning));
    }

    #[test]
    fn a_message_is_one_line_with_an_end() {
        assert_eq!(clean("a\nb\u{2028}c"), "a\\nb\\u{2028}c");
        assert_eq!(clean(&"é".repeat(5_000)).chars().count(), LONGEST_MESSAGE + 3);
    }

    #[test]
    fn long_text_is_cut_when_quoted() {
        assert_eq!(quote(&"x".repeat(300)).len(), LONGEST_QUOTE + 3);
    }
}
