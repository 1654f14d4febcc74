// Tables: made of an answer's columns, and sorted by their heads.
import { moment, number, seen } from "./format.js";

const SHOWN = 500;
const LONGEST = 300;

/** How a column is shown, by its type. */
export function kindOf(type) {
  if (/^(u?int|float|double|halffloat|decimal)/.test(type)) return "number";
  if (/^(timestamp|date)/.test(type)) return "time";
  return "text";
}

function shown(value, kind, unit) {
  if (value === null) return "–";
  if (kind === "time") return moment(Date.parse(value), 1);
  if (kind === "number") return number(value, unit);
  const text = seen(typeof value === "object" ? JSON.stringify(value) : value);
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

/** A table of an answer's rows. */
export function tableOf(data, caption, spec = {}) {
  const units = new Map((spec.series ?? []).map((each) => [each.column, each.unit ?? spec.unit]));
  const labels = new Map((spec.series ?? []).filter((each) => each.label).map((each) => [each.column, each.label]));
  const kinds = data.types.map(kindOf);
  const table = document.createElement("table");
  table.createCaption().textContent = caption;
  table.caption.className = "unseen";
  const head = table.createTHead().insertRow();
  data.names.forEach((name, place) => {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.className = kinds[place];
    cell.textContent = seen(labels.get(name) ?? name);
    head.append(cell);
  });
  const body = table.createTBody();
  const rows = data.columns[0]?.length ?? 0;
  for (let row = 0; row < Math.min(rows, SHOWN); row++) {
    const line = body.insertRow();
    data.columns.forEach((column, place) => {
      const cell = line.insertCell();
      cell.className = kinds[place] + (column[row] === null ? " none" : "");
      cell.textContent = shown(column[row], kinds[place], units.get(data.names[place]) ?? "number");
      if (kinds[place] !== "text") cell.dataset.value = column[row] ?? "";
    });
  }
  sortable(table);
  const around = document.createElement("div");
  around.className = spec.kind === "table" ? "scroll" : "scroll high";
  around.tabIndex = 0;
  around.setAttribute("role", "region");
  around.setAttribute("aria-label", caption);
  around.append(table);
  if (rows > SHOWN) {
    const note = document.createElement("p");
    note.className = "note";
    note.textContent = `The first ${SHOWN} of ${number(rows)} rows; CSV and the other links have all of them.`;
    around.append(note);
  }
  return around;
}

/** Lets a table be sorted by its heads. */
export function sortable(table) {
  const heads = [...(table.tHead?.rows[0]?.cells ?? [])];
  heads.forEach((head, place) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") !== "descending";
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      const key = (row) => row.cells[place]?.dataset.value ?? row.cells[place]?.textContent ?? "";
      const rows = [...body.rows].map((row) => [key(row), row]);
      const numeric = rows.every(([text]) => text === "" || !Number.isNaN(Number(text)));
      rows.sort(([a], [b]) => {
        if (a === "" || b === "") return (a === "") - (b === ""); // what is missing is last, whichever way
        const order = numeric ? Number(a) - Number(b) : a.localeCompare(b);
        return down ? -order : order;
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}
