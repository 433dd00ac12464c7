//! `aigw-auth check`: the filter's own rules over files.

use crate::document::{Document, documents};
use aigw_auth::policy::{Problem, Severity, Tree, Variable, load};
use std::env::VarError;
use std::path::{Path, PathBuf};

/// What was found in all files.
#[derive(Default)]
pub(crate) struct Report {
    /// Problems, each with its file.
    pub(crate) findings: Vec<(PathBuf, Problem)>,
    /// What is good.
    pub(crate) accepted: Vec<Accepted>,
}

/// A configuration that the filter takes.
pub(crate) struct Accepted {
    /// Its files.
    pub(crate) files: Vec<PathBuf>,
    /// How many policies it has.
    pub(crate) policies: usize,
    /// How many backends they target.
    pub(crate) backends: usize,
}

impl Report {
    /// Whether the filter would refuse anything.
    pub(crate) fn has_errors(&self) -> bool {
        self.findings.iter().any(|(_, problem)| problem.severity == Severity::Error)
    }

    fn file_error(&mut self, path: &Path, message: String) {
        let problem = Problem {
            severity: Severity::Error,
            object: String::new(),
            field: String::new(),
            message,
            resource: None,
        };
        self.findings.push((path.to_owned(), problem));
    }

    /// Checks one configuration, whose resources are of `files`: the n-th of the n-th, or all of the
    /// only one.
    fn configuration(&mut self, tree: &Tree, files: &[PathBuf]) {
        let loaded = load(tree, &environment);
        let (accepted, mut problems) = match loaded {
            Ok(loaded) => {
                let mut warnings = loaded.warnings;
                // The filter refuses what it cannot do yet; the manifest is none the worse for it.
                warnings.extend(loaded.config.not_yet());
                let backends = loaded.config.policies.iter().map(|p| p.targets.len()).sum();
                (Some((loaded.config.policies.len(), backends)), warnings)
            }
            Err(problems) => (None, problems),
        };
        if accepted.is_some() {
            problems.iter_mut().for_each(|problem| problem.severity = Severity::Warning);
        }
        for problem in problems {
            let file =
                problem.resource.and_then(|index| files.get(index)).or_else(|| files.first());
            self.findings.push((file.cloned().unwrap_or_default(), problem));
        }
        if let Some((policies, backends)) = accepted {
            let mut files = files.to_vec();
            files.dedup();
            self.accepted.push(Accepted { files, policies, backends });
        }
    }
}

/// Checks files.
pub(crate) fn check(paths: &[PathBuf]) -> Report {
    let mut report = Report::default();
    let mut manifests = Vec::new();
    let mut origins = Vec::new();
    for path in paths {
        match documents(path) {
            Err(message) => report.file_error(path, message),
            Ok(documents) => {
                for document in documents {
                    match document {
                        Document::Plugin(tree) => {
                            report.configuration(&tree, std::slice::from_ref(path));
                        }
                        Document::Manifest(tree) => {
                            manifests.push(tree);
                            origins.push(path.clone());
                        }
                    }
                }
            }
        }
    }
    if !manifests.is_empty() {
        let tree = Tree::Map(vec![("resources".to_owned(), Tree::List(manifests))]);
        report.configuration(&tree, &origins);
    }
    report
}

/// The environment of this command, which is not that of the VM.
fn environment(name: &str) -> Variable {
    match std::env::var(name) {
        Ok(value) => Variable::Set(value),
        Err(VarError::NotPresent | VarError::NotUnicode(_)) => Variable::Unknown,
    }
}
