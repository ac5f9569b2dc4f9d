//! What whoever looks at a cluster has to be allowed, in sentences that say how to find out whether they are.

use crate::k8s::error::ApiError;

/// What was asked of the API server.
#[derive(Clone, Copy, Debug)]
pub struct Right<'a> {
    pub verb: &'static str,
    pub resource: &'static str,
    /// Behind the resource's slash; empty for none.
    pub subresource: &'static str,
    /// All of them without one.
    pub namespace: Option<&'a str>,
}

impl<'a> Right<'a> {
    /// Of a resource as a whole, in all namespaces, or of what is in none.
    pub const fn of(verb: &'static str, resource: &'static str) -> Right<'a> {
        Right { verb, resource, subresource: "", namespace: None }
    }

    /// The same in one namespace.
    pub const fn within(self, namespace: Option<&'a str>) -> Right<'a> {
        Right { namespace, ..self }
    }

    /// Of connections to agents in this namespace.
    pub const fn forward(namespace: &'a str) -> Right<'a> {
        Right { verb: "create", resource: "pods", subresource: "portforward", namespace: Some(namespace) }
    }

    /// The command that answers whether somebody has it.
    pub fn question(self) -> String {
        let subresource = match self.subresource {
            "" => String::new(),
            subresource => format!(" --subresource={subresource}"),
        };
        let namespace = match (self.namespace, self.resource) {
            (Some(namespace), _) => format!(" -n {namespace}"),
            (None, "nodes") => String::new(),
            (None, _) => " -A".to_owned(),
        };
        format!("kubectl auth can-i {} {}{subresource}{namespace}", self.verb, self.resource)
    }

    /// What to do where it is missing.
    pub fn advice(self) -> String {
        let slash = if self.subresource.is_empty() { "" } else { "/" };
        let place = self.namespace.map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
        format!(
            "use an account that may {} {}{slash}{}{place}: {} says whether one may",
            self.verb,
            self.resource,
            self.subresource,
            self.question()
        )
    }

    /// What an error of asking for it means to whoever asked.
    pub fn problem(self, error: &ApiError) -> String {
        match error {
            ApiError::Forbidden { message, .. } => {
                format!("the API server does not allow it (403): {message}: {}", self.advice())
            }
            ApiError::Unauthorized { message } => format!(
                "the API server does not accept these credentials (401): {message}: log in anew, or give another --kubeconfig or --context; kubectl auth whoami says who you are to it"
            ),
            error => error.whole(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_right_can_be_asked_for() {
        assert_eq!(Right::of("list", "nodes").question(), "kubectl auth can-i list nodes");
        assert_eq!(Right::of("list", "pods").question(), "kubectl auth can-i list pods -A");
        assert_eq!(
            Right::forward("istio-system").advice(),
            "use an account that may create pods/portforward in namespace istio-system: kubectl auth can-i create pods \
             --subresource=portforward -n istio-system says whether one may"
        );
    }
}
