// Where a page begins.
import { fill, start as startLive } from "./live.js";
import { move } from "./move.js";
import { drawn, refresh, start as startPanels } from "./panels.js";
import { start as startPage } from "./page.js";
import { sortable } from "./table.js";

const PATIENCE_MS = 1000;

async function begin() {
  startPanels();
  startPage({ refresh, move });
  document.querySelectorAll("table[data-sorts]").forEach(sortable);
  startLive();
  await drawn(PATIENCE_MS); // what else is asked for would hold charts up
  fill();
  showWhere();
}

function showWhere() {
  // On a phone, links to pages are wider than it. The page itself stays where somebody has scrolled to.
  for (const link of document.querySelectorAll("nav > [aria-current]")) {
    const [nav, at] = [link.parentElement, link.getBoundingClientRect()];
    nav.scrollLeft += at.left - nav.getBoundingClientRect().left - (nav.clientWidth - at.width) / 2;
  }
}

// Scripts are there before the page is; those of a page of its own have run by then.
if (performance.getEntriesByType("navigation")[0].domContentLoadedEventStart) begin();
else addEventListener("DOMContentLoaded", begin);
