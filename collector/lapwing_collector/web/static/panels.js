// Panels: each figure asks for its rows by itself, so that the slowest holds nobody up. Figures of one address share
// an answer. What is in view is asked for first, then what is near; what is far below once it comes near.
import { drawBars, drawCurves } from "./chart.js";
import { stretch } from "./format.js";
import { tableOf } from "./table.js";
import { address, picking, say, timeless } from "./page.js";

const panels = new Map(); // by address: { figures, answer, asking }
const endings = new Map(); // by figure

const waiting = new Set(); // figures that are near
const STALE_MS = 500; // what is asked in vain ends soon by itself; calling it off ends a query process
const TOGETHER_MS = 50; // a frame costs a browser more than the charts that are drawn in it
const LATE_MS = 400;
const FRAME_MS = 100; // a frame takes less

const watch = (margin, seen) => new IntersectionObserver((entries, observer) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    observer.unobserve(target);
    seen(target);
  }
}, { rootMargin: margin });
const inView = watch("0px", (figure) => load(figure.dataset.panel));
const near = watch("250px", (figure) => { waiting.add(figure); further(); });

const isInView = (figure) => {
  const { top, bottom } = figure.getBoundingClientRect();
  return top < innerHeight && bottom > 0;
};

const isAsking = () => [...panels.values()].some((panel) => panel.asking);

/** Asks for what is near once all that is in view is there, and painted. */
async function further() {
  if (isAsking()) return;
  await painted();
  if (isAsking()) return;
  const figures = [...waiting];
  waiting.clear();
  for (const figure of figures) if (figure.isConnected) load(figure.dataset.panel);
}

/** What happened in a range of time, for its axis. */
function marks({ since, until }) {
  const told = document.getElementById("marks");
  const end = (mark) => (mark.until ? Date.parse(mark.until) : mark.kind === "alert" ? until : Date.parse(mark.at));
  return told ? JSON.parse(told.textContent).filter((mark) => Date.parse(mark.at) < until && end(mark) >= since) : [];
}

export function start() {
  const figures = [...document.querySelectorAll("figure[data-panel]")];
  figures.forEach(adopt);
  for (const figure of figures.filter(isInView)) load(figure.dataset.panel); // observers tell a frame later
  shade();
  if (!panels.size) ready();
  addEventListener("beforeprint", () => { for (const address of panels.keys()) load(address); });
  addEventListener("lapwing:theme", () => {
    for (const figure of [...endings.keys()]) end(figure); // to be drawn anew, and not only again
    redraw();
  });
}

const redraw = () => { for (const { answer, figures } of panels.values()) if (answer) figures.forEach((figure) => draw(figure, answer)); };

function adopt(figure) {
  const address = figure.dataset.panel;
  if (!panels.has(address)) panels.set(address, { figures: new Set() });
  panels.get(address).figures.add(figure);
  const toggle = figure.querySelector("[data-as-table]");
  toggle?.addEventListener("click", () => asTable(figure, toggle));
  inView.observe(figure);
  near.observe(figure);
}

function asTable(figure, toggle) {
  const pressed = toggle.getAttribute("aria-pressed") !== "true";
  toggle.setAttribute("aria-pressed", String(pressed));
  const { answer } = panels.get(figure.dataset.panel);
  if (answer) draw(figure, answer);
}

/** Shows figures for other parameters: of those that were shown, what is drawn stays until its successor is there.
 * Those in view come first: they are what this waits for. */
export function follow(changes) {
  const before = [...panels.values()];
  panels.clear();
  delete document.documentElement.dataset.ready;
  const seen = new Set(before.flatMap(({ figures }) => [...figures].filter(isInView)));
  for (const { figures, answer, asking, stop } of before) {
    if (asking) setTimeout(() => stop.abort(), STALE_MS);
    for (const figure of figures) {
      const to = address(changes, figure.dataset.panel);
      figure.dataset.panel = to;
      if (!panels.has(to)) panels.set(to, { figures: new Set() });
      panels.get(to).figures.add(figure);
      if (!answer && !asking) continue;
      figure.querySelector(".drawn").setAttribute("aria-busy", "true");
      if (seen.has(figure)) load(to);
      else waiting.add(figure);
    }
  }
  shade();
  further();
  if (!isAsking()) ready();
  return Promise.all([...panels.values()].map((panel) => panel.asking));
}

/** Lets figures that the server made take the place of those that are shown, with what is drawn in these. */
export function exchange(exchanging) {
  const shown = [...panels].flatMap(([at, panel]) => [...panel.figures].map((figure) => ({ at, panel, figure })));
  const drawn = () => JSON.stringify([...panels.values()].map(({ answer }) => answer && marks(answer.range)));
  const before = drawn();
  exchanging();
  const changed = drawn() !== before;
  panels.clear();
  for (const figure of document.querySelectorAll("figure[data-panel]")) {
    const { panel: at, chart } = figure.dataset;
    const place = shown.findIndex((each) => each.figure.dataset.chart === chart && timeless(each.at) === timeless(at));
    if (place >= 0) inherit(figure, ...shown.splice(place, 1));
    adopt(figure);
  }
  for (const { figure } of shown) end(figure);
  if (changed) redraw();
}

/** Gives a figure what is drawn in another one. */
function inherit(figure, { at, panel, figure: other }) {
  figure.dataset.panel = at;
  figure.querySelector(".drawn").replaceWith(other.querySelector(".drawn"));
  const pressed = other.querySelector("[data-as-table]")?.getAttribute("aria-pressed");
  if (pressed) figure.querySelector("[data-as-table]").setAttribute("aria-pressed", pressed);
  const { per } = heading(other).dataset;
  if (per) heading(figure).dataset.per = per;
  if (endings.has(other)) endings.set(figure, endings.get(other));
  endings.delete(other);
  panel.figures.delete(other);
  panels.set(at, panel);
}

/** Asks for the rows of an address; a second call while the first is under way waits for that. */
async function load(at, again = false) {
  const panel = panels.get(at);
  if (panel.asking || (panel.answer && !again)) return panel.asking;
  panel.stop = new AbortController();
  panel.asking = ask(at, panel).finally(() => { panel.asking = null; meet(); ready(); further(); });
  return panel.asking;
}

const come = []; // answers that are drawn together
let meeting = null;

/** Lets those be drawn that have come, once no other is on its way. */
function meet() {
  if (come.length >= [...panels.values()].filter((panel) => panel.asking).length) drawThose();
}

function drawThose() {
  clearTimeout(meeting);
  meeting = null;
  for (const drawn of come.splice(0)) drawn();
}

/** Waits a moment for others that are on their way. */
const together = () => new Promise((drawn) => {
  come.push(drawn);
  meeting ??= setTimeout(drawThose, TOGETHER_MS);
  meet();
});

let shading = null;

/** Shades what is still on its way after a while. */
function shade() {
  clearTimeout(shading);
  shading = setTimeout(() => document.querySelectorAll('.drawn[aria-busy="true"]').forEach((host) => host.classList.add("late")), LATE_MS);
}

async function ask(at, panel) {
  try {
    const told = (!panel.answer && written(at)) || await fetched(at, panel.stop.signal);
    if (told && panels.get(at) === panel) await together();
    if (!told || panels.get(at) !== panel) return; // another range of time is shown by now
    const { data, truncated, axis } = told;
    panel.answer = { data, truncated, range: { since: axis.from, until: axis.to, start: axis.start, step: axis.step, moves: document.body.dataset.moves === "yes" } };
    for (const figure of panel.figures) draw(figure, panel.answer);
  } catch (error) {
    if (panels.get(at) === panel) for (const figure of panel.figures) fail(figure, error.message);
  }
}

/** What the server has written into the page already; it serves once. */
function written(at) {
  const found = [...document.querySelectorAll("script[data-answer]")].find((each) => each.dataset.answer === at);
  found?.remove();
  return found && JSON.parse(found.textContent);
}

async function fetched(at, signal) {
  const response = await fetch(`${at}${at.includes("?") ? "&" : "?"}format=columns`, { signal });
  if (response.status === 401) return location.reload();
  if (!response.ok) throw new Error((await response.json()).detail);
  const told = (name) => Number(response.headers.get(`Lapwing-${name}`));
  const axis = { from: told("From"), to: told("To"), start: told("Start"), step: told("Step") };
  return { data: await response.json(), truncated: response.headers.get("Lapwing-Truncated") === "true", axis };
}

/** Where a figure is drawn, for which nothing is on its way any more. */
function settled(figure) {
  const host = figure.querySelector(".drawn");
  host.removeAttribute("aria-busy");
  host.classList.remove("late");
  return host;
}

/** Lets go of what is drawn in a figure. */
function end(figure) {
  endings.get(figure)?.();
  endings.delete(figure);
}

function draw(figure, { data, range, truncated }) {
  const spec = JSON.parse(figure.dataset.chart);
  const host = settled(figure);
  const rows = data.columns[0]?.length ?? 0;
  const toggle = figure.querySelector("[data-as-table]");
  const asRows = spec.kind === "table" || toggle?.getAttribute("aria-pressed") === "true";
  const noted = truncated || host.querySelector(":scope > .note");
  if (spec.unit === "count" && range.step) heading(figure).dataset.per = stretch(range.step);
  if (rows && !asRows && !noted && endings.get(figure)?.again?.(data, range, marks(range))) return;
  end(figure);
  if (!rows) return empty(host, spec.empty);
  const focused = host.contains(document.activeElement) && document.activeElement.matches(".plot");
  const table = () => {
    const now = host.closest("figure");
    asTable(now, now.querySelector("[data-as-table]"));
    now.querySelector("[data-as-table]").focus();
  };
  const act = { ...picking, say, table };
  if (asRows) host.replaceChildren(tableOf(data, spec.title, spec));
  else if (spec.kind === "bars") endings.set(figure, drawBars(host, data, spec, act));
  else endings.set(figure, drawCurves(host, data, spec, range, marks(range), act));
  if (focused) host.querySelector(".plot")?.focus({ preventScroll: true });
  if (truncated) host.append(note("Not all rows are here: there are more than an answer may have."));
}

const heading = (figure) => figure.querySelector("figcaption :is(h2, h3)");

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
  const host = settled(figure);
  end(figure);
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

/** Comes when all charts in view are drawn and painted, or so many milliseconds have passed. */
export const drawn = (most) => new Promise((done) => {
  if (document.documentElement.dataset.ready) return done();
  addEventListener("lapwing:ready", () => painted().then(done), { once: true });
  if (most) setTimeout(done, most);
});

/** Comes after the next frame, which whatever is asked for before would hold up. Where nobody looks there are none. */
const painted = () => new Promise((done) => {
  requestAnimationFrame(() => setTimeout(done));
  setTimeout(done, FRAME_MS);
});

/** Everything that was asked for is there: told to whoever measures. */
function ready() {
  if (document.querySelector('figure[data-panel] .drawn[aria-busy="true"]') && isAsking()) return;
  if (document.documentElement.dataset.ready) return;
  document.documentElement.dataset.ready = "yes";
  performance.mark("lapwing-ready");
  dispatchEvent(new Event("lapwing:ready"));
}
