// What is above the table: the box for a condition, the statuses, and the choice of columns.
import { byId, count, element, statusMark } from "./elements.js";
import { condition } from "./where.js";

export function startFilter(runs, table, vocabulary) {
  const box = byId("filter");
  const statuses = new Set(); // that are checked; none is as good as all

  function apply() {
    const message = byId("filter-message");
    let holds;
    try {
      holds = box.value.trim() ? condition(box.value, runs, vocabulary) : () => true;
    } catch (error) {
      message.textContent = error.message;
      box.setAttribute("aria-invalid", "true");
      return;
    }
    box.removeAttribute("aria-invalid");
    message.textContent = "";
    const status = runs.column("status");
    table.filter(statuses.size ? (row) => statuses.has(status.text(row)) && holds(row) : holds);
  }

  let typing = 0;
  box.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(apply, runs.num > 20_000 ? 150 : 0);
  });
  byId("filter-form").addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(typing);
    apply();
  });
  if (box.value) apply(); // a browser may keep what was typed over a reload
  offerStatuses(runs, statuses, apply);
  offerColumns(runs, table);
}

function offerStatuses(runs, chosen, apply) {
  const numbers = new Map();
  for (let row = 0; row < runs.num; row += 1) {
    const text = runs.text("status", row);
    numbers.set(text, (numbers.get(text) ?? 0) + 1);
  }
  const labels = [...numbers].sort((a, b) => b[1] - a[1]).map(([name, number]) => {
    const box = element("input", { type: "checkbox", value: name });
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(name);
      else chosen.delete(name);
      apply();
    });
    return element("label", { className: "chip" }, box, statusMark(name || "(none)"), ` ${count(number)}`);
  });
  byId("statuses").append(...labels);
}

function offerColumns(runs, table) {
  const labels = runs.columns.map((column) => {
    const box = element("input", { type: "checkbox", value: column.name, checked: table.shown.includes(column) });
    box.addEventListener("change", () => {
      const chosen = new Set(table.shown);
      if (box.checked) chosen.add(column);
      else chosen.delete(column);
      if (chosen.size) table.setColumns([...chosen]);
      else box.checked = true; // the last one stays
    });
    return element("label", { title: column.hint ?? "" }, box, column.name);
  });
  byId("column-boxes").append(...labels);
}
