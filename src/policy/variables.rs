//! The environment of the VM, as policies look at it.

use super::manifest::Reader;
use super::rules;
use super::secrets::Variable;
use std::cell::Cell;

/// The environment, in which an empty variable is one that is not set.
pub(super) struct Variables<'v> {
    reader: &'v Reader<'v, 'v, 'v>,
    /// Whether a variable was asked for that cannot be known here.
    unknown: Cell<bool>,
}

impl<'v> Variables<'v> {
    /// Those of the VM.
    pub(super) fn new(reader: &'v Reader<'v, 'v, 'v>) -> Self {
        Self { reader, unknown: Cell::new(false) }
    }

    /// The text of a variable, trimmed.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        match (self.reader.environment)(name) {
            Variable::Set(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Variable::Unset => None,
            Variable::Unknown => {
                self.unknown.set(true);
                None
            }
        }
    }

    /// A switch, which is on when it is `true` in any letter case.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// The absolute path of a file.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub(super) fn path(&self, name: &str) -> Result<Option<String>, String> {
        match self.get(name) {
            Some(path) if !rules::absolute_path(&path) || path.ends_with('/') => {
                Err(format!("{name} must be the absolute path of a file"))
            }
            path => Ok(path),
        }
    }

    /// Whether a variable was asked for that cannot be known here.
    pub(super) fn were_unknown(&self) -> bool {
        self.unknown.get()
    }

    /// Hosts that may be called over `http`.
    pub(super) fn plaintext_hosts(&self) -> &[String] {
        &self.reader.settings.egress.plaintext_hosts
    }
}
