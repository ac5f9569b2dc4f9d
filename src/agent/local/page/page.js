// Keeps what is shown up to date. The server says that there is something new (/events); then this asks for the page that
// is shown again, and changes only what differs, so that focus, selection, scroll and what was unfolded stay as they are.
"use strict";
(() => {
  const live = document.getElementById("live");
  const state = document.getElementById("state");
  const form = document.querySelector("form.filters");
  // A page that is costly to make says how long to leave it in peace, in milliseconds.
  const costly = document.querySelector("[data-pause]");
  const pause = costly ? Number(costly.dataset.pause) : 0;
  // An answer that does not come is given up, or nothing would ever be asked for again.
  const PATIENCE = 10000;
  // The whole address: of a path that begins with two slashes the path alone would name another host.
  const shown = () => location.href.split("#")[0];
  let asking = false;
  let again = false;
  let source = null;
  let waiting = 0;

  function say(word, how) {
    live.hidden = false;
    live.textContent = word;
    live.className = "live " + how;
  }

  // Asks for what is shown now, once at a time.
  async function refresh() {
    again = true;
    if (asking) return;
    asking = true;
    try {
      while (again) {
        again = false;
        await renew(shown());
        if (pause) await new Promise((over) => setTimeout(over, pause));
      }
    } catch {
      say("not reachable", "off");
    } finally {
      asking = false;
    }
  }

  async function renew(url) {
    const signal = AbortSignal.timeout(PATIENCE);
    const answer = await fetch(url, { headers: { accept: "text/html" }, redirect: "error", signal });
    const text = await answer.text();
    const isPage = (answer.headers.get("content-type") || "").startsWith("text/html");
    // While it was on its way somebody may have asked for another one.
    if (!isPage || url !== shown()) return;
    const next = new DOMParser().parseFromString(text, "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const fresh = next.getElementById(part.id);
      if (fresh) become(part, fresh);
    }
    document.title = next.title;
  }

  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.key || node.id : "");

  // Makes an element what another one is, changing no more than differs.
  function become(old, fresh) {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const keys = new Set([...fresh.childNodes].map(keyOf).filter(Boolean));
    const kept = new Map();
    for (const node of [...old.childNodes]) {
      const key = keyOf(node);
      if (key && !keys.has(key)) node.remove();
      else if (key) kept.set(key, node);
    }
    let at = old.firstChild;
    for (const wanted of [...fresh.childNodes]) {
      const key = keyOf(wanted);
      const same = key ? kept.get(key) : at && !keyOf(at) && at.nodeName === wanted.nodeName ? at : null;
      if (!same) {
        old.insertBefore(arrived(wanted), at);
      } else {
        if (same === at) at = at.nextSibling;
        else old.insertBefore(same, at);
        if (same.nodeType === Node.ELEMENT_NODE) become(same, wanted);
        else if (same.data !== wanted.data) same.data = wanted.data;
      }
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function arrived(wanted) {
    const node = document.importNode(wanted, true);
    if (node.nodeType === Node.ELEMENT_NODE && node.matches("li")) node.classList.add("arrived");
    return node;
  }

  function listen() {
    clearTimeout(waiting);
    if (source) source.close();
    source = new EventSource("/events");
    let first = true;
    source.addEventListener("version", (event) => {
      const known = first && event.data === state.dataset.version;
      first = false;
      say("live", "on");
      if (!known) refresh();
    });
    source.onerror = () => {
      say("waiting", "off");
      if (source.readyState !== EventSource.CLOSED) return;
      // Too many pages are told already, or the agent is away: look from time to time.
      waiting = setTimeout(() => {
        refresh();
        listen();
      }, 10000);
    };
  }

  function asked() {
    const pairs = [...new FormData(form)].filter(([name, value]) => value && !(name === "kind" && value === "all"));
    const query = new URLSearchParams(pairs).toString();
    history.replaceState(null, "", query ? "/?" + query : "/");
    refresh();
  }

  if (form) {
    let typing = 0;
    form.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(asked, 200);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(typing);
      asked();
    });
  }

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) return listen();
    clearTimeout(waiting);
    source.close();
    say("paused", "off");
  });
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => event.persisted && listen());
  listen();
})();
