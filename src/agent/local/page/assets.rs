//! The style, the script and the icon: parts of the binary, each under a name that has its content's hash, so that a
//! browser may keep it for ever.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::hash::Hasher;
use std::sync::LazyLock;

/// A file that the page refers to.
pub(super) struct Asset {
    stem: &'static str,
    extension: &'static str,
    content_type: &'static str,
    content: &'static str,
}

pub(super) const STYLE: Asset = Asset {
    stem: "page",
    extension: "css",
    content_type: "text/css; charset=utf-8",
    content: include_str!("page.css"),
};
pub(super) const SCRIPT: Asset = Asset {
    stem: "page",
    extension: "js",
    content_type: "text/javascript; charset=utf-8",
    content: include_str!("page.js"),
};
pub(super) const ICON: Asset =
    Asset { stem: "icon", extension: "svg", content_type: "image/svg+xml", content: include_str!("icon.svg") };

static NAMED: LazyLock<Vec<(String, Asset)>> =
    LazyLock::new(|| [STYLE, SCRIPT, ICON].into_iter().map(|asset| (asset.name(), asset)).collect());

impl Asset {
    /// Where it is served.
    pub(super) fn url(&self) -> String {
        format!("/assets/{}", self.name())
    }

    fn name(&self) -> String {
        // Not against forgery: it only has to change with the content.
        let mut hash = std::hash::DefaultHasher::new();
        hash.write(self.content.as_bytes());
        format!("{}-{:016x}.{}", self.stem, hash.finish(), self.extension)
    }
}

/// What is served under a name.
pub(super) fn answer(name: &str) -> Response {
    match NAMED.iter().find(|(known, _)| known == name) {
        None => (StatusCode::NOT_FOUND, "there is no such file\n").into_response(),
        Some((_, asset)) => {
            let headers = [
                (header::CONTENT_TYPE, asset.content_type),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            (headers, asset.content).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_refers_to_anywhere_else() {
        for asset in [STYLE, SCRIPT, ICON] {
            let foreign = ["http:", "https:", "//cdn", "@import", "url(", "eval(", "innerHTML"];
            let found: Vec<_> = foreign.into_iter().filter(|text| asset.content.contains(text)).collect();
            let allowed: &[&str] = if asset.extension == "svg" { &["http:"] } else { &[] };
            assert_eq!(found, allowed, "{}", asset.stem);
        }
    }

    #[test]
    fn a_name_says_the_content() {
        assert_eq!(answer(&STYLE.name()).status(), 200);
        assert_eq!(answer("page.css").status(), 404);
        assert!(STYLE.url().starts_with("/assets/page-") && STYLE.url().ends_with(".css"));
    }
}
