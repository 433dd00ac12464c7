//! What is wrong with a configuration: the object, the field, and what to do.

use std::cell::RefCell;
use std::fmt;

/// Longest piece of outside text (a name, a value) that a message repeats, in characters.
const LONGEST_QUOTE: usize = 120;

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
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == LONGEST_QUOTE {
            quoted.push_str("...");
            break;
        }
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}') {
            quoted.extend(character.escape_default());
        } else {
            quoted.push(character);
        }
    }
    quoted
}

/// Collects every problem of a configuration, not only the first.
#[derive(Default)]
pub(crate) struct Report {
    problems: RefCell<Vec<Problem>>,
}

impl Report {
    /// Notes a problem.
    pub(crate) fn add(&self, problem: Problem) {
        self.problems.borrow_mut().push(problem);
    }

    /// Notes an error in the filter's own settings.
    pub(crate) fn setting(&self, field: &str, message: impl Into<String>) {
        self.about(&Subject::settings(), Severity::Error, field, message);
    }

    /// Notes a warning about the filter's own settings.
    pub(crate) fn setting_warning(&self, field: &str, message: impl Into<String>) {
        self.about(&Subject::settings(), Severity::Warning, field, message);
    }

    /// Notes an error in a field of `subject`.
    pub(crate) fn error(&self, subject: &Subject, field: &str, message: impl Into<String>) {
        self.about(subject, Severity::Error, field, message);
    }

    /// Notes a warning about a field of `subject`.
    pub(crate) fn warning(&self, subject: &Subject, field: &str, message: impl Into<String>) {
        self.about(subject, Severity::Warning, field, message);
    }

    /// Everything that was noted, in order.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems.into_inner()
    }

    fn about(
        &self,
        subject: &Subject,
        severity: Severity,
        field: &str,
        message: impl Into<String>,
    ) {
        self.add(Problem {
            severity,
            object: subject.object.clone(),
            field: field.to_owned(),
            message: message.into(),
            resource: subject.resource,
        });
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
    fn long_text_is_cut_when_quoted() {
        assert_eq!(quote(&"x".repeat(300)).len(), LONGEST_QUOTE + 3);
    }
}
