// Explore: counts by step and value are fetched once, and added up here for what is dragged over.
import "./main.js";
import { between, number, seen } from "./format.js";
import { bring } from "./live.js";
import { address, picking, say } from "./page.js";
import { drawn } from "./panels.js";

const FEW = 8;
const root = document.querySelector("[data-explore]");
const find = (name) => root.querySelector(`[data-${name}]`);
const { cubes, filters, rows, delta } = JSON.parse(root.dataset.explore);
const lists = [...root.querySelectorAll("[data-dimension]")];
const values = new Map(); // by dimension: its values, each with sums[i], how often it came before step i
let grid = null; // begin, end, first step and length of a step, in milliseconds
let drawing = 0;

const element = (tag, attributes = {}, text = "", made = document.createElement(tag)) => {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
};
const svg = (tag, attributes) => element(tag, attributes, "", document.createElementNS("http://www.w3.org/2000/svg", tag));
const iso = (ms) => new Date(ms).toISOString().replace(/\.000/, "");
const params = () => new URL(location.href).searchParams;
const fieldsOf = (asked) => JSON.parse(new URL(asked, location.href).searchParams.get("fields"));
const within = (params().get("within") ?? "").split("/").map(Date.parse);
let picked = within[0] < within[1] ? within : null;

/** Fetches counts of some dimensions, in place of those before. */
async function load(asked) {
  const response = await fetch(`${asked}&format=columns`);
  const told = await response.json();
  if (!response.ok) throw new Error(told.detail);
  const [since, until, start, step] = ["From", "To", "Start", "Step"].map((name) => Number(response.headers.get(`Lapwing-${name}`)));
  grid = { since, until, start, step, steps: Math.ceil((until - start) / step) };
  const [dimensions, kinds, texts, , steps, counts] = told.columns;
  for (const dimension of ["", ...fieldsOf(asked)]) values.set(dimension, []);
  dimensions.forEach((dimension, row) => {
    const sums = new Float64Array(grid.steps + 1);
    steps[row].forEach((at, place) => { sums[at + 1] = counts[row][place]; });
    for (let at = 1; at <= grid.steps; at++) sums[at] += sums[at - 1];
    values.get(dimension).push({ kind: kinds[row], value: texts[row], sums });
  });
  draw();
}

/** Which steps are picked, from the first to before the last. A hair beside a step is on it. */
function steps() {
  const at = (ms, round, hair) => Math.max(0, Math.min(grid.steps, round((ms - grid.start) / grid.step + hair)));
  if (!picked) return [0, grid.steps];
  const first = Math.min(at(picked[0], Math.floor, 0.02), grid.steps - 1);
  return [first, Math.max(first + 1, at(picked[1], Math.ceil, -0.02))];
}

/** When these begin and end. */
const ends = () => {
  const [first, last] = steps();
  return [Math.max(grid.since, grid.start + first * grid.step), Math.min(grid.until, grid.start + last * grid.step)];
};

function draw() {
  if (!grid) return;
  const began = performance.now();
  const [first, last] = steps();
  const told = ({ sums }) => ({ now: (sums[last] ?? sums.at(-1)) - sums[first], all: sums.at(-1) });
  const total = values.get("").length ? told(values.get("")[0]) : { now: 0, all: 0 };
  for (const list of lists) {
    const { dimension } = list.dataset;
    const ranked = values.get(dimension)?.map((entry) => Object.assign(entry, told(entry)))
      .sort((a, b) => (a.kind === "other") - (b.kind === "other") || b.now - a.now);
    if (!ranked) continue; // still on its way
    const whole = list.hasAttribute("data-all");
    const lines = ranked.slice(0, whole ? ranked.length : FEW).map((entry) => item(dimension, entry, total));
    if (lines.length !== list.children.length || lines.some((line, place) => line !== list.children[place])) list.replaceChildren(...lines);
    list.removeAttribute("aria-busy");
    const more = list.nextElementSibling;
    more.hidden = ranked.length <= FEW;
    more.textContent = whole ? "Fewer" : `All ${ranked.length}`;
  }
  caption(total);
  drawing = 0;
  root.dataset.took = (performance.now() - began).toFixed(2);
}

/** The line of a value: made once, so that dragging exchanges numbers alone. */
function lineOf(dimension, { kind, value }) {
  const name = kind !== "value" ? kind : value === "" ? "(empty)" : seen(value);
  const filter = kind === "missing" ? [`${dimension}__missing`, "yes"] : value ? [dimension, value] : null;
  const chosen = filters.find((each) => each.name === filter?.[0] && each.value === filter[1]);
  const label = element(filter ? "a" : "span", { title: name, class: kind === "value" ? "" : "none" }, name);
  if (filter) label.follow = chosen ? { [chosen.parameter]: null } : { [filter[0]]: filter[1] };
  if (chosen) label.setAttribute("aria-current", "true");
  const bars = svg("svg", { class: "part", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" });
  bars.append(svg("rect", { height: 3 }), svg("rect", { class: "rest", y: 3, height: 2 }));
  const line = element("li");
  line.append(label, element("span", { class: "n" }), bars);
  return line;
}

/** How many, and as bars its share of what is picked over its share of the rest. */
function item(dimension, entry, total) {
  entry.line ??= lineOf(dimension, entry);
  const [label, count, bars] = entry.line.children;
  if (label.follow && !drawing) label.href = address(label.follow);
  const share = entry.now / total.now || 0;
  const rest = picked ? (entry.all - entry.now) / (total.all - total.now) || 0 : 0;
  const told = `${number(entry.now, "count", true)} · ${number(share, "share", true)}`;
  if (entry.told === told && entry.rest === rest) return entry.line; // nothing of it is to be laid out anew
  Object.assign(entry, { told, rest });
  count.textContent = told;
  count.title = picked ? `of the rest ${number(rest, "share")}` : "";
  [share, rest].forEach((each, place) => bars.children[place].setAttribute("width", 100 * each));
  return entry.line;
}

function caption(total) {
  const [from, to] = ends();
  find("picked").textContent = picked
    ? `${between(from, to, grid.step / 1000)}: ${number(total.now)} of ${number(total.all)} predictions`
    : `${number(total.all)} predictions. Drag over a chart to pick a time.`;
  for (const name of ["clear", "zoom"]) find(name).hidden = !picked;
  find("compare").hidden = !picked && !filters.length;
  find("zoom").href = address({ from: iso(from), to: iso(to), within: null });
  find("rows").href = picked ? address({ from: iso(from), to: iso(to) }, rows) : rows;
}

/** Keeps what is picked, in whole steps. */
function keep(range) {
  if (!grid) return;
  picked = range;
  picked &&= ends();
  cancelAnimationFrame(drawing);
  drawing = 0;
  history.replaceState(null, "", address({ within: picked && picked.map(iso).join("/") }));
  draw();
  dispatchEvent(new Event("lapwing:picked"));
  say(find("picked").textContent);
  compare();
}

/** What differs, a part that the server makes. */
function compare() {
  const part = document.getElementById("delta");
  const wanted = params().has("compare") && Boolean(picked || filters.length);
  find("compare").setAttribute("aria-pressed", wanted);
  part.hidden = !wanted;
  const asked = picked ? address({ within: picked.map(iso).join("/") }, delta) : delta;
  if (!wanted || part.dataset.part === asked) return;
  part.dataset.part = asked;
  bring(part);
}

Object.assign(picking, { zoom: (from, to) => keep([from, to]), reset: () => keep(null), during: (from, to) => { picked = [from, to]; drawing ||= requestAnimationFrame(draw); }, picked: () => picked });
document.addEventListener("mouseup", () => setTimeout(() => dispatchEvent(new Event("lapwing:picked"))));
root.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.matches("[data-clear]")) return keep(null);
  if (button.matches("[data-more]")) button.previousElementSibling.toggleAttribute("data-all");
  else if (button.matches("[data-compare]")) history.replaceState(null, "", address({ compare: params().has("compare") ? null : "yes" }));
  draw();
  compare();
});
/** Counts by hour come with the charts; rows, which take longer to count, when these are there. */
async function look() {
  for (const asked of cubes) {
    if (asked !== cubes[0]) await drawn();
    load(asked).catch((error) => {
      for (const list of lists) if (fieldsOf(asked).includes(list.dataset.dimension)) list.replaceChildren(element("li", { class: "failed" }, error.message));
    });
  }
}
addEventListener("lapwing:news", look);
look();
compare();
