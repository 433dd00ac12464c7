//! The form of fields that a manifest may have and that nothing here uses: a small schema, so that a
//! manifest which the API server refuses is refused here too.

use super::cursor::{Fields, items, text, unsupported};
use super::place::Place;
use super::rules;
use super::tree::Tree;

/// What a value has to look like.
pub(crate) enum Shape {
    /// Any text.
    Text,
    /// A text of at least one and at most so many characters; required in its object.
    Filled(usize),
    /// A domain name.
    Domain,
    /// A Gateway API duration.
    Duration,
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// An object with these fields.
    Object(&'static [(&'static str, Self)]),
    /// Any object.
    AnyObject,
    /// A list of at least and at most so many items; required in its object if that is not 0.
    Items(usize, usize, &'static Self),
}

/// Notes whatever of `value` is not of its shape.
pub(crate) fn check(value: &Tree, place: Place<'_>, shape: &Shape) {
    match shape {
        Shape::Text => {
            text(value, place);
        }
        Shape::Filled(most) => match text(value, place).map(|text| text.chars().count()) {
            Some(0) => {
                place.error(&format!("{} in body should be at least 1 chars long", place.path()))
            }
            Some(length) if length > *most => {
                place.error(&format!("Too long: may not be more than {most} characters"))
            }
            _ => {}
        },
        Shape::Domain => {
            if text(value, place).is_some_and(|text| !rules::dns_subdomain(text)) {
                place.error(rules::NOT_A_SUBDOMAIN);
            }
        }
        Shape::Duration => {
            if text(value, place).is_some_and(|text| rules::duration(text).is_none()) {
                place.error(rules::NOT_A_DURATION);
            }
        }
        Shape::Boolean => {
            if !matches!(value, Tree::Bool(_)) {
                place.error(&format!("must be a boolean, not {}", value.kind()));
            }
        }
        Shape::OneOf(words) => {
            if let Some(word) = text(value, place)
                && !words.contains(&word)
            {
                place.error(&unsupported(word, words));
            }
        }
        Shape::Object(shapes) => {
            let Some(mut fields) = Fields::of(value, place) else { return };
            for (name, shape) in *shapes {
                let required = matches!(shape, Shape::Filled(_) | Shape::Items(1.., _, _));
                match fields.get(name) {
                    Some((value, place)) => check(value, place, shape),
                    None if required => place.field(name).error("Required value"),
                    None => {}
                }
            }
            fields.finish();
        }
        Shape::AnyObject => {
            Fields::of(value, place);
        }
        Shape::Items(least, most, shape) => {
            let list = items(value, place);
            if list.len() > *most {
                place.error(&format!("Too many: {}: must have at most {most} items", list.len()));
            }
            if list.len() < *least && matches!(value, Tree::List(_)) {
                place
                    .error(&format!("{} in body should have at least {least} items", place.path()));
            }
            for (item, place) in list {
                check(item, place, shape);
            }
        }
    }
}
