//! What an Event on the pod says, and how the kubelet words it.

use super::moment::Moment;
use crate::domain::gotext::parse_duration;

/// An Event on a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodEvent {
    /// `Pulling`, for example.
    pub reason: String,
    pub message: String,
    /// Who says it: `kubelet`, for example.
    pub component: String,
    /// The container that it is about.
    pub container: Option<String>,
    /// When it was said first, by the clock of whoever says it.
    pub first: Option<Moment>,
    /// When it was said last.
    pub last: Option<Moment>,
    /// How often; at least once.
    pub count: u64,
    pub warning: bool,
    /// When the API server got it first, by its own clock; nanoseconds since the epoch, of whole seconds.
    pub received_ns: Option<u64>,
}

impl PodEvent {
    /// The container that a field path like `spec.containers{web}` or `spec.initContainers{setup}` names.
    pub fn container_of(path: &str) -> Option<&str> {
        let name = path.strip_prefix("spec.")?.split_once('{')?.1.strip_suffix('}')?;
        (!name.is_empty()).then_some(name)
    }

    /// The image that it is about: the first thing in quotes.
    pub(super) fn image(&self) -> Option<&str> {
        self.message.split('"').nth(1).filter(|image| !image.is_empty())
    }

    /// How long a pull took, of `Successfully pulled image "x" in 2.3s (5s including waiting)…`.
    pub(super) fn pull_ms(&self) -> Option<u64> {
        let took = self.message.split("\" in ").nth(1)?.split([' ', '(']).next()?;
        u64::try_from(parse_duration(took).ok()?.as_millis()).ok()
    }

    /// Whether it says that an image was pulled just now, not that it was there.
    pub(super) fn is_pulled(&self) -> bool {
        self.reason == "Pulled" && self.message.starts_with("Successfully pulled")
    }

    /// Whether it says that an image could not be pulled. `Failed` is said of much else, too.
    pub(super) fn is_failed_pull(&self) -> bool {
        self.reason == "Failed" && self.message.starts_with("Failed to pull image")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_path_names_a_container() {
        assert_eq!(PodEvent::container_of("spec.containers{web}"), Some("web"));
        assert_eq!(PodEvent::container_of("spec.initContainers{setup}"), Some("setup"));
        for none in ["", "spec.containers", "spec.containers{}", "metadata{x}", "spec.containers{x"] {
            assert_eq!(PodEvent::container_of(none), None, "{none}");
        }
    }

    #[test]
    fn the_kubelets_words_are_understood_and_others_are_not_guessed() {
        let event = |message: &str| PodEvent { message: message.into(), ..PodEvent::default() };
        let pulled =
            event("Successfully pulled image \"web:1\" in 1m2.345s (1m5s including waiting). Image size: 9 bytes.");
        assert_eq!((pulled.image(), pulled.pull_ms()), (Some("web:1"), Some(62_345)));
        assert_eq!(event("Successfully pulled image \"web:1\" in 345ms").pull_ms(), Some(345));
        for other in ["", "Successfully pulled image", "pulled \"x\" in a moment", "\" in "] {
            assert_eq!(event(other).pull_ms(), None, "{other}");
        }
    }
}
