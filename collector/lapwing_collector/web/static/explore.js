// Explore: counts by step and value are fetched once, and summed up here for whatever range is dragged over.
import { between, number, seen } from "./format.js";
import { bring } from "./live.js";
import { picking, say } from "./page.js";

const FEW = 8;
const root = document.querySelector("[data-explore]");
const { cubes, filters, rows, delta } = JSON.parse(root.dataset.explore);
const lists = new Map([...root.querySelectorAll("[data-dimension]")].map((list) => [list.dataset.dimension, list]));
const values = new Map(); // by dimension: its values, each with sums[i], how often it came before step i
let grid = null; // begin, end and step of the range, in milliseconds
let picked = readPicked();
let drawing = 0;

const element = (tag, attributes = {}, text) => {
  const made = tag === "svg" || tag === "rect" ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
};
const iso = (ms) => new Date(ms).toISOString().replace(/\.000/, "");

function readPicked() {
  const told = (new URL(location.href).searchParams.get("within") ?? "").split("/").map((text) => Date.parse(text));
  return told.length === 2 && told[0] < told[1] ? told : null;
}

/** This page with other parameters; null leaves one out. */
function address(changes) {
  const made = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) made.searchParams.delete(name);
    else made.searchParams.set(name, value);
  }
  return made.pathname + made.search;
}

async function columns(asked) {
  const response = await fetch(`${asked}${asked.includes("?") ? "&" : "?"}format=columns`);
  if (response.status === 401) return location.reload();
  const told = await response.json();
  if (!response.ok) throw new Error(told.detail);
  const ms = (name) => Number(response.headers.get(`Lapwing-${name}`));
  return { get: new Map(told.names.map((name, place) => [name, told.columns[place]])), since: ms("From"), until: ms("To"), start: ms("Start"), step: ms("Step") };
}

async function load(asked) {
  const { get, ...range } = await columns(asked);
  grid = range;
  const steps = Math.ceil((grid.until - grid.start) / grid.step);
  get.get("dimension").forEach((dimension, row) => {
    const sums = new Float64Array(steps + 1);
    const counts = get.get("counts")[row];
    get.get("steps")[row].forEach((step, place) => { if (step < steps) sums[step + 1] = counts[place]; });
    for (let step = 1; step <= steps; step++) sums[step] += sums[step - 1];
    if (!values.has(dimension)) values.set(dimension, []);
    const known = values.get(dimension);
    const entry = { kind: get.get("kind")[row], value: get.get("value")[row], sums };
    if (dimension || !known.length) known.push(entry);
  });
  for (const dimension of JSON.parse(new URL(asked, location.href).searchParams.get("fields"))) values.set(dimension, values.get(dimension) ?? []);
}

/** Which steps are picked, whole ones: from the first to before the last. */
function steps() {
  const all = Math.ceil((grid.until - grid.start) / grid.step);
  if (!picked) return [0, all];
  const within = (step) => Math.max(0, Math.min(all, step));
  const first = within(Math.floor((picked[0] - grid.start) / grid.step + 0.02));
  return [first, Math.max(first + 1, within(Math.ceil((picked[1] - grid.start) / grid.step - 0.02)))];
}

function draw() {
  drawing = 0;
  if (!grid) return;
  const began = performance.now();
  const [first, last] = steps();
  const told = ({ sums }) => ({ now: sums[last] - sums[first], all: sums[sums.length - 1] });
  const total = values.get("")?.length ? told(values.get("")[0]) : { now: 0, all: 0 };
  for (const [dimension, list] of lists) {
    if (!values.has(dimension)) continue;
    const ranked = values.get(dimension).map((entry) => ({ ...entry, ...told(entry) }))
      .sort((a, b) => (a.kind === "other") - (b.kind === "other") || b.now - a.now);
    const shown = list.dataset.all ? ranked : ranked.slice(0, FEW);
    list.replaceChildren(...shown.map((entry) => item(dimension, entry, total)));
    if (!ranked.length) list.append(element("li", { class: "none" }, "no value"));
    list.removeAttribute("aria-busy");
    const more = list.nextElementSibling;
    more.hidden = ranked.length <= FEW;
    more.textContent = list.dataset.all ? "Fewer" : `All ${ranked.length}`;
  }
  caption(total, first, last);
  root.dataset.took = (performance.now() - began).toFixed(2);
}

/** One value: how many, and as bars its share of what is picked over its share of the rest. */
function item(dimension, { kind, value, now, all }, total) {
  const line = element("li");
  const name = kind === "value" ? (value === "" ? "(empty)" : seen(value)) : kind;
  const filter = kind === "value" && value !== "" ? [dimension, value] : kind === "missing" ? [`${dimension}__missing`, "yes"] : null;
  const chosen = filter && filters.find((each) => each.name === filter[0] && each.value === filter[1]);
  const label = element(filter ? "a" : "span", filter ? { href: address(chosen ? { [chosen.parameter]: null } : { [filter[0]]: filter[1] }), title: name } : { class: "none" }, name);
  if (kind !== "value") label.classList.add("none");
  if (chosen) label.setAttribute("aria-current", "true");
  const share = total.now ? now / total.now : 0;
  const bars = element("svg", { class: "part", viewBox: "0 0 100 6", preserveAspectRatio: "none", "aria-hidden": "true" });
  bars.append(element("rect", { width: (100 * share).toFixed(1), height: picked ? 3 : 4 }));
  const count = element("span", { class: "n" }, `${number(now, "count", true)} · ${number(share, "share", true)}`);
  if (picked && total.all > total.now) {
    const rest = (all - now) / (total.all - total.now);
    bars.append(element("rect", { class: "rest", y: 3, width: (100 * rest).toFixed(1), height: 2 }));
    count.title = `of the rest ${number(rest, "share")}`;
  }
  line.append(label, count, bars);
  return line;
}

function caption(total, first, last) {
  const [from, to] = [Math.max(grid.since, grid.start + first * grid.step), Math.min(grid.until, grid.start + last * grid.step)];
  const where = root.querySelector("[data-picked]");
  where.textContent = picked
    ? `${between(from, to, grid.step / 1000)}: ${number(total.now)} of ${number(total.all)} predictions`
    : `${number(total.all)} predictions. Drag over a chart to pick a time.`;
  for (const link of root.querySelectorAll("[data-when-picked]")) link.hidden = !picked;
  root.querySelector("[data-compare]").hidden = !picked && !filters.length;
  root.querySelector("[data-zoom]").href = address({ from: iso(from), to: iso(to), within: null });
  root.querySelector("[data-clear]").href = address({ within: null });
  const range = new URL(rows, location.href);
  if (picked) for (const [name, ms] of [["from", from], ["to", to]]) range.searchParams.set(name, iso(ms));
  root.querySelector("[data-rows]").href = range.pathname + range.search;
}

function show(range) {
  picked = range;
  drawing ||= requestAnimationFrame(draw);
}

/** Keeps what is picked, in whole steps: in the address, on every chart, and beside the rest. */
function keep(range) {
  picked = range;
  if (picked && grid) {
    const [first, last] = steps();
    picked = [Math.max(grid.since, grid.start + first * grid.step), Math.min(grid.until, grid.start + last * grid.step)];
  }
  history.replaceState(null, "", address({ within: picked && picked.map(iso).join("/") }));
  draw();
  dispatchEvent(new Event("lapwing:picked"));
  say(root.querySelector("[data-picked]").textContent);
  compare();
}

/** What is selected beside the rest, field by field: a part that the server makes. */
function compare() {
  const part = document.getElementById("delta");
  const wanted = new URL(location.href).searchParams.has("compare") && Boolean(picked || filters.length);
  root.querySelector("[data-compare]").setAttribute("aria-pressed", String(wanted));
  part.hidden = !wanted;
  const asked = new URL(delta, location.href);
  if (picked) asked.searchParams.set("within", picked.map(iso).join("/"));
  if (!wanted || part.dataset.part === asked.pathname + asked.search) return;
  part.dataset.part = asked.pathname + asked.search;
  bring(part);
}

Object.assign(picking, { zoom: (from, to) => keep([from, to]), reset: () => keep(null), during: (from, to) => show([from, to]), picked: () => picked });
document.addEventListener("mouseup", () => setTimeout(() => dispatchEvent(new Event("lapwing:picked"))));
root.addEventListener("click", (event) => {
  const link = event.target.closest("[data-clear], [data-compare], [data-more]");
  if (!link || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  if (link.matches("[data-clear]")) return keep(null);
  if (link.matches("[data-more]")) {
    const list = link.previousElementSibling;
    if (list.dataset.all) delete list.dataset.all;
    else list.dataset.all = "yes";
    return draw();
  }
  history.replaceState(null, "", address({ compare: new URL(location.href).searchParams.has("compare") ? null : "yes" }));
  compare();
  return draw();
});
for (const asked of cubes) {
  load(asked).then(draw, (error) => {
    for (const name of JSON.parse(new URL(asked, location.href).searchParams.get("fields"))) lists.get(name).replaceChildren(element("li", { class: "failed", role: "alert" }, error.message));
  });
}
compare();
