// Where a page begins.
import { fill, start as startLive } from "./live.js";
import { move } from "./move.js";
import { refresh, start as startPanels } from "./panels.js";
import { start as startPage } from "./page.js";
import { sortable } from "./table.js";

function begin() {
  startPanels();
  startPage({ refresh, move });
  document.querySelectorAll("table[data-sorts]").forEach(sortable);
  fill();
  startLive();
}

// Scripts are there before the page is; those of a page of its own have run by then.
if (performance.getEntriesByType("navigation")[0].domContentLoadedEventStart) begin();
else addEventListener("DOMContentLoaded", begin);
