// The page from its data: the table of runs first, plots when it is on the screen.
import { startChoice } from "./choice.js";
import { addCopyButton } from "./copying.js";
import { curvePlot } from "./curve.js";
import { Runs } from "./columns.js";
import { byId, unpacked } from "./elements.js";
import { startFilter } from "./filter.js";
import { openRun, startPanel } from "./panel.js";
import { addPlot, startPlots } from "./plots.js";
import { contentOfRun } from "./run.js";
import { Table } from "./table.js";

async function start() {
  if (!window.DecompressionStream) {
    byId("runs-shown").textContent = "This browser is too old for the table and the plots.";
    return;
  }
  const data = JSON.parse(await unpacked("data"));
  const runs = new Runs(data.runs);
  const table = new Table(runs, data.sort, openRun);
  startFilter(runs, table, data.vocabulary);
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
  for (const box of document.querySelectorAll("main .command, header .command")) addCopyButton(box);
  startPlots(data.theme);
  startPanel((id) => {
    const row = runs.row(id);
    if (row === undefined) return null;
    const plot = curvePlot(id, data.curves.of[id], openRun);
    return contentOfRun(runs, row, table.view, plot, data.surroundings[id]);
  });
  requestAnimationFrame(() => setTimeout(() => {
    startChoice("front", "score", data.fronts, openRun);
    startChoice("curves", "metric", data.curves.rankings, openRun);
    for (const [id, figure] of Object.entries(data.plots)) addPlot(byId(id), () => figure, openRun);
  }));
}

start();
