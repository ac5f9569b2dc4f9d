//! The demo as a page on loopback: the same traces, packets, metrics and log lines. Rendered here, once; no script,
//! nothing from elsewhere.

use super::closing::Packets;
use super::metrics::Metrics;
use super::scenes::texts;
use super::trace::{Call, Line, Row, duration};
use crate::telemetry::event::Level;
use anyhow::Result;
use axum::Router;
use axum::http::header;
use axum::routing::get;
use tokio::net::TcpListener;

const CSS: &str = include_str!("page.css");

/// What the page shows of one pod.
pub struct PodStory {
    pub name: String,
    /// The trace's id, in hex.
    pub trace: String,
    /// The sandbox's id at the runtime.
    pub sandbox: String,
    pub calls: Vec<Call>,
    pub logs: Vec<Line>,
}

/// The page, ready to be sent.
pub struct Page {
    html: String,
}

impl Page {
    /// Renders it.
    pub fn new(stories: Vec<PodStory>, packets: Vec<Packets>, metrics: &Metrics) -> Page {
        let mut html = String::from("<!doctype html><html lang=en><meta charset=utf-8>");
        html.push_str("<meta name=viewport content=\"width=device-width,initial-scale=1\">");
        html.push_str(&format!("<title>istio-cni-otel demo</title><style>{CSS}</style>"));
        html.push_str("<header><h1>istio-cni-otel demo</h1><p>What happened to the pods' networks, as the agent ");
        html.push_str("exported it over OTLP. Each pod's trace id is its UID without the dashes.</header><main>");
        stories.iter().for_each(|story| pod(story, &mut html));
        html.push_str("<section><h2>Packets</h2>");
        packets.iter().for_each(|(name, landings)| table_of_packets(name, landings, &mut html));
        html.push_str("</section><section><h2>Metrics that moved</h2><div class=scroll><table>");
        for (name, labels, by) in metrics.moved() {
            let [name, labels, by] = [name, labels, &by.to_string()].map(escape);
            html.push_str(&format!("<tr><td><code>{name}<small>{labels}</small></code><td class=number>{by}"));
        }
        html.push_str("</table></div></section></main></html>");
        Page { html }
    }

    /// Serves it until the caller has had enough.
    pub async fn serve(self, listener: TcpListener) -> Result<()> {
        let headers = [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        ];
        let routes = Router::new().route("/", get(move || async move { (headers, self.html.clone()) }));
        Ok(axum::serve(listener, routes).await?)
    }
}

fn pod(story: &PodStory, html: &mut String) {
    let [name, trace] = [&story.name, &story.trace].map(|text| escape(text));
    html.push_str(&format!(
        "<section><h2>{name}</h2><p class=trace>trace <code>{trace}</code>, sandbox <code>{}</code>",
        escape(&story.sandbox)
    ));
    let origin = story.calls.first().map(|call| call.start_ns).unwrap_or_default();
    for call in &story.calls {
        let at = duration(call.start_ns.saturating_sub(origin));
        let whole = duration(call.length_ns);
        html.push_str(&format!("<div class=call><p class=scale><span>+{at}</span><span>{whole}</span></p>"));
        call.rows.iter().for_each(|row| span(call, row, html));
        html.push_str("</div>");
    }
    html.push_str(&format!("<details><summary>{} log lines</summary><ol class=logs>", story.logs.len()));
    for line in &story.logs {
        let (time, level, text) = (clock(line.time_ns), line.level.name(), escape(&line.text));
        let class = if line.level >= Level::Error { " class=failed" } else { "" };
        html.push_str(&format!("<li{class}><time>{time}</time> <b>{level}</b> {text}"));
    }
    html.push_str("</ol></details></section>");
}

fn span(call: &Call, row: &Row, html: &mut String) {
    let share = |ns: u64| ns as f64 * 100.0 / call.length_ns as f64;
    let (left, width) = (share(row.offset_ns).min(100.0), share(row.duration_ns));
    let class = if row.failed { "span failed" } else { "span" };
    html.push_str(&format!(
        "<div class=\"{class}\" style=\"--depth:{};--left:{left:.2}%;--width:{width:.2}%\"><span class=name>{}</span>\
         <span class=track><i></i></span><span class=number>{}</span>",
        row.rails.len(),
        escape(&row.name),
        duration(row.duration_ns)
    ));
    if let Some(error) = &row.error {
        html.push_str(&format!("<span class=error>{}</span>", escape(error)));
    }
    let all: Vec<String> = row.telling().iter().map(|pair| format!("<code>{}</code>", escape(pair))).collect();
    if !all.is_empty() {
        html.push_str(&format!("<span class=attributes>{}</span>", all.join(" ")));
    }
    html.push_str("</div>");
}

fn table_of_packets(name: &str, landings: &[(super::packets::Probe, super::probe::Landing)], html: &mut String) {
    html.push_str(&format!("<h3>{}</h3><div class=scroll><table class=packets><tr>", escape(name)));
    for heading in ["from", "to", "landed at", "originally to", "which is"] {
        html.push_str(&format!("<th>{heading}"));
    }
    for (probe, landing) in landings {
        html.push_str("<tr>");
        for cell in texts(probe, landing).iter().map(String::as_str).chain([probe.meaning]) {
            html.push_str(&format!("<td>{}", escape(cell)));
        }
    }
    html.push_str("</table></div>");
}

/// The time of day in UTC, with milliseconds.
fn clock(ns: u64) -> String {
    let ms = ns / 1_000_000;
    let (hours, minutes, seconds) = (ms / 3_600_000 % 24, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}", ms % 1_000)
}

/// Text that is text, and nothing else, in an element or a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn story(text: &str) -> PodStory {
        let row = Row {
            rails: vec![true],
            name: text.to_owned(),
            offset_ns: 50,
            duration_ns: 25,
            failed: true,
            error: Some(text.to_owned()),
            attributes: vec![(text.to_owned(), text.to_owned())],
            links: vec![text.to_owned()],
        };
        PodStory {
            name: text.to_owned(),
            trace: text.to_owned(),
            sandbox: text.to_owned(),
            calls: vec![Call { start_ns: 0, length_ns: 100, rows: vec![row] }],
            logs: vec![Line { time_ns: 0, level: Level::Error, text: text.to_owned() }],
        }
    }

    #[test]
    fn nothing_that_a_pod_says_becomes_markup() {
        let page = Page::new(vec![story("<script>'\"&</script>")], Vec::new(), &Metrics::default());
        assert!(!page.html.contains("<script"), "{}", page.html);
        assert_eq!(page.html.matches("&lt;script&gt;&#39;&quot;&amp;&lt;/script&gt;").count(), 9, "{}", page.html);
    }

    #[test]
    fn a_span_stands_where_it_was_in_time() {
        let page = Page::new(vec![story("x")], Vec::new(), &Metrics::default());
        assert!(page.html.contains("--depth:1;--left:50.00%;--width:25.00%"), "{}", page.html);
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = Page::new(vec![story("x")], Vec::new(), &Metrics::default());
        for foreign in ["http://", "https://", "src=", "href=", "@import", "url("] {
            assert!(!page.html.contains(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_time_of_day_has_milliseconds() {
        assert_eq!(clock(1_760_000_000_123_456_789), "08:53:20.123");
    }
}
