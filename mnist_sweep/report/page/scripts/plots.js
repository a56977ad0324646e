// Plots, drawn when they come into sight. Their figures, made by Python, name the colours and the
// font of the page as `var(--name)`.
import { byId, element, unpacked } from "./elements.js";

const hover = matchMedia("(hover: hover)").matches; // not so with a finger, which scrolls the page

const CONFIG = {
  responsive: true,
  displaylogo: false,
  modeBarButtons: [["toImage", "resetScale2d"]],
  displayModeBar: hover ? "hover" : false,
  toImageButtonOptions: { format: "svg" },
};

const plots = new Map(); // the box of a plot -> {figure(), open}
let theme = {};
let plotly = null; // lies packed in the page

function loadPlotly() {
  plotly ??= (async () => {
    const source = await unpacked("plotly");
    document.head.append(element("script", { textContent: source }));
    return window.Plotly;
  })();
  return plotly;
}

const observer = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    observer.unobserve(target);
    draw(target);
  }
}, { rootMargin: "300px" });

/** figure(): {data, layout}. open(id): called for a click on a point of a run. */
export function addPlot(box, figure, open) {
  plots.set(box, { figure, open });
  observer.observe(box);
}

export async function draw(box) {
  if (!plots.has(box)) return;
  const { figure, open } = plots.get(box);
  try {
    const { react } = await loadPlotly();
    const { data, layout, template } = painted({ ...figure(), template: { layout: theme } });
    await react(box, data, { dragmode: hover ? "zoom" : false, template, ...layout }, CONFIG);
  } catch (error) {
    box.textContent = `This plot cannot be drawn here (${error.message}).`;
    return;
  }
  if (box.dataset.drawn) return;
  box.dataset.drawn = "true";
  box.on("plotly_click", ({ points: [{ customdata }] }) => {
    if (typeof customdata === "string") open(customdata);
  });
}

/** The plots in an element are gone with it. */
export function dropPlots(parent) {
  for (const box of parent.querySelectorAll(".plot")) {
    observer.unobserve(box);
    plots.delete(box);
    if (box.dataset.drawn) window.Plotly.purge(box);
  }
}

/**
 * A copy in which `var(--name)` is what the stylesheet has there now. Lists of plain values, which
 * may be long, are not looked through.
 */
function painted(part, style = getComputedStyle(document.documentElement)) {
  if (typeof part === "string") {
    return part.replace(/^var\((--[\w-]+)\)$/, (_, name) => style.getPropertyValue(name).trim());
  }
  if (part === null || typeof part !== "object") return part;
  if (Array.isArray(part)) return typeof part[0] === "object" ? part.map((inner) => painted(inner, style)) : part;
  return Object.fromEntries(Object.entries(part).map(([name, inner]) => [name, painted(inner, style)]));
}

/** layout: of all plots, which theirs adds to. */
export function startPlots(layout) {
  theme = layout;
  const redraw = () => {
    for (const box of plots.keys()) if (box.dataset.drawn) draw(box);
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.print = "true"; // colors.css: light, whatever the screen is
    for (const box of plots.keys()) draw(box);
  });
  addEventListener("afterprint", () => {
    delete document.documentElement.dataset.print;
    redraw();
  });
  window.requestIdleCallback?.(loadPlotly);
}
