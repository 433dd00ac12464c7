//! What `aigw-auth check` prints.

use crate::check::Report;
use aigw_auth::policy::Severity;
use serde_json::json;
use std::io::{Result, Write};

/// A line for each problem on standard error, and one on standard output for each configuration
/// that is good.
///
/// # Errors
///
/// If nobody reads it to the end, which is no reason to fail.
pub(crate) fn text(report: &Report) -> Result<()> {
    let (mut errors, mut output) = (std::io::stderr().lock(), std::io::stdout().lock());
    for (file, problem) in &report.findings {
        let file = file.display();
        match problem.severity {
            Severity::Error => writeln!(errors, "{file}: {problem}")?,
            Severity::Warning => writeln!(errors, "{file}: warning: {problem}")?,
        }
    }
    for accepted in &report.accepted {
        let files: Vec<_> = accepted.files.iter().map(|f| f.display().to_string()).collect();
        writeln!(
            output,
            "{}: ok, policies: {}, backends: {}",
            files.join(", "),
            accepted.policies,
            accepted.backends
        )?;
    }
    output.flush()
}

/// One object on standard output.
///
/// # Errors
///
/// As with [`text`].
pub(crate) fn json(report: &Report) -> Result<()> {
    let problems: Vec<_> = report
        .findings
        .iter()
        .map(|(file, problem)| {
            json!({
                "file": file.display().to_string(),
                "severity": match problem.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                },
                "object": problem.object,
                "field": problem.field,
                "message": problem.message,
            })
        })
        .collect();
    let mut output = std::io::stdout().lock();
    writeln!(output, "{}", json!({ "ok": !report.has_errors(), "problems": problems }))?;
    output.flush()
}
