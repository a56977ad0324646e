// A plot with two selects: of which ranking, and of which measure.
import { byId } from "./elements.js";
import { addPlot, draw } from "./plots.js";

/**
 * The plot #<name>-plot with #<name>-track and #<name>-<measure>; nothing if the page has none.
 * rankings: [{figures: measure -> figure, first: the measure to begin with, note}, ...].
 */
export function startChoice(name, measure, rankings, open) {
  const box = byId(`${name}-plot`);
  if (!box) return;
  const track = byId(`${name}-track`), measures = byId(`${name}-${measure}`);
  const chosen = () => rankings[Number(track.value)];

  /** Of the measures those that the ranking has; another one if it lacks the last one. */
  function offer() {
    const { figures, first, note } = chosen();
    for (const option of measures.options) option.disabled = !(option.value in figures);
    if (!(measures.value in figures)) measures.value = first;
    byId(`${name}-note`).textContent = note;
  }

  offer();
  addPlot(box, () => chosen().figures[measures.value], open);
  track.addEventListener("change", () => {
    offer();
    draw(box);
  });
  measures.addEventListener("change", () => draw(box));
}
