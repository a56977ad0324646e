// The panel of one run, which the address opens (#run=<run id>), or of a trial that has no run yet
// (#trial=<study>/<number>).
import { addressOf, byId, element } from "./elements.js";
import { dropPlots } from "./plots.js";

export function openRun(id) {
  if (location.hash === addressOf(id)) dispatchEvent(new Event("hashchange"));
  else location.hash = addressOf(id);
}

const ADDRESS = /^#(run|trial)=(.*)$/s;
const TITLES = { run: "Run", trial: "Trial" };

/** content: kind -> what gives, for a name, the elements to show; null if there is none such. */
export function startPanel(content) {
  const panel = byId("panel");

  function showAddress() {
    const found = location.hash.match(ADDRESS);
    if (!found) {
      if (panel.open) panel.close();
      return;
    }
    const kind = found[1], name = decoded(found[2]);
    byId("panel-title").textContent = `${TITLES[kind]} ${name}`;
    dropPlots(panel);
    byId("panel-content").replaceChildren(
      ...(content[kind](name) ?? [element("p", {}, `This report has no such ${kind}.`)]));
    if (!panel.open) {
      panel.dataset.opener = document.activeElement?.id ?? "";
      panel.showModal();
    }
    panel.scrollTop = 0;
  }

  addEventListener("hashchange", showAddress);
  byId("panel-close").addEventListener("click", () => panel.close());
  panel.addEventListener("click", (event) => {
    if (event.target === panel) panel.close(); // beside the panel
  });
  panel.addEventListener("close", () => {
    dropPlots(panel);
    if (!ADDRESS.test(location.hash)) return;
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
