// Where a page begins.
import { fill, start as startLive } from "./live.js";
import { refresh, start as startPanels } from "./panels.js";
import { start as startPage } from "./page.js";
import { sortable } from "./table.js";

startPanels();
startPage(refresh);
document.querySelectorAll("table[data-sorts]").forEach(sortable);
fill();
startLive();
