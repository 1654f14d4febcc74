// Panels: each figure asks for its rows by itself, so that the slowest holds nobody up. Figures of one address share
// an answer. What is far below is asked for once it comes near.
import { drawBars, drawCurves } from "./chart.js";
import { tableOf } from "./table.js";
import { picking, say } from "./page.js";

const panels = new Map(); // by address: { figures, answer, asking }
const endings = new Map(); // by figure

function marks() {
  const told = document.getElementById("marks");
  return told ? JSON.parse(told.textContent) : [];
}

export function start() {
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      near.unobserve(entry.target);
      load(entry.target.dataset.panel);
    }
  }, { rootMargin: "250px" });
  for (const figure of document.querySelectorAll("figure[data-panel]")) adopt(figure, near);
  if (!panels.size) ready();
  addEventListener("beforeprint", () => { for (const address of panels.keys()) load(address); });
  addEventListener("lapwing:theme", () => { for (const panel of panels.values()) if (panel.answer) panel.figures.forEach((figure) => draw(figure, panel.answer)); });
}

function adopt(figure, near) {
  const address = figure.dataset.panel;
  if (!panels.has(address)) panels.set(address, { figures: new Set() });
  panels.get(address).figures.add(figure);
  const toggle = figure.querySelector("[data-as-table]");
  toggle?.addEventListener("click", () => asTable(figure, toggle));
  near.observe(figure);
}

function asTable(figure, toggle) {
  const pressed = toggle.getAttribute("aria-pressed") !== "true";
  toggle.setAttribute("aria-pressed", String(pressed));
  const { answer } = panels.get(figure.dataset.panel);
  if (answer) draw(figure, answer);
}

/** Asks for the rows of an address; a second call while the first is under way waits for that. */
async function load(address, again = false) {
  const panel = panels.get(address);
  if (panel.asking || (panel.answer && !again)) return panel.asking;
  panel.asking = ask(address, panel).finally(() => { panel.asking = null; ready(); });
  return panel.asking;
}

async function ask(address, panel) {
  try {
    const response = await fetch(`${address}${address.includes("?") ? "&" : "?"}format=columns`, { headers: { Accept: "application/json" } });
    if (response.status === 401) return location.reload();
    if (!response.ok) throw new Error((await response.json()).detail);
    const told = (name) => Number(response.headers.get(name));
    panel.answer = {
      data: await response.json(), truncated: response.headers.get("Lapwing-Truncated") === "true",
      range: { since: told("Lapwing-From"), until: told("Lapwing-To"), start: told("Lapwing-Start"), step: told("Lapwing-Step"), moves: document.body.dataset.moves === "yes" },
    };
    for (const figure of panel.figures) draw(figure, panel.answer);
  } catch (error) {
    for (const figure of panel.figures) fail(figure, error.message);
  }
}

function draw(figure, { data, range, truncated }) {
  const spec = JSON.parse(figure.dataset.chart);
  const host = figure.querySelector(".drawn");
  host.removeAttribute("aria-busy");
  endings.get(figure)?.();
  endings.delete(figure);
  const rows = data.columns[0]?.length ?? 0;
  if (!rows) return empty(host, spec.empty);
  const toggle = figure.querySelector("[data-as-table]");
  const act = { ...picking, say, table: () => { asTable(figure, toggle); toggle.focus(); } };
  if (spec.kind === "table" || toggle?.getAttribute("aria-pressed") === "true") host.replaceChildren(tableOf(data, spec.title, spec));
  else if (spec.kind === "bars") endings.set(figure, drawBars(host, data, spec, act));
  else endings.set(figure, drawCurves(host, data, spec, range, marks(), act));
  if (truncated) host.append(note("Not all rows are here: there are more than an answer may have."));
}

function note(text) {
  const made = document.createElement("p");
  made.className = "note";
  made.textContent = text;
  return made;
}

function empty(host, text) {
  const made = document.createElement("p");
  made.className = "empty";
  made.textContent = text;
  host.replaceChildren(made);
}

function fail(figure, why) {
  const host = figure.querySelector(".drawn");
  host.removeAttribute("aria-busy");
  endings.get(figure)?.();
  endings.delete(figure);
  const made = document.createElement("div");
  made.className = "failed";
  made.setAttribute("role", "alert");
  const again = document.createElement("button");
  again.type = "button";
  again.textContent = "Try again";
  again.addEventListener("click", () => { host.setAttribute("aria-busy", "true"); host.replaceChildren(); load(figure.dataset.panel, true); });
  made.append(note(why), again);
  host.replaceChildren(made);
}

/** Asks again for everything that was shown. */
export function refresh() {
  for (const [address, panel] of panels) if (panel.answer) load(address, true);
}

/** Everything that was asked for is there: told to whoever measures. */
function ready() {
  if (document.querySelector('figure[data-panel] .drawn[aria-busy="true"]') && [...panels.values()].some((panel) => panel.asking)) return;
  if (document.documentElement.dataset.ready) return;
  document.documentElement.dataset.ready = "yes";
  performance.mark("lapwing-ready");
}
