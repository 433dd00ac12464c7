//! XML as STS and what stands in for it write it: elements with texts. It becomes the tree that JSON of
//! the same names would be.

use crate::policy::Tree;
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// No document nests deeper.
const DEEPEST: usize = 32;

/// An element that is not at its end yet.
struct Open {
    name: String,
    children: Vec<(String, Tree)>,
    text: String,
}

impl Open {
    /// Names count without the prefix of their namespace.
    fn new(local_name: &[u8]) -> Option<Self> {
        let name = core::str::from_utf8(local_name).ok()?.to_owned();
        Some(Self { name, children: Vec::new(), text: String::new() })
    }

    fn close(self) -> (String, Tree) {
        // Text between elements is white space.
        let tree =
            if self.children.is_empty() { Tree::Text(self.text) } else { Tree::Map(self.children) };
        (self.name, tree)
    }
}

/// The document as a tree: its root is the one entry of a map. `None` if it is none, or has a document
/// type, which nobody needs who means well.
pub(super) fn tree(text: &str) -> Option<Tree> {
    let mut reader = Reader::from_str(text);
    let mut open = vec![Open { name: String::new(), children: Vec::new(), text: String::new() }];
    loop {
        let inner = open.last_mut()?;
        match reader.read_event().ok()? {
            Event::Start(start) => {
                if open.len() > DEEPEST {
                    return None;
                }
                open.push(Open::new(start.local_name().as_ref())?);
            }
            Event::Empty(empty) => {
                inner.children.push(Open::new(empty.local_name().as_ref())?.close());
            }
            Event::End(_) => {
                let (name, tree) = open.pop()?.close();
                open.last_mut()?.children.push((name, tree));
            }
            Event::Text(part) => inner.text.push_str(&part.decode().ok()?),
            Event::CData(part) => inner.text.push_str(&part.decode().ok()?),
            Event::GeneralRef(reference) => match reference.resolve_char_ref().ok()? {
                Some(character) => inner.text.push(character),
                None => {
                    let name = reference.decode().ok()?;
                    inner.text.push_str(resolve_predefined_entity(&name)?);
                }
            },
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::DocType(_) => return None,
            Event::Eof => break,
        }
    }
    match open.as_mut_slice() {
        [root] if root.children.len() == 1 => Some(Tree::Map(std::mem::take(&mut root.children))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Tree {
        Tree::Text(text.to_owned())
    }

    fn map(entries: Vec<(&str, Tree)>) -> Tree {
        Tree::Map(entries.into_iter().map(|(name, tree)| (name.to_owned(), tree)).collect())
    }

    #[test]
    fn elements_become_what_json_would_be() {
        let document = r#"<?xml version="1.0" encoding="UTF-8"?>
            <!-- a comment -->
            <R xmlns="https://sts.amazonaws.com/doc/2011-06-15/" a="b">
              <x:A xmlns:x="y">one</x:A>
              <B><C>&lt;&amp;&#x41;&#66;<![CDATA[<&>]]>+/=</C><D/></B>
            </R>"#;
        let inner = map(vec![("C", text("<&AB<&>+/=")), ("D", text(""))]);
        let expected = map(vec![("R", map(vec![("A", text("one")), ("B", inner)]))]);
        assert!(tree(document) == Some(expected));
    }

    #[test]
    fn what_is_no_document_is_none() {
        for document in [
            "",
            "text",
            "<a>",
            "</a>",
            "<a></b>",
            "<a/><b/>",
            "<a>&unknown;</a>",
            "<a>&#x110000;</a>",
            "<a>&amp</a>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
            "<!DOCTYPE html><html></html>",
            "{\"a\": 1}",
        ] {
            assert!(tree(document).is_none(), "{document}");
        }
        let deep = |depth| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert!(tree(&deep(DEEPEST)).is_some());
        assert!(tree(&deep(DEEPEST + 1)).is_none());
        assert!(tree(&deep(100_000)).is_none());
    }
}
