// The panel of one run, which the address opens (#run=<run id>).
import { addressOf, byId, element } from "./elements.js";
import { dropPlots } from "./plots.js";

export function openRun(id) {
  if (location.hash === addressOf(id)) dispatchEvent(new Event("hashchange"));
  else location.hash = addressOf(id);
}

/** content(id): the elements to show of a run, or null if there is no such run. */
export function startPanel(content) {
  const panel = byId("panel");

  function showAddress() {
    const found = location.hash.match(/^#run=(.*)$/s);
    if (!found) {
      if (panel.open) panel.close();
      return;
    }
    const id = decoded(found[1]);
    byId("panel-title").textContent = `Run ${id}`;
    dropPlots(panel);
    byId("panel-content").replaceChildren(
      ...(content(id) ?? [element("p", {}, "This report has no such run.")]));
    if (!panel.open) panel.showModal();
    panel.scrollTop = 0;
  }

  addEventListener("hashchange", showAddress);
  byId("panel-close").addEventListener("click", () => panel.close());
  panel.addEventListener("click", (event) => {
    if (event.target === panel) panel.close(); // beside the panel
  });
  panel.addEventListener("close", () => {
    dropPlots(panel);
    if (!location.hash.startsWith("#run=")) return;
    const { scrollX, scrollY } = window;
    history.pushState(null, "", location.pathname + location.search);
    scrollTo(scrollX, scrollY);
  });
  if (location.hash) showAddress();
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // as it stands
  }
}
