// The accuracies of one run, epoch by epoch, for its panel. Drawn here and not by Python, which
// would write each of up to 450 runs' curves twice into the page.
import { element } from "./elements.js";
import { addPlot } from "./plots.js";

const WATCHED = ["train_acc", "val_acc", "test_acc"];

/** curve: {epoch, metrics, floor, xaxis, yaxis}, or undefined if the run has none. */
export function curvePlot(id, curve, open) {
  if (!curve) return null;
  const watched = WATCHED.filter((name) => curve.metrics[name]);
  const percent = (value) => (value === null ? "–" : `${(100 * value).toFixed(2)} %`);
  const ends = watched.map((name) => `${name} ${percent(curve.metrics[name].at(-1))}`).join(", ");
  const box = element("div", { className: "plot small", role: "figure",
    "aria-label": `Accuracy of run ${id} over ${curve.epoch.length} epochs, ending with ${ends}` });
  addPlot(box, () => ({
    data: watched.map((name, n) => ({
      type: "scatter", mode: curve.epoch.length < 30 ? "lines+markers" : "lines", name,
      x: curve.epoch,
      y: curve.metrics[name].map((value) => (value === null ? null : Math.max(1 - value, curve.floor))),
      text: curve.metrics[name].map((value, at) => `epoch ${curve.epoch[at]}: ${name} ${percent(value)}`),
      hovertemplate: "%{text}<extra></extra>",
      line: { color: `var(--line-${n + 1})`, width: 2 },
      marker: { size: 5 },
    })),
    layout: { showlegend: true, xaxis: curve.xaxis, yaxis: curve.yaxis },
  }), open);
  return element("section", {}, element("h3", {}, "Accuracy by epoch"), box);
}
