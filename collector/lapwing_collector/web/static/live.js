// What is new is told by one stream; a page asks again for what it shows, no more often than is worth it.
import { refresh } from "./panels.js";
import { sortable } from "./table.js";

const RESTS_MS = 4000;
let turn = 0;
let shown = 0;

/** Parts of the page that the server makes, marked by `data-swap`: the same page is asked for, and these are exchanged. An
 * answer that comes after a later one is passed over. */
export async function swap() {
  const parts = [...document.querySelectorAll("[data-swap][id]")];
  if (!parts.length) return;
  const asked = location.href;
  const mine = ++turn;
  const response = await fetch(asked, { headers: { Accept: "text/html" } });
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!response.ok || response.redirected || location.href !== asked) return; // another range of time is shown by now
  if (mine < shown) return;
  shown = mine;
  const gone = [...document.querySelectorAll("[data-until-there][id]")].some((part) => !fresh.getElementById(part.id));
  if (gone) return location.reload(); // the page is another one now
  document.title = fresh.title;
  for (const part of parts) {
    const other = fresh.getElementById(part.id);
    if (!other || other.innerHTML === part.dataset.was || part.contains(document.activeElement)) continue;
    part.dataset.was = other.innerHTML;
    const kept = new Map([...part.querySelectorAll("[data-part]")].map((each) => [each.dataset.part, each]));
    part.replaceChildren(...other.childNodes);
    part.querySelectorAll("[data-part]").forEach((each) => each.replaceWith(kept.get(each.dataset.part) ?? each));
    fill(part);
    part.querySelectorAll("table[data-sorts]").forEach(sortable);
  }
}

/** Shows what the server makes at the address in `data-part`; an answer that came too late is passed over. */
export async function bring(target) {
  const { part } = target.dataset;
  target.setAttribute("aria-busy", "true");
  const response = await fetch(part, { headers: { Accept: "text/html" } });
  const made = new DOMParser().parseFromString(await response.text(), "text/html");
  if (target.dataset.part !== part) return;
  const found = made.querySelector("[data-whole]") ?? made.querySelector("main") ?? made.body;
  target.removeAttribute("aria-busy");
  if (response.ok) target.replaceChildren(...found.childNodes);
  else target.textContent = made.querySelector(".detail")?.textContent ?? "";
}

const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    bring(target);
  }
}, { rootMargin: "200px" });

/** Parts that are asked for by themselves once they come near: `data-part` is where they are. */
export function fill(within = document) {
  within.querySelectorAll("[data-part][aria-busy]").forEach((part) => near.observe(part));
}

export function start() {
  addEventListener("beforeprint", () => document.querySelectorAll("[data-part][aria-busy]").forEach(bring));
  const { model } = document.body.dataset;
  const light = document.querySelector("[data-live]");
  let due = null;
  let last = 0;
  const look = () => {
    due = null;
    if (document.hidden) { due = 0; return; }
    last = Date.now();
    if (document.body.dataset.moves === "yes") { // which another range of time in place may have changed
      refresh();
      dispatchEvent(new Event("lapwing:news"));
      document.querySelectorAll("[data-part][data-again]").forEach(bring);
    }
    swap();
  };
  const soon = () => { due ??= setTimeout(look, Math.max(300, last + RESTS_MS - Date.now())); };
  document.addEventListener("visibilitychange", () => { if (!document.hidden && due === 0) look(); });
  const source = new EventSource(`/api/v1/events?since=${document.body.dataset.news}`);
  source.onopen = () => { light.hidden = false; light.classList.remove("off"); light.title = "What is new is shown as it comes"; };
  source.onerror = () => { light.classList.add("off"); light.title = "The collector does not answer; it is tried again"; };
  source.onmessage = (event) => {
    const news = JSON.parse(event.data);
    if (news.some((topic) => topic === "alerts" || !model || topic === `model:${model}`)) soon();
  };
  addEventListener("pagehide", () => source.close());
}
