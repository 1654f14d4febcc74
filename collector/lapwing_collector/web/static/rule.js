// Backtest on the page of a rule: what it would have told, with another threshold or `for`.
import "./main.js";
import { drawCurves } from "./chart.js";
import { moment, number, seen } from "./format.js";
import { say } from "./page.js";

const form = document.querySelector("[data-backtest]");
const { pull, threshold, condition } = form.elements;
const told = form.querySelector("[data-told]");
const stop = form.querySelector("[data-stop]");
const out = document.querySelector("[data-tried]");
const find = (what) => out.querySelector(what);
const since = Date.parse(document.body.dataset.since);
const until = Date.parse(document.body.dataset.until);
const utc = (text) => Date.parse(`${text}Z`);
const sign = form.dataset.sign;
let running = null;
let ending = null;
let course = null;

const UNITS = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
const lasting = (seconds, gap = "") => UNITS.map(([length, unit]) => {
  const count = Math.floor(seconds / length);
  seconds %= length;
  return count ? `${count}${gap}${unit}` : "";
}).filter(Boolean).slice(0, gap ? 2 : 4).join(gap) || `0${gap}s`;
const nameOf = (labels, all) => Object.entries(labels).filter(([key, value]) => key !== "alertname" && all.some((each) => each[key] !== value))
  .map(([key, value]) => `${key}=${value}`).join(", ") || "all";

async function run() {
  running?.abort();
  const mine = running = new AbortController();
  const begun = performance.now();
  const clock = setInterval(() => { told.textContent = `trying, ${number(Math.round((performance.now() - begun) / 1000), "s")} …`; }, 500);
  stop.hidden = false;
  try {
    const asked = { rule: form.dataset.backtest, from: new Date(since).toISOString(), to: new Date(until).toISOString(), for: form.elements.for.value, slots: true };
    if (sign) asked.threshold = Number(threshold.value);
    else if (condition.value.trim()) asked.condition = condition.value;
    const answer = await fetch("/api/v1/rules/backtest", { method: "POST", signal: mine.signal, headers: { "Content-Type": "application/json" }, body: JSON.stringify(asked) });
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.detail);
    told.textContent = "";
    show(found.rules[0]);
  } catch (error) {
    told.textContent = error.name === "AbortError" ? "" : seen(error.message);
  } finally {
    clearInterval(clock);
    if (running === mine) stop.hidden = true;
  }
}

function show({ summary, course: seenThen, slots, failed, error, condition: tried, for_s: held }) {
  out.hidden = false;
  course = seenThen;
  const { fired, firing_s: all, flaps, values } = summary;
  find("[data-sum]").textContent = (fired ? `It would have fired ${fired === 1 ? "once" : `${fired} times`}, for ${lasting(all, " ")} in all` : "It would not have fired")
    + ` in ${number(slots)} evaluations${flaps ? `; ${flaps} times again soon after it had resolved` : ""}${failed ? `; ${failed} failed: ${seen(error)}` : ""}.`;
  advise(summary);
  strips(summary.episodes);
  find("pre").textContent = `${tried ? `condition: ${seen(tried)}\n` : ""}for: ${lasting(held)}`;
  if (pull && values) [pull.min, pull.max] = [Math.min(values.least, pull.value), Math.max(values.most, pull.value)];
  draw();
  say(find("[data-sum]").textContent);
}

function advise({ suggested_for_s: held, suggested_condition: better }) {
  const made = [];
  const offer = (text, field, value) => {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: text });
    button.addEventListener("click", () => { field.value = value; if (pull && field === threshold) pull.value = value; run(); });
    made.push(button, " ");
  };
  if (held !== null) offer(`Try for: ${lasting(held)}, which does not flap`, form.elements.for, lasting(held));
  if (better) offer(`Try ${seen(better)}, which one value in a thousand passes`, sign ? threshold : condition, sign ? better.split(/[<>]=?/)[1].trim() : better);
  find("[data-advice]").replaceChildren(...made);
}

function strips(episodes) {
  const svg = (tag, told) => { const made = document.createElementNS("http://www.w3.org/2000/svg", tag); for (const key in told) made.setAttribute(key, told[key]); return made; };
  const labels = episodes.map((each) => each.labels);
  const names = new Map();
  for (const each of episodes) {
    const name = nameOf(each.labels, labels);
    names.set(name, [...(names.get(name) ?? []), each]);
  }
  find(".strips").replaceChildren(...[...names].slice(0, 60).map(([name, those]) => {
    const strip = Object.assign(document.createElement("div"), { className: "strip" });
    strip.setAttribute("role", "listitem");
    const text = `${those.length}×`;
    const bars = svg("svg", { viewBox: "0 0 1000 20", preserveAspectRatio: "none", role: "img", "aria-label": `${seen(name)}: ${text}` });
    const at = (ms) => Math.max(0, (ms - since) / (until - since) * 1000);
    for (const each of those) {
      const x = at(utc(each.began));
      const rect = svg("rect", { x, y: 2, height: 16, width: Math.max(2, Math.min(1000, at(each.ended ? utc(each.ended) : until)) - x) });
      rect.append(Object.assign(svg("title"), { textContent: `${moment(utc(each.began))}, for ${lasting(each.seconds, " ")}` }));
      bars.append(rect);
    }
    const cell = (className, content) => Object.assign(document.createElement("span"), { className, textContent: content });
    strip.append(cell("name", seen(name)), bars, cell("num", text), cell("num note", lasting(those.reduce((sum, each) => sum + each.seconds, 0), " ")));
    return strip;
  }));
}

function draw() {
  ending?.();
  if (!course?.slots.length) { find(".drawn").replaceChildren(); return; }
  const labels = course.series.map((each) => each.labels);
  const rows = course.series.flatMap((each) => course.slots.map((slot, place) => [`${slot}Z`, nameOf(each.labels, labels), each.values[place]]));
  const data = { names: ["time", "alert", "value"], types: ["timestamp", "string", "double"], columns: [0, 1, 2].map((place) => rows.map((row) => row[place])) };
  const spec = { title: "Value", x: "time", by: "alert", series: [{ column: "value" }], kind: "line", unit: "number", from_zero: false,
    thresholds: sign ? [{ value: Number(threshold.value), label: "threshold" }] : [] };
  ending = drawCurves(find(".drawn"), data, spec, { since, until, step: 0 }, [], { zoom() {}, reset() {}, say, table() {} });
}

form.addEventListener("submit", (event) => { event.preventDefault(); run(); });
stop.addEventListener("click", () => running?.abort());
pull?.addEventListener("input", () => { threshold.value = Number(Number(pull.value).toPrecision(3)); draw(); });
threshold?.addEventListener("input", () => { pull.value = threshold.value; draw(); });
