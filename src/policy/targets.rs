//! `spec.targetRefs`: the backends that a policy is for.

use super::backend::{AI_SERVICE_BACKEND, BackendName, INFERENCE_POOL};
use super::cursor::Fields;
use super::resources::AI_GATEWAY_GROUP;
use super::rules;

const INFERENCE_GROUP: &str = "inference.networking.k8s.io";
const MOST_TARGETS: usize = 16;

/// `spec.targetRefs`, each a Gateway API `LocalPolicyTargetReference`.
pub(crate) fn read(spec: &mut Fields<'_, '_>, namespace: &str) -> Vec<(BackendName, usize)> {
    let place = spec.place().field("targetRefs");
    let references = spec.list("targetRefs");
    if references.is_empty() && (spec.is_list("targetRefs") || !spec.has("targetRefs")) {
        place.warning("is empty: no backend gets this credential");
    }
    if references.len() > MOST_TARGETS {
        place.error(&format!(
            "Too many: {}: must have at most {MOST_TARGETS} items",
            references.len()
        ));
    }
    let mut only_backends = true;
    let mut targets: Vec<(BackendName, usize)> = Vec::new();
    for (number, (tree, place)) in references.into_iter().take(MOST_TARGETS).enumerate() {
        let Some(mut reference) = Fields::of(tree, place) else { continue };
        let group = match reference.text("group") {
            Some((text, place)) => {
                if !rules::api_group(text) {
                    place.error(rules::NOT_A_SUBDOMAIN);
                }
                Some(text)
            }
            None => {
                if !reference.has("group") {
                    reference.place().field("group").error("Required value");
                }
                None
            }
        };
        let kind = reference.filled("kind").map(|(text, place)| {
            if !rules::kind(text) {
                place.error("must be the name of a kind");
            }
            text
        });
        let name = reference.filled("name").and_then(|(text, place)| {
            if !rules::path_part(text) {
                place.error(rules::NOT_A_PATH_PART);
                return None;
            }
            Some(text)
        });
        reference.finish();
        let (Some(group), Some(kind), Some(name)) = (group, kind, name) else { continue };
        if [(AI_GATEWAY_GROUP, AI_SERVICE_BACKEND), (INFERENCE_GROUP, INFERENCE_POOL)]
            .contains(&(group, kind))
        {
            let target = BackendName {
                kind: kind.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            };
            if !targets.iter().any(|(known, _)| *known == target) {
                targets.push((target, number));
            }
        } else {
            only_backends = false;
        }
    }
    if !only_backends {
        place.error("targetRefs must reference AIServiceBackend or InferencePool resources");
    }
    targets
}
