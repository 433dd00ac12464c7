//! What `aigw-auth check` prints.

use crate::check::Report;
use aigw_auth::policy::Severity;
use serde_json::json;

/// A line for each problem on standard error, and one on standard output for each configuration
/// that is good.
pub(crate) fn text(report: &Report) {
    for (file, problem) in &report.findings {
        let file = file.display();
        match problem.severity {
            Severity::Error => eprintln!("{file}: {problem}"),
            Severity::Warning => eprintln!("{file}: warning: {problem}"),
        }
    }
    for accepted in &report.accepted {
        let files: Vec<_> = accepted.files.iter().map(|f| f.display().to_string()).collect();
        println!(
            "{}: ok, policies: {}, backends: {}",
            files.join(", "),
            accepted.policies,
            accepted.backends
        );
    }
}

/// One object on standard output.
pub(crate) fn json(report: &Report) {
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
    println!("{}", json!({ "ok": !report.has_errors(), "problems": problems }));
}
