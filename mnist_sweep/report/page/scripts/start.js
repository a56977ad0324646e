// The page from its data: the table of runs first, plots when it is on the screen.
import { startChoice } from "./choice.js";
import { addCopyButton } from "./copying.js";
import { curvePlot } from "./curve.js";
import { Runs } from "./columns.js";
import { byId, unpacked } from "./elements.js";
import { startFilter } from "./filter.js";
import { openRun, startPanel } from "./panel.js";
import { addPlot, startPlots } from "./plots.js";
import { startRefresh } from "./refresh.js";
import { contentOfRun, contentOfTrial } from "./run.js";
import { keepState, keptState, restoreFocus, restoreState } from "./state.js";
import { Table } from "./table.js";
import { Trials } from "./trial.js";

async function start() {
  if (!window.DecompressionStream) {
    byId("runs-shown").textContent = "This browser is too old for the table and the plots.";
    return;
  }
  const data = JSON.parse(await unpacked("data"));
  const runs = new Runs(data.runs);
  const trials = new Trials(runs, data.searches);
  const table = new Table(runs, data.sort, openRun, (row) => trials.hint(row));
  startFilter(runs, table, data.vocabulary);
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
  for (const box of document.querySelectorAll("main .command, header .command")) addCopyButton(box);
  startPlots(data.theme);
  const run = (id) => {
    const row = runs.row(id);
    if (row === undefined) return null;
    const plot = curvePlot(id, data.curves.of[id], openRun);
    return contentOfRun(runs, row, table.view, plot, data.surroundings[id], trials.ofRow(row));
  };
  const trial = (name) => {
    const found = trials.get(name);
    if (found?.row !== undefined) return run(runs.text("run_id", found.row));
    return found && contentOfTrial(found);
  };
  const kept = keptState();
  const state = { paused: kept.paused ?? false };
  restoreFocus(kept);
  startPanel({ run, trial });
  requestAnimationFrame(() => setTimeout(() => {
    startChoice("front", "score", data.fronts, openRun);
    startChoice("curves", "metric", data.curves.rankings, openRun);
    for (const [id, figure] of Object.entries(data.plots)) addPlot(byId(id), () => trials.withHints(figure), openRun);
    restoreState(kept, table);
    keepState(table, state);
    startRefresh(state);
  }));
}

start();
