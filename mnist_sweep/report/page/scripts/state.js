// What the reader has chosen and where the reader is, kept while the page is loaded again.
import { byId } from "./elements.js";

const KEY = `report ${location.pathname}`;

const boxes = () => [...document.querySelectorAll("#statuses input, #column-boxes input")];
const nameOf = (box) => `${box.closest("[id]:not(input)").id} ${box.value}`;
const details = () => [...document.querySelectorAll("main details")];

function found(table) {
  const panel = byId("panel"), active = panel.open ? panel.dataset.opener : document.activeElement?.id;
  return {
    filter: byId("filter").value,
    boxes: Object.fromEntries(boxes().map((box) => [nameOf(box), box.checked])),
    selects: Object.fromEntries([...document.querySelectorAll("main select")].map(({ id, value }) => [id, value])),
    details: details().map(({ open }) => open),
    table: table.place(),
    panel: panel.scrollTop,
    scroll: [scrollX, scrollY],
    focus: active ?? "",
  };
}

/** What was kept of this page when it was last left, if it was loaded again since; else {}. */
export function keptState() {
  try {
    if (performance.getEntriesByType("navigation")[0]?.type !== "reload") return {};
    return JSON.parse(sessionStorage.getItem(KEY)) ?? {};
  } catch {
    return {}; // a browser that keeps nothing for files
  }
}

/** state: what else is to be kept. */
export function keepState(table, state) {
  addEventListener("pagehide", () => {
    try {
      sessionStorage.setItem(KEY, JSON.stringify({ ...state, ...found(table) }));
    } catch {
      // as above
    }
  });
}

function change(input, name, value, event) {
  if (input[name] === value) return;
  input[name] = value;
  input.dispatchEvent(new Event(event));
}

/** Before the panel opens, which gives the focus back to what has it now. */
export function restoreFocus({ focus }) {
  if (focus) byId(focus)?.focus({ preventScroll: true });
}

export function restoreState(kept, table) {
  if (!kept.table) return;
  byId("filter").value = kept.filter;
  byId("filter-form").dispatchEvent(new Event("submit", { cancelable: true })); // at once
  for (const box of boxes()) if (nameOf(box) in kept.boxes) change(box, "checked", kept.boxes[nameOf(box)], "change");
  for (const [id, value] of Object.entries(kept.selects)) {
    const select = byId(id);
    if ([...(select?.options ?? [])].some((option) => option.value === value)) change(select, "value", value, "change");
  }
  details().forEach((box, at) => (box.open = kept.details[at] ?? box.open));
  table.goTo(kept.table);
  byId("panel").scrollTop = kept.panel;
  scrollTo(...kept.scroll);
}
