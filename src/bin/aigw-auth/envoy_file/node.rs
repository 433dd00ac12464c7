//! A read-only walk over an Envoy configuration that knows where it is.

use aigw_auth::policy::{Tree, quote};
use std::rc::Rc;

static NOTHING: Tree = Tree::Null;

/// A value of an Envoy configuration, the object that it is in, and its path there. What is not in the
/// file is a node too: an absent one, which has a path all the same.
#[derive(Clone)]
pub(crate) struct Node<'t> {
    tree: &'t Tree,
    file: usize,
    object: Rc<str>,
    path: String,
}

impl<'t> Node<'t> {
    /// A document of a file, which is no object yet. Files have numbers here.
    pub(crate) fn document(tree: &'t Tree, file: usize) -> Self {
        Self { tree, file, object: "".into(), path: String::new() }
    }

    /// The same value as an object of its own, such as `cluster openai`. Without a name it is called
    /// by its place in the file.
    pub(crate) fn named(&self, kind: &str, name: &str) -> Self {
        let name = if name.is_empty() { self.path.clone() } else { quote(name) };
        let object = format!("{kind} {name}").trim_end().into();
        Self { object, path: String::new(), ..*self }
    }

    /// The same value under a shorter path.
    pub(crate) fn with_path(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }

    /// Another value at the same place: what a text holds once it is parsed.
    pub(crate) fn with_tree<'u>(&self, tree: &'u Tree) -> Node<'u> {
        Node { tree, file: self.file, object: Rc::clone(&self.object), path: self.path.clone() }
    }

    /// A field by the name that it has in Envoy's documentation; protobuf takes `typedConfig` for
    /// `typed_config` as well.
    pub(crate) fn field(&self, name: &str) -> Self {
        let other = camel(name);
        let (name, tree) = match (self.tree.field(name), self.tree.field(&other)) {
            (None, Some(tree)) => (other.as_str(), tree),
            (tree, _) => (name, tree.unwrap_or(&NOTHING)),
        };
        self.child(name, tree)
    }

    /// A field of a field of a field.
    pub(crate) fn at<const N: usize>(&self, names: [&str; N]) -> Self {
        names.iter().fold(self.clone(), |node, name| node.field(name))
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Vec<Self> {
        let Tree::List(items) = self.tree else { return Vec::new() };
        let item = |(index, tree)| Self {
            tree,
            file: self.file,
            object: Rc::clone(&self.object),
            path: format!("{}[{index}]", self.path),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// The fields of an object, with their names.
    pub(crate) fn entries(&self) -> Vec<(&'t str, Self)> {
        let Tree::Map(entries) = self.tree else { return Vec::new() };
        entries.iter().map(|(name, tree)| (name.as_str(), self.child(name, tree))).collect()
    }

    /// Every text at or below this place, but for what is below fields of the given names.
    pub(crate) fn texts(&self, without: &[&str]) -> Vec<Self> {
        if matches!(self.tree, Tree::Text(_)) {
            return vec![self.clone()];
        }
        let fields = self.entries().into_iter().filter(|(name, _)| !without.contains(name));
        let below = fields.map(|(_, node)| node).chain(self.items());
        below.flat_map(|node| node.texts(without)).collect()
    }

    /// The type of a `google.protobuf.Any`, without its host, and the message in it, also if it is
    /// written as a `TypedStruct`.
    pub(crate) fn message(&self) -> (&'t str, Self) {
        let name = |node: Self| node.text().rsplit('/').next().unwrap_or_default();
        match name(self.field("@type")) {
            "xds.type.v3.TypedStruct" | "udpa.type.v1.TypedStruct" => {
                (name(self.field("type_url")), self.field("value"))
            }
            plain => (plain, self.clone()),
        }
    }

    /// The text, empty if there is none.
    pub(crate) fn text(&self) -> &'t str {
        self.tree.as_text().unwrap_or_default()
    }

    /// The number, if it is one.
    pub(crate) fn number(&self) -> Option<f64> {
        match self.tree {
            Tree::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Whether it is `true`.
    pub(crate) fn is_true(&self) -> bool {
        matches!(self.tree, Tree::Bool(true))
    }

    /// Whether there is anything, be it `false` or an empty object.
    pub(crate) fn is_there(&self) -> bool {
        !matches!(self.tree, Tree::Null)
    }

    /// Whether there is anything but what protobuf takes for nothing: `false` or an empty text.
    pub(crate) fn is_set(&self) -> bool {
        match self.tree {
            Tree::Null | Tree::Bool(false) => false,
            Tree::Text(text) => !text.is_empty(),
            _ => true,
        }
    }

    /// The value.
    pub(crate) fn tree(&self) -> &'t Tree {
        self.tree
    }

    /// The file that this is in.
    pub(crate) fn file(&self) -> usize {
        self.file
    }

    /// The object that this is in.
    pub(crate) fn object(&self) -> &str {
        &self.object
    }

    /// The path in that object.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    fn child(&self, name: &str, tree: &'t Tree) -> Self {
        let name = quote(name);
        let path = if self.path.is_empty() { name } else { format!("{}.{name}", self.path) };
        Self { tree, file: self.file, object: Rc::clone(&self.object), path }
    }
}

fn camel(snake: &str) -> String {
    let mut parts = snake.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}
