//! `aigw-auth check`: the filter's own rules over files.

use crate::document::{Document, documents};
use crate::envoy_file::{inspect, is_bootstrap};
use crate::judge::{Judgement, judge};
use aigw_auth::policy::{Problem, Severity, Tree, Variable};
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
        let Judgement { config, problems } = judge(tree, &environment);
        for problem in problems {
            let file =
                problem.resource.and_then(|index| files.get(index)).or_else(|| files.first());
            self.findings.push((file.cloned().unwrap_or_default(), problem));
        }
        if let Some(config) = config {
            let mut files = files.to_vec();
            files.dedup();
            let policies = config.policies.len();
            let backends = config.policies.iter().map(|policy| policy.targets.len()).sum();
            self.accepted.push(Accepted { files, policies, backends });
        }
    }

    /// Checks what configurations of Envoy that belong together have of the filter. Each has the number
    /// of its file in `paths`.
    fn envoy(&mut self, trees: &[(usize, Tree)], paths: &[PathBuf]) {
        let path = |file: usize| paths.get(file).cloned().unwrap_or_default();
        let inspection = inspect(trees, &environment);
        if inspection.problems.iter().all(|(_, problem)| problem.severity == Severity::Warning) {
            let mut files: Vec<PathBuf> = trees.iter().map(|(file, _)| path(*file)).collect();
            files.dedup();
            self.accepted.push(Accepted {
                files,
                policies: inspection.policies,
                backends: inspection.backends,
            });
        }
        let problems = inspection.problems.into_iter();
        self.findings.extend(problems.map(|(file, problem)| (path(file), problem)));
    }
}

/// Checks files.
pub(crate) fn check(paths: &[PathBuf]) -> Report {
    let mut report = Report::default();
    let mut manifests = Vec::new();
    let mut origins = Vec::new();
    let mut envoy = Vec::new();
    for (file, path) in paths.iter().enumerate() {
        match documents(path) {
            Err(message) => report.file_error(path, message),
            Ok(documents) => {
                for document in documents {
                    match document {
                        Document::Plugin(tree) => {
                            report.configuration(&tree, std::slice::from_ref(path));
                        }
                        Document::Envoy(tree) => envoy.push((file, tree)),
                        Document::Manifest(tree) => {
                            manifests.push(tree);
                            origins.push(path.clone());
                        }
                    }
                }
            }
        }
    }
    for group in together(envoy) {
        report.envoy(&group, paths);
    }
    if !manifests.is_empty() {
        report.configuration(&around(manifests), &origins);
    }
    report.findings.sort_by_key(|(file, _)| paths.iter().position(|path| path == file));
    report
}

/// Configurations of Envoy by what belongs together: all files of discovery services, and with them the
/// bootstrap. Of several bootstraps each stands for itself, since it cannot be told whose the files are.
fn together(trees: Vec<(usize, Tree)>) -> Vec<Vec<(usize, Tree)>> {
    let (bootstraps, mut others): (Vec<_>, Vec<_>) =
        trees.into_iter().partition(|(_, tree)| is_bootstrap(tree));
    let mut groups: Vec<_> = bootstraps.into_iter().map(|bootstrap| vec![bootstrap]).collect();
    if let [only] = groups.as_mut_slice() {
        only.append(&mut others);
    } else if !others.is_empty() {
        groups.push(others);
    }
    groups
}

/// Manifests as a plugin configuration. The clusters that some of them need are the business of a
/// configuration, which is not here to be judged.
fn around(manifests: Vec<Tree>) -> Tree {
    let map = |entries: Vec<(&str, Tree)>| {
        Tree::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    };
    let cluster = || map(vec![("cluster", Tree::Text("any".to_owned()))]);
    map(vec![("resources", Tree::List(manifests)), ("egress", cluster()), ("files", cluster())])
}

/// The environment of this command, which is not that of the VM.
fn environment(name: &str) -> Variable {
    match std::env::var(name) {
        Ok(value) => Variable::Set(value),
        Err(VarError::NotPresent | VarError::NotUnicode(_)) => Variable::Unknown,
    }
}
