//! What was found in an Envoy configuration.

use super::node::Node;
use aigw_auth::policy::{Problem, Severity};

/// Collects what was found, each thing once.
#[derive(Default)]
pub(crate) struct Findings {
    problems: Vec<Problem>,
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
        self.problem(Problem {
            severity,
            object: node.object().to_owned(),
            field: node.path().to_owned(),
            message: message.to_owned(),
            resource: None,
        });
    }

    /// Notes a problem.
    pub(crate) fn problem(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Everything that was found, in order.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}
