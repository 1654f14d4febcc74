// Another range of time on the same page, without leaving it: charts first, then what the server makes around them.
import { bring, fill } from "./live.js";
import { say, timeless } from "./page.js";
import { drawn, exchange, follow } from "./panels.js";
import { sortable } from "./table.js";

const PARTS = [".top nav", ".bar", "main"]; // where ranges of time and what is in them stand
const MOMENT_MS = 300;
const here = () => location.pathname + location.search;
let shown = here();
let turn = 0;
let moving = false;

/** Shows the page as it is at an address that differs in its range of time. Charts whose cursors go together all tell
 * of a range that is dragged over one of them: the first counts, which is that one. */
export function move(to) {
  if (moving) return;
  moving = true;
  setTimeout(() => { moving = false; });
  show(to, () => history.pushState(null, "", to));
}

/** Shows the page at an address. What makes that the browser's own is called once charts are there, or a moment has
 * passed: it keeps the browser as busy as a chart does. */
async function show(to, enter = () => {}) {
  const mine = ++turn;
  const { pathname, search, searchParams: asked } = new URL(to, location.href);
  shown = pathname + search;
  document.body.dataset.moves = asked.has("from") || asked.has("to") ? "no" : "yes";
  const charts = follow(Object.fromEntries(["from", "to", "last"].map((name) => [name, asked.get(name)])));
  await drawn(MOMENT_MS);
  if (mine !== turn) return;
  enter();
  await charts;
  if (mine !== turn) return;
  const response = await fetch(to, { headers: { Accept: "text/html" } });
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  if (mine !== turn) return;
  if (!response.ok || response.redirected) return location.reload();
  const { activeElement, body } = document;
  const parts = new Map([...document.querySelectorAll("[data-part]")].map((part) => [timeless(part.dataset.part), part]));
  exchange(() => {
    for (const part of PARTS) document.querySelector(part).replaceChildren(...fresh.querySelector(part).childNodes);
    document.getElementById("marks")?.replaceWith(fresh.getElementById("marks"));
  });
  const kept = [...document.querySelectorAll("[data-part]")].filter((part) => parts.get(timeless(part.dataset.part))?.childElementCount);
  for (const part of kept) {
    part.replaceChildren(...parts.get(timeless(part.dataset.part)).childNodes);
    part.removeAttribute("aria-busy");
  }
  document.title = fresh.title;
  Object.assign(body.dataset, fresh.body.dataset);
  document.querySelectorAll("table[data-sorts]").forEach(sortable);
  fill();
  kept.forEach(bring);
  const alike = () => [...document.querySelectorAll(".range a")].find((link) => link.textContent === activeElement.textContent);
  if (activeElement !== body) (activeElement.isConnected ? activeElement : alike())?.focus({ preventScroll: true });
  say(document.querySelector(".exact summary, .presets [aria-current]")?.textContent.trim() ?? "");
}

addEventListener("popstate", () => { if (document.body.hasAttribute("data-in-place") && here() !== shown) show(here()); });
