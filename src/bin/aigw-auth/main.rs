//! The command line: what the filter would say of a configuration, without an Envoy.

mod check;
mod document;
mod envoy_file;
mod judge;
mod output;

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;

/// Checks configurations of aigw-auth, the Envoy filter that puts the credentials of AI providers on
/// requests.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Checks manifests, plugin configurations and Envoy files, and says what the filter would say of
    /// them.
    ///
    /// A FILE holds Kubernetes manifests (a stream of YAML documents, as for `kubectl apply -f`),
    /// plugin configurations (the JSON or YAML under the filter's `configuration`), or a configuration
    /// of Envoy (a bootstrap, or listeners and clusters as a discovery service has them). All manifests
    /// of one call belong together: a policy may be in one file and its Secret in another. So do all
    /// files of discovery services, and the bootstrap with them; of several bootstraps each stands for
    /// itself.
    ///
    /// In a configuration of Envoy everything about the filter is checked: what it is told, where it
    /// stands, what requests can reach without it, what spoils signatures, and which logs print
    /// credentials. Listeners and clusters that are in no file are not known, and not spoken of.
    ///
    /// Every error is one line on standard error: the file, the object, the field, and what is wrong
    /// with it. Warnings do not change the exit status. Texts of Secrets are never printed.
    #[command(after_help = "\
Exit status: 0 if the filter would take everything, 1 if not (or if a file cannot be read).

Examples:
  aigw-auth check policies.yaml secrets.yaml
  kubectl get backendsecuritypolicies,secrets -o yaml | aigw-auth check -
  aigw-auth check --format json plugin.json
  aigw-auth check envoy.yaml
  aigw-auth check lds.yaml cds.yaml

Variables under secrets.env are looked up in the environment of this command; those that are not set
in it are taken to be set where Envoy runs. In a configuration of Envoy they have to be in
environment_variables of the VM, and so have the variables of AWS's default chain.")]
    Check {
        /// Files to check; - is standard input.
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
        /// How to print what was found.
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        format: Format,
    },
}

/// How to print what was found.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// A line for each problem on standard error.
    Text,
    /// One JSON object on standard output.
    Json,
}

fn main() -> ExitCode {
    let Arguments { command: Command::Check { files, format } } = Arguments::parse();
    let report = check::check(&files);
    // Whoever closed the pipe has read enough; the exit status says the rest.
    let _ = match format {
        Format::Text => output::text(&report),
        Format::Json => output::json(&report),
    };
    if report.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
