//! From a text to a number: the one kind of map in the module, since every other kind would be
//! compiled once more into it.

use std::collections::HashMap;

/// A map from texts to numbers.
#[derive(Debug, Default)]
pub(crate) struct Index(HashMap<Vec<u8>, usize>);

impl Index {
    /// Sets the number of `text`, and gives the one that it had.
    pub(crate) fn set(&mut self, text: &str, number: usize) -> Option<usize> {
        self.0.insert(text.as_bytes().to_vec(), number)
    }

    /// Sets the number of `text` unless it has one, and gives the one that it has then.
    pub(crate) fn set_first(&mut self, text: &str, number: usize) -> usize {
        *self.0.entry(text.as_bytes().to_vec()).or_insert(number)
    }

    /// Forgets `text`.
    pub(crate) fn remove(&mut self, text: &str) {
        self.0.remove(text.as_bytes());
    }

    /// The number of `text`, if it has one.
    pub(crate) fn get(&self, text: &[u8]) -> Option<usize> {
        self.0.get(text).copied()
    }
}
