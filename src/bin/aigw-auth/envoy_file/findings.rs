//! What was found in Envoy configurations.

use super::node::Node;
use aigw_auth::policy::{Problem, Severity};

/// Collects what was found, each thing once.
#[derive(Default)]
pub(crate) struct Findings {
    problems: Vec<(usize, Problem)>,
}

impl Findings {
    /// Notes an error at `node`. The message ends with what mends it.
    pub(crate) fn error(&mut self, node: &Node<'_>, message: &str) {
        self.add(Severity::Error, node, message);
    }

    /// Notes a warning at `node`. The message ends with what mends it.
    pub(crate) fn warning(&mut self, node: &Node<'_>, message: &str) {
        self.add(Severity::Warning, node, message);
    }

    fn add(&mut self, severity: Severity, node: &Node<'_>, message: &str) {
        let problem = Problem {
            severity,
            object: node.object().to_owned(),
            field: node.path().to_owned(),
            message: message.to_owned(),
            resource: None,
        };
        self.problem(node.file(), problem);
    }

    /// Notes a problem of a file.
    pub(crate) fn problem(&mut self, file: usize, problem: Problem) {
        let problem = (file, problem);
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Everything that was found, in order, each with its file.
    pub(crate) fn into_problems(self) -> Vec<(usize, Problem)> {
        self.problems
    }
}
