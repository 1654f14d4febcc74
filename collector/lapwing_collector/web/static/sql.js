// The SQL page: runs what is written, shows rows and a chart, keeps the query in the address.
import "./main.js";
import { columnsOf, drawCurves } from "./chart.js";
import { ends, number } from "./format.js";
import { say } from "./page.js";
import { kindOf, tableOf } from "./table.js";

const EARLIER = "lapwing-queries";
const MOST_EARLIER = 30;
const FAR = 20;
const form = document.querySelector("form[data-query]");
const box = form.elements.q;
const answer = document.querySelector("[data-answer]");
const took = document.querySelector("[data-took]");
let running = null;
let ending = null;

const element = (tag, className, text) => Object.assign(document.createElement(tag), { className, textContent: text ?? "" });

async function run(explain = false) {
  running?.abort();
  running = new AbortController();
  const sql = box.value;
  const begun = performance.now();
  answer.setAttribute("aria-busy", "true");
  took.textContent = "…";
  try {
    const response = await fetch("/api/v1/sql", {
      method: "POST", signal: running.signal, headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify({ sql, format: "columns", ...(explain ? { explain: true } : {}) }),
    });
    const told = await response.json();
    if (!response.ok) { fail(told); return; }
    keep(sql);
    show(told, response.headers.get("Lapwing-Truncated") === "true", explain);
    took.textContent = `${number(told.columns[0]?.length ?? 0)} rows in ${number(performance.now() - begun, "ms")}`;
    say(took.textContent);
  } catch (error) {
    if (error.name !== "AbortError") fail({ detail: error.message });
  } finally {
    answer.removeAttribute("aria-busy");
  }
}

function fail({ detail, position, candidates }) {
  took.textContent = "";
  const made = element("div", "failed");
  made.setAttribute("role", "alert");
  made.append(element("p", "detail code", detail));
  for (const candidate of candidates ?? []) {
    const button = element("button", "", candidate);
    button.type = "button";
    button.addEventListener("click", () => insert(candidate));
    made.append(button);
  }
  answer.replaceChildren(made);
  if (Number.isInteger(position)) { box.focus(); box.setSelectionRange(position, position); }
}

function show(data, truncated, explain) {
  ending?.();
  ending = null;
  const parts = [];
  if (explain) {
    const pre = element("pre", "", data.columns.at(-1)?.join("\n"));
    pre.tabIndex = 0;
    parts.push(pre);
  } else {
    const chart = chartOf(data);
    if (chart) parts.push(chart);
    parts.push(exports(), tableOf(data, "Rows of the query"));
    if (truncated) parts.push(element("p", "note", "There are more rows than an answer may have: add a LIMIT, an aggregate, or use `lapwing sql`."));
  }
  answer.replaceChildren(...parts);
}

/** A chart where the rows have a time and numbers. */
function chartOf(data) {
  const x = data.names.find((_, place) => kindOf(data.types[place]) === "time");
  const series = alike(data);
  const rows = data.columns[0]?.length ?? 0;
  if (!x || !series.length || rows < 3) return null;
  const times = columnsOf(data).get(x).filter((ms) => ms !== null);
  const [since, until] = ends(times);
  const range = { since, until, step: 0 };
  if (new Set(times).size < times.length || range.since === range.until) return null;
  const host = element("div", "drawn");
  const spec = { title: "Rows", x, by: "", series: series.map((column) => ({ column })), kind: "line", unit: "number", thresholds: [], from_zero: false };
  requestAnimationFrame(() => { ending = drawCurves(host, data, spec, range, [], { zoom() {}, reset() {}, say, table() {} }); });
  return host;
}

/** The columns of numbers that one axis can show together: those as large as the first. */
function alike(data) {
  const numbers = data.names.map((_, place) => place).filter((place) => kindOf(data.types[place]) === "number");
  const most = (place) => ends(data.columns[place].map((value) => Math.abs(Number(value ?? 0))))[1];
  const first = numbers.length ? most(numbers[0]) : 0;
  return numbers.filter((place) => most(place) <= first * FAR && first <= most(place) * FAR).map((place) => data.names[place]);
}

function exports() {
  const made = element("p", "exports");
  made.append("All rows as ");
  for (const format of ["csv", "json", "parquet", "arrow"]) {
    const link = element("a", "", format.toUpperCase());
    link.href = `/api/v1/sql?${new URLSearchParams({ sql: box.value, format })}`;
    link.download = format === "arrow" ? "query.arrows" : `query.${format}`;
    made.append(link, " ");
  }
  return made;
}

function keep(sql) {
  const address = new URL(location.href);
  address.searchParams.set("q", sql);
  history.replaceState(null, "", address);
  const before = earlier().filter((each) => each !== sql);
  localStorage.setItem(EARLIER, JSON.stringify([sql, ...before].slice(0, MOST_EARLIER)));
  list();
}

function earlier() {
  try { return JSON.parse(localStorage.getItem(EARLIER)) ?? []; } catch { return []; }
}

function list() {
  const host = document.querySelector("[data-earlier]");
  const buttons = earlier().map((sql) => {
    const button = element("button", "quiet", sql.replace(/\s+/g, " ").slice(0, 90));
    button.type = "button";
    button.title = sql;
    button.addEventListener("click", () => { box.value = sql; box.focus(); });
    return button;
  });
  host.replaceChildren(...(buttons.length ? buttons : [element("p", "note", "none yet")]));
}

function insert(text) {
  box.focus();
  box.setRangeText(text, box.selectionStart, box.selectionEnd, "end");
}

form.addEventListener("submit", (event) => { event.preventDefault(); run(); });
box.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); run(); }
});
document.querySelector("[data-explain]").addEventListener("click", () => run(true));
document.querySelector("[data-link]").addEventListener("click", async () => {
  const address = new URL(location.href);
  address.searchParams.set("q", box.value);
  await navigator.clipboard.writeText(address.href);
  took.textContent = "Link copied";
});
document.querySelector("[data-find]")?.addEventListener("submit", (event) => { event.target.elements.q.value = box.value; });
document.querySelector("aside").addEventListener("click", (event) => {
  const button = event.target.closest("[data-insert]");
  if (button) insert(button.dataset.insert);
});
list();
if (document.querySelector("[data-run]")) run();
