//! What the filter says of a plugin configuration.

use aigw_auth::policy::{Config, Environment, Loaded, Problem, Severity, Tree, load};

/// The configuration, if the filter takes it, and every problem.
pub(crate) struct Judgement {
    pub(crate) config: Option<Config>,
    pub(crate) problems: Vec<Problem>,
}

/// Reads a plugin configuration by the rules of the filter.
pub(crate) fn judge(tree: &Tree, environment: &Environment<'_>) -> Judgement {
    judgement(load(tree, environment))
}

/// What follows from reading one.
pub(crate) fn judgement(loaded: Result<Loaded, Vec<Problem>>) -> Judgement {
    let Loaded { config, warnings: mut problems } = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => return Judgement { config: None, problems },
    };
    // The filter refuses what it cannot do yet; the manifest is none the worse for it.
    problems.extend(config.not_yet());
    problems.iter_mut().for_each(|problem| problem.severity = Severity::Warning);
    Judgement { config: Some(config), problems }
}
