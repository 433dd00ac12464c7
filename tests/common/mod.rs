//! What several tests need.
#![cfg(test)]
#![allow(dead_code, reason = "each test uses a part")]

mod protobuf;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

#[allow(unused_imports, reason = "each test uses a part")]
pub(crate) use protobuf::struct_bytes;

/// Runs `aigw-auth check`: success, standard output, standard error.
pub(crate) fn check<A: AsRef<Path>>(arguments: &[A]) -> (bool, String, String) {
    check_with_input(arguments, b"")
}

/// Runs `aigw-auth check` with standard input.
pub(crate) fn check_with_input<A: AsRef<Path>>(
    arguments: &[A],
    input: &[u8],
) -> (bool, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_aigw-auth"))
        .arg("check")
        .args(arguments.iter().map(AsRef::as_ref))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (
        output.status.success(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}
