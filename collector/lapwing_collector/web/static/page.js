// What every page has: the range of time, keys, the theme, SQL of panels, forms that send themselves.

const WAITS_MS = 15000; // for what is printed; what has not come by then is missing

/** Tells people who listen. */
export const say = (text) => { document.querySelector(".announce").textContent = text; };

/** An address, this page's unless told, with other parameters; null leaves one out. */
export function address(changes, of = location.href) {
  const made = new URL(of, location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) made.searchParams.delete(name);
    else made.searchParams.set(name, value);
  }
  return made.pathname + made.search;
}

/** An address without its range of time. */
export const timeless = (of) => address({ from: null, to: null, last: null }, of);

let travel = null; // how this page shows another range of time without being left, if it can

function go(changes) {
  if (travel) return travel(address(changes));
  sessionStorage.setItem("lapwing-scroll", `${location.pathname} ${scrollY}`);
  location.assign(address(changes));
}

/** Shows the range between two times, in milliseconds, on the whole page. */
export function zoom(from, to) {
  const whole = to - from < 600000 ? 1000 : 60000;
  const iso = (ms) => new Date(ms).toISOString().replace(/\.\d+/, "");
  go({ from: iso(Math.floor(from / whole) * whole), to: iso(Math.ceil(to / whole) * whole) });
}

/** Back to the range that moves with time. */
export const reset = () => go({ from: null, to: null });

/** What dragging over a chart does, and a double click. A page may exchange them, look on while somebody drags
 * (`during`), and tell which range is to be seen as picked (`picked`); after that it tells of `lapwing:picked`. */
export const picking = { zoom, reset };

function keepScroll() {
  const [path, y] = (sessionStorage.getItem("lapwing-scroll") ?? "").split(" ");
  sessionStorage.removeItem("lapwing-scroll");
  if (path === location.pathname) scrollTo(0, Number(y));
}

function theme() {
  const root = document.documentElement;
  document.querySelector("[data-theme-toggle]")?.addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    document.cookie = `lapwing_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=lax`;
    dispatchEvent(new Event("lapwing:theme"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("lapwing:theme")));
}

/** Paper is light. What nobody has scrolled to is asked for by what listens to `beforeprint`, too late for that paper:
 * so the key that prints waits for it. */
function paper() {
  const root = document.documentElement;
  let before;
  const turn = (to) => {
    if (to) root.dataset.theme = to;
    else delete root.dataset.theme;
    dispatchEvent(new Event("lapwing:theme"));
  };
  addEventListener("beforeprint", (event) => {
    if (!event.isTrusted) return;
    before = root.dataset.theme;
    turn("light");
  });
  addEventListener("afterprint", () => turn(before));
  document.addEventListener("keydown", async (event) => {
    if (event.key !== "p" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
    event.preventDefault();
    dispatchEvent(new Event("beforeprint"));
    const until = Date.now() + WAITS_MS;
    while (Date.now() < until && document.querySelector(".drawn[aria-busy], [data-part][aria-busy]")) await new Promise(requestAnimationFrame);
    print();
  });
}

/** Closes sheets that somebody has left, by mouse or by keyboard: they lie over what is behind. */
function sheets() {
  const open = () => document.querySelectorAll("details:has(> .sheet)[open]");
  const leave = ({ target }) => { for (const each of open()) if (!each.contains(target)) each.open = false; };
  document.addEventListener("click", leave);
  document.addEventListener("focusin", leave);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const each of open()) {
      each.open = false;
      if (each.contains(event.target)) each.querySelector("summary").focus();
    }
  });
}

function forms() {
  document.addEventListener("change", (event) => {
    if (event.target.form?.matches("[data-submits]")) event.target.form.requestSubmit();
  });
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.matches("[data-asks]") && !confirm(form.dataset.asks)) event.preventDefault();
    if (!form.matches("[data-range]")) return;
    event.preventDefault();
    const told = new FormData(form);
    go({ from: `${told.get("from")}Z`, to: `${told.get("to")}Z` });
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest(".range a");
    if (!link || !travel || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    travel(link.href);
  });
}

function copy() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = document.getElementById(button.dataset.copy)?.textContent ?? "";
    await navigator.clipboard.writeText(text);
    const before = button.textContent;
    button.textContent = "Copied";
    say("Copied");
    setTimeout(() => { button.textContent = before; }, 1500);
  });
}

/** Shows the SQL of a panel beside where it can be tried and changed. */
function sql() {
  document.addEventListener("click", async (event) => {
    const link = event.target.closest("a[data-sql]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const response = await fetch(link.href);
    const text = await response.text();
    const dialog = document.createElement("dialog");
    dialog.className = "sql-shown";
    dialog.innerHTML = '<h2>SQL</h2><pre id="sql-shown" tabindex="0"></pre><div><button type="button" data-copy="sql-shown">Copy</button><a class="button">Open in SQL</a><span class="spring"></span><form method="dialog"><button>Close</button></form></div>';
    dialog.querySelector("pre").textContent = text;
    dialog.querySelector("a").href = `/sql?${new URLSearchParams({ q: text })}`;
    document.body.append(dialog);
    dialog.addEventListener("close", () => { dialog.remove(); link.focus(); });
    dialog.showModal();
  });
}

function keys(refresh) {
  const dialog = document.querySelector("dialog.keys");
  const on = dialog.querySelector("[data-keys-on]");
  on.checked = localStorage.getItem("lapwing-keys") !== "off";
  on.addEventListener("change", () => localStorage.setItem("lapwing-keys", on.checked ? "on" : "off"));
  const open = () => dialog.showModal();
  document.querySelector("[data-keys]")?.addEventListener("click", open);
  const follow = (key) => document.querySelector(`[data-key="${key}"]`)?.click();
  let going = 0;
  document.addEventListener("keydown", (event) => {
    if (!on.checked || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest("input, textarea, select, dialog, [contenteditable]")) return;
    if (going && Date.now() - going < 1500) {
      going = 0;
      const link = document.querySelector(`.top nav a[data-go="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); link.click(); return; }
    }
    const actions = {
      "[": () => follow("earlier"), "]": () => follow("later"), "-": () => follow("wider"), 0: reset, r: refresh, "?": open,
      "/": () => document.querySelector("main input:not([type=hidden]), main textarea, .of-model select")?.focus(), g: () => { going = Date.now(); },
    };
    if (actions[event.key]) { event.preventDefault(); actions[event.key](); }
  });
}

/** Begins; `move` shows the page for another address, where it can do that in place. */
export function start({ refresh, move }) {
  if (document.body.hasAttribute("data-in-place")) travel = move;
  theme();
  paper();
  sheets();
  forms();
  copy();
  sql();
  keys(refresh);
  keepScroll();
}
