// What the panel says of one run.
import { MISSING } from "./columns.js";
import { commandBox } from "./copying.js";
import { count, element, runLink, statusMark } from "./elements.js";

const MOST_SIBLINGS = 20;

/**
 * view: the rows of the table as it is filtered and sorted. plot: the element of its curve, or null.
 * surroundings: what its commands begin with, where that is more than usual. trial: what its search
 * knows of it, or null.
 */
export function contentOfRun(runs, row, view, plot, surroundings, trial) {
  const parts = [error(runs, row), neighbours(runs, row, view), plot, ...(trial?.sections(!plot) ?? []),
    commands(runs, row, surroundings, trial), siblings(runs, row)];
  return [
    element("p", { className: "panel-lead" }, statusMark(runs.text("status", row)), lead(runs, row)),
    ...parts.filter(Boolean),
    ...facts(runs, row),
  ];
}

function lead(runs, row) {
  const accuracies = ["val_acc", "test_acc"]
    .filter((name) => runs.text(name, row) !== MISSING)
    .map((name) => `${name} ${runs.column(name).withUnit(row)}`);
  const size = runs.text("num_params", row);
  return [...accuracies, size && `${size} parameters`].filter(Boolean).join(" · ");
}

function error(runs, row) {
  const text = runs.text("error", row);
  const className = runs.text("status", row) === "pruned" ? "note" : "error"; // it did not fail
  return text === MISSING ? null : element("p", { className }, text);
}

function neighbours(runs, row, view) {
  const at = view.indexOf(row);
  if (at < 0) return null;
  const link = (place, text) => {
    if (place < 0 || place >= view.length) return element("span", { className: "muted" }, text);
    return runLink(runs.text("run_id", view[place]), text);
  };
  return element("nav", { className: "neighbours", "aria-label": "Runs of the table" },
    link(at - 1, "← previous"), `${count(at + 1)} of ${count(view.length)}`, link(at + 1, "next →"));
}

function commands(runs, row, surroundings, trial) {
  const { environment, command } = surroundings ?? { environment: "", command: "python -m mnist_sweep" };
  const id = quoted(runs.text("run_id", row));
  const made = [];
  if (runs.text("run_dir", row) !== MISSING) {
    made.push(["The very run again", `${environment}python -m mnist_sweep.rerun ${id}`]);
    if (runs.text("status", row) === "completed") {
      made.push(["Its mistakes on the test set", `${environment}python -m mnist_sweep.evaluate ${id}`]);
    }
    made.push(["Its curves", `python -m mnist_sweep.report curves ${id}`]);
  }
  const own = `${command} ${runs.text("overrides", row)}`.trim();
  made.push(["What was run", own]);
  const whole = trial?.whole(own);
  if (whole) made.push(["To the end", whole]);
  return commandList(made);
}

/** The panel of a trial that has no row yet. */
export function contentOfTrial(trial) {
  const { again } = trial.told;
  return [trial.lead(), ...trial.sections(true), again ? commandList([["What is run", again]]) : null].filter(Boolean);
}

function commandList(made) {
  return element("section", {}, element("h3", {}, "Commands"),
    ...made.flatMap(([what, command]) => [
      element("p", { className: "command-title" }, what), commandBox(command)]));
}

const quoted = (word) => (/^[\w./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

/** Runs that differ from this one only in the seed. */
function siblings(runs, row) {
  const hash = runs.text("config_hash", row);
  if (hash === MISSING) return null;
  const others = [];
  for (let other = 0; other < runs.num; other += 1) {
    if (other !== row && runs.text("config_hash", other) === hash) others.push(other);
  }
  if (!others.length) return null;
  const items = others.slice(0, MOST_SIBLINGS).map((other) => element("li", {},
    runLink(runs.text("run_id", other)),
    ` seed ${runs.text("seed", other)}: ${lead(runs, other) || runs.text("status", other)}`));
  const more = others.length - items.length;
  const rest = more ? [element("li", {}, `and ${count(more)} more`)] : [];
  return element("section", {}, element("h3", {}, "The same configuration, other seeds"),
    element("ul", {}, ...items, ...rest));
}

function facts(runs, row) {
  const groups = new Map();
  for (const column of runs.columns) {
    if (column.text(row) === MISSING) continue;
    if (!groups.has(column.section)) groups.set(column.section, []);
    groups.get(column.section).push(element("dt", { title: column.hint ?? "" }, column.name),
      element("dd", {}, column.withUnit(row)));
  }
  return runs.sections.filter((name) => groups.has(name)).map((name) => element("section", {},
    element("h3", {}, name), element("dl", { className: "facts" }, ...groups.get(name))));
}
