//! Where in a configuration something is: what a problem names.

use super::problem::{Report, Severity, Subject};

/// A place in a configuration: a field of an object. It is only a number; the path is put together
/// when there is something to say about it.
#[derive(Clone, Copy)]
pub(crate) struct Place<'r> {
    report: &'r Report,
    number: usize,
}

/// How a place is reached.
#[derive(Clone)]
pub(crate) enum Step {
    /// The top of an object.
    Top(Subject),
    /// A field of the place with that number.
    Field(usize, String),
    /// An item of the list at that place.
    Item(usize, usize),
}

impl<'r> Place<'r> {
    /// The place at the top of `subject`.
    pub(crate) fn top(report: &'r Report, subject: Subject) -> Self {
        Self { report, number: report.enter(Step::Top(subject)) }
    }

    /// The place of a field below this one.
    pub(crate) fn field(self, name: &str) -> Self {
        let number = self.report.enter(Step::Field(self.number, name.to_owned()));
        Self { report: self.report, number }
    }

    /// The place of an item of this list.
    pub(crate) fn item(self, index: usize) -> Self {
        let number = self.report.enter(Step::Item(self.number, index));
        Self { report: self.report, number }
    }

    /// The path of this place in its object.
    pub(crate) fn path(self) -> String {
        self.report.locate(self.number).1
    }

    /// The object that this place is in.
    pub(crate) fn subject(self) -> Subject {
        self.report.locate(self.number).0
    }

    /// Where problems of this place go.
    pub(crate) fn report(self) -> &'r Report {
        self.report
    }

    /// Notes an error here.
    #[cold]
    pub(crate) fn error(self, message: &str) {
        let (subject, path) = self.report.locate(self.number);
        self.report.add(&subject, Severity::Error, &path, message);
    }

    /// Notes a warning here.
    #[cold]
    pub(crate) fn warning(self, message: &str) {
        let (subject, path) = self.report.locate(self.number);
        self.report.add(&subject, Severity::Warning, &path, message);
    }
}
