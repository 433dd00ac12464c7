//! Reading an object field by field: every field is asked for by name, and what nobody asked for is
//! an error, so a typing error cannot turn off a policy.

use super::index::Index;
use super::place::Place;
use super::problem::quote;
use super::rules;
use super::tree::Tree;
use std::time::Duration;

/// An object being read. Call [`Fields::finish`] when every known field has been asked for.
pub(crate) struct Fields<'t, 'r> {
    entries: &'t [(String, Tree)],
    place: Place<'r>,
    asked: Vec<&'static str>,
}

impl<'t, 'r> Fields<'t, 'r> {
    /// Reads `tree` as an object; anything else is an error at `place`.
    pub(crate) fn of(tree: &'t Tree, place: Place<'r>) -> Option<Self> {
        let Tree::Map(entries) = tree else {
            place.error(&format!("must be an object, not {}", tree.kind()));
            return None;
        };
        let mut seen = Index::default();
        for (name, _) in entries {
            if seen.set(name, 0).is_some() {
                place.field(name).error("occurs twice");
            }
        }
        Some(Self { entries, place, asked: Vec::new() })
    }

    /// Reads an object a second time under another name; what was wrong with its form was said
    /// the first time.
    pub(crate) fn reread(tree: &'t Tree, place: Place<'r>) -> Option<Self> {
        match tree {
            Tree::Map(entries) => Some(Self { entries, place, asked: Vec::new() }),
            _ => None,
        }
    }

    /// An object without fields, standing for one that is absent.
    pub(crate) fn none(place: Place<'r>) -> Self {
        Self { entries: &[], place, asked: Vec::new() }
    }

    /// Where this object is.
    pub(crate) fn place(&self) -> Place<'r> {
        self.place
    }

    /// The value of a field, `null` being the same as absent.
    pub(crate) fn get(&mut self, name: &'static str) -> Option<(&'t Tree, Place<'r>)> {
        self.asked.push(name);
        let (_, value) = self.entries.iter().find(|(key, _)| key == name)?;
        match value {
            Tree::Null => None,
            value => Some((value, self.place.field(name))),
        }
    }

    /// Whether the field is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, value)| key == name && !matches!(value, Tree::Null))
    }

    /// Whether the field is there and a list.
    pub(crate) fn is_list(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, value)| key == name && matches!(value, Tree::List(_)))
    }

    /// A text that may be absent.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<(&'t str, Place<'r>)> {
        let (value, place) = self.get(name)?;
        text(value, place).map(|text| (text, place))
    }

    /// A text that must be there and hold something, with the message of the Kubernetes API server
    /// for `minLength: 1`.
    pub(crate) fn filled(&mut self, name: &'static str) -> Option<(&'t str, Place<'r>)> {
        let place = self.place.field(name);
        if !self.has(name) {
            self.asked.push(name);
            place.error(&too_short(place));
            return None;
        }
        let (text, place) = self.text(name)?;
        if text.is_empty() {
            place.error(&too_short(place));
            return None;
        }
        Some((text, place))
    }

    /// A boolean that may be absent.
    pub(crate) fn boolean(&mut self, name: &'static str) -> Option<bool> {
        let (value, place) = self.get(name)?;
        match value {
            Tree::Bool(value) => Some(*value),
            other => {
                place.error(&format!("must be a boolean, not {}", other.kind()));
                None
            }
        }
    }

    /// A Gateway API duration that may be absent.
    pub(crate) fn duration(&mut self, name: &'static str) -> Option<(Duration, Place<'r>)> {
        let (text, place) = self.text(name)?;
        match rules::duration(text) {
            Some(duration) => Some((duration, place)),
            None => {
                place.error(rules::NOT_A_DURATION);
                None
            }
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy, const N: usize>(
        &mut self,
        name: &'static str,
        choices: [(&'static str, T); N],
        default: T,
    ) -> T {
        let words = choices.map(|(word, _)| word);
        let choice = self.word(name, &words).and_then(|index| choices.get(index));
        choice.map_or(default, |(_, choice)| *choice)
    }

    /// The index of the word that the field holds.
    fn word(&mut self, name: &'static str, words: &[&'static str]) -> Option<usize> {
        let (text, place) = self.text(name)?;
        let index = words.iter().position(|word| *word == text);
        if index.is_none() {
            place.error(&unsupported(text, words));
        }
        index
    }

    /// An object that may be absent.
    pub(crate) fn object(&mut self, name: &'static str) -> Option<Self> {
        let (value, place) = self.get(name)?;
        Fields::of(value, place)
    }

    /// The items of a list that may be absent.
    pub(crate) fn list(&mut self, name: &'static str) -> Vec<(&'t Tree, Place<'r>)> {
        match self.get(name) {
            Some((value, place)) => items(value, place),
            None => Vec::new(),
        }
    }

    /// The texts of a list that may be absent.
    pub(crate) fn texts(&mut self, name: &'static str) -> Vec<(&'t str, Place<'r>)> {
        self.list(name)
            .into_iter()
            .filter_map(|(value, place)| text(value, place).map(|text| (text, place)))
            .collect()
    }

    /// The entries of an object whose keys are the user's.
    pub(crate) fn entries(&mut self, name: &'static str) -> Vec<(&'t str, &'t Tree, Place<'r>)> {
        let Some(fields) = self.object(name) else { return Vec::new() };
        let place = fields.place;
        fields.entries.iter().map(|(key, value)| (key.as_str(), value, place.field(key))).collect()
    }

    /// Every field that nobody asked for is an error.
    pub(crate) fn finish(self) {
        for (name, _) in self.entries {
            if !self.asked.contains(&name.as_str()) {
                self.place.field(name).error("unknown field");
            }
        }
    }
}

/// `value` as a text, else an error at `place`.
pub(crate) fn text<'t>(value: &'t Tree, place: Place<'_>) -> Option<&'t str> {
    let text = value.as_text();
    if text.is_none() {
        place.error(&format!("must be a string, not {}", value.kind()));
    }
    text
}

/// `value` as a list, else an error at `place`.
pub(crate) fn items<'t, 'r>(value: &'t Tree, place: Place<'r>) -> Vec<(&'t Tree, Place<'r>)> {
    let Tree::List(items) = value else {
        place.error(&format!("must be a list, not {}", value.kind()));
        return Vec::new();
    };
    items.iter().enumerate().map(|(index, item)| (item, place.item(index))).collect()
}

/// The message of the Kubernetes API server for a value that an enum does not have.
pub(crate) fn unsupported(value: &str, words: &[&str]) -> String {
    let mut message = format!("Unsupported value: \"{}\": supported values: ", quote(value));
    for (index, word) in words.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        message.push_str(&format!("{separator}\"{word}\""));
    }
    message
}

fn too_short(place: Place<'_>) -> String {
    format!("{} in body should be at least 1 chars long", place.path())
}
