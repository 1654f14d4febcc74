// Curves over time, drawn by uPlot; bars, drawn as SVG. What is drawn is decided in Python (pages/charts.py).
/* global uPlot */
import { between, ends, moment, number, seen, ticks } from "./format.js";

const MOST_CURVES = 8;
const HEIGHT = 200;
const COMPLETE = 0.95; // so many labels are as good as all

const theme = new Map(); // its colours: asked for between changes of the page, they would have all of it styled anew
addEventListener("lapwing:theme", () => theme.clear());
function colour(name) {
  if (!theme.has(name)) theme.set(name, getComputedStyle(document.documentElement).getPropertyValue(name).trim());
  return theme.get(name);
}
const element = (tag, className, text) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};

/** The columns of an answer by name; times as milliseconds. */
export function columnsOf(data) {
  const found = new Map();
  data.names.forEach((name, place) => {
    const values = data.columns[place];
    found.set(name, data.types[place].startsWith("timestamp") || data.types[place].startsWith("date")
      ? values.map((value) => (value === null ? null : Date.parse(value))) : values);
  });
  return found;
}

/** What a chart shows: times in seconds, and curves with their values at these. */
export function curvesOf(data, spec, range) {
  const columns = columnsOf(data);
  const times = columns.get(spec.x) ?? [];
  const told = spec.series.length ? spec.series
    : data.names.filter((name) => name !== spec.x && name !== spec.by).map((name) => ({ column: name, label: name }));
  range.step ||= stepOf(times);
  const grid = gridOf(times, range);
  const places = new Map(grid.map((ms, place) => [ms, place]));
  const column = (name, rows, missing) => {
    const values = new Array(grid.length).fill(missing);
    const source = columns.get(name) ?? [];
    for (const row of rows) {
      const value = source[row];
      if (value !== null) values[places.get(times[row])] = typeof value === "number" ? value : Number(value);
    }
    return values;
  };
  const missing = spec.kind === "area" ? 0 : null;
  const all = times.map((_, row) => row);
  let curves = [];
  if (spec.by) {
    const groups = new Map();
    const by = columns.get(spec.by) ?? [];
    for (const row of all) groups.set(by[row], [...(groups.get(by[row]) ?? []), row]);
    for (const [value, rows] of groups) {
      for (const each of told) {
        const name = value === null || value === "" ? "none" : seen(value);
        curves.push({ ...each, label: told.length > 1 ? `${name}: ${each.label || each.column}` : name, values: column(each.column, rows, missing) });
      }
    }
    const weight = (curve) => curve.values.reduce((sum, value) => sum + Math.abs(value ?? 0), 0);
    const first = groups.size > MOST_CURVES ? curves.sort((a, b) => weight(b) - weight(a)) : curves;
    const rest = first.slice(MOST_CURVES);
    curves = first.slice(0, MOST_CURVES);
    if (rest.length && spec.kind === "area") {
      curves[MOST_CURVES - 1] = { column: "", label: `${rest.length + 1} others`, muted: true,
        values: grid.map((_, place) => [curves[MOST_CURVES - 1], ...rest].reduce((sum, each) => sum + each.values[place], 0)) };
    }
  } else {
    curves = told.map((each) => ({
      ...each, label: each.label || each.column, values: column(each.column, all, missing),
      lows: each.low ? column(each.low, all, null) : null, highs: each.high ? column(each.high, all, null) : null,
    }));
  }
  const covered = spec.coverage ? column(spec.coverage, all, null) : [];
  const coverage = covered.some((value) => value !== null) ? covered : null; // a rule may tell nothing of labels
  return { grid, curves, coverage };
}

/** The least time from one row to the next. */
function stepOf(times) {
  const sorted = [...new Set(times)].sort((a, b) => a - b);
  return sorted.slice(1).reduce((least, ms, place) => Math.min(least, ms - sorted[place]), Infinity) % Infinity || 0;
}

/** Every step of the range, so that what is missing is seen to be missing. */
function gridOf(times, range) {
  const distinct = [...new Set(times)].filter((ms) => ms !== null).sort((a, b) => a - b);
  if (!distinct.length || !range.step) return distinct;
  const grid = new Set(distinct);
  for (let ms = distinct[0]; ms >= range.start && grid.size < 2000; ms -= range.step) grid.add(ms);
  for (let ms = distinct[0]; ms < range.until && grid.size < 2000; ms += range.step) grid.add(ms);
  return [...grid].sort((a, b) => a - b);
}

const widthOf = (host) => Math.max(120, host.clientWidth);

/** Draws curves into `host`; gives back what ends them, with `again`, which draws other values of the same curves if it
 * can, as is quicker, and tells whether it did. `act` has what `picking` of page.js has, and say. */
export function drawCurves(host, data, spec, range, marks, act) {
  let width = widthOf(host); // before anything changes, which would have the page laid out anew
  let { grid, curves, coverage } = curvesOf(data, spec, range);
  let xs;
  const colours = curves.map((curve, place) => (curve.muted ? colour("--s8") : colour(`--s${(place % 7) + 1}`)));
  const steps = spec.kind === "area";
  const closed = (values) => (steps && values.length ? [...values, values[values.length - 1]] : values);
  const hidden = new Set();

  const body = element("div", "plot");
  body.tabIndex = 0;
  body.setAttribute("role", "application");
  body.setAttribute("aria-roledescription", "chart");
  const tip = element("div", "tip");
  tip.hidden = true;
  host.replaceChildren(body);
  let plot;
  let chosen = -1;
  let anchor = null;
  begin();

  function begin() {
    xs = grid.map((ms) => ms / 1000 + (steps ? 0 : (range.step ?? 0) / 2000));
    if (steps && xs.length) xs.push(xs[xs.length - 1] + (range.step ?? 60000) / 1000);
    body.setAttribute("aria-label", `${spec.title}: ${summary(curves, spec)}${spec.thresholds.map((each) => `; ${seen(each.label)} at ${number(each.value, spec.unit)}`).join("")}. Arrow keys read points, t shows a table.`);
  }

  const shown = () => curves.map((curve, place) => ({ ...curve, place })).filter((curve) => !hidden.has(curve.place));

  /** What is drawn, the first last where each is drawn over the sum of all. */
  function values() {
    if (!steps) return [xs, ...shown().flatMap((curve) => (curve.lows && curve.highs ? [curve.highs, curve.lows, curve.values] : [curve.values]))];
    const sums = [];
    let sum = grid.map(() => 0);
    for (const curve of shown()) {
      sum = sum.map((value, place) => value + (curve.values[place] ?? 0));
      sums.push(closed(sum));
    }
    return [xs, ...sums.reverse()];
  }

  function again(told, toRange, toMarks) {
    const next = curvesOf(told, spec, toRange);
    const alike = (curve, place) => curve.label === curves[place]?.label && !curve.muted === !curves[place].muted;
    if (next.curves.length !== curves.length || !next.curves.every(alike)) return false;
    ({ grid, curves, coverage } = next);
    [range, marks, chosen, anchor, tip.hidden] = [toRange, toMarks, -1, null, true];
    begin();
    plot.setData(values());
    if (act.picked) queueMicrotask(showPicked); // after the scales are set
    else select(0, 0);
    return true;
  }

  function build() {
    plot?.destroy();
    const series = [{}];
    const bands = [];
    for (const curve of steps ? shown().reverse() : shown()) {
      const hue = colours[curve.place];
      if (steps) {
        series.push({ label: curve.label, stroke: hue, width: 1.25, fill: mixed(hue, 0.32), points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }) });
        continue;
      }
      if (curve.lows && curve.highs) {
        series.push({ stroke: "transparent", points: { show: false } }, { stroke: "transparent", points: { show: false } });
        bands.push({ series: [series.length - 2, series.length - 1], fill: `${hue}26` });
      }
      series.push({ label: curve.label, stroke: hue, width: curve.muted ? 1.25 : 1.75, dash: curve.muted ? [4, 3] : undefined, spanGaps: false, points: { size: 4, fill: hue, filter: alone } });
    }
    plot = new uPlot({
      width, height: HEIGHT, ms: 1e-3, pxAlign: true, legend: { show: false }, padding: [10, 18, 0, 0],
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      cursor: {
        y: false, sync: { key: "lapwing" }, drag: { x: true, y: false, setScale: false }, points: { size: 7 },
        bind: { dblclick: () => () => { act.reset(); return null; } },
      },
      scales: { x: { time: true, range: () => [range.since / 1000, range.until / 1000] }, y: { range: (_, low, high) => reach(low, high, spec) } },
      axes: [
        { stroke: colour("--muted"), grid: { show: false }, ticks: { stroke: colour("--line"), size: 4 }, font: "11px system-ui", space: 64, size: 36,
          values: (_, seconds, __, ___, increment) => ticks(seconds, increment) },
        { stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false }, font: "11px system-ui", space: 36, gap: 6,
          values: (_, numbers) => numbers.map((value) => number(value, spec.unit, true)),
          size: (_, labels) => 14 + Math.max(24, ...(labels ?? []).map((label) => label.length * 6.4)) },
      ],
      series, bands,
      hooks: {
        ready: [() => { if (act.picked) showPicked(); }],
        drawClear: [(u) => drawUnder(u)],
        draw: [(u) => drawOver(u)],
        setCursor: [(u) => { showTip(u); if (u.cursor.drag._x && u.select.width > 4) act.during?.(...chosenOf(u)); }],
        setSelect: [(u) => { if (u.select.width > 4) choose(u); }],
      },
    }, values(), body);
    plot.over.append(tip);
    plot.over.addEventListener("mouseleave", () => { tip.hidden = true; });
  }

  const chosenOf = (u) => [u.select.left, u.select.left + u.select.width].map((left) => u.posToVal(left, "x") * 1000);
  const choose = (u) => act.zoom(...chosenOf(u));
  const select = (left, width) => plot.setSelect({ left, top: 0, width, height: width ? plot.over.clientHeight : 0 }, false);
  function showPicked() {
    const picked = act.picked?.();
    const [from, to] = picked ? picked.map((ms) => plot.valToPos(ms / 1000, "x")) : [0, 0];
    select(from, to - from);
  }

  const endOf = (mark) => (mark.until ? Date.parse(mark.until) : mark.kind === "alert" ? range.until : Date.parse(mark.at));
  const at = (u, ms) => Math.round(u.valToPos(ms / 1000, "x", true));

  function drawUnder(u) {
    const { ctx } = u;
    const { left, top, width, height } = u.bbox;
    const right = left + width;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    if (coverage) {
      let first = grid.length;
      while (first > 0 && (coverage[first - 1] === null || coverage[first - 1] < COMPLETE)) first--;
      if (first < grid.length) {
        const from = Math.max(left, at(u, grid[first]));
        ctx.fillStyle = colour("--sunk");
        ctx.fillRect(from, top, right - from, height);
        ctx.fillStyle = colour("--muted");
        ctx.font = `${11 * devicePixelRatio}px system-ui`;
        ctx.textBaseline = "top";
        if (right - from > 90 * devicePixelRatio) ctx.fillText("labels still to come", from + 5, top + 3);
      }
    }
    for (const mark of marks) {
      const from = Math.max(left - 2, at(u, Date.parse(mark.at)));
      if (mark.kind === "alert") {
        const until = Math.min(right, at(u, endOf(mark)));
        ctx.fillStyle = colour("--bad");
        ctx.fillRect(from, top, Math.max(2, until - from), 4 * devicePixelRatio);
      }
      line(ctx, from, top, from, top + height, colour(mark.kind === "alert" ? "--bad" : "--accent"), [2, 3]);
    }
    ctx.restore();
  }

  function drawOver(u) {
    const { ctx } = u;
    const { left, top, width, height } = u.bbox;
    ctx.save();
    if (range.moves && grid.length && range.step) { // the step that is not over yet
      const last = grid[grid.length - 1];
      if (last + range.step > range.until && last < range.until) {
        ctx.fillStyle = mixedAlpha(colour("--bg"), 0.6);
        ctx.fillRect(at(u, last), top, left + width - at(u, last), height);
      }
    }
    ctx.font = `${11 * devicePixelRatio}px system-ui`;
    ctx.fillStyle = colour("--bad");
    ctx.textBaseline = "bottom";
    ctx.textAlign = "right";
    const tall = 13 * devicePixelRatio;
    let above = top - tall; // where the last text stands: none is written over another
    for (const each of [...spec.thresholds].sort((a, b) => b.value - a.value)) {
      const y = Math.round(u.valToPos(each.value, "y", true));
      const inside = y >= top - 1 && y <= top + height + 1;
      if (inside) line(ctx, left, y, left + width, y, colour("--bad"), [5, 4]);
      const at = Math.max(inside ? y - 2 : y < top ? top : top + height - 2, top + tall, above + tall);
      ctx.fillText(inside ? each.label : `${each.label} ${y < top ? "↑" : "↓"}`, left + width - 3, at);
      above = at;
    }
    ctx.restore();
  }

  function showTip(u) {
    const place = u.cursor.idx;
    if (place === null || place === undefined || u.cursor.left < 0) { tip.hidden = true; return; }
    const index = Math.min(place, grid.length - 1);
    const rows = element("div");
    const words = [];
    curves.forEach((curve, number_) => {
      if (hidden.has(number_)) return;
      const text = number(curve.values[index], spec.unit);
      const swatch = element("i", `swatch c${curve.muted ? 8 : (number_ % 7) + 1}`);
      rows.append(swatch, element("span", "", curve.label), element("span", "v", text));
      words.push(`${curve.label} ${text}`);
    });
    const step = range.step ?? 60000;
    const when = range.step ? between(grid[index], grid[index] + step, step / 1000) : moment(grid[index], 1);
    tip.replaceChildren(element("b", "", when), rows);
    if (coverage && coverage[index] !== null) tip.append(element("span", "note", `labels: ${number(coverage[index], "share")}`));
    const near = 7;
    for (const mark of marks) {
      const from = u.valToPos(Date.parse(mark.at) / 1000, "x");
      const until = u.valToPos(endOf(mark) / 1000, "x");
      if (u.cursor.left >= from - near && u.cursor.left <= until + near) tip.append(element("span", `mark ${mark.kind}`, seen(mark.label)));
    }
    tip.hidden = false;
    const wide = u.bbox.width / devicePixelRatio; // nothing is measured here: all charts show one while a mouse moves
    const before = u.cursor.left > wide / 2;
    tip.style.left = before ? "auto" : `${u.cursor.left + 12}px`;
    tip.style.right = before ? `${wide - u.cursor.left + 12}px` : "auto";
    tip.style.top = "4px";
    if (document.activeElement === body) act.say(`${when}: ${words.join(", ")}`);
  }

  body.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (move !== undefined && grid.length) {
      event.preventDefault();
      const before = chosen < 0 ? (move < 0 ? grid.length : -1) : chosen;
      chosen = Math.max(0, Math.min(grid.length - 1, before + move));
      const left = plot.valToPos(xs[chosen], "x");
      if (event.shiftKey) {
        anchor ??= Math.max(0, Math.min(grid.length - 1, before));
        const from = plot.valToPos(xs[Math.min(anchor, chosen)], "x");
        plot.setSelect({ left: from, top: 0, width: plot.valToPos(xs[Math.max(anchor, chosen)], "x") - from, height: plot.over.clientHeight }, false);
      } else if (anchor !== null) {
        anchor = null;
        plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      }
      plot.setCursor({ left, top: 10 });
    } else if (event.key === "Enter" && anchor !== null) {
      choose(plot);
    } else if (event.key === "Escape") {
      anchor = null;
      chosen = -1;
      plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      plot.setCursor({ left: -10, top: -10 });
    } else if (event.key === "t") {
      event.stopPropagation();
      act.table();
    }
  });

  build();
  if (act.picked) addEventListener("lapwing:picked", showPicked);
  if (curves.length > 1) {
    const legend = element("div", "legend");
    curves.forEach((curve, place) => {
      const button = element("button", "", "");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      button.append(element("i", `swatch c${curve.muted ? 8 : (place % 7) + 1}`), element("span", "", curve.label));
      button.addEventListener("click", () => {
        if (!hidden.delete(place)) hidden.add(place);
        button.setAttribute("aria-pressed", String(!hidden.has(place)));
        build();
      });
      legend.append(button);
    });
    host.append(legend);
  }
  const observer = new ResizeObserver(() => {
    width = widthOf(host);
    if (Math.abs(width - plot.width) <= 1) return;
    plot.setSize({ width, height: HEIGHT });
    if (act.picked) queueMicrotask(showPicked); // after the scales are set
  });
  observer.observe(host);
  const end = () => { observer.disconnect(); removeEventListener("lapwing:picked", showPicked); plot.destroy(); };
  return Object.assign(end, { again });
}

/** Points that no line leads to, where points are too close to be shown each: else nothing would be seen of them. */
function alone(u, place, all) {
  if (all) return null;
  const values = u.data[place];
  const found = values.flatMap((value, at) => ((value ?? null) !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null ? [at] : []));
  return found.length ? found : null;
}

function summary(curves, spec) {
  return curves.map((curve) => {
    const known = curve.values.filter((value) => value !== null);
    if (!known.length) return `${curve.label} nothing`;
    const [least, most] = ends(known);
    return `${curve.label} from ${number(least, spec.unit)} to ${number(most, spec.unit)}, last ${number(known[known.length - 1], spec.unit)}`;
  }).join("; ");
}

/** How far the axis reaches: as far as the values, and a threshold that is not so far away that they would be flat. */
function reach(low, high, spec) {
  if (low === null || high === null) { low = 0; high = 1; }
  if (spec.from_zero && low > 0) low = 0;
  const far = Math.max(high - low, Math.abs(high) * 0.05) * 4;
  const near = spec.thresholds.map((each) => each.value).filter((value) => value >= low - far && value <= high + far);
  [low, high] = [Math.min(low, ...near), Math.max(high, ...near)];
  if (low === high) high = low + (Math.abs(low) || 1);
  const room = (high - low) * 0.08;
  return [spec.from_zero && low === 0 ? 0 : low - room, spec.unit === "share" && high <= 1 ? Math.min(high + room, Math.max(1, high)) : high + room];
}

function line(ctx, x1, y1, x2, y2, stroke, dash) {
  ctx.beginPath();
  ctx.setLineDash(dash.map((part) => part * devicePixelRatio));
  ctx.strokeStyle = stroke;
  ctx.lineWidth = devicePixelRatio;
  ctx.moveTo(x1, y1);
  ctx.lineTo(x2, y2);
  ctx.stroke();
  ctx.setLineDash([]);
}

const parts = (hex) => [1, 3, 5].map((place) => parseInt(hex.slice(place, place + 2), 16));
const full = (hex) => (hex.length === 4 ? `#${[...hex.slice(1)].map((digit) => digit + digit).join("")}` : hex);
const mixedAlpha = (hex, alpha) => `rgb(${parts(full(hex)).join(" ")} / ${alpha})`;
/** A colour as it looks when it is thin over the background, and hides what is behind. */
function mixed(hex, alpha) {
  const [over, under] = [parts(full(hex)), parts(full(colour("--bg")))];
  return `rgb(${over.map((value, place) => Math.round(value * alpha + under[place] * (1 - alpha))).join(" ")})`;
}

/** The next of 1, 2, 5, 10 and so on. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((times) => times * power >= value * (1 - 1e-9)) * power;
}

/** Draws a bar for each row: filled what is, as a line what it is compared with. */
export function drawBars(host, data, spec, act) {
  const columns = columnsOf(data);
  const labels = (columns.get(spec.x) ?? []).map((label) => (label === null ? "missing" : seen(label)));
  const told = spec.series.map((each) => ({ ...each, label: each.label || each.column, values: columns.get(each.column) ?? [] }))
    .filter((each) => !each.muted || each.values.some((value) => value)); // nothing to compare with
  const tallest = Math.max(1e-12, ...told.flatMap((each) => each.values.map((value) => value ?? 0)));
  const step = roundUp(tallest / 3); // lines at round numbers
  const most = Math.ceil(tallest / step - 1e-9) * step;
  let width = widthOf(host);
  const body = element("div", "plot");
  body.tabIndex = 0;
  body.setAttribute("role", "application");
  body.setAttribute("aria-roledescription", "chart");
  body.setAttribute("aria-label", `${spec.title}: ${labels.length} bars. Arrow keys read them, t shows a table.`);
  const tip = element("div", "tip");
  tip.hidden = true;
  host.replaceChildren(body);
  const svg = (tag, attributes, text) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  let geometry;
  function build() {
    const [left, bottom, top] = [46, 34, 8];
    const height = HEIGHT - bottom - top;
    const each = (width - left) / Math.max(1, labels.length);
    geometry = { left, each };
    const picture = svg("svg", { class: "bars c1", width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" });
    for (let value = 0; value <= most + step / 2; value += step) {
      const y = top + height * (1 - value / most);
      picture.append(svg("line", { class: "rule", x1: left, x2: width, y1: y, y2: y }), svg("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, number(value, spec.unit, true)));
    }
    const every = Math.ceil(labels.length / Math.max(1, Math.floor((width - left) / 74)));
    labels.forEach((label, place) => {
      const x = left + place * each;
      for (const series of told) {
        const tall = Math.max(0, ((series.values[place] ?? 0) / most) * height);
        picture.append(svg("rect", series.muted
          ? { class: "was", x: x + each * 0.04, y: top + height - tall, width: Math.max(1, each * 0.92), height: tall }
          : { x: x + each * 0.12, y: top + height - tall, width: Math.max(1, each * 0.76), height: tall, opacity: 0.8 }));
      }
      if (place % every === 0) {
        const fits = Math.max(3, Math.floor((each * every) / 6.2));
        const short = label.split(" – ")[0]; // of a range, where it begins
        picture.append(svg("text", { x: x + each / 2, y: HEIGHT - bottom + 16, "text-anchor": "middle" }, short.length > fits ? `${short.slice(0, fits - 1)}…` : short));
      }
    });
    body.replaceChildren(picture, tip);
  }
  function show(place) {
    if (place < 0 || place >= labels.length) { tip.hidden = true; return; }
    const rows = element("div");
    const words = told.map((series) => {
      const text = number(series.values[place], spec.unit);
      rows.append(element("i", `swatch c${series.muted ? 8 : 1}`), element("span", "", series.label), element("span", "v", text));
      return `${series.label} ${text}`;
    });
    tip.replaceChildren(element("b", "", labels[place]), rows);
    tip.hidden = false;
    const x = geometry.left + (place + 0.5) * geometry.each;
    tip.style.left = `${Math.max(0, Math.min(width - tip.offsetWidth, x - tip.offsetWidth / 2))}px`;
    tip.style.top = "0";
    if (document.activeElement === body) act.say(`${labels[place]}: ${words.join(", ")}`);
  }
  let chosen = -1;
  body.addEventListener("mousemove", (event) => show(Math.floor((event.clientX - body.getBoundingClientRect().left - geometry.left) / geometry.each)));
  body.addEventListener("mouseleave", () => { tip.hidden = true; });
  body.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move) {
      event.preventDefault();
      chosen = Math.max(0, Math.min(labels.length - 1, chosen + move));
      show(chosen);
    } else if (event.key === "t") {
      event.stopPropagation();
      act.table();
    }
  });
  build();
  const legend = element("div", "legend");
  for (const series of told) {
    const entry = element("span");
    entry.append(element("i", `swatch c${series.muted ? 8 : 1}`), element("span", "", series.label));
    legend.append(entry);
  }
  if (told.length > 1) host.append(legend);
  const observer = new ResizeObserver(() => {
    if (Math.abs(widthOf(host) - width) <= 1) return;
    width = widthOf(host);
    build();
  });
  observer.observe(host);
  return () => observer.disconnect();
}
